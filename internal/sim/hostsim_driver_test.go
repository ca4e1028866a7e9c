package sim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/headroom-rpc/headroom/limit"
	"github.com/headroom-rpc/headroom/snapshot"
)

// rules are a law and what of it the pools have to do.
type rules struct {
	law func() (limit.Law, error)

	// status gates the starts by the current status, as Crawlee's pools do, instead of by memory.
	status bool
	// errors is how many refusals in a second that status allows.
	errors int64
}

// drive runs a scenario by a law, or by a constant where rules is nil, and plays the pool's part: it starts work as
// far as the limit goes and the gate is open, and cancels the youngest when memory is critical. It goes through
// none of the real pool's code: it is for sweeps, and to tune laws with.
func drive(sc *scenario, cores int, seed uint64, r *rules, constant float64) (*record, error) {
	m := newMachine(cores, float64(cores)*memoryPerCore, usual)
	d := &driver{m: m, sc: sc, rules: r, sensors: newSensors(m, seed), record: &record{m: m}}
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
		m.at(0, func() {
			d.step(limit.Host{Cores: m.cores, MemoryTotal: int64(m.memory), MemoryUsed: int64(m.used())}, nil, 0)
		})
		m.after(windowLength, d.closeWindow)
		m.after(d.sensors.nextReading(), d.readAll)
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

	decision  limit.Decision
	decidedAt float64
	of        []*drivenPool // the pools of the decision
	shut      bool
	history   []verdict // of the last 30 s
	away      bool      // the server is
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

	used, since              float64 // seconds of permits in the window, up to since
	started, ended, failed   int64
	refused, accepted        int64 // by the target, up to the last window
	held, completed, current float64
	duration                 float64
}

func (d *driver) renew() (err error) {
	d.law, err = d.rules.law()
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
		p.account(d.m.now)
		p.started++
		j := d.m.start(p.index, p.plan.draw(p.random), d.target, func(j *job, how fate) { d.ended(p, j, how) })
		j.slot = len(p.jobs)
		p.jobs = append(p.jobs, j)
	}
}

// account adds up the permits in use until now.
func (p *drivenPool) account(now float64) {
	p.used += float64(len(p.jobs)) * (now - p.since)
	p.since = now
}

func (d *driver) ended(p *drivenPool, j *job, how fate) {
	p.account(d.m.now)
	last := p.jobs[len(p.jobs)-1]
	p.jobs[j.slot], last.slot = last, j.slot
	p.jobs = p.jobs[:len(p.jobs)-1]
	p.ended++
	if how == finished {
		p.learn(d.m.now - j.began)
		d.fill(p)
		return
	}
	p.failed++
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

// learn updates how long a task takes: permit-seconds per completion until each permit was used three times, for the
// completions alone favour short tasks, and then a moving average.
func (p *drivenPool) learn(took float64) {
	p.completed++
	if n := float64(len(p.jobs) + 1); p.completed > 3*n {
		p.duration += (took - p.duration) / n
	} else {
		p.duration = (p.held + p.used) / p.completed
	}
}

// grown is the sum of the shares of their footprints that the tasks have.
func (p *drivenPool) grown(now float64) (sum float64) {
	for _, j := range p.jobs {
		sum += limit.Growth(seconds(now-j.began), seconds(p.duration))
	}
	return sum
}

// readAll takes a reading, and opens or shuts the gate by it.
func (d *driver) readAll() {
	d.sensors.read()
	d.m.after(d.sensors.nextReading(), d.readAll)
	if d.rules.status {
		return
	}
	gate := d.decision.Gate
	used, growth := int64(d.sensors.used), int64(0)
	for i, p := range d.of {
		if i < len(d.decision.Shares) && d.decision.Shares[i].Footprint > 0 {
			growth += d.decision.Shares[i].Growth(int64(len(p.jobs)), p.grown(d.m.now))
		}
	}
	d.shut = !gate.Open(used, growth)
	if gate.Shed > 0 && used > gate.Shed {
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
	d.m.after(windowLength, d.closeWindow)
	length := d.m.now - d.sensors.begin
	host, pools := d.sensors.window()
	var seen []limit.Pool
	for i, p := range d.pools {
		p.account(d.m.now)
		u := d.m.pools[i]
		q := pools[i]
		q.ID = string(rune('a' + i))
		q.InUse, q.Leased, q.Waiting = p.used/length, int64(len(p.jobs)), int64(d.waiting(p))
		q.Started, q.Completed, q.Failed = p.started, p.ended, p.failed
		if t := d.target; t != nil {
			q.Throttled, q.Calls = t.refused-p.refused, t.refused+t.accepted-p.refused-p.accepted
			p.refused, p.accepted = t.refused, t.accepted
		}
		q.Delayed = int64(u.delayed)
		q.Duration, q.Grown = seconds(p.duration), p.grown(d.m.now)
		p.held += p.used
		p.used, p.started, p.ended, p.failed = 0, 0, 0, 0
		if p.begun {
			seen = append(seen, q)
		}
	}
	d.judge(host, seen)
	d.m.after(lateness, func() { d.step(host, seen, length) })
}

func (d *driver) step(host limit.Host, pools []limit.Pool, window float64) {
	if d.away {
		return
	}
	d.of = d.of[:0]
	if pools == nil {
		for i, p := range d.pools {
			if p.begun {
				pools = append(pools, limit.Pool{ID: string(rune('a' + i)), Waiting: int64(d.waiting(p))})
			}
		}
	}
	in := limit.Input{At: seconds(d.m.now), Window: seconds(window), Host: host, Pools: pools}
	for _, q := range pools {
		d.of = append(d.of, d.pools[q.ID[0]-'a'])
		in.Charge += q.Leased
		in.Want += q.Leased + q.Waiting
	}
	in.Current, in.Historical = d.status(5*time.Second), d.status(30*time.Second)
	d.decision, d.decidedAt = d.law.Step(in), d.m.now
	if *hostsimTrace {
		fmt.Printf("%6.1f s: limit %d from %d: %s; host %+v\n", d.m.now, d.decision.Limit, d.decision.From, d.decision.Binding, host)
		for i, q := range pools {
			fmt.Printf("          pool %+v\n", q)
			if i < len(d.decision.Shares) {
				fmt.Printf("          gets %+v\n", d.decision.Shares[i])
			}
		}
	}
	if d.rules.status {
		d.shut = in.Current.State == snapshot.StateOverloaded
	}
	d.pace()
}

// verdict is what one second is judged to be.
type verdict struct{ cpu, memory, client bool }

func (d *driver) judge(host limit.Host, pools []limit.Pool) {
	v := verdict{cpu: host.Busy > 0.95*host.Cores, memory: float64(host.MemoryUsed) > 0.9*float64(host.MemoryTotal)}
	for _, p := range pools {
		v.client = v.client || p.Throttled > d.rules.errors
	}
	d.history = append(d.history, v)
	if len(d.history) > 30 {
		d.history = d.history[1:]
	}
}

// status judges the last of the history by the thresholds that Crawlee and headroom have.
func (d *driver) status(window time.Duration) snapshot.Status {
	recent := d.history[max(0, len(d.history)-int(window/time.Second)):]
	s := snapshot.Status{Window: window, State: snapshot.StateIdle}
	for _, sig := range []struct {
		name  string
		limit float64
		over  func(verdict) bool
	}{
		{snapshot.SignalCPU, 0.4, func(v verdict) bool { return v.cpu }},
		{snapshot.SignalMemory, 0.2, func(v verdict) bool { return v.memory }},
		{snapshot.SignalClient, 0.3, func(v verdict) bool { return v.client }},
	} {
		over := 0.0
		for _, v := range recent {
			if sig.over(v) {
				over++
			}
		}
		st := snapshot.SignalStatus{Signal: sig.name, State: snapshot.StateIdle, Limit: sig.limit, Count: len(recent)}
		if len(recent) > 0 {
			st.Actual = over / float64(len(recent))
		}
		if st.Actual > st.Limit {
			st.State, s.State = snapshot.StateOverloaded, snapshot.StateOverloaded
		}
		s.Signals = append(s.Signals, st)
	}
	return s
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
