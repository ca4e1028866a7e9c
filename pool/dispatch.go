package pool

import (
	"context"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

// running is a task that runs. The records are used again.
type running struct {
	task       Task
	started    time.Duration
	permit     Permit                  // nil where the law decides
	guarded    context.Context         // ends when permit is lost; nil before the task began
	deadline   *deadline               // nil without TaskTimeout
	cancel     context.CancelCauseFunc // nil where it is not to be shed
	shed       bool
	prev, next *running
}

// list holds the tasks that run in the order of their starts.
type list struct{ first, last *running }

func (l *list) push(w *running) {
	w.prev, w.next = l.last, nil
	if l.last != nil {
		l.last.next = w
	} else {
		l.first = w
	}
	l.last = w
}

func (l *list) remove(w *running) {
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		l.first = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		l.last = w.prev
	}
	w.prev, w.next = nil, nil
}

// work runs tasks on this goroutine for as long as there are some to start. It begins with w or, where that is nil,
// as the dispatcher.
func (r *run) work(w *running) {
	if w == nil {
		w = r.begin()
	}
	for w != nil {
		err := r.exec(w)
		w = r.done(w, err)
	}
}

// begin takes the role of the dispatcher, unless somebody else has it by now, and returns the task to run.
func (r *run) begin() *running {
	p := r.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	r.coming = false
	switch {
	case p.run != r:
		return nil
	case r.dispatching:
		r.again = true
		return nil
	case p.core.stopped:
		r.settleLocked()
		return nil
	}
	r.dispatching = true
	return r.dispatchLocked(p.opts.Clock())
}

// callLocked has a goroutine come that looks for the next task. A worker whose task ends before it has come looks by
// itself, so that short tasks need no goroutine each.
func (r *run) callLocked() {
	if !r.coming {
		r.coming = true
		go r.lead()
	}
}

// exec runs a task and returns its error.
func (r *run) exec(w *running) (err error) {
	ctx, end := r.contextOf(w)
	returned := false
	defer func() {
		if end != nil {
			end()
		}
		if returned {
			return
		}
		if v := recover(); v != nil {
			err = panicked(v)
			return
		}
		if next := r.done(w, errGoexit); next != nil { // this goroutine is about to end
			go r.work(next)
		}
	}()
	err = w.task.Run(ctx)
	returned = true
	return err
}

// done takes note of the end of a task and returns the next one to run on this goroutine, if there is one.
func (r *run) done(w *running, err error) *running {
	p := r.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	permit := w.permit
	if p.run != r {
		giveBack(permit)
		return nil
	}
	c := &p.core
	now := p.opts.Clock()
	r.outcomeLocked(now, w, err)
	c.end(w.task.Weight, now-w.started)
	if _, ok := permit.(*budgetPermit); ok {
		r.demandLocked(now) // before others see it free, for the next task may come first
	}
	giveBack(permit)
	r.running.remove(w)
	*w = running{next: r.free}
	r.free = w
	switch {
	case r.dispatching:
		r.again = true
		return nil
	case c.stopped:
		r.settleLocked()
		return nil
	}
	r.dispatching = true
	return r.dispatchLocked(now)
}

func giveBack(p Permit) {
	if p != nil {
		p.Release()
	}
}

// dispatchLocked looks for a task that may start, and returns it as started. Who calls it has the role of the
// dispatcher; when it returns, that is given up or handed on.
func (r *run) dispatchLocked(now time.Duration) *running {
	p := r.pool
	for {
		r.again = false
		if r.ctx.Err() != nil {
			r.cancelLocked(nil)
		}
		b, until := p.core.block(now, p.opts.Weight)
		if b == BlockStopped || b != BlockNone && p.core.tasks > 0 {
			return r.rest(now, b, until)
		}
		// One that runs nothing asks even while nothing may start, to find out whether there will be more.
		if p.asksUser {
			p.mu.Unlock()
		}
		overloaded, judged, err := r.overloaded()
		var task Task
		var none Block
		var again time.Duration
		if err == nil {
			task, none, again, err = r.ask(now)
		}
		if p.asksUser {
			p.mu.Lock()
		}
		if p.run != r {
			return nil
		}
		if judged {
			p.core.overloaded = overloaded
		}
		if p.opts.Run != nil { // else nothing was asked that takes time
			now = p.opts.Clock()
		}
		if err != nil {
			r.unansweredLocked(err)
			return r.rest(now, BlockStopped, 0)
		}
		ready := none == BlockNone
		if ready && !r.ready {
			r.since = now
			if now >= r.rested {
				r.riseLocked(now)
			}
		}
		r.ready, r.rested = ready, forever
		if !ready {
			if none == BlockKey {
				r.rested = again
			}
			if r.again { // a task that ended since may have left work
				continue
			}
			if p.core.tasks == 0 && none == BlockReady && r.finishedLocked() {
				if r.again && p.opts.Run == nil && !p.core.stopped { // something was submitted since
					continue
				}
				r.stopLocked()
				return r.rest(now, BlockStopped, 0)
			}
			if r.again {
				continue
			}
			return r.rest(now, none, again)
		}
		if w := r.startLocked(now, task, &b, &until); w != nil {
			return w
		}
		p.source.putBack(task)
		if r.again {
			now = p.opts.Clock()
			continue
		}
		return r.rest(now, b, until)
	}
}

// startLocked starts a task, if it may, and hands on the role of the dispatcher. Else it says why not.
func (r *run) startLocked(now time.Duration, task Task, b *Block, until *time.Duration) *running {
	p := r.pool
	task.Weight = max(task.Weight, 1)
	if *b, *until = p.core.block(now, task.Weight); *b != BlockNone {
		return nil
	}
	var permit Permit
	if p.opts.Permits != nil {
		var ok bool
		if permit, ok = p.opts.Permits.TryAcquire(task.Weight); !ok {
			*b, *until = BlockPermits, forever
			r.queued = true
			if share, ok := p.opts.Permits.(*Share); ok {
				r.awaited, *until = share.awaits(now)
			}
			return nil
		}
		r.awaited = nil
	}
	p.core.start(now, task.Weight)
	r.meter.Start(now, task.Weight)
	r.counts.started++
	w := r.free
	if w == nil {
		w = new(running)
	} else {
		r.free = w.next
	}
	*w = running{task: task, started: now, permit: permit}
	r.running.push(w)
	r.since = now
	if !r.governor.sampling {
		r.look()
	}
	if next, at := p.core.block(now, p.opts.Weight); next == BlockNone {
		r.dispatching = false
		r.callLocked()
	} else {
		r.rest(now, next, at)
	}
	return w
}

// rest gives up the role of the dispatcher, as nothing may start now.
func (r *run) rest(now time.Duration, b Block, until time.Duration) *running {
	r.dispatching = false
	r.blockLocked(now, b, until)
	r.settleLocked()
	return nil
}

// blockLocked takes note of why nothing may start, and until when.
func (r *run) blockLocked(now time.Duration, b Block, until time.Duration) {
	p := r.pool
	if until == 0 {
		until = forever
	}
	// What nobody tells the pool of it has to look for: work that is gone while nothing may start, and another status.
	if p.opts.Ready != nil && p.core.tasks == 0 && b != BlockStopped ||
		b == BlockOverload && p.opts.Status != nil {
		until = min(until, now+p.opts.ReadyInterval)
	}
	if b == BlockPermits && r.changed() != r.listening {
		r.look() // for the loop to listen for what is waited for now
	}
	r.block, r.until = b, until
	if p.opts.Permits != nil {
		r.demandLocked(now)
	}
	if until < r.wakeAt {
		r.look()
	}
}

// ask asks the source for a task. A panic is an error.
func (r *run) ask(now time.Duration) (t Task, b Block, again time.Duration, err error) {
	returned := false
	defer func() {
		if !returned {
			err = r.broken(recover(), r.pool.asksUser)
		}
	}()
	t, b, again, err = r.pool.source.next(r.ctx, now)
	returned = true
	return t, b, again, err
}

// broken returns the error of a question that panicked with v. Where it ends its goroutine v is nil: then the run
// ends, and whoever called for the question finds the pool locked, as if it had been answered.
func (r *run) broken(v any, unlocked bool) error {
	if v != nil {
		return panicked(v)
	}
	if unlocked {
		r.pool.mu.Lock()
	}
	if r.pool.run == r {
		r.dispatching = false
		r.failLocked(errGoexit)
	}
	return errGoexit
}

// unansweredLocked takes the error of a question. One that ended with its context did what it was told.
func (r *run) unansweredLocked(err error) {
	if r.ctx.Err() != nil && isCancelled(r.ctx, err) && !broke(err) {
		r.cancelLocked(nil)
	} else {
		r.failLocked(err)
	}
}

// finishedLocked asks the source whether there will be no more. An error ends the run.
func (r *run) finishedLocked() bool {
	p := r.pool
	p.mu.Unlock()
	finished, err := r.askFinished()
	p.mu.Lock()
	if p.run != r {
		return false
	}
	if err != nil {
		r.unansweredLocked(err)
	}
	return finished || err != nil
}

func (r *run) askFinished() (finished bool, err error) {
	returned := false
	defer func() {
		if !returned {
			err = r.broken(recover(), true)
		}
	}()
	finished, err = r.pool.source.finished(r.ctx)
	returned = true
	return finished, err
}

// overloaded asks for the current judgement, where a crawlee profile wants it before each start. A panic is an error.
func (r *run) overloaded() (overloaded, judged bool, err error) {
	p := r.pool
	if !p.opts.Profile.crawlee() || p.opts.Status == nil {
		return false, false, nil
	}
	defer func() {
		if !judged {
			err = r.broken(recover(), p.asksUser)
		}
	}()
	current, _ := p.opts.Status()
	return current.State == snapshot.StateOverloaded, true, nil
}

// contextOf returns the context of a task, and what to call when it has ended, or nil.
func (r *run) contextOf(w *running) (ctx context.Context, end func()) {
	o := &r.pool.opts
	ctx = r.ctx
	if w.permit != nil {
		ctx, end = w.permit.Guard(&fenceContext{ctx, w.permit.Fence()})
		w.guarded = ctx
	}
	if o.Memory.Shed {
		ctx, end = r.letShed(ctx, w, end)
	}
	if o.TaskTimeout > 0 {
		ctx, end = r.limitTime(ctx, w, o.TaskTimeout, end)
	}
	return ctx, end
}
