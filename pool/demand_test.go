package pool_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/permit"
	"github.com/headroom-rpc/headroom/pool"
)

// noPermits has none, and takes note of what is wanted.
type noPermits struct {
	tries, waiting atomic.Int64
	changed        chan struct{}
}

func (p *noPermits) TryAcquire(int64) (pool.Permit, bool) {
	p.tries.Add(1)
	p.waiting.Store(-1) // queued, until the demand ends
	return nil, false
}
func (p *noPermits) Limit() (int64, string)                { return 0, "" }
func (p *noPermits) Changed() <-chan struct{}              { return p.changed }
func (p *noPermits) Demand(waiting int64, _ time.Duration) { p.waiting.Store(waiting) }
func (p *noPermits) Report(permit.Usage)                   {}
func (p *noPermits) Err() error                            { return nil }

// Work that is gone before its demand was stated leaves the queue for permits.
func TestDemandEndsWithTheWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		permits := &noPermits{changed: make(chan struct{})}
		var p *pool.Pool
		var asked atomic.Int64
		p = newPool(t, pool.Options{
			Permits: permits, Run: func(context.Context) error { return nil },
			Ready: func(context.Context) (bool, error) {
				if asked.Add(1) == 1 {
					p.Notify() // something happens while it is asked
					return true, nil
				}
				return false, nil
			},
			Finished: func(context.Context) (bool, error) { return false, nil },
		})
		result := start(t, p)
		time.Sleep(10 * time.Second)
		if n := permits.waiting.Load(); permits.tries.Load() != 1 || n != 0 {
			t.Errorf("after %d tries %d permits are demanded, want none", permits.tries.Load(), n)
		}
		if err := p.Abort(); err != nil {
			t.Error(err)
		}
		<-result
	})
}
