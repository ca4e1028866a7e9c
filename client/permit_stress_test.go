package client_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/permit"
)

// Whatever happens to targets, streams and leases, no more runs under a lease than the greatest target allows, no
// permit is lost, and whoever lost one is told.
func TestNoPermitIsLost(t *testing.T) {
	for seed := range uint64(5) {
		const greatest, workers = 6, 30
		l := newLessor(1)
		leaseTest(t, l, func(t *testing.T, m *machine, _ func()) {
			r := rand.New(rand.NewPCG(seed, 1))
			h := permits(t, m.client(t), "host")
			var running, tasks, lost atomic.Int64
			work := func(r *rand.Rand, p *client.Permit) {
				defer p.Release()
				if n := running.Add(p.Count()); n > greatest {
					t.Errorf("%d permits in use, want at most %d", n, greatest)
				}
				defer running.Add(-p.Count())
				tasks.Add(1)
				select {
				case <-time.After(time.Duration(r.IntN(100)) * time.Millisecond):
				case <-p.Context().Done():
					lost.Add(1)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			var all sync.WaitGroup
			for i := range workers {
				r := rand.New(rand.NewPCG(seed, uint64(100+i)))
				all.Go(func() {
					for ctx.Err() == nil {
						n := 1 + r.Int64N(3)
						if r.IntN(2) == 0 {
							if p, ok := h.TryAcquire(n); ok {
								work(r, &p)
							}
							time.Sleep(time.Duration(r.IntN(50)) * time.Millisecond)
							continue
						}
						waiting, stop := context.WithTimeout(ctx, time.Duration(r.IntN(2000))*time.Millisecond)
						p, err := h.Acquire(waiting, n)
						stop()
						if err == nil {
							work(r, &p)
						}
					}
				})
			}
			for range 1000 {
				switch r.IntN(30) {
				case 0:
					l.cut(unavailable())
				case 1:
					l.fallSilent(true)
					time.Sleep(time.Duration(r.IntN(8)) * time.Second)
					l.fallSilent(false)
				case 2:
					l.set(permit.Target{Resource: "host", Mode: permit.ModeCancel})
				case 3:
					l.tell(permit.ServerFrame{Kicked: "a test"})
				default:
					l.set(permit.Target{Resource: "host", Target: r.Int64N(greatest + 1), Contended: r.IntN(2) == 0})
				}
				time.Sleep(time.Duration(r.IntN(500)) * time.Millisecond)
			}
			l.give("host", greatest)
			time.Sleep(10 * time.Second)
			cancel()
			all.Wait()
			if tasks.Load() < 500 || lost.Load() < 10 {
				t.Errorf("seed %d: %d tasks of which %d lost their permit: too few to tell", seed, tasks.Load(), lost.Load())
			}
			if h.Held() != 0 {
				t.Errorf("seed %d: held %d in the end, want 0", seed, h.Held())
			}
			l.give("host", greatest)
			synctest.Wait()
			every, ok := h.TryAcquire(greatest)
			if !ok {
				t.Errorf("seed %d: not all permits can be had in the end, held %d of %d", seed, h.Held(), h.Limit())
			}
			every.Release()
			if _, err := h.Acquire(ctx, 1); !errors.Is(err, context.Canceled) {
				t.Errorf("Acquire = %v", err)
			}
		})
	}
}
