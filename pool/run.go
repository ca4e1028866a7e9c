package pool

import (
	"context"
	"time"

	"github.com/headroom-rpc/headroom/limit"
	"github.com/headroom-rpc/headroom/snapshot"
)

// run is one call of [Pool.Run]. What is not said to be otherwise is guarded by the mutex of the pool.
type run struct {
	pool   *Pool
	ctx    context.Context // of the tasks
	cancel context.CancelCauseFunc
	wake   chan struct{} // capacity 1: the loop is to look anew
	quiet  chan struct{} // closed when nothing runs any more, and nothing will
	ended  chan struct{} // closed when Run is about to return

	// One goroutine at a time has the role of the dispatcher, who looks for the next task to start: one whose task has
	// ended, or else one that was called. again is whether something happened since it began to look.
	dispatching, again bool
	coming             bool   // a goroutine was started to be the dispatcher, and has not come yet
	lead               func() // work as the dispatcher, made once for all goroutines
	isQuiet            bool

	block Block         // why nothing started when last looked
	until time.Duration // when to look again if nothing happens

	wakeAt    time.Duration   // when the loop looks next
	listening <-chan struct{} // what of the permits the loop listens to
	heard     bool            // it was closed; belongs to the loop
	awaited   <-chan struct{} // what a share had when it failed to get permits; nil where it did not
	ready     bool            // whether there was a task when last asked for one
	since     time.Duration   // since when one waits, where ready
	rested    time.Duration   // when the first of those that are throttled may start, where all that waits is; else forever

	aborted   bool
	refused   bool // there will be no permits any more
	cancelled bool
	hardAt    time.Duration // when to wait no longer, where cancelled
	errs      taskErrors

	demanded   int64 // as Permits was told
	demandedAt time.Duration
	told       bool
	queued     bool // permits were tried for in vain since: only a demand of none leaves their queue

	running list     // the tasks that run, in the order of their starts
	free    *running // records for more
	meter   limit.PoolMeter
	counts  counts

	governor governor
	blind    bool // taking a reading panicked; belongs to the loop

	scaleAt, logAt time.Duration
}

func (p *Pool) begin(ctx context.Context) (*run, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.run != nil {
		return nil, ErrRunning
	}
	now := p.opts.Clock()
	r := &run{
		pool: p, wake: make(chan struct{}, 1), quiet: make(chan struct{}), ended: make(chan struct{}),
		scaleAt: now, logAt: now, until: now, rested: forever,
	}
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	r.lead = func() { r.work(nil) }
	r.governor.begin(p, now)
	p.run, p.last = r, r
	p.core.begin()
	if share, ok := p.opts.Permits.(*Share); ok {
		share.use(r)
	}
	return r, nil
}

// finish forgets the run and returns its outcome.
func (p *Pool) finish(ctx context.Context, r *run) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.run = nil
	p.core.stopped = true
	p.core.tasks, p.core.held = 0, 0 // what outlived the grace is nobody's any more
	r.cancel(ErrStopped)
	if p.opts.Permits != nil {
		p.opts.Permits.Demand(0, 0)
	}
	if share, ok := p.opts.Permits.(*Share); ok {
		share.use(nil)
	}
	close(r.ended)
	switch err := r.errs.join(); {
	case err != nil:
		return err
	case r.aborted && p.opts.Profile.crawlee():
		return nil
	case r.aborted:
		return ErrAborted
	case r.cancelled:
		return context.Cause(ctx)
	default:
		return nil
	}
}

// loop does what is due at its time, until the run is over.
func (r *run) loop(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	done := ctx.Done()
	for {
		events := r.listen()
		wait, over := r.tick()
		if over {
			return
		}
		timer.Reset(wait)
		select {
		case <-r.quiet:
			return
		case <-done:
			done = nil
			r.pool.mu.Lock()
			r.cancelLocked(nil)
			r.pool.mu.Unlock()
		case <-events.permits:
			r.heard = true
			r.kick()
		case <-events.verdict:
			r.governor.verdict = true
			r.kick()
		case <-r.wake:
		case <-timer.C:
		}
	}
}

// events are closed when something happens that the pool waits for. A nil one is not waited for.
type events struct{ permits, verdict <-chan struct{} }

func (r *run) listen() (e events) {
	o := &r.pool.opts
	if o.Permits != nil {
		r.pool.mu.Lock()
		// What was heard already says nothing more: whoever was called for it may not have come yet.
		if changed := r.changed(); changed != r.listening || !r.heard {
			e.permits, r.listening, r.heard = changed, changed, false
		}
		if err := o.Permits.Err(); err != nil {
			r.refusedLocked(err)
		}
		r.pool.mu.Unlock()
	}
	if o.Snapshotter != nil {
		if _, changed, err := o.Snapshotter.Verdict(); err == nil {
			e.verdict = changed
		}
	}
	return e
}

// changed returns what is closed when there may be permits. What a share was told between its try and now is not missed:
// others wait for it only for a short time.
func (r *run) changed() <-chan struct{} {
	if r.awaited != nil {
		return r.awaited
	}
	return r.pool.opts.Permits.Changed()
}

// tick does what is due, and returns how long nothing is if nothing happens.
func (r *run) tick() (wait time.Duration, over bool) {
	p := r.pool
	current, historical, judged := r.observe()
	p.mu.Lock()
	now := p.opts.Clock()
	next := forever
	if r.cancelled {
		if now >= r.hardAt {
			p.mu.Unlock()
			return 0, true
		}
		next = r.hardAt
	}
	next = min(next, r.governLocked(now))
	if p.opts.Profile.crawlee() {
		if judged {
			p.core.overloaded = current.State == snapshot.StateOverloaded
		}
		if now >= r.scaleAt && p.law == nil && p.opts.Permits == nil {
			if !judged {
				historical.State = snapshot.StateIdle
			}
			p.core.scale(now, historical)
			r.scaleAt = nextDue(r.scaleAt, now, p.opts.AutoscaleInterval)
			r.until = min(r.until, now)
		}
		if p.law == nil && p.opts.Permits == nil {
			next = min(next, r.scaleAt)
		}
	}
	log := now >= r.logAt
	if log {
		r.logAt = nextDue(r.logAt, now, p.opts.LogInterval)
	}
	next = min(next, r.logAt)
	if !r.dispatching && !r.coming && now >= r.until {
		r.until = forever
		p.kickLocked()
	}
	if !r.dispatching && !r.coming {
		next = min(next, r.until)
	}
	r.wakeAt = next
	p.mu.Unlock()
	if log {
		p.log(r.ctx)
	}
	return next - now, false
}

// observe takes readings and judgements where they are due. It is called without the lock; a panic of what the user
// gave for them ends the run.
func (r *run) observe() (current, historical snapshot.Status, judged bool) {
	if r.blind {
		return current, historical, false
	}
	defer func() {
		if v := recover(); v != nil {
			r.blind = true
			r.pool.mu.Lock()
			defer r.pool.mu.Unlock()
			r.governor.sampling = false // no reading is due any more
			r.failLocked(panicked(v))
		}
	}()
	if r.pool.opts.Profile.crawlee() {
		current, historical, judged = r.governor.machine.judge()
	}
	r.govern()
	return current, historical, judged
}

// nextDue returns the first instant after now of those that lie whole intervals after due.
func nextDue(due, now, interval time.Duration) time.Duration {
	return due + ((now-due)/interval+1)*interval
}

// kick has somebody look whether more may start.
func (r *run) kick() {
	r.pool.mu.Lock()
	defer r.pool.mu.Unlock()
	r.pool.kickLocked()
}

func (p *Pool) kickLocked() {
	r := p.run
	if r == nil {
		return
	}
	if r.dispatching || r.coming {
		r.again = true
		return
	}
	now := p.opts.Clock()
	if b, until := p.core.block(now, p.opts.Weight); b == BlockStopped || b != BlockNone && p.core.tasks > 0 {
		r.blockLocked(now, b, until)
		return
	}
	r.callLocked()
}

// stopLocked lets nothing more start.
func (r *run) stopLocked() {
	r.pool.core.stopped = true
	r.settleLocked()
}

// cancelLocked lets nothing more start, ends the contexts of the tasks with the cause, and bounds the wait for them.
func (r *run) cancelLocked(cause error) {
	if !r.cancelled {
		r.cancelled = true
		r.hardAt = r.pool.opts.Clock() + r.pool.opts.Grace
		r.cancel(cause)
	}
	r.stopLocked()
	r.look()
}

// failLocked takes an error of a task, or of what the pool asks.
func (r *run) failLocked(err error) {
	r.errs.add(err)
	if r.pool.opts.OnError == ErrorCancel {
		r.cancelLocked(ErrStopped)
	} else {
		r.stopLocked()
	}
}

// fail is failLocked for who does not hold the lock.
func (r *run) fail(err error) {
	r.pool.mu.Lock()
	defer r.pool.mu.Unlock()
	r.failLocked(err)
}

// refusedLocked takes the reason why there will be no permits any more.
func (r *run) refusedLocked(err error) {
	if !r.refused {
		r.refused = true
		r.failLocked(err)
	}
}

// settleLocked ends the run if nothing runs any more.
func (r *run) settleLocked() {
	c := &r.pool.core
	if c.stopped && c.tasks == 0 && !r.dispatching && !r.isQuiet {
		r.isQuiet = true
		close(r.quiet)
	}
}

// look has the loop look anew.
func (r *run) look() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}
