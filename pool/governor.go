package pool

import (
	"time"

	"github.com/headroom-rpc/headroom/limit"
)

const (
	readInterval = 100 * time.Millisecond // between two readings while something runs
	stepInterval = time.Second            // between two steps of a law
	leastStep    = 250 * time.Millisecond // at the least, even if the verdict changes: a shorter window says little

	// A server is told what the tasks use in time for the next heartbeat, and more often while it knows little of them: at
	// least as often as its law then looks.
	reportInterval = 900 * time.Millisecond
	firstReports   = 3 * time.Second
	firstInterval  = 200 * time.Millisecond
)

// governor has the limit of a run follow its law, and the start gate the memory. Only the loop changes it, under the
// mutex of the pool.
type governor struct {
	machine  machine
	hosts    limit.HostMeter
	sums     sums
	own      Usage         // as last read
	windowAt time.Duration // when the last window ended
	sampling bool          // whether readings are taken
	beganAt  time.Duration // when that began
	readAt   time.Duration
	stepAt   time.Duration
	verdict  bool // a verdict changed since the last step

	decision  limit.Decision
	decidedAt time.Duration
	decided   bool
	rise      limit.Decision // to the limit of decision, from what ran when throttled tasks could start again
	riseAt    time.Duration
	shadow    []limit.ShadowDecision
	freer     freer
	lowest    lowest
}

func (g *governor) begin(p *Pool, now time.Duration) {
	g.machine = newMachine(p.opts.Clock, p.opts.Host, p.opts.Snapshotter, p.opts.Status)
	g.readAt, g.stepAt, g.windowAt = now, now, now
	if p.core.chosen {
		g.stepAt = now + stepInterval
	}
}

// govern takes readings and steps the laws, where that is due. It is called without the lock.
func (r *run) govern() {
	p, g := r.pool, &r.governor
	p.mu.Lock()
	now := p.opts.Clock()
	active := p.core.tasks > 0
	read := active && (!g.sampling || now >= g.readAt)
	if share, ok := p.opts.Permits.(*Share); ok {
		if g.sampling = active; read {
			g.readAt = now + readInterval
		}
		p.mu.Unlock()
		if read {
			share.look()
		}
		return
	}
	first := p.law != nil && !g.decided && !p.core.chosen
	step := first || active && (now >= g.stepAt || g.verdict && now >= g.windowAt+leastStep)
	p.mu.Unlock()
	if !read && !step {
		return
	}
	own, host := g.machine.read(now, p.opts.Usage)
	var in limit.Input
	if step {
		in.Current, in.Historical, _ = g.machine.judge()
		in.Newest = g.machine.view.Newest
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now = r.takeInLocked(own, host.MemoryUsed)
	g.hosts.Read(now, host.reading())
	if !g.sampling { // what was while nothing ran says nothing of what runs
		r.windowLocked(now)
		g.hosts.Window()
		g.beganAt = now
	}
	if step {
		g.verdict = false
		in.Host, _ = g.hosts.Window()
		r.stepLocked(now, in)
	}
	g.sampling = active
}

// takeInLocked takes a reading in, and returns when it was.
func (r *run) takeInLocked(own Usage, used int64) (now time.Duration) {
	p, c, g := r.pool, &r.pool.core, &r.governor
	now = p.opts.Clock()
	g.own = own
	r.meter.Read(now, own.reading())
	c.duration, c.grown, c.used, c.unseen = r.meter.Duration(), r.meter.Grown(now), used, 0
	c.climb.see(now, used)
	g.lowest.see(own.Memory, c.grown)
	g.readAt = now + readInterval
	return now
}

// sensed is what a [Budget] is told of a pool.
type sensed struct {
	grown  float64    // the sum of [limit.Growth] over its tasks
	window limit.Pool // that ended, if one was to
}

// sense takes a reading for the Budget that the pool shares, and ends its window where it is to: all its pools do so
// together, since what one uses in another time than that of the others would be taken for what others use. in is what
// is known of the machine, used the memory in use.
func (r *run) sense(in limit.Input, used int64, end bool) (s sensed) {
	p := r.pool
	own := Usage{CPU: -1, Runnable: -1, Memory: -1} // the Budget divides what the process uses
	if p.opts.Usage != nil {
		own = r.usage()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := r.takeInLocked(own, used)
	s.grown = p.core.grown
	if end {
		s.window = r.stepLocked(now, in)
	}
	return s
}

// windowLocked returns what the tasks did since the last call.
func (r *run) windowLocked(now time.Duration) (window limit.Pool, span time.Duration) {
	g := &r.governor
	window, span = r.meter.Window(now), now-g.windowAt
	g.windowAt = now
	g.sums.add(span, &window)
	return window, span
}

// usage asks what the tasks use on behalf of a Budget: where that panics, this run ends and not that of the pool which
// keeps the Budget going.
func (r *run) usage() (own Usage) {
	defer func() {
		if v := recover(); v != nil {
			own = Usage{CPU: -1, Runnable: -1, Memory: -1}
			r.fail(panicked(v))
		}
	}()
	return r.pool.opts.Usage()
}

// stepLocked ends a window, returns it, and lets the laws take a step by it. in is what is known of the machine.
func (r *run) stepLocked(now time.Duration, in limit.Input) limit.Pool {
	p, g, c := r.pool, &r.governor, &r.pool.core
	as, span := r.windowLocked(now)
	if p.opts.Usage == nil {
		g.lowest.clean(&as, as.Grown, &in.Host)
	}
	as.ID, as.Weight, as.Min, as.Waiting = "pool", 1, c.floor(), r.waitingLocked()
	as.Capped = c.minuteFree(now) > now
	if c.max < unlimited {
		as.Max = c.max
	}
	in.At, in.Window, in.Charge, in.Want, in.Pools = now, span, c.held, c.held+as.Waiting, []limit.Pool{as}
	if p.shadow != nil {
		g.shadow = append(g.shadow[:0], p.shadow.Step(in)...)
	}
	g.stepAt = now + stepInterval
	if _, shared := p.opts.Permits.(*Share); p.opts.Permits != nil && !shared {
		p.opts.Permits.Report(g.sums.usage)
		g.stepAt = now + reportInterval
		if now-g.beganAt < firstReports {
			g.stepAt = now + firstInterval
		}
	}
	c.share, c.gate = limit.Share{}, limit.Gate{}
	if p.law != nil {
		g.decision, g.decidedAt, g.decided, c.chosen = p.law.Step(in), now, true, false
		if len(g.decision.Shares) > 0 {
			c.share = g.decision.Shares[0]
		}
		c.gate = g.decision.Gate
		if c.share.ByMemory && p.opts.Usage == nil {
			g.freer.spare(now, p.opts.Clock)
		}
		if next := g.decision.Next; next > 0 {
			g.stepAt = now + max(next, readInterval)
		}
	}
	c.gate = p.opts.Memory.line(c.gate, in.Host.MemoryTotal)
	return as
}

// governLocked applies what was decided, and returns when it is to be called again.
func (r *run) governLocked(now time.Duration) (next time.Duration) {
	p, g, c := r.pool, &r.governor, &r.pool.core
	r.followLocked(now)
	if p.opts.Permits != nil {
		r.demandLocked(now)
	}
	if g.sampling {
		if g.sampling = c.tasks > 0; !g.sampling {
			return forever
		}
		if p.opts.Memory.Shed {
			r.shedLocked(now)
		}
		switch {
		case r.block == BlockLimit, r.block == BlockMemory, r.block == BlockPermits && r.until == forever:
			p.kickLocked()
		}
		if r.block == BlockMemory && p.opts.Usage == nil {
			g.freer.free(now, p.opts.Clock)
		}
		return g.readAt
	}
	return forever
}

// followLocked sets the limit to what the decision allows by now.
func (r *run) followLocked(now time.Duration) {
	g, c := &r.governor, &r.pool.core
	if !g.decided || c.chosen {
		return
	}
	elapsed := now - g.decidedAt
	g.rise.Limit = g.decision.After(elapsed)
	if len(g.decision.Shares) > 0 {
		g.rise.Limit = g.decision.ShareAfter(0, elapsed)
	}
	c.setDesired(g.rise.After(now - g.riseAt))
}

// riseLocked has the limit rise from what runs, where the law does not let it jump. Tasks that waited for their key would
// else come back to the target, and to the CPU, at one instant.
func (r *run) riseLocked(now time.Duration) {
	g := &r.governor
	if g.decision.Pace > 0 {
		g.rise.From, g.rise.Pace, g.riseAt = r.pool.core.held, stepInterval, now
		r.followLocked(now)
	}
}

// waitingLocked returns how many permits could be used beside those that are held.
func (r *run) waitingLocked() int64 {
	// What waits for its minute, its token or its key is no demand.
	if c := &r.pool.core; c.stopped || c.paused || r.block == BlockMinute || r.block == BlockRate {
		return 0
	}
	return r.pool.source.waiting(r.ready, r.pool.core.held)
}

// demandLocked tells where the permits come from what is wanted.
func (r *run) demandLocked(now time.Duration) {
	c := &r.pool.core
	waiting, oldest := min(r.waitingLocked(), max(0, c.max-c.held)), time.Duration(0)
	if r.block == BlockMemory {
		waiting = 0
	}
	if waiting > 0 && r.ready {
		oldest = now - r.since
	}
	change := max(waiting-r.demanded, r.demanded-waiting)
	// Each statement wakes somebody, so small changes are told together.
	if !r.told || r.queued && waiting == 0 ||
		change > 0 && (waiting == 0 || 10*change > r.demanded || now >= r.demandedAt+readInterval) {
		r.demanded, r.demandedAt, r.told, r.queued = waiting, now, true, waiting > 0 && r.queued
		r.pool.opts.Permits.Demand(waiting, oldest)
	}
}
