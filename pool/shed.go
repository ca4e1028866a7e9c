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

// shedLocked cancels the youngest tasks while memory is critical, or will be far more than that by the next reading, until
// what is left without them would not be. One is left to run.
func (r *run) shedLocked(now time.Duration) {
	c := &r.pool.core
	used := c.used
	if r.pool.opts.Usage != nil { // else garbage rises as well, until it is collected
		used += c.climb.ahead()
	}
	surely := 2*c.gate.Shed - c.gate.ShedTo // so far over the line as shedding ends under it: rises end too
	if c.gate.Shed == 0 || c.used <= c.gate.Shed && used <= surely || c.tasks < 2 {
		return
	}
	// What was cancelled must not come back before the law has seen why.
	c.shedUntil = now + stepInterval
	var each int64 // of a permit, where the law does not know what a task takes by its age
	if c.share.Footprint == 0 {
		if each = r.governor.own.Memory / c.held; each <= 0 {
			each = c.used / c.held
		}
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

// climb follows the memory in use from reading to reading.
type climb struct {
	at    time.Duration
	used  int64
	seen  bool
	rises [2]int64 // in a [readInterval], the newest first
}

// see takes a reading in. One that follows at once says nothing of a rise.
func (c *climb) see(now time.Duration, used int64) {
	span := now - c.at
	switch {
	case !c.seen:
		c.seen = true
	case span < readInterval/2:
		return
	default:
		rise := float64(used-c.used) * float64(readInterval) / float64(span)
		c.rises = [2]int64{int64(rise), c.rises[0]}
	}
	c.at, c.used = now, used
}

// ahead returns by how much more is to be in use at the next reading: the less of the last two rises, since one alone
// may be a leap, which does not go on.
func (c *climb) ahead() int64 { return max(0, min(c.rises[0], c.rises[1])) }
