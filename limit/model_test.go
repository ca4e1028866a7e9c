package limit_test

import (
	"container/heap"
	"math/rand/v2"
	"time"

	"github.com/headroom-rpc/headroom/limit"
)

// model is a closed network of a CPU in processor sharing and of waits, with endless work, on which a law is
// tried: no memory, no noise, no delay.
type model struct {
	cores  float64
	others float64 // cores that others take
	rng    *rand.Rand
	tasks  []modelPool

	now     float64
	stepped float64 // when a law did last, with keepUp
	virtual float64 // CPU time that each task at the CPU has had
	atCPU   events
	waiting events
	area    float64 // of the queue, over time
	crowded float64 // time with more than twice the cores at the CPU
}

// modelPool is a kind of work: a task waits, then needs the CPU, and ends; or the other way round.
type modelPool struct {
	cpu, wait func(*rand.Rand) float64 // seconds
	cpuFirst  bool

	idle bool // it has no work

	limit, running, inCPU int
	use, runnable, burnt  float64 // integrals of the window
	begun, done           int64
	totalCPU              float64
}

func (p *modelPool) end() {
	p.running--
	p.done++
}

// compute begins the time at the CPU of a task.
func (m *model) compute(p *modelPool, e event) {
	e.at = m.virtual + p.cpu(m.rng)
	p.inCPU++
	heap.Push(&m.atCPU, e)
}

type event struct {
	at   float64
	pool int
}

type events []event

func (e events) Len() int           { return len(e) }
func (e events) Less(i, j int) bool { return e[i].at < e[j].at }
func (e events) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)        { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := len(*e) - 1
	x := (*e)[last]
	*e = (*e)[:last]
	return x
}

// rate is what each task at the CPU gets.
func (m *model) rate() float64 {
	if len(m.atCPU) == 0 {
		return 0
	}
	return min(1, (m.cores-m.others)/float64(len(m.atCPU)))
}

// run goes on until a time.
func (m *model) run(until float64) {
	for {
		for i := range m.tasks {
			p := &m.tasks[i]
			for p.running < p.limit && !p.idle {
				p.running++
				p.begun++
				if p.cpuFirst {
					m.compute(p, event{pool: i})
				} else {
					heap.Push(&m.waiting, event{at: m.now + p.wait(m.rng), pool: i})
				}
			}
		}
		rate, next := m.rate(), until
		if len(m.atCPU) > 0 {
			next = min(next, m.now+(m.atCPU[0].at-m.virtual)/rate)
		}
		if len(m.waiting) > 0 {
			next = min(next, m.waiting[0].at)
		}
		dt := max(0, next-m.now)
		for i := range m.tasks {
			p := &m.tasks[i]
			p.use += dt * float64(p.running)
			p.runnable += dt * float64(p.inCPU)
			p.burnt += dt * rate * float64(p.inCPU)
			p.totalCPU += dt * rate * float64(p.inCPU)
		}
		m.area += dt * float64(len(m.atCPU))
		if float64(len(m.atCPU)) > 2*m.cores {
			m.crowded += dt
		}
		m.virtual += dt * rate
		m.now = next
		switch {
		case len(m.waiting) > 0 && m.waiting[0].at <= m.now:
			e := heap.Pop(&m.waiting).(event)
			p := &m.tasks[e.pool]
			if p.cpuFirst {
				p.end()
				break
			}
			m.compute(p, e)
		case len(m.atCPU) > 0 && m.atCPU[0].at <= m.virtual+1e-9:
			e := heap.Pop(&m.atCPU).(event)
			p := &m.tasks[e.pool]
			p.inCPU--
			if p.cpuFirst {
				heap.Push(&m.waiting, event{at: m.now + p.wait(m.rng), pool: e.pool})
				break
			}
			p.end()
		default:
			if m.now >= until {
				return
			}
		}
	}
}

// window returns what was seen since the last one.
func (m *model) window(dt float64) limit.Input {
	in := limit.Input{At: time.Duration(m.now * 1e9), Window: time.Duration(dt * 1e9)}
	in.Host = limit.Host{Cores: m.cores, Busy: m.others, BusyKnown: true, RunQueueKnown: true, RunQueue: m.others}
	for i := range m.tasks {
		p := &m.tasks[i]
		q := limit.Pool{ID: string(rune('a' + i)), Waiting: 1 << 20, Leased: int64(p.running), Started: p.begun, Completed: p.done}
		if p.idle {
			q.Waiting = 0
		}
		if dt > 0 {
			q.InUse, q.CPU, q.Runnable = p.use/dt, p.burnt/dt, p.runnable/dt
			q.CPUKnown, q.RunnableKnown = true, true
		}
		in.Host.Busy += q.CPU
		in.Host.RunQueue += q.Runnable
		in.Pools = append(in.Pools, q)
		p.use, p.runnable, p.burnt, p.begun, p.done = 0, 0, 0, 0, 0
	}
	return in
}

// keepUp lets the law set the limits for some time, and steps it as often as it wants.
func (m *model) keepUp(law limit.Law, seconds float64) {
	for end := m.now + seconds; m.now < end-1e-9; {
		begin := m.now
		d := law.Step(m.window(begin - m.stepped))
		m.stepped = begin
		next := d.Next.Seconds()
		if next == 0 {
			next = 1
		}
		for k := 1.0; k <= 10; k++ {
			for i := range m.tasks {
				m.tasks[i].limit = int(d.ShareAfter(i, time.Duration((m.now-begin)*1e9)))
			}
			m.run(begin + next*k/10)
		}
	}
}

// follow lets the law set the limits for some seconds, and calls each, if not nil, after each of them.
func (m *model) follow(law limit.Law, seconds int, each func(limit.Input, limit.Decision)) {
	dt := 0.0
	if m.now > 0 {
		dt = 1
	}
	for range seconds {
		in := m.window(dt)
		d := law.Step(in)
		if each != nil {
			each(in, d)
		}
		begin := m.now
		for k := range 10 {
			for i := range m.tasks {
				m.tasks[i].limit = int(d.ShareAfter(i, time.Duration(k)*time.Second/10))
			}
			m.run(begin + float64(k+1)/10)
		}
		dt = 1
	}
}

func constant(x float64) func(*rand.Rand) float64 { return func(*rand.Rand) float64 { return x } }
func uniform(a, b float64) func(*rand.Rand) float64 {
	return func(r *rand.Rand) float64 { return a + (b-a)*r.Float64() }
}
func exponential(mean float64) func(*rand.Rand) float64 {
	return func(r *rand.Rand) float64 { return mean * r.ExpFloat64() }
}
