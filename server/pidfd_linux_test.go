package server

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/headroom-rpc/headroom/permit"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

// The environment of a worker process of the tests below.
const (
	deathSocket = "HEADROOM_TEST_DEATH_SOCKET"
	deathMode   = "HEADROOM_TEST_DEATH_MODE"

	// forwardSuffix is what is appended to the socket for that which mode "forward" forwards to it.
	forwardSuffix = ".fwd"
)

// TestDyingProcess is no test: it is the worker that the tests below kill.
func TestDyingProcess(t *testing.T) {
	socket, mode := os.Getenv(deathSocket), os.Getenv(deathMode)
	if socket == "" {
		t.Skip("runs only as a child of TestDeathOfAWorker")
	}
	if mode == "forward" {
		forward(t, socket)
	}
	text, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	self := &headroomv1.ProcessIdentity{Pid: int64(os.Getpid()), StartTicks: startTicks(string(text))}
	if mode == "unnamed" {
		self = nil
	}
	cc, err := grpc.NewClient("passthrough:///worker", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			conn, err := net.Dial("unix", socket)
			if err == nil && mode == "fork" {
				keepSocket(t, conn)
			}
			return conn, err
		}))
	if err != nil {
		t.Fatal(err)
	}
	client := headroomv1.NewPermitServiceClient(cc)
	if mode == "hold" {
		stream, err := client.HoldPermit(t.Context(), &headroomv1.HoldPermitRequest{Resource: "api", Process: self})
		for err == nil {
			var resp *headroomv1.HoldPermitResponse
			if resp, err = stream.Recv(); resp.GetPermit() != nil {
				fmt.Println("held")
			}
		}
		t.Fatal(err)
	}
	stream, err := client.Attach(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	req := &headroomv1.AttachRequest{Sequence: 1, Hello: &headroomv1.Hello{
		Client: "victim", InstanceId: make([]byte, 16), Exclusive: mode != "shared", Process: self,
	}, Reports: []*headroomv1.PermitReport{{Resource: "api", Want: 1}}}
	for sequence := int64(1); ; {
		if err := stream.Send(req); err != nil {
			t.Fatal(err)
		}
		for {
			resp, err := stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			if len(resp.GetTargets()) > 0 && resp.GetTargets()[0].GetTarget() > 0 {
				sequence++
				req = &headroomv1.AttachRequest{Sequence: sequence, Reports: []*headroomv1.PermitReport{
					{Resource: "api", Version: resp.GetTargets()[0].GetVersion(), Held: 1, Want: 1},
				}}
				fmt.Println("held")
				break
			}
		}
	}
}

// forward takes connections for whoever is at the socket, as sshd and proxies do, until it is killed.
func forward(t *testing.T, socket string) {
	lis, err := net.Listen("unix", socket+forwardSuffix)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("held")
	for {
		from, err := lis.Accept()
		if err != nil {
			t.Fatal(err)
		}
		to, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		go io.Copy(to, from)
		go io.Copy(from, to)
	}
}

// keepSocket starts a process that has the socket too, and outlives this one.
func keepSocket(t *testing.T, conn net.Conn) {
	file, err := conn.(*net.UnixConn).File()
	if err != nil {
		t.Fatal(err)
	}
	keeper := exec.Command("sleep", "60")
	keeper.ExtraFiles = []*os.File{file}
	if err := keeper.Start(); err != nil {
		t.Fatal(err)
	}
	file.Close()
	fmt.Println("keeper", keeper.Process.Pid)
}

// deathServer serves "api", whose limit is 1, with leases that outlast any test: only a proven death gives a
// permit back. It returns its socket.
func deathServer(t *testing.T) string {
	t.Helper()
	dir := shortDir(t)
	// A journal of an earlier life, so that nothing is unknown.
	text := appendEntry([]byte(journalMagic), &journalEntry{kind: entryBegin, begin: journalBegin{epoch: 1, boot: bootID()}})
	if err := os.WriteFile(filepath.Join(dir, journalName), text, 0o600); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "h.sock")
	l, err := ListenUnix(socket)
	if err != nil {
		t.Fatal(err)
	}
	runServer(t, Config{Listeners: []*Listener{l}, Permits: PermitConfig{
		Resources: []permit.Resource{{Name: "api", Limit: 1}}, StateDir: dir, TTL: 5 * time.Minute, Grace: 5 * time.Minute,
	}})
	return socket
}

// victim starts a worker process and waits until it holds the permit. It returns what kills it.
func victim(t *testing.T, socket, mode string) (kill func()) {
	t.Helper()
	worker := exec.Command(os.Args[0], "-test.run", "^TestDyingProcess$")
	worker.Env = append(os.Environ(), deathSocket+"="+socket, deathMode+"="+mode)
	worker.Stderr = os.Stderr
	out, err := worker.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	kill = func() {
		worker.Process.Kill()
		worker.Wait()
	}
	t.Cleanup(kill)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if pid, ok := strings.CutPrefix(lines.Text(), "keeper "); ok {
			n, err := strconv.Atoi(pid)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if keeper, err := os.FindProcess(n); err == nil {
					keeper.Kill()
				}
			})
		}
		if lines.Text() == "held" {
			return kill
		}
	}
	t.Fatalf("the worker ended: %v", worker.Wait())
	return nil
}

// A worker that is killed gives its permit back at once, whether its stream breaks with it or another process
// keeps the socket, and so does a caller of HoldPermit.
func TestDeathOfAWorker(t *testing.T) {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil { // some sandboxes refuse it; then only the lease gives a permit back
		t.Skip("pidfd_open:", err)
	}
	unix.Close(fd)
	for _, mode := range []string{"attach", "fork", "hold"} {
		t.Run(mode, func(t *testing.T) {
			socket := deathServer(t)
			kill := victim(t, socket, mode)
			cc, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				t.Fatal(err)
			}
			defer cc.Close()
			ctx, cancel := context.WithTimeout(t.Context(), callTimeout)
			defer cancel()
			stream, err := headroomv1.NewPermitServiceClient(cc).HoldPermit(ctx, &headroomv1.HoldPermitRequest{Resource: "api"})
			if err != nil {
				t.Fatal(err)
			}
			if resp, err := stream.Recv(); err != nil || resp.GetPermit() != nil {
				t.Fatalf("while the worker lives: %v, %v, want to wait", resp, err)
			}
			begin := time.Now()
			kill()
			for {
				resp, err := stream.Recv()
				if err != nil {
					t.Fatalf("the permit did not come back: %v", err)
				}
				if resp.GetPermit() != nil {
					break
				}
			}
			t.Logf("the permit was back after %v", time.Since(begin))
		})
	}
}

// Where the worker does not say that the connection is its own alone, or another process made it, the death of
// whoever made it proves nothing.
func TestDeathOfAnother(t *testing.T) {
	for _, mode := range []string{"shared", "unnamed", "forward"} {
		t.Run(mode, func(t *testing.T) {
			socket := deathServer(t)
			kill := victim(t, socket, mode)
			if mode == "forward" {
				victim(t, socket+forwardSuffix, "attach")
			}
			cc, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				t.Fatal(err)
			}
			defer cc.Close()
			client := headroomv1.NewPermitServiceClient(cc)
			kill()
			ctx, cancel := context.WithTimeout(t.Context(), callTimeout)
			defer cancel()
			eventually(t, "the session to have lost its stream", func() bool {
				resp, err := client.ListSessions(ctx, &headroomv1.ListSessionsRequest{})
				return err == nil && len(resp.GetSessions()) == 1 &&
					resp.GetSessions()[0].GetState() == headroomv1.SessionState_SESSION_STATE_SUSPECT
			})
			resp, err := client.Explain(ctx, &headroomv1.ExplainRequest{Resource: "api"})
			if err != nil || resp.GetAccount().GetCharge() != 1 {
				t.Errorf("Explain = %v, %v, want the charge to stay", resp, err)
			}
		})
	}
}

func TestSeesItself(t *testing.T) {
	if got := innermostPID("Name:\ta\nNSpid:\t4242\t17\t1\nTgid:\t4242\n"); got != 1 {
		t.Errorf("innermostPID = %d, want 1", got)
	}
	const stat = "17 (a) b)) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 123456 20"
	if got := startTicks(stat); got != 123456 {
		t.Errorf("startTicks = %d, want 123456", got)
	}
	for _, text := range []string{"", "NSpid:\n", "NSpid: x\n", "17 (a) S 1", ")"} {
		if a, b := innermostPID(text), startTicks(text); a != 0 || b != 0 {
			t.Errorf("of %q: %d and %d, want 0", text, a, b)
		}
	}
	text, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	self := permit.Process{PID: int64(os.Getpid()), Start: startTicks(string(text))}
	if !seesItself(os.Getpid(), self) {
		t.Errorf("this process is not %+v", self)
	}
	for _, other := range []permit.Process{{PID: self.PID + 1, Start: self.Start}, {PID: self.PID, Start: self.Start + 1}, {}} {
		if seesItself(os.Getpid(), other) {
			t.Errorf("this process is %+v", other)
		}
	}
}
