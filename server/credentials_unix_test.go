//go:build linux || darwin

package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

func TestUnixCallerIsTheServersOwnUser(t *testing.T) {
	l, err := ListenUnix(filepath.Join(shortDir(t), "h.sock"))
	if err != nil {
		t.Fatal(err)
	}
	access := Access{Tokens: []Token{testToken("ci", RoleReader, ciToken)}}
	cc := startProbe(t, l, probeConfig{access: access}).dial(t)
	if got, err := whoami(t, cc); got != fmt.Sprintf("uid:%d (operator)", os.Geteuid()) || err != nil {
		t.Errorf("whoami = %q, %v, want this user as operator", got, err)
	}
	if got, err := whoami(t, cc, "authorization", "Bearer "+ciToken); got != "token:ci (reader)" || err != nil {
		t.Errorf("with a token: %q, %v, want the token's lesser role", got, err)
	}
	if _, err := whoami(t, cc, "authorization", "Bearer "+otherToken); reasonOf(err) != "Unauthenticated TOKEN_INVALID" {
		t.Errorf("with a wrong token: %s, want Unauthenticated TOKEN_INVALID and no downgrade to the user", reasonOf(err))
	}
}

const callerSocket = "HEADROOM_TEST_CALLER_SOCKET"

// TestCallerProcess is no test: it is what the test below runs as another user.
func TestCallerProcess(t *testing.T) {
	socket := os.Getenv(callerSocket)
	if socket == "" {
		t.Skip("runs only as a child of TestUnixCallersOfOtherUsers")
	}
	ctx, cancel := context.WithTimeout(t.Context(), callTimeout)
	defer cancel()
	cc, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	resp, err := headroomv1.NewStatusServiceClient(cc).GetStatus(ctx, &headroomv1.GetStatusRequest{})
	fmt.Printf("caller: %s %v\n", resp.GetServerVersion(), err)
}

func TestUnixCallersOfOtherUsers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to become another user")
	}
	const nobody, workers = 65534, 4242
	dir := shortDir(t)
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "h.sock")
	l, err := ListenUnix(socket)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(socket, 0o666); err != nil { // let in whom the mode would keep out
		t.Fatal(err)
	}
	l.workers = workers
	startProbe(t, l, probeConfig{})
	binary := copyExecutable(t, dir)
	for _, tt := range []struct {
		name   string
		groups []uint32
		want   string
	}{
		{"stranger", nil, "add the user to group headroom"},
		{"member", []uint32{7, workers}, "uid:65534 (worker) <nil>"},
		{"member of 200 groups", append(sequence(200), workers), "uid:65534 (worker) <nil>"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		cmd := exec.CommandContext(ctx, binary, "-test.run=^TestCallerProcess$", "-test.v")
		cmd.Dir = "/"
		cmd.Env = []string{callerSocket + "=" + socket}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody, Groups: tt.groups}}
		out, err := cmd.CombinedOutput()
		cancel()
		if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EINVAL) {
			t.Skip("root may not become another user in every container:", err)
		}
		if errors.Is(err, syscall.EACCES) {
			t.Skip("the temporary directory is mounted noexec, or within one that others may not enter:", err)
		}
		if err != nil {
			t.Fatalf("%s: %v\n%s", tt.name, err, out)
		}
		if !strings.Contains(string(out), tt.want) {
			t.Errorf("%s: the caller was told\n%s, want %q", tt.name, out, tt.want)
		}
	}
}

func sequence(n int) []uint32 {
	ids := make([]uint32, n)
	for i := range ids {
		ids[i] = uint32(10_000 + i)
	}
	return ids
}

// copyExecutable copies this test to where other users can run it.
func copyExecutable(t *testing.T, dir string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	path := filepath.Join(dir, "caller")
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Chmod(0o755); err != nil { // whatever the umask
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}
