package server

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/internal/boottime"
	"github.com/headroom-rpc/headroom/permit"
)

// A worker that burns CPU time and says nothing of it is seen by what the kernel says, with its children; one that
// another worker descends from is not measured, nor is one that only speaks for a worker.
func TestSensor(t *testing.T) {
	burner := exec.Command("sh", "-c", "ulimit -t 20; sh -c 'while :; do :; done' & wait")
	burner.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := burner.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = syscall.Kill(-burner.Process.Pid, syscall.SIGKILL) // it may have ended
		_ = burner.Wait()
	}()
	s := newSensor(boottime.Now, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan struct{})
	go func() { defer close(done); s.run(ctx) }()

	busy, parent, spokesman := permit.SessionID{1}, permit.SessionID{2}, permit.SessionID{3}
	users := []permit.User{
		{Session: busy, Party: permit.Party{PID: burner.Process.Pid, Local: true}},
		{Session: parent, Party: permit.Party{PID: os.Getpid(), Local: true}},
		{Session: spokesman, Party: permit.Party{PID: burner.Process.Pid}},
	}
	var first sensed
	for {
		s.want(users)
		one, ok := s.cpu(busy)
		if ok && first.at == 0 {
			first = one
		}
		if ok && one.cpu > first.cpu+100*time.Millisecond {
			break
		}
		time.Sleep(20 * time.Millisecond) // a pass takes as long as it takes
	}
	for _, id := range []permit.SessionID{parent, spokesman} {
		if one, ok := s.cpu(id); ok {
			t.Errorf("session %v was measured: %v", id[0], one)
		}
	}
	stop()
	<-done
}
