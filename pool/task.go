package pool

import (
	"context"
	"errors"
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

// FenceOf returns the fence of the permit under which a task runs, from its context. It is zero where there is none.
func FenceOf(ctx context.Context) permit.Fence {
	f, _ := ctx.Value(fenceKey{}).(permit.Fence)
	return f
}

type fenceKey struct{}

// fenceContext is a context with a fence.
type fenceContext struct {
	context.Context
	fence permit.Fence
}

func (c *fenceContext) Value(key any) any {
	if key == (fenceKey{}) {
		return c.fence
	}
	return c.Context.Value(key)
}

// deadline is the end of the time that a task may take. It is guarded by the mutex of the pool.
type deadline struct {
	over    bool // the task ended
	expired bool // before it did
}

// limitTime ends the context of a task when its time is over.
func (r *run) limitTime(ctx context.Context, w *running, d time.Duration, before func()) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	end := &deadline{}
	w.deadline = end
	timer := time.AfterFunc(d, func() { r.expire(end, d, cancel) })
	return ctx, func() {
		timer.Stop()
		cancel(nil)
		if before != nil {
			before()
		}
	}
}

// expire ends a task that took too long. That is its error at once, however long it goes on.
func (r *run) expire(end *deadline, after time.Duration, cancel context.CancelCauseFunc) {
	p := r.pool
	err := &TimeoutError{After: after}
	p.mu.Lock()
	if end.over || p.run != r {
		p.mu.Unlock()
		return
	}
	end.expired = true
	cancel(err)
	if p.opts.Profile != ProfileCrawleePython {
		r.failLocked(err)
	}
	p.mu.Unlock()
	if p.opts.Profile == ProfileCrawleePython {
		p.opts.Log.Warn("a task timed out", "after", after)
	}
}

// lost reports whether a task failed because its permit was lost.
func (w *running) lost(err error) bool {
	if w.guarded == nil {
		return false
	}
	cause := context.Cause(w.guarded)
	return cause != nil && cause != context.Canceled && isCancelled(w.guarded, err)
}

// outcomeLocked takes the error of a task that took so long.
func (r *run) outcomeLocked(now time.Duration, w *running, err error) {
	refused, again := errors.AsType[*retryError](err)
	expired := false
	if w.deadline != nil {
		w.deadline.over = true
		expired = w.deadline.expired
	}
	failed := false
	switch {
	case broke(err):
		failed = true
		r.failLocked(err)
	case expired: // which was told already
		failed = true
	case err == nil:
	case again:
		r.counts.throttled++
		r.pool.source.retry(w.task, now+refused.after)
	case w.shed:
		r.counts.shed++
		r.pool.source.retry(w.task, now)
	case w.lost(err) && r.ctx.Err() == nil:
		r.counts.lost++
		r.pool.source.retry(w.task, now)
	case r.ctx.Err() != nil && isCancelled(r.ctx, err): // it did what it was told
	default:
		failed = true
		r.failLocked(err)
	}
	r.meter.End(now, w.started, w.task.Weight, failed)
	r.meter.Call(1, bit(again))
	r.counts.completed++
	r.counts.failed += bit(failed)
}

// counts are those of one Run.
type counts struct{ started, completed, failed, throttled, shed, lost int64 }

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
