//go:build linux || darwin

package server

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/headroom-rpc/headroom/internal/loopback"
)

const shortageServer = "HEADROOM_TEST_SHORTAGE_SERVER"

// TestShortageProcess is no test: it is the server of the test below.
func TestShortageProcess(t *testing.T) {
	if os.Getenv(shortageServer) == "" {
		t.Skip("runs only as a child of TestServerOutlivesAShortageOfDescriptors")
	}
	log := &lines{}
	l := listenLoopback(t)
	startProbe(t, l, probeConfig{log: log.logger(), limits: Limits{MaxConnections: 10_000}})
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 64, Max: 64}); err != nil {
		t.Fatal(err)
	}
	fmt.Printf("address: %s\n", l.Addr())
	io.Copy(io.Discard, os.Stdin)
	fmt.Printf("logged: %t\n", strings.Contains(log.String(), "cannot accept connections"))
}

func TestServerOutlivesAShortageOfDescriptors(t *testing.T) {
	loopback.Need(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestShortageProcess$", "-test.v")
	cmd.Env = append(os.Environ(), shortageServer+"=1")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var address string
	out := bufio.NewScanner(stdout)
	for out.Scan() {
		if rest, ok := strings.CutPrefix(out.Text(), "address: "); ok {
			address = rest
			break
		}
	}
	first := dialTarget(t, "passthrough:///"+address)
	if err := checkHealth(t, first); err != nil {
		t.Fatalf("before: %v", err)
	}
	var idle []net.Conn
	for range 100 {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, conn)
	}
	for range 10 {
		if err := checkHealth(t, first); err != nil {
			t.Errorf("during: a connection that stood before: %v, want nil", err)
		}
	}
	for _, conn := range idle {
		conn.Close()
	}
	if err := checkHealth(t, dialTarget(t, "passthrough:///"+address)); err != nil {
		t.Errorf("after: a new connection: %v, want nil", err)
	}
	stdin.Close()
	logged := false
	for out.Scan() {
		logged = logged || out.Text() == "logged: true"
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the server: %v", err)
	}
	if !logged {
		t.Error("the server did not log that it could not accept")
	}
}
