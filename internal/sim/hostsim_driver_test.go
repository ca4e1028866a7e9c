package sim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/headroom-rpc/headroom/limit"
	"github.com/headroom-rpc/headroom/pool"
	"github.com/headroom-rpc/headroom/snapshot"
)

// rules are a law and what of it the pools have to do.
type rules struct {
	law     string       // by its text
	profile pool.Profile // of Crawlee, which gates the starts by the current status instead of by memory
	errors  int64        // how many refusals in a second that status allows
}

// parse returns a new law. With -hostsim.trace it prints its steps.
func (r *rules) parse() (limit.Law, error) {
	law, err := limit.Parse(r.law)
	if err != nil || !*hostsimTrace {
		return law, err
	}
	return tracedLaw{law}, nil
}

// tracedLaw prints its steps.
type tracedLaw struct{ limit.Law }

func (l tracedLaw) Step(in limit.Input) limit.Decision {
	d := l.Law.Step(in)
	fmt.Printf("%6.2f s: limit %d from %d: %s; window %v, host %+v\n", in.At.Seconds(), d.Limit, d.From, d.Binding, in.Window, in.Host)
	for i, p := range in.Pools {
		fmt.Printf("          pool %+v\n", p)
		if i < len(d.Shares) {
			fmt.Printf("          gets %+v\n", d.Shares[i])
		}
	}
	return d
}

// drive runs a scenario by a law, or by a constant where rules is nil, and plays the pool's part: it starts work as
// far as the limit goes and the gate is open, and cancels the youngest when memory is critical. It goes through
// none of the real pool's code: it is for sweeps, and to tune laws with.
func drive(sc *scenario, cores int, seed uint64, r *rules, constant float64) (*record, error) {
	m := newMachine(cores, float64(cores)*memoryPerCore, usual)
	d := &driver{m: m, sc: sc, rules: r, sensors: newSensors(m, seed), record: &record{m: m, ticks: ticks(sc.span)}}
	d.target = sc.stage(m, seed)
	for i, p := range sc.pools {
		m.grow(i)
		d.pools = append(d.pools, &drivenPool{
			plan: &sc.pools[i], index: i, random: rand.New(rand.NewPCG(seed, uint64(i))),
		})
		m.at(p.from, func() { d.arrive(d.pools[i]) })
	}
	if r == nil {
		d.constantly(constant)
	} else {
		if err := d.renew(); err != nil {
			return nil, err
		}
		m.at(0, func() { d.read(); d.step(d.window()) })
		m.after(d.sensors.wait(), d.readAndGate)
		if sc.restart > 0 {
			m.at(sc.restart, func() { d.away = true })
			m.at(sc.restart+restartTakes, func() { d.away = false; d.broken = d.renew() })
		}
	}
	d.watch()
	m.advance(sc.span + tickLength/2)
	return d.record, d.broken
}

// restartTakes is how long a server is away, in seconds.
const restartTakes = 2

type driver struct {
	m       *machine
	sc      *scenario
	rules   *rules
	law     limit.Law
	sensors *sensors
	pools   []*drivenPool
	target  *target
	record  *record
	broken  error

	meter     limit.HostMeter
	reading   limit.HostReading // the newest
	decision  limit.Decision
	decidedAt float64
	of        []*drivenPool // the pools of the decision
	shut      bool
	verdicts  verdicts
	away      bool // the server is
}

// drivenPool is the pool's part for one pool.
type drivenPool struct {
	plan   *poolPlan
	index  int
	random *rand.Rand
	begun  bool
	queued int // of a pool whose work ends
	jobs   []*job
	quota  int

	meter             limit.PoolMeter
	refused, accepted int64 // by the target, up to the last window
}

func (d *driver) renew() (err error) {
	d.law, err = d.rules.parse()
	return err
}

// arrive lets a pool begin, or gives it a burst more of work.
func (d *driver) arrive(p *drivenPool) {
	p.begun = true
	p.queued += p.plan.tasks
	if p.plan.every > 0 {
		d.m.after(p.plan.every, func() { d.arrive(p) })
	}
	d.fill(p)
}

func (d *driver) waiting(p *drivenPool) int {
	switch {
	case !p.begun:
		return 0
	case p.plan.tasks == 0:
		return 100_000
	default:
		return p.queued
	}
}

// constantly gives each pool what a constant gives it, whatever happens.
func (d *driver) constantly(k float64) {
	each := []float64{k}
	if d.sc.constant != nil {
		each = d.sc.constant(k, d.m.now)
	}
	for i, p := range d.pools {
		p.quota = max(1, int(math.Round(each[i])))
		d.fill(p)
	}
	d.m.after(tickLength, func() { d.constantly(k) })
}

// fill starts what may start.
func (d *driver) fill(p *drivenPool) {
	for d.waiting(p) > 0 && len(p.jobs) < p.quota && (!d.shut || len(p.jobs) == 0) {
		if p.queued > 0 {
			p.queued--
		}
		p.meter.Start(seconds(d.m.now), 1)
		j := d.m.start(p.index, p.plan.draw(p.random), d.target, func(j *job, how fate) { d.ended(p, j, how) })
		j.slot = len(p.jobs)
		p.jobs = append(p.jobs, j)
	}
}

func (d *driver) ended(p *drivenPool, j *job, how fate) {
	last := p.jobs[len(p.jobs)-1]
	p.jobs[j.slot], last.slot = last, j.slot
	p.jobs = p.jobs[:len(p.jobs)-1]
	p.meter.End(seconds(d.m.now), seconds(j.began), 1, how != finished)
	if how == finished {
		d.fill(p)
		return
	}
	if p.plan.tasks > 0 {
		p.queued++
	}
	if how == killed {
		d.record.kills++
		d.m.after(tickLength, func() { d.fill(p) }) // not at once: it may be killed again
	} else {
		d.record.shed++
	}
}

// read takes a reading of all.
func (d *driver) read() {
	now := seconds(d.m.now)
	d.reading = d.sensors.host()
	d.meter.Read(now, d.reading)
	for i, p := range d.pools {
		p.meter.Read(now, d.sensors.pool(i))
	}
}

// readAndGate takes a reading, and opens or shuts the gate by it.
func (d *driver) readAndGate() {
	d.read()
	d.m.after(d.sensors.wait(), d.readAndGate)
	if d.rules.profile != pool.ProfileHeadroom {
		return
	}
	gate := d.decision.Gate
	growth := int64(0)
	for i, p := range d.of {
		if i < len(d.decision.Shares) && d.decision.Shares[i].Footprint > 0 {
			growth += d.decision.Shares[i].Growth(int64(len(p.jobs)), p.meter.Grown(seconds(d.m.now)))
		}
	}
	d.shut = !gate.Open(d.reading.MemoryUsed, growth)
	if gate.Shed > 0 && d.reading.MemoryUsed > gate.Shed {
		d.shed(gate.ShedTo)
	}
	d.pace()
}

// shed cancels the youngest until the memory in use is at most so much.
func (d *driver) shed(to int64) {
	jobs := slices.Clone(d.m.jobs)
	slices.SortFunc(jobs, func(a, b *job) int { return int(b.number) - int(a.number) })
	for _, j := range jobs {
		if int64(d.m.used()) <= to || len(d.m.jobs) <= 1 {
			return
		}
		d.m.leave(j, shed)
	}
}

// pace gives each pool what the last decision allows by now.
func (d *driver) pace() {
	elapsed := seconds(d.m.now - d.decidedAt)
	if len(d.decision.Shares) > 0 {
		for i, p := range d.of {
			p.quota = int(d.decision.ShareAfter(i, elapsed))
		}
	} else {
		d.deal(int(d.decision.After(elapsed)))
	}
	for _, p := range d.of {
		d.fill(p)
	}
}

// deal shares a limit equally, as far as each pool has work.
func (d *driver) deal(most int) {
	for _, p := range d.of {
		p.quota = 0
	}
	for given := true; given && most > 0; {
		given = false
		for _, p := range d.of {
			if most > 0 && p.quota < len(p.jobs)+d.waiting(p) {
				p.quota++
				most--
				given = true
			}
		}
	}
}

// closeWindow tells the law, a little later, what was seen in the window.
func (d *driver) closeWindow() {
	d.read()
	in := d.window()
	d.judge(&in)
	d.m.after(lateness, func() { d.step(in) })
}

// window closes a window and returns what was seen in it.
func (d *driver) window() (in limit.Input) {
	in.Host, in.Window = d.meter.Window()
	for i, p := range d.pools {
		q := p.meter.Window(seconds(d.m.now))
		if !p.begun {
			continue
		}
		q.ID = p.plan.id()
		q.Waiting, q.Delayed = int64(d.waiting(p)), int64(d.m.pools[i].delayed)
		if t := d.target; t != nil {
			q.Throttled, q.Calls = t.refused-p.refused, t.refused+t.accepted-p.refused-p.accepted
			p.refused, p.accepted = t.refused, t.accepted
		}
		in.Pools = append(in.Pools, q)
		in.Charge += q.Leased
		in.Want += q.Leased + q.Waiting
	}
	return in
}

func (d *driver) step(in limit.Input) {
	next := windowLength - lateness
	defer func() { d.m.after(next, d.closeWindow) }()
	if in.Window == 0 {
		next = windowLength // nothing was late
	}
	if d.away {
		return
	}
	in.At = seconds(d.m.now)
	d.of = d.of[:0]
	for _, q := range in.Pools {
		for _, p := range d.pools {
			if p.plan.id() == q.ID {
				d.of = append(d.of, p)
			}
		}
	}
	in.Current, in.Historical = d.verdicts.status(5*time.Second), d.verdicts.status(30*time.Second)
	d.decision, d.decidedAt = d.law.Step(in), d.m.now
	if early := d.decision.Next.Seconds(); early > 0 {
		next = min(next, max(early-lateness, tickLength))
	}
	if d.rules.profile != pool.ProfileHeadroom {
		d.shut = in.Current.State == snapshot.StateOverloaded
	}
	d.pace()
}

func (d *driver) judge(in *limit.Input) {
	v := verdict{
		cpu:    in.Host.Busy > 0.95*in.Host.Cores,
		memory: float64(in.Host.MemoryUsed) > 0.9*float64(in.Host.MemoryTotal),
	}
	for _, p := range in.Pools {
		v.client = v.client || p.Throttled > d.rules.errors
	}
	d.verdicts.add(v)
}

// watch records at the end of each tick what only the pools know.
func (d *driver) watch() {
	backlog := false
	for _, p := range d.pools {
		backlog = backlog || d.waiting(p) > 0
	}
	d.record.backlog = append(d.record.backlog, backlog)
	d.m.after(tickLength, d.watch)
}
