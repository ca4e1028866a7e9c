package pool

import (
	"context"
	"time"

	"github.com/headroom-rpc/headroom/limit"
)

// letShed lets a task be cancelled alone.
func (r *run) letShed(ctx context.Context, w *running, before func()) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	p := r.pool
	p.mu.Lock()
	w.cancel = cancel
	if w.shed {
		cancel(ErrShed)
	}
	p.mu.Unlock()
	return ctx, func() {
		cancel(nil)
		if before != nil {
			before()
		}
	}
}

// shedLocked cancels the youngest tasks while memory is critical, until what is left without them would not be. One is
// left to run.
func (r *run) shedLocked(now time.Duration) {
	c := &r.pool.core
	if c.gate.Shed == 0 || c.used <= c.gate.Shed || c.tasks < 2 {
		return
	}
	// What was cancelled must not come back before the law has seen why.
	c.shedUntil = now + stepInterval
	used := c.used
	each := r.governor.own.Memory / c.held
	if each <= 0 && c.share.Footprint == 0 {
		each = used / c.held
	}
	for w := r.running.last; w != r.running.first && used > c.gate.ShedTo; w = w.prev {
		if !w.shed {
			w.shed = true
			if w.cancel != nil {
				w.cancel(ErrShed)
			}
		}
		grown := int64(float64(c.share.Footprint) * limit.Growth(now-w.started, c.duration))
		used -= w.task.Weight * max(each, grown, 1)
	}
}
