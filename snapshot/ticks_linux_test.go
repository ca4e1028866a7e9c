package snapshot_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

// The kernel has no part in the time of a bubble, so these tests take real time.

func runWithKernelTicks(t *testing.T, signals ...snapshot.Signal) (stop func()) {
	t.Helper()
	disabled := []string{snapshot.SignalCPU, snapshot.SignalMemory, snapshot.SignalEventLoop, snapshot.SignalClient}
	s, err := snapshot.New(snapshot.Config{KernelTicks: true, Signals: signals, Disabled: disabled})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	ready := s.Ready()
	go func() { ended <- s.Run(ctx) }()
	<-ready
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
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
	if got := b.Load(); got < 1 || got > 6 {
		t.Errorf("meanwhile %d snapshots every 75 ms, want 1 to 6", got)
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
