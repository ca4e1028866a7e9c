package client_test

import (
	"fmt"
	"slices"
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

// way is one of several that do the same.
type way struct {
	name string
	once func() bool
}

// ways are a permit within the target, a semaphore, and a semaphore with the look at the clock that a lease takes.
func ways(b *testing.B) []way {
	h, weighted := leasedHandle(b), semaphore.NewWeighted(1<<20)
	began := time.Now()
	return []way{
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
}

// What it costs to take a permit within the target and to give it back.
func BenchmarkTryAcquire(b *testing.B) {
	for _, way := range ways(b) {
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

// The same by turns of 20 µs or so, so that what else the machine does falls on all alike; each figure is the median
// of the turns.
func BenchmarkTryAcquireBeside(b *testing.B) {
	const turn = 200
	all := ways(b)
	took := make([][]time.Duration, len(all))
	for b.Loop() {
		for i, way := range all {
			start := time.Now()
			for range turn {
				if !way.once() {
					b.Fatal("refused")
				}
			}
			took[i] = append(took[i], time.Since(start))
		}
	}
	medians := make([]float64, len(all))
	for i := range all {
		slices.Sort(took[i])
		medians[i] = float64(took[i][len(took[i])/2]) / turn
	}
	b.ReportMetric(medians[0], "ns/permit")
	b.ReportMetric(medians[1], "ns/semaphore")
	b.ReportMetric(medians[2], "ns/semaphore+clock")
	b.ReportMetric(medians[0]/medians[2], "x-semaphore+clock")
	b.ReportMetric(0, "ns/op")
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
