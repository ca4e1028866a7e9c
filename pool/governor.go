package pool

import (
	"runtime/debug"
	"time"

	"github.com/headroom-rpc/headroom/limit"
	"github.com/headroom-rpc/headroom/permit"
	"github.com/headroom-rpc/headroom/snapshot"
)

const (
	readInterval = 100 * time.Millisecond // between two readings while something runs
	stepInterval = time.Second            // between two steps of a law
	freeInterval = time.Second / 2        // between two forced collections
)

// governor has the limit of a run follow its law, and the start gate the memory. Only the loop changes it, under the
// mutex of the pool.
type governor struct {
	sensors  *sensors
	seen     seen
	newest   []snapshot.Snapshot
	newer    <-chan struct{} // closed when there are newer
	hosts    hostMeter
	past     permit.Usage // at the last step
	sampling bool         // whether readings are taken
	readAt   time.Duration
	stepAt   time.Duration
	verdict  bool // a verdict changed since the last step

	decision  limit.Decision
	decidedAt time.Duration
	shadow    []limit.Decision
	freeAt    time.Duration // when garbage may be collected again
	freeing   chan struct{} // holds something while it is
}

func (g *governor) begin(p *Pool, now time.Duration) {
	g.sensors = newSensors()
	g.readAt, g.stepAt = now, now
	if p.core.chosen {
		g.stepAt = now + stepInterval
	}
	g.freeing = make(chan struct{}, 1)
}

// govern takes readings and steps the laws, where that is due. It is called without the lock.
func (r *run) govern(current, historical snapshot.Status) {
	p, g := r.pool, &r.governor
	p.mu.Lock()
	now := p.opts.Clock()
	active := p.core.tasks > 0
	read := active && (!g.sampling || now >= g.readAt)
	first := p.law != nil && g.decidedAt == 0 && !p.core.chosen
	step := first || active && (now >= g.stepAt || g.verdict)
	p.mu.Unlock()
	if !read && !step {
		return
	}
	own, host, rate := r.readings()
	p.mu.Lock()
	defer p.mu.Unlock()
	now = p.opts.Clock()
	r.meter.read(now, own)
	g.hosts.read(now, host, rate)
	p.core.used = host.MemoryUsed
	r.weighLocked(now)
	if !g.sampling { // what was before, while nothing ran, says nothing of what runs
		g.past = r.meter.usage(p.core.grown, 0)
		g.hosts.restart()
	}
	g.readAt = now + readInterval
	if step {
		g.stepAt, g.verdict = now+stepInterval, false
		r.stepLocked(now, current, historical)
	}
	g.sampling = active
}

// readings returns what the tasks use, what is seen of the machine and, where that is known apart, how many of its
// cores are in use; negative if not.
func (r *run) readings() (own Usage, host Host, rate float64) {
	o, g := &r.pool.opts, &r.governor
	if o.Usage != nil {
		own = o.Usage()
	} else {
		own = g.sensors.usage()
	}
	if o.Host != nil {
		return own, o.Host(), -1
	}
	host = g.sensors.host(own)
	if o.Snapshotter == nil {
		return own, host, -1
	}
	select {
	case <-g.newer:
		g.newer = nil
	default:
	}
	if g.newer == nil {
		if v, newer, err := o.Snapshotter.View(); err == nil {
			g.newest, g.newer = v.Newest, newer
		}
	}
	host = g.seen.host(host, g.newest, own, o.Usage == nil)
	return own, host, g.seen.busy
}

// weighLocked finds out how far the tasks that run have grown.
func (r *run) weighLocked(now time.Duration) {
	c := &r.pool.core
	c.duration = r.meter.length.expected()
	c.grown = 0
	for w := r.running.first; w != nil; w = w.next {
		c.grown += float64(w.task.Weight) * limit.Growth(now-w.started, c.duration)
	}
}

// stepLocked lets the laws take a step.
func (r *run) stepLocked(now time.Duration, current, historical snapshot.Status) {
	p, g, c := r.pool, &r.governor, &r.pool.core
	use := r.meter.usage(c.grown, 0)
	window, as := between(&g.past, &use, c.held)
	g.past = use
	as.ID, as.Weight, as.Min, as.Waiting = "pool", 1, c.floor(), r.waitingLocked()
	if c.max < unlimited {
		as.Max = c.max
	}
	in := limit.Input{
		At: now, Window: window, Current: current, Historical: historical, Newest: g.newest,
		Charge: c.held, Want: c.held + as.Waiting, Host: g.hosts.window(), Pools: []limit.Pool{as},
	}
	if g.shadow = g.shadow[:0]; len(p.opts.Shadow) > 0 {
		for _, law := range p.opts.Shadow {
			g.shadow = append(g.shadow, law.Step(in))
		}
	}
	if p.opts.Permits != nil {
		p.opts.Permits.Report(use)
	}
	c.share, c.gate = limit.Share{}, limit.Gate{}
	if p.law != nil {
		g.decision, g.decidedAt, c.chosen = p.law.Step(in), max(now, 1), false
		if len(g.decision.Shares) > 0 {
			c.share = g.decision.Shares[0]
		}
		c.gate = g.decision.Gate
	}
	switch {
	case p.opts.Memory.Off:
		c.gate = limit.Gate{}
	case c.gate.Line == 0 && in.Host.MemoryTotal > 0:
		c.gate = p.opts.Memory.gate(in.Host.MemoryTotal)
	}
}

// governLocked applies what was decided, and returns when it is to be called again.
func (r *run) governLocked(now time.Duration) (next time.Duration) {
	p, g, c := r.pool, &r.governor, &r.pool.core
	if p.law != nil && g.decidedAt > 0 && !c.chosen {
		elapsed := now - g.decidedAt
		if len(g.decision.Shares) > 0 {
			c.setDesired(g.decision.ShareAfter(0, elapsed))
		} else {
			c.setDesired(g.decision.After(elapsed))
		}
	}
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
		if r.block == BlockLimit || r.block == BlockMemory {
			p.kickLocked()
		}
		if r.block == BlockMemory && p.opts.Usage == nil {
			r.freeLocked(now)
		}
		return g.readAt
	}
	return forever
}

// freeLocked has the garbage of ended tasks collected and given back: while nothing may start nothing allocates, so
// nothing else would do it.
func (r *run) freeLocked(now time.Duration) {
	g := &r.governor
	if now < g.freeAt {
		return
	}
	select {
	case g.freeing <- struct{}{}:
	default:
		return
	}
	g.freeAt = now + freeInterval
	go func() {
		freeMemory()
		<-g.freeing
	}()
}

// freeMemory is replaced in tests.
var freeMemory = debug.FreeOSMemory

// waitingLocked returns how many permits could be used beside those that are held.
func (r *run) waitingLocked() int64 {
	if c := &r.pool.core; c.stopped || c.paused || r.block == BlockMinute || r.block == BlockRate {
		return 0
	}
	return r.pool.source.waiting(r.ready, r.pool.core.held)
}

// demandLocked tells where the permits come from what is wanted.
func (r *run) demandLocked(now time.Duration) {
	waiting, oldest := r.waitingLocked(), time.Duration(0)
	if waiting > 0 && r.ready {
		oldest = now - r.since
	}
	if waiting != r.demanded {
		r.demanded = waiting
		r.pool.opts.Permits.Demand(waiting, oldest)
	}
}
