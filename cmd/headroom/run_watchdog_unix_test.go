//go:build unix

package main

import (
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/internal/boottime"
)

// watchUnder runs a watchdog that is told what words writes, and returns its exit code.
func watchUnder(t *testing.T, words func(dog *watchdog)) int {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	go func() {
		defer w.Close()
		words(&watchdog{pipe: w})
	}()
	return keepWatch(r, nil)
}

func TestWatchdogKills(t *testing.T) {
	say := func(t *testing.T, dog *watchdog, text string) {
		if _, err := io.WriteString(dog.pipe, text); err != nil {
			t.Error(err)
		}
	}
	past, later := boottime.Now()-time.Hour, boottime.Now()+time.Hour
	for _, tt := range []struct {
		name  string
		words func(l leash) string
		kills bool
	}{
		{"headroom died", func(l leash) string { return l.line() }, true},
		{"it was dismissed", func(l leash) string { return l.line() + (&leash{}).line() }, false},
		{"headroom died before it began", func(leash) string { return "" }, false},
		{"nonsense", func(l leash) string { return l.line() + "12345\n" }, false},
		{"the lease goes on", func(l leash) string {
			over, goesOn := l, l
			over.deadline, goesOn.deadline = past, later
			return over.line() + goesOn.line() + (&leash{}).line()
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "pid")
			r := startShell(t, time.Minute, "trap 'exit 5' USR1; sleep 1000 & echo $! > $0; wait", file)
			pid := awaitFile(t, file)
			if code := watchUnder(t, func(dog *watchdog) {
				say(t, dog, tt.words(leash{group: r.cmd.Process.Pid}))
			}); code != exitOK {
				t.Errorf("the watchdog returns %d, want %d", code, exitOK)
			}
			r.signals <- syscall.SIGUSR1
			want := 5
			if tt.kills {
				want = 137
				awaitGone(t, pid)
			}
			if got := r.code(); got != want {
				t.Errorf("%d, want %d", got, want)
			}
		})
	}
}

// Once the lease is over and nobody has told of another, the command is asked to end, and then killed.
func TestWatchdogEndsWithTheLease(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		killAfter    time.Duration
		want         int
	}{
		{"it ends", "trap 'exit 7' TERM; " + sleeper + " & wait", 10 * time.Second, 7},
		{"it does not end", "trap '' TERM; sleep 1000 & echo $! > $0; while :; do sleep 0.05; done", 100 * time.Millisecond, 137},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "pid")
			r := startShell(t, time.Minute, tt.script, file)
			pid := awaitFile(t, file)
			released := make(chan struct{})
			if code := watchUnder(t, func(dog *watchdog) {
				l := leash{group: r.cmd.Process.Pid, deadline: boottime.Now(), killAfter: tt.killAfter}
				if err := dog.say(&l); err != nil {
					t.Error(err)
				}
				<-released
			}); code != exitRun {
				t.Errorf("the watchdog returns %d, want %d", code, exitRun)
			}
			close(released)
			awaitGone(t, pid)
			if got := r.code(); got != tt.want {
				t.Errorf("%d, want %d", got, tt.want)
			}
		})
	}
}
