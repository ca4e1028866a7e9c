//go:build unix

package spawn_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/internal/spawn"
)

func open(t *testing.T) *spawn.Spawner {
	t.Helper()
	s := spawn.Open()
	t.Cleanup(s.Close)
	return s
}

// sh starts a script whose output goes to a file.
func sh(t *testing.T, s *spawn.Spawner, script string) (*spawn.Process, *os.File) {
	t.Helper()
	path, err := exec.LookPath("sh")
	if err != nil {
		t.Skip(err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { out.Close() })
	p, err := s.Start(&spawn.Command{
		Path: path, Args: []string{"sh", "-c", script}, Env: []string{"WORD=right"}, Stdin: null, Stdout: out, Stderr: out,
	})
	if err != nil {
		t.Fatal(err)
	}
	return p, out
}

// await waits until the file has the text.
func await(t *testing.T, file *os.File, text string) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; {
		got, err := os.ReadFile(file.Name())
		if err == nil && strings.Contains(string(got), text) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%q, %v, want %q", got, err, text)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestExit(t *testing.T) {
	s := open(t)
	for _, tt := range []struct {
		script       string
		code, signal int
		out          string
	}{
		{"exit 0", 0, 0, ""},
		{"echo $WORD; echo too >&2; exit 3", 3, 0, "right\ntoo\n"},
		{"kill -KILL $$", -1, 9, ""},
		{"kill -TERM 0", -1, 15, ""}, // its group is not ours
		{"read x || echo nothing to read", 0, 0, "nothing to read\n"},
	} {
		p, out := sh(t, s, tt.script)
		e := p.Exit()
		if e.Code != tt.code || e.Signal != tt.signal || e.OutOfMemory || e.Left || e.At.Before(p.Started) {
			t.Errorf("%s: %+v, want %d and signal %d", tt.script, e, tt.code, tt.signal)
		}
		if got, err := os.ReadFile(out.Name()); err != nil || string(got) != tt.out {
			t.Errorf("%s printed %q, %v, want %q", tt.script, got, err, tt.out)
		}
	}
}

func TestStartFails(t *testing.T) {
	s := open(t)
	_, err := s.Start(&spawn.Command{Path: filepath.Join(t.TempDir(), "none"), Args: []string{"none"}, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v, want that there is no such file", err)
	}
	if p, _ := sh(t, s, "exit 4"); p.Exit().Code != 4 {
		t.Error("nothing can be started after a failure")
	}
}

// Signals go to the group, and to nobody once the process has ended.
func TestSignal(t *testing.T) {
	s := open(t)
	p, out := sh(t, s, "sleep 1000 & echo ready")
	await(t, out, "ready")
	if e := p.Exit(); !e.Left {
		t.Errorf("%+v, want that something is left", e)
	}
	_ = syscall.Kill(-p.Pid, syscall.SIGKILL)
	p, out = sh(t, s, `trap 'echo told; exit 7' TERM; sh -c 'trap "echo me too; exit" TERM; sleep 1000 & echo ready; wait' & wait`)
	await(t, out, "ready")
	p.Terminate()
	if e := p.Exit(); e.Code != 7 {
		t.Errorf("%+v, want the code of the trap", e)
	}
	await(t, out, "me too")
	p.Kill()
	p.Signal(syscall.SIGTERM)
	_ = syscall.Kill(-p.Pid, syscall.SIGKILL) // a shell that has a trap loses a signal between fork and exec
}

func TestKillIsNoWantOfMemory(t *testing.T) {
	s := open(t)
	p, out := sh(t, s, "echo ready; exec sleep 1000")
	await(t, out, "ready")
	p.Kill()
	if e := p.Exit(); e.Signal != 9 || e.OutOfMemory {
		t.Errorf("%+v, want a plain SIGKILL", e)
	}
}

func TestClose(t *testing.T) {
	s := spawn.Open()
	p, out := sh(t, s, "echo ready; exec sleep 1000")
	await(t, out, "ready")
	s.Close()
	if e := p.Exit(); e.Signal != 9 {
		t.Errorf("%+v, want SIGKILL", e)
	}
	if _, err := s.Start(&spawn.Command{}); !errors.Is(err, spawn.ErrClosed) {
		t.Errorf("%v, want ErrClosed", err)
	}
	s.Close()
}

// Many at once, and children of somebody else among them.
func TestMany(t *testing.T) {
	s := open(t)
	other := exec.Command("sh", "-c", "exit 0")
	if err := other.Start(); err != nil {
		t.Skip(err)
	}
	const n = 50
	var all sync.WaitGroup
	codes := make([]int, n)
	for i := range n {
		p, _ := sh(t, s, "exit "+string(rune('0'+i%10)))
		all.Go(func() { codes[i] = p.Exit().Code })
	}
	all.Wait()
	for i, code := range codes {
		if code != i%10 {
			t.Errorf("%d: code %d", i, code)
		}
	}
	_ = other.Wait() // its status may be gone
}
