// Package pool runs tasks concurrently, as many at once as the machine takes and no more.
//
// A [Pool] calls a function while another says that there is work, until a third says that there will be none; the
// limit follows a law of package limit, or the permits that a server or a [Budget] gives. [ForEach], [Map] and [Group]
// are given their work instead. What decides is pure and is given the time; the rest is woken by what happens, and
// tasks that wait cost no goroutines.
package pool

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/headroom-rpc/headroom/limit"
)

// Pool runs tasks. Its methods are safe for concurrent use, and those but Run and Drain do not block.
type Pool struct {
	opts   Options
	source source
	law    limit.Law     // nil where the permits or a crawlee profile decide
	shadow *limit.Shadow // nil where there is none

	// asksUser is whether source or status may call functions of the user, who may call the pool.
	asksUser bool

	mu   sync.Mutex
	core core
	run  *run // nil while it does not run
	last *run // the same, or the one before
}

// New returns a pool that runs nothing yet. It reports every fault of o at once.
func New(o Options) (*Pool, error) {
	p, err := newPool(o)
	if o.Run == nil {
		err = errors.Join(errors.New("pool: options: Run: want a function"), err)
	}
	if err != nil {
		return nil, err
	}
	p.source = predicates{&p.opts}
	return p, nil
}

func newPool(o Options) (*Pool, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("pool: options: %w", err)
	}
	if o.AutoscaleInterval < time.Second {
		o.Log.Warn("the pool is scaled more often than the load is measured; 5 to 20 s are advised",
			"autoscale_interval", o.AutoscaleInterval)
	}
	p := &Pool{opts: o, core: newCore(&o), law: o.Law, asksUser: true}
	if o.Law == nil && o.Permits == nil && !o.Profile.crawlee() {
		law, err := limit.NewTwoStation(limit.TwoStation{})
		if err != nil {
			return nil, err
		}
		p.law = law
	}
	if len(o.Shadow) > 0 {
		p.shadow = limit.NewShadow(o.Shadow...)
	}
	return p, nil
}

// Run runs tasks until there will be no more, and then returns nil. It waits for the tasks that run. What else ends
// it, and what it then returns:
//   - a task that failed, Ready or Finished that did: that error, joined with those of the tasks that still ran;
//   - Abort: [ErrAborted], and nil in the crawlee profiles;
//   - ctx: its cause;
//   - the end of the permits: why.
//
// In all these cases the contexts of the tasks end, but after an error with [ErrorDrain]; Run then waits for the tasks
// up to [Options.Grace]. After it returned it may be called again: the desired concurrency goes on. While it runs, a
// second call returns [ErrRunning].
func (p *Pool) Run(ctx context.Context) error {
	r, err := p.begin(ctx)
	if err != nil {
		return err
	}
	r.loop(ctx)
	return p.finish(ctx, r)
}

// Abort ends the contexts of all tasks and makes Run return. It returns [ErrNotRunning] where the pool does not run.
func (p *Pool) Abort() error { return p.abort(ErrAborted) }

func (p *Pool) abort(cause error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.run == nil {
		return ErrNotRunning
	}
	p.run.aborted = true
	p.run.cancelLocked(cause)
	return nil
}

// Pause lets nothing start until Resume is called. What runs goes on, and the limit goes on following the load.
func (p *Pool) Pause() { p.setPaused(true) }

// Resume lets tasks start again after Pause.
func (p *Pool) Resume() { p.setPaused(false) }

func (p *Pool) setPaused(paused bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.core.paused != paused {
		p.core.paused = paused
		p.kickLocked()
	}
}

// Paused reports whether Pause was called, and Resume was not since.
func (p *Pool) Paused() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.core.paused
}

// Notify says that there may be work: Ready is asked at once, and again if it is being asked. So a Ready that calls it
// each time is asked without an end.
func (p *Pool) Notify() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kickLocked()
}

// Drain lets nothing more start and blocks until the tasks that run have ended; Run then returns nil, if none failed.
// If ctx is done before, it ends the contexts of the tasks, waits for Run to return as after Abort, and returns the
// cause of ctx. It returns nil at once where the pool does not run.
func (p *Pool) Drain(ctx context.Context) error {
	p.mu.Lock()
	r := p.run
	if r == nil {
		p.mu.Unlock()
		return nil
	}
	r.stopLocked()
	p.mu.Unlock()
	select {
	case <-r.ended:
		return nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	if p.run == r {
		r.aborted = true
		r.cancelLocked(ErrAborted)
	}
	p.mu.Unlock()
	<-r.ended
	return context.Cause(ctx)
}

// Current returns how many permits the tasks that run hold, which is their number where all weigh 1.
func (p *Pool) Current() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.core.held
}

// Desired returns how many permits may be held now.
func (p *Pool) Desired() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.desiredLocked()
}

func (p *Pool) desiredLocked() int64 {
	if p.opts.Permits == nil {
		return p.core.limit()
	}
	n, _ := p.opts.Permits.Limit()
	return min(n, p.core.max)
}

// Min returns how many tasks run even under overload.
func (p *Pool) Min() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.core.floor()
}

// Max returns how many tasks run at most.
func (p *Pool) Max() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.core.max
}

// SetDesired sets how many tasks may run, from Min to Max; what is outside is taken for the nearest. The crawlee
// profiles go on from there; another law says how many with its next step. It ends no task. It has no effect where
// there are Permits.
func (p *Pool) SetDesired(n int64) {
	p.set(func(c *core) {
		c.setDesired(n)
		c.chosen = true
	})
}

// SetMin sets how many tasks run even under overload, at least 1. Where it is over Max, that counts.
func (p *Pool) SetMin(n int64) error {
	if n < 1 {
		return fmt.Errorf("pool: Min: %d: want at least 1", n)
	}
	p.set(func(c *core) {
		c.min = min(n, unlimited)
		c.setDesired(c.desired)
	})
	return nil
}

// SetMax sets how many tasks run at most, at least 1. It ends no task.
func (p *Pool) SetMax(n int64) error {
	if n < 1 {
		return fmt.Errorf("pool: Max: %d: want at least 1", n)
	}
	p.set(func(c *core) {
		c.max = min(n, unlimited)
		c.setDesired(c.desired)
	})
	return nil
}

func (p *Pool) set(change func(c *core)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := &p.core
	minimum, maximum, desired := c.min, c.max, c.desired
	// A Ready that sets what is set already would else be asked again for that, for ever.
	if change(c); c.min != minimum || c.max != maximum || c.desired != desired {
		p.kickLocked()
	}
}
