package client_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/client"
	"golang.org/x/sync/semaphore"
)

// leasedHandle returns a handle with a target that is never used up.
func leasedHandle(tb testing.TB) *client.Permits {
	tb.Helper()
	l := newLessor(1)
	l.give("host", 1<<20)
	m := newMachine()
	stop := m.serve(&script{permits: l})
	c, err := client.Dial(tb.Context(), client.WithDialer(m.dial))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		c.Close()
		stop()
	})
	h, err := c.Permits("host")
	if err != nil {
		tb.Fatal(err)
	}
	for h.Limit() == 0 {
		<-h.Changed()
	}
	return h
}

// What it costs to take a permit within the target and to give it back, beside a semaphore, and beside one with
// the look at the clock that a lease takes.
func BenchmarkTryAcquire(b *testing.B) {
	h, weighted := leasedHandle(b), semaphore.NewWeighted(1<<20)
	began := time.Now()
	ways := []struct {
		name string
		once func() bool
	}{
		{"permits", func() bool {
			p, ok := h.TryAcquire(1)
			p.Release()
			return ok
		}},
		{"semaphore", func() bool {
			ok := weighted.TryAcquire(1)
			weighted.Release(1)
			return ok
		}},
		{"semaphore and clock", func() bool {
			ok := weighted.TryAcquire(1) && time.Since(began) > 0
			weighted.Release(1)
			return ok
		}},
	}
	for _, way := range ways {
		b.Run(way.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !way.once() {
					b.Fatal("refused")
				}
			}
		})
		b.Run(way.name+"/parallel", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if !way.once() {
						b.Error("refused")
						return
					}
				}
			})
		})
	}
}

// What it costs to pass one permit from each waiter to the next while so many wait.
func BenchmarkAcquireWaiting(b *testing.B) {
	for _, waiters := range []int{1, 1000, 100_000} {
		b.Run(fmt.Sprintf("waiters=%d", waiters), func(b *testing.B) {
			b.ReportAllocs()
			h := leasedHandle(b)
			all, ok := h.TryAcquire(h.Limit() - 1)
			if !ok {
				b.Fatal("refused")
			}
			defer all.Release()
			b.ResetTimer()
			done := make(chan error)
			turns := max(b.N/waiters, 1)
			for range waiters {
				go func() {
					for range turns {
						p, err := h.Acquire(b.Context(), 1)
						if err != nil {
							done <- err
							return
						}
						p.Release()
					}
					done <- nil
				}()
			}
			for range waiters {
				if err := <-done; err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(turns*waiters), "ns/permit")
		})
	}
}

func TestTryAcquireDoesNotAllocate(t *testing.T) {
	l := newLessor(1)
	l.give("host", 3)
	leaseTest(t, l, func(t *testing.T, m *machine, _ func()) {
		h := permits(t, m.client(t), "host")
		if n := testing.AllocsPerRun(1000, func() {
			p, ok := h.TryAcquire(1)
			if !ok {
				t.Error("refused")
			}
			p.Release()
		}); n != 0 {
			t.Errorf("%v allocations for a permit, want 0", n)
		}
		all, _ := h.TryAcquire(3)
		time.Sleep(time.Millisecond)
		if n := testing.AllocsPerRun(1000, func() { h.TryAcquire(1) }); n != 0 {
			t.Errorf("%v allocations for a permit that is not to be had, want 0", n)
		}
		all.Release()
		synctest.Wait()
	})
}
