//go:build unix

package server_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/server"
	"github.com/headroom-rpc/headroom/severity"
)

const hogVariable = "HEADROOM_TEST_HOG"

// TestHog is the process that TestSeverityOfAPID watches: it holds as many MiB as the last line of its input says.
func TestHog(t *testing.T) {
	if os.Getenv(hogVariable) == "" {
		t.Skip("a process of another test")
	}
	var held []byte
	for {
		var mib int
		if _, err := fmt.Scanln(&mib); err != nil {
			return
		}
		held = nil
		debug.FreeOSMemory()
		held = make([]byte, mib<<20)
		for i := 0; i < len(held); i += 1 << 10 {
			held[i] = 1
		}
		fmt.Println("held", len(held))
		runtime.KeepAlive(held)
	}
}

// hog is a running TestHog.
type hog struct {
	*exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startHog(t *testing.T) *hog {
	t.Helper()
	h := &hog{Cmd: exec.Command(os.Args[0], "-test.run=^TestHog$")}
	h.Env = append(os.Environ(), hogVariable+"=1")
	var err error
	if h.in, err = h.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := h.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	h.out = bufio.NewReader(out)
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = h.Process.Kill()
		_ = h.Wait()
	})
	h.hold(t, 0)
	return h
}

func (h *hog) hold(t *testing.T, mib int) {
	t.Helper()
	fmt.Fprintln(h.in, mib)
	if _, err := h.out.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
}

func (h *hog) request(maxBytes int64) *headroomv1.WatchSeverityRequest {
	return &headroomv1.WatchSeverityRequest{Process: &headroomv1.ProcessScope{
		Process: &headroomv1.ProcessScope_Pid{Pid: int64(h.Process.Pid)}, MaxBytes: maxBytes,
	}}
}

// A real process climbs while it fills its maximum, falls when it frees it, and its end is the end of its stream.
func TestSeverityOfAPID(t *testing.T) {
	const limit, much = 160 << 20, 110 // half of the maximum is more than an idle process takes
	f := start(t, settings{server: func(c *server.Config) {
		c.ProcessLevels = []severity.Level{{Enter: severity.LocalRelative(50)}}
	}})
	h := startHog(t)
	f.waitForSeverity(t)
	stream, err := f.severity().WatchSeverity(t.Context(), h.request(limit))
	if err != nil {
		t.Fatal(err)
	}
	next := func() *headroomv1.WatchSeverityResponse {
		t.Helper()
		resp, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	if got := next().GetSeverity(); got.GetLevel() != 0 || len(got.GetUnknown()) != 0 {
		t.Fatalf("at first: %v, want level 0 and all known", got)
	}
	h.hold(t, much)
	up := next().GetTransition()
	if e := up.GetEvidence(); up.GetToLevel() != 1 || len(e) != 1 || e[0].GetSignal() != "process" || e[0].GetValue() > 0.5 {
		t.Errorf("after it took %d MiB: %v, want level 1 by its memory", much, up)
	}
	h.hold(t, 0)
	if down := next().GetTransition(); down.GetToLevel() != 0 {
		t.Errorf("after it freed them: %v, want level 0", down)
	}
	h.in.Close()
	if err := h.Wait(); err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = stream.Recv()
	}
	checkError(t, err, codes.NotFound, "PROCESS_ENDED")
	checkRefused(t, f.conn, h.request(limit), codes.NotFound, "PROCESS_NOT_FOUND")
}

// Who may not watch a process is told what he would be told of one that there is not.
func TestWhoMayWatchAPID(t *testing.T) {
	me := os.Getuid()
	listeners := map[string]*bufconn.Listener{}
	f := start(t, settings{server: func(c *server.Config) {
		for name, id := range map[string]server.Identity{
			"observer": {Role: server.RoleObserver, UID: -1},
			"self":     {Role: server.RoleReader, UID: me},
			"another":  {Role: server.RoleWorker, UID: me + 1},
			"loopback": {Role: server.RoleWorker, UID: -1},
		} {
			id.Name, id.PID, id.Local = name, -1, true
			listeners[name] = bufconn.Listen(1 << 16)
			c.Listeners = append(c.Listeners, server.NewListener(listeners[name], id))
		}
	}})
	h := startHog(t)
	f.waitForSeverity(t)
	ended := startHog(t)
	ended.in.Close()
	if err := ended.Wait(); err != nil {
		t.Fatal(err)
	}
	first := func(name string, h *hog) error {
		stream, err := headroomv1.NewSeverityServiceClient(as(t, listeners[name])).WatchSeverity(t.Context(), h.request(1<<30))
		if err == nil {
			_, err = stream.Recv()
		}
		return err
	}
	for _, name := range []string{"observer", "self"} {
		if err := first(name, h); err != nil {
			t.Errorf("%s: %v, want it served", name, err)
		}
		checkError(t, first(name, ended), codes.NotFound, "PROCESS_NOT_FOUND")
	}
	hidden, missing := first("another", h), first("another", ended)
	checkError(t, hidden, codes.NotFound, "PROCESS_NOT_FOUND")
	checkError(t, missing, codes.NotFound, "PROCESS_NOT_FOUND")
	text := func(err error, h *hog) string {
		return strings.ReplaceAll(status.Convert(err).Message(), strconv.Itoa(h.Process.Pid), "PID")
	}
	if a, b := text(hidden, h), text(missing, ended); a != b {
		t.Errorf("told apart: %q and %q", a, b)
	}
	checkError(t, first("loopback", h), codes.PermissionDenied, "ROLE_REQUIRED")
	checkError(t, first("loopback", ended), codes.PermissionDenied, "ROLE_REQUIRED")
}
