package sim

import "math/rand/v2"

// phaseKind is what a job does in a phase.
type phaseKind uint8

const (
	computes phaseKind = iota // amount is CPU seconds at full efficiency
	waits                     // amount is seconds
	calls                     // the target, which answers after amount seconds or refuses at once
)

// phase is a part of a job's life.
type phase struct {
	kind   phaseKind
	amount float64
	grown  float64 // memory in use at the end of it, in bytes; it grows steadily to there
	credit float64 // of work that is done at the end of it
}

// jobPlan is what a job will do, were it alone.
type jobPlan struct {
	phases []phase
	begin  float64 // memory in use at the start, in bytes
}

// growth is how memory grows over the life of a job: from points of (progress, share of the footprint).
type growth []struct{ progress, share float64 }

var (
	early = growth{{0, 0.2}, {0.7, 1}, {1, 1}}   // most of it well before the end
	late  = growth{{0, 0.1}, {0.8, 0.3}, {1, 1}} // the peak is at the end
	flat  = growth{{0, 1}, {1, 1}}               // all at once
)

func (g growth) at(progress float64) float64 {
	for i := 1; i < len(g); i++ {
		if a, b := g[i-1], g[i]; progress <= b.progress {
			return a.share + (b.share-a.share)*(progress-a.progress)/(b.progress-a.progress)
		}
	}
	return g[len(g)-1].share
}

// withMemory gives a plan a footprint, in bytes. Phases are split where the growth bends.
func (p *jobPlan) withMemory(footprint float64, g growth) {
	var total float64
	for _, ph := range p.phases {
		total += ph.amount
	}
	p.begin = footprint * g.at(0)
	if len(g) == 2 && g[0].share == g[1].share {
		for i := range p.phases {
			p.phases[i].grown = p.begin
		}
		return
	}
	split := make([]phase, 0, len(p.phases)+len(g))
	var done float64
	for _, ph := range p.phases {
		for _, bend := range g {
			if at := bend.progress * total; ph.kind != calls && at > done && at < done+ph.amount {
				part := ph
				part.amount, part.credit, part.grown = at-done, 0, footprint*bend.share
				split = append(split, part)
				ph.amount -= part.amount
				done = at
			}
		}
		done += ph.amount
		ph.grown = footprint * g.at(min(1, done/total))
		split = append(split, ph)
	}
	p.phases = split
}

// fate is how a job ended.
type fate uint8

const (
	finished fate = iota
	killed        // by the kernel, for want of memory
	shed          // by the pool, for want of memory
	refused       // by the target, where the job leaves it to others to try again
)

// job is a task on a machine.
type job struct {
	number   uint64
	pool     int
	plan     jobPlan
	phase    int
	due      float64 // of the phase, in seconds served or in seconds
	place    int     // in the agenda
	index    int     // in the jobs of the machine
	slot     int     // in the jobs of its pool
	memory   line
	credited float64
	began    float64
	refusals int     // in a row
	backoff  float64 // after the last of them
	delayed  bool    // while it waits to call again
	target   *target
	done     func(*job, fate)
}

// start lets a job begin. done is called when it ended, at that instant, and may start others.
func (m *machine) start(pool int, plan jobPlan, to *target, done func(*job, fate)) *job {
	m.grow(pool)
	m.number++
	j := &job{number: m.number, pool: pool, plan: plan, index: len(m.jobs), began: m.now, target: to, done: done}
	m.jobs = append(m.jobs, j)
	m.pools[pool].jobs++
	m.begin(j, plan.begin)
	m.setRates()
	return j
}

// grow makes room for the pool.
func (m *machine) grow(pool int) {
	for len(m.pools) <= pool {
		m.pools = append(m.pools, &usage{credits: make([]float64, len(m.crowds)), cpus: make([]float64, len(m.crowds))})
	}
}

// begin starts the phase that a job is in, at that much memory.
func (m *machine) begin(j *job, memory float64) {
	p, ph := m.pools[j.pool], &j.plan.phases[j.phase]
	switch ph.kind {
	case computes:
		j.memory = pass(memory, (ph.grown-memory)/ph.amount, 0, m.served, m.now)
		j.due = m.served + ph.amount
		m.running.push(j)
		m.runnable++
		p.runnable++
	default:
		wait, slope := ph.amount, 0.0
		if ph.kind == calls {
			if wait, j.delayed = j.target.call(m.now, j, ph.amount); j.delayed {
				p.delayed++
			}
		} else {
			slope = (ph.grown - memory) / ph.amount
		}
		j.memory = pass(memory, 0, slope, m.served, m.now)
		j.due = m.now + wait
		m.waiting.push(j)
	}
	p.memory.add(j.memory, 1)
	m.base.add(j.memory, 1)
}

// stop takes a job out of the phase that it is in.
func (m *machine) stop(j *job) (memory float64) {
	p := m.pools[j.pool]
	memory = j.memory.value(m.served, m.now)
	p.memory.add(j.memory, -1)
	m.base.add(j.memory, -1)
	if j.plan.phases[j.phase].kind == computes {
		m.running.remove(j.place)
		m.runnable--
		p.runnable--
	} else {
		m.waiting.remove(j.place)
	}
	return memory
}

// end ends a phase.
func (m *machine) end(j *job) {
	memory := m.stop(j)
	p := m.pools[j.pool]
	if j.delayed {
		j.delayed = false
		p.delayed--
		if j.target.final {
			m.remove(j, refused)
			return
		}
		m.begin(j, memory)
		return
	}
	ph := &j.plan.phases[j.phase]
	p.credit += ph.credit
	j.credited += ph.credit
	if j.phase++; j.phase < len(j.plan.phases) {
		m.begin(j, ph.grown)
		return
	}
	m.remove(j, finished)
}

// leave ends a job before its time. What it did was for nothing.
func (m *machine) leave(j *job, how fate) {
	m.stop(j)
	p := m.pools[j.pool]
	if j.delayed {
		p.delayed--
	}
	p.credit -= j.credited
	m.remove(j, how)
}

func (m *machine) remove(j *job, how fate) {
	last := len(m.jobs) - 1
	m.jobs[j.index] = m.jobs[last]
	m.jobs[j.index].index = j.index
	m.jobs[last] = nil
	m.jobs = m.jobs[:last]
	m.pools[j.pool].jobs--
	if len(m.jobs) == 0 { // nothing is left of rounding
		m.base = line{}
		for _, p := range m.pools {
			p.memory = line{}
		}
	}
	if j.done != nil {
		j.done(j, how)
	}
	m.setRates()
}

// target is a service that the jobs call. It takes rate calls a second on average, burst at once, and refuses the
// others (429), which costs it a share of a call too. Whoever is refused tries again after a back-off that
// doubles each time.
type target struct {
	rate, burst float64
	cost        float64 // of a refusal, in calls
	random      *rand.Rand
	final       bool // a job that is refused ends, instead of waiting itself

	tokens, at        float64
	accepted, refused int64
}

// call returns how long the caller waits now, and whether it must then call again.
func (t *target) call(now float64, j *job, latency float64) (wait float64, again bool) {
	t.tokens = min(t.burst, t.tokens+t.rate*(now-t.at))
	t.at = now
	if t.tokens >= 1 {
		t.tokens--
		t.accepted++
		j.refusals = 0
		return latency, false
	}
	t.tokens = max(t.tokens-t.cost, 0)
	t.refused++
	j.backoff = min(0.5*float64(int(1)<<min(j.refusals, 10)), 8) * (0.5 + t.random.Float64()/2)
	j.refusals++
	if t.final {
		return 0, true
	}
	return j.backoff, true
}
