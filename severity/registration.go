package severity

import (
	"context"
	"errors"
	"slices"
	"time"
)

// Registration is one handler among [Handlers].
type Registration struct {
	of    *Handlers
	kind  EventKind
	level int
	gap   time.Duration // Remaining only
	call  Handler
	alive func() bool // whether the object to clean up is no garbage; clean-ups only

	// Guarded by of.mu.
	cancelled bool
	running   bool // its goroutine runs, and will look at queue again
	queue     []told
	called    bool
	returned  time.Time // from the last call, where called is true
}

// told is an event in the queue of one handler.
type told struct {
	event Event
	done  chan struct{} // closed when the call returned, or will never be
}

// Cancel lets no further call begin. A call that is running goes on; Cancel does not wait for it, so a
// handler may cancel itself. It may be called twice.
func (r *Registration) Cancel() {
	h := r.of
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.cancelled {
		return
	}
	r.cancelled = true
	h.count--
	is := func(other *Registration) bool { return other == r }
	h.handlers = slices.DeleteFunc(slices.Clone(h.handlers), is)
	if g := h.cleanups[r.level]; g != nil {
		g.of = slices.DeleteFunc(slices.Clone(g.of), is)
	}
}

// enqueue has the handler called and returns a channel that is closed afterwards. It returns nil when the
// handler is behind already, or need not be called.
func (r *Registration) enqueue(e Event) <-chan struct{} {
	h := r.of
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case r.cancelled || h.closed:
		return nil
	case e.Kind == Remaining && (r.running || r.called && time.Since(r.returned) < r.gap):
		return nil
	case len(r.queue) >= maxPending:
		h.work.Go(func() { h.fault(e, ErrOverflow) })
		return nil
	}
	behind := r.running
	t := told{e, make(chan struct{})}
	r.queue = append(r.queue, t)
	if behind {
		return nil
	}
	r.running = true
	h.work.Go(r.run)
	return t.done
}

// run calls the handler for what is queued, then ends.
func (r *Registration) run() {
	for {
		t, ok := r.next()
		if !ok {
			return
		}
		r.handle(t)
	}
}

func (r *Registration) next() (told, bool) {
	h := r.of
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.cancelled || h.closed || len(r.queue) == 0 {
		for _, t := range r.queue {
			close(t.done)
		}
		r.queue, r.running = nil, false
		return told{}, false
	}
	t := r.queue[0]
	r.queue = r.queue[1:]
	return t, true
}

func (r *Registration) handle(t told) {
	h := r.of
	ctx, cancel := context.WithTimeoutCause(h.ctx, h.cfg.Deadline, ErrDeadline)
	reported := make(chan struct{})
	stopReport := context.AfterFunc(ctx, func() {
		defer close(reported)
		if errors.Is(context.Cause(ctx), ErrDeadline) {
			h.fault(t.event, ErrDeadline)
		}
	})
	guard(func() error { return r.call(ctx, t.event) }, func(err error) {
		if !stopReport() {
			<-reported // so that nothing is reported after Close
		}
		cancel()
		if err != nil {
			h.fault(t.event, err)
		}
		h.mu.Lock()
		r.called, r.returned = true, time.Now()
		h.mu.Unlock()
		close(t.done)
		if errors.Is(err, ErrGoexit) {
			// This goroutine ends here, whatever is queued.
			h.work.Go(r.run)
		}
	})
}
