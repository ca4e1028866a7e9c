package host_test

import (
	"context"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
	"github.com/headroom-rpc/headroom/snapshot/host"
)

// The kernel has no part in the time of a bubble, so these tests take real time.

func runWithKernelTicks(t *testing.T, signals ...snapshot.Signal) (stop func()) {
	t.Helper()
	disabled := []string{snapshot.SignalCPU, snapshot.SignalMemory, snapshot.SignalEventLoop, snapshot.SignalClient}
	s, err := snapshot.New(snapshot.Config{Ticks: host.NewTicks, Signals: signals, Disabled: disabled})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	ready := s.Ready()
	go func() { ended <- s.Run(ctx) }()
	<-ready
	if n := kernelTimers(); n != 2 {
		t.Errorf("%d timers of the kernel are open, want 2", n)
	}
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		for n, deadline := kernelTimers(), time.Now().Add(2*time.Minute); n != 0; n = kernelTimers() {
			if time.Now().After(deadline) {
				t.Fatalf("%d timers of the kernel are open after Run", n)
			}
			time.Sleep(time.Millisecond)
		}
	}
}

// kernelTimers returns how many timers of the kernel this process has open.
func kernelTimers() (n int) {
	fds, _ := filepath.Glob("/proc/self/fd/*")
	for _, fd := range fds {
		if to, _ := os.Readlink(fd); to == "anon_inode:[timerfd]" {
			n++
		}
	}
	return n
}

func TestTicksOfTheKernel(t *testing.T) {
	var a, b atomic.Int64
	enough := make(chan struct{})
	count := func(n *atomic.Int64, most int64) func(context.Context) (value, limit float64, err error) {
		return func(context.Context) (value, limit float64, err error) {
			if n.Add(1) == most {
				close(enough)
			}
			return 0, 1, nil
		}
	}
	begun := time.Now()
	stop := runWithKernelTicks(t,
		snapshot.Signal{Name: "a", Interval: 50 * time.Millisecond, Read: count(&a, 7)},
		snapshot.Signal{Name: "b", Interval: 75 * time.Millisecond, Read: count(&b, -1)},
	)
	<-enough
	if took := time.Since(begun); took < 6*50*time.Millisecond {
		t.Errorf("7 snapshots took %v, want at least 6 intervals of 50 ms", took)
	}
	// Where others hold up this test there may be any number less.
	got, most := b.Load(), int64(time.Since(begun)/(75*time.Millisecond))+1
	if got < 1 || got > most {
		t.Errorf("meanwhile %d snapshots every 75 ms, want 1 to %d", got, most)
	}
	stop()
}

func TestTicksOfTheKernelWhileASourceHangs(t *testing.T) {
	var reads atomic.Int64
	hung, release, enough := make(chan struct{}), make(chan struct{}), make(chan struct{})
	stop := runWithKernelTicks(t,
		snapshot.Signal{Name: "a", Interval: 50 * time.Millisecond, Read: func(context.Context) (value, limit float64, err error) {
			if reads.Add(1) == 3 { // the first is apart from the others
				close(hung)
				<-release
			}
			return 0, 1, nil
		}},
		snapshot.Signal{Name: "b", Interval: 50 * time.Millisecond, Read: func() func(context.Context) (value, limit float64, err error) {
			after := 0
			return func(context.Context) (value, limit float64, err error) {
				select {
				case <-hung:
					if after++; after == 4 {
						close(enough)
					}
				default:
				}
				return 0, 1, nil
			}
		}()},
	)
	<-enough
	if got := reads.Load(); got != 3 {
		t.Errorf("the source that hangs was read %d times, want 3", got)
	}
	close(release)
	stop()
}
