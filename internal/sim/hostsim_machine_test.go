package sim

import (
	"math"
	"slices"
)

// machine is a simulated host in seconds and bytes. Its cores are shared equally by all that is runnable
// (processor sharing); waiting for I/O is a delay that nobody else makes longer; a job's memory grows with what it
// has done; near the limit of memory everything slows down, and at it the largest job is killed. It moves from
// event to event: between two of them all rates are constant. A machine is deterministic and not safe for
// concurrent use.
type machine struct {
	cores, memory float64
	penalty       penalty

	now     float64
	served  float64 // seconds of CPU work that a job got that was runnable from the start
	rate    float64 // at which served grows
	cpuRate float64 // of CPU time that one runnable job uses; over rate where the machine is inefficient
	others  float64 // cores that the neighbour uses

	running, waiting agenda // by served, by time
	timers           []timer
	jobs             []*job
	pools            []*usage
	number           uint64
	runnable         int
	base             line // memory of the jobs
	neighbour        neighbour
	kills            int64

	busy    float64 // CPU seconds of all, ever
	queue   float64 // seconds that jobs and burners spent in the run queue, ever
	stalled float64 // seconds in which memory held everything up, weighted by how much

	ticks  int     // that are over
	queued float64 // queue at the end of the last one
	crowds []bool  // whether the mean run queue was over twice the cores, for each tick
}

// tickLength is the resolution of what is recorded, in seconds.
const tickLength = 0.1

// penalty says what it costs to run too much at once.
type penalty struct {
	// switching is the share of a CPU that goes into switching when many share it. What runs in turn has the longer
	// turns the fewer they are, so that two on a core lose half of that share, three two thirds, and so on.
	switching float64

	// thrashing is the share of memory from which on everything slows down; a ninth of the speed is left at the limit.
	thrashing float64
}

// usual is what is assumed of a host. On a real one, five for each core lost 3 % and twenty-five no more than that.
var usual = penalty{switching: 0.035, thrashing: 0.92}

// neighbour is what else runs on the host.
type neighbour struct {
	burners float64 // threads that never wait
	apart   bool    // they have half of the CPU for themselves, as a cgroup of the same weight
	memory  line
}

// line is a quantity that changes linearly with what the CPU served and with time.
type line struct{ at, perServed, perSecond float64 }

func (l line) value(served, now float64) float64 { return l.at + l.perServed*served + l.perSecond*now }

// pass makes l go through value at this moment, with the given slopes.
func pass(value, perServed, perSecond, served, now float64) line {
	return line{value - perServed*served - perSecond*now, perServed, perSecond}
}

func (l *line) add(m line, sign float64) {
	l.at += sign * m.at
	l.perServed += sign * m.perServed
	l.perSecond += sign * m.perSecond
}

// usage is what a pool uses and has used.
type usage struct {
	runnable, jobs, delayed int
	memory                  line
	cpu                     float64 // CPU seconds, ever
	credit                  float64 // of work that is done, in this tick
	credits                 []float64
	cpus                    []float64 // CPU seconds at the end of each tick
}

type timer struct {
	at     float64
	number uint64
	fire   func()
}

func newMachine(cores int, memory float64, p penalty) *machine {
	m := &machine{cores: float64(cores), memory: memory, penalty: p}
	m.adjust()
	m.at(tickLength, m.endTick)
	return m
}

// after and at call fire when it is time.
func (m *machine) after(seconds float64, fire func()) { m.at(m.now+seconds, fire) }

func (m *machine) at(when float64, fire func()) {
	m.number++
	t := timer{when, m.number, fire}
	i, _ := slices.BinarySearchFunc(m.timers, t, func(a, b timer) int {
		if a.at != b.at {
			if a.at > b.at { // the next one stands last
				return -1
			}
			return 1
		}
		if a.number > b.number {
			return -1
		}
		return 1
	})
	m.timers = slices.Insert(m.timers, i, t)
}

// next returns when something happens next.
func (m *machine) next() float64 {
	next := math.Inf(1)
	if n := len(m.timers); n > 0 {
		next = m.timers[n-1].at
	}
	if len(m.waiting.jobs) > 0 {
		next = min(next, m.waiting.jobs[0].due)
	}
	if len(m.running.jobs) > 0 {
		next = min(next, m.now+max(0, m.running.jobs[0].due-m.served)/m.rate)
	}
	return next
}

// advance lets time go on until the given instant, with all that happens by then.
func (m *machine) advance(until float64) {
	for {
		next := m.next()
		if next > until {
			break
		}
		m.pass(next)
		m.happen()
		m.adjust()
	}
	m.pass(until)
}

// happen does one thing that is due.
func (m *machine) happen() {
	const rounding = 1e-9
	switch n := len(m.timers); {
	case len(m.running.jobs) > 0 && m.running.jobs[0].due <= m.served+rounding:
		m.end(m.running.jobs[0])
	case len(m.waiting.jobs) > 0 && m.waiting.jobs[0].due <= m.now:
		m.end(m.waiting.jobs[0])
	case n > 0 && m.timers[n-1].at <= m.now:
		fire := m.timers[n-1].fire
		m.timers[n-1].fire = nil
		m.timers = m.timers[:n-1]
		fire()
	}
}

// pass integrates over the time to the given instant, in which nothing changes.
func (m *machine) pass(until float64) {
	d := until - m.now
	if d <= 0 {
		return
	}
	m.served += m.rate * d
	for _, p := range m.pools {
		p.cpu += float64(p.runnable) * m.cpuRate * d
	}
	m.busy += (float64(m.runnable)*m.cpuRate + m.others) * d
	m.queue += m.runQueue() * d
	m.stalled += (1 - m.speed()) * d
	m.now = until
}

func (m *machine) runQueue() float64 { return float64(m.runnable) + m.neighbour.burners }

// used is the memory in use.
func (m *machine) used() float64 {
	return m.base.value(m.served, m.now) + m.neighbour.memory.value(0, m.now)
}

// speed is what thrashing leaves of the speed of everything.
func (m *machine) speed() float64 {
	over := (m.used()/m.memory - m.penalty.thrashing) / (1 - m.penalty.thrashing)
	if over <= 0 || m.penalty.thrashing >= 1 {
		return 1
	}
	return 1 / (1 + 8*min(over, 1))
}

// adjust computes the rates that hold until the next event, and kills the largest job if memory is gone.
func (m *machine) adjust() {
	for len(m.jobs) > 0 && m.used() >= m.memory {
		m.kills++
		m.leave(m.largest(), killed)
	}
	m.setRates()
}

func (m *machine) setRates() {
	own, theirs := m.share()
	m.others = theirs
	m.cpuRate, m.rate = 0, 1 // no job is runnable: served stands still only as a matter of form
	if m.runnable > 0 {
		m.cpuRate = own / float64(m.runnable)
		m.rate = m.cpuRate * m.speed() * (1 - m.penalty.switching*max(0, 1-m.cores/m.runQueue()))
	}
}

// share returns how many cores the jobs have, and how many the neighbour.
func (m *machine) share() (own, theirs float64) {
	want, burners := float64(m.runnable), m.neighbour.burners
	switch {
	case want+burners <= m.cores:
		return want, burners
	case !m.neighbour.apart:
		return m.cores * want / (want + burners), m.cores * burners / (want + burners)
	case want <= m.cores/2:
		return want, m.cores - want
	case burners <= m.cores/2:
		return m.cores - burners, burners
	default:
		return m.cores / 2, m.cores / 2
	}
}

func (m *machine) largest() *job {
	largest := m.jobs[0]
	for _, j := range m.jobs {
		if j.memory.value(m.served, m.now) > largest.memory.value(m.served, m.now) {
			largest = j
		}
	}
	return largest
}

func (m *machine) endTick() {
	m.crowds = append(m.crowds, (m.queue-m.queued)/tickLength > 2*m.cores+1e-6)
	m.queued = m.queue
	for _, p := range m.pools {
		p.credits = append(p.credits, p.credit)
		p.cpus = append(p.cpus, p.cpu)
		p.credit = 0
	}
	m.ticks++
	m.at(float64(m.ticks+1)*tickLength, m.endTick)
}
