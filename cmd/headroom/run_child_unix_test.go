//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/client"
)

// A running is a command under supervision, without a server.
type running struct {
	*child
	t       *testing.T
	signals chan os.Signal
	lose    context.CancelCauseFunc
	stderr  strings.Builder
	result  chan error
}

// startShell runs a script of the shell. $0 is a file that the script may write.
func startShell(t *testing.T, killAfter time.Duration, script, file string) *running {
	t.Helper()
	path, err := findCommand("sh")
	if err != nil {
		t.Fatal(err)
	}
	c, err := startChild(path, []string{"sh", "-c", script, file}, os.Environ())
	if err != nil {
		t.Fatal(err)
	}
	lost, lose := context.WithCancelCause(t.Context())
	r := &running{child: c, t: t, signals: make(chan os.Signal, 1), lose: lose, result: make(chan error, 1)}
	t.Cleanup(func() {
		c.kill()
		<-c.ended
		c.cgroup.leave()
	})
	go func() { r.result <- c.supervise(lost, r.signals, killAfter, &r.stderr) }()
	return r
}

// code waits for the end and returns the exit code.
func (r *running) code() int {
	r.t.Helper()
	select {
	case err := <-r.result:
		var exit *exitError
		switch {
		case err == nil:
			return 0
		case errors.As(err, &exit):
			return exit.code
		}
		r.t.Fatalf("supervise = %v, want an exitError", err)
	case <-time.After(patience):
		r.t.Fatal("the command goes on")
	}
	return -1
}

// awaitFile waits until the file has text, and returns it.
func awaitFile(t *testing.T, path string) string {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		text, err := os.ReadFile(path)
		if err == nil && strings.HasSuffix(string(text), "\n") {
			return strings.TrimSpace(string(text))
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s holds %q (%v)", path, text, err)
		}
	}
}

// awaitGone waits until no process has the pid of text.
func awaitGone(t *testing.T, text string) {
	t.Helper()
	pid, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); runs(pid); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("process %d is still there", pid)
		}
	}
}

// runs reports whether a process is there and is no zombie that nobody waits for.
func runs(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, state, ok := strings.Cut(string(stat), ") ")
	return err != nil || !ok || state[0] != 'Z'
}

func TestRunEndsAsTheCommandDoes(t *testing.T) {
	for script, want := range map[string]int{
		"exit 0": 0, "exit 7": 7, "kill -KILL $$": 137, "kill -TERM $$": 143,
	} {
		if got := startShell(t, time.Minute, script, "").code(); got != want {
			t.Errorf("%s: %d, want %d", script, got, want)
		}
	}
}

func TestRunPassesSignalsOn(t *testing.T) {
	for sig, name := range map[syscall.Signal]string{
		syscall.SIGINT: "INT", syscall.SIGTERM: "TERM", syscall.SIGHUP: "HUP", syscall.SIGQUIT: "QUIT",
		syscall.SIGUSR1: "USR1", syscall.SIGUSR2: "USR2", syscall.SIGWINCH: "WINCH", syscall.SIGCONT: "CONT",
	} {
		if signal.Ignored(sig) { // as by nohup: then a shell cannot trap it
			continue
		}
		file := filepath.Join(t.TempDir(), "ready")
		// No loop: dash forgets a signal that comes while it starts a command in the foreground.
		script := "trap 'exit 9' " + name + "; sleep 1000 & echo > $0; wait"
		r := startShell(t, time.Minute, script, file)
		awaitFile(t, file)
		r.signals <- sig
		if got := r.code(); got != 9 {
			t.Errorf("%s: %d, want 9", name, got)
		}
	}
}

// sleeper writes its pid when a signal that ends it cannot be lost any more, as one between fork and exec is to a
// shell that has a trap for it.
const sleeper = `sh -c 'echo $$ > $0; exec sleep 1000' $0`

// A signal reaches what the command started, in its process group.
func TestRunPassesSignalsToTheGroup(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	r := startShell(t, time.Minute, "trap : TERM; "+sleeper+" & wait; wait", file)
	pid := awaitFile(t, file)
	r.signals <- syscall.SIGTERM
	if got := r.code(); got != 0 && got != 143 {
		t.Errorf("%d, want 0 or 143", got)
	}
	awaitGone(t, pid)
}

func TestRunEndsTheCommandThatLostItsPermit(t *testing.T) {
	const stubborn = "trap '' TERM; "
	for _, tt := range []struct {
		name, script string
		killAfter    time.Duration
	}{
		{"it ends", "trap 'exit 0' TERM; " + sleeper + " & wait", time.Minute},
		{"it is stopped", "sleep 1000 & echo $! > $0; kill -STOP $$", time.Minute},
		{"it does not end", stubborn + "sh -c \"$1 sleep 1000\" & echo $! > $0; while :; do sleep 0.05; done", 50 * time.Millisecond},
		{"what it started does not end", "(" + stubborn + "sleep 1000) & sleep 0.1; echo $! > $0; sleep 1000", 200 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "pid")
			r := startShell(t, tt.killAfter, tt.script, file)
			pid := awaitFile(t, file)
			r.lose(&described{"api: gone\x1b[2J", client.ErrLeaseLost})
			if got := r.code(); got != exitRun {
				t.Errorf("%d, want %d", got, exitRun)
			}
			awaitGone(t, pid)
			if got, want := r.stderr.String(), "headroom: api: gone\ufffd[2J; ending sh\n"; got != want {
				t.Errorf("says %q, want %q", got, want)
			}
		})
	}
}

// The end of the command counts, not what it left behind, which goes on.
func TestRunLeavesTheRest(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	r := startShell(t, time.Minute, "sleep 1000 & echo $! > $0; exit 4", file)
	if got := r.code(); got != 4 {
		t.Errorf("%d, want 4", got)
	}
	pid, err := strconv.Atoi(awaitFile(t, file))
	if err != nil {
		t.Fatal(err)
	}
	dir := r.cgroup.path()
	r.cgroup.leave()
	if !runs(pid) {
		t.Error("what the command started was ended")
	}
	if _, err := os.Stat(dir); dir != "" && err == nil {
		t.Errorf("%s is left", dir)
	}
}

func TestRunSaysWhatCannotBeStarted(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for path, want := range map[string]int{
		write("noformat", "\x00\x01\x02"):      exitNotExecutable,
		write("nointerpreter", "#!/no/such\n"): exitNotFound,
		filepath.Join(dir, "nothing"):          exitNotFound,
	} {
		_, err := startChild(path, []string{path}, nil)
		var exit *exitError
		if !errors.As(err, &exit) || exit.code != want {
			t.Errorf("%s: %v, want code %d", filepath.Base(path), err, want)
		}
	}
}
