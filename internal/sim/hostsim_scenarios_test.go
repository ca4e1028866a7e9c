package sim

import (
	"math"
	"math/rand/v2"
	"slices"
)

const (
	mebibyte = 1 << 20
	gibibyte = 1 << 30

	memoryPerCore = 2 * gibibyte
	system        = 0.05 // share of memory that the system itself takes
)

// scenario is something that happens to a host and to the pools on it.
type scenario struct {
	name  string
	span  float64   // seconds
	turns []float64 // instants from which a limit has to be found anew, beside the start
	pools []poolPlan

	// stage prepares the machine: the neighbour, the target.
	stage func(m *machine, seed uint64) *target

	// constant is what the constant k gives each pool at an instant. Nil gives k to the only pool.
	constant func(k, at float64) []float64

	arbiter arbiter // of the permits
	restart float64 // when the server does; 0 is never

	// like names the scenario that this is a variant of, with the same best constants; empty is none.
	like string

	least, most float64 // bounds of the sweep for the best constant

	// The goals: at least this share of the best constant, the time to nine tenths of it at most, and, where
	// there are pools to compare, Jain's index of their CPU seconds from fairFrom on. No share is no gate.
	share, soon    float64
	fair, fairFrom float64
}

// arbiter is who decides how many tasks each pool may run.
type arbiter uint8

const (
	byItself arbiter = iota // the pool, by a law of its own
	byBudget                // a budget in the process of all pools
	byServer                // a server, of which each pool leases as a process of its own
)

// poolPlan is a pool and its work.
type poolPlan struct {
	name string
	from float64 // when it begins
	draw func(r *rand.Rand) jobPlan

	key   string  // of the tasks, to the pool
	tasks int     // in all, or in a burst; 0 is no end
	every float64 // seconds between the bursts; 0 is one burst
}

// id names the pool to a law.
func (p *poolPlan) id() string { return "pool " + p.name }

func uniform(r *rand.Rand, low, high float64) float64 { return low + (high-low)*r.Float64() }

// cycle is a computation and a wait; the work counts as done at its end.
func cycle(compute, wait float64) []phase {
	if wait == 0 {
		return []phase{{kind: computes, amount: compute, credit: compute}}
	}
	return []phase{{kind: computes, amount: compute}, {kind: waits, amount: wait, credit: compute}}
}

// task returns tasks of one cycle, of uniformly distributed times, with a fixed footprint.
func task(computeLow, computeHigh, waitLow, waitHigh, footprint float64) func(r *rand.Rand) jobPlan {
	return func(r *rand.Rand) jobPlan {
		p := jobPlan{phases: cycle(uniform(r, computeLow, computeHigh), uniform(r, waitLow, waitHigh))}
		p.withMemory(footprint, flat)
		return p
	}
}

// grower returns tasks whose footprint is log-normal around a median, cut off at most, and that take the longer the
// larger they are.
func grower(compute, wait, median, sigma, most float64, g growth) func(r *rand.Rand) jobPlan {
	return func(r *rand.Rand) jobPlan {
		footprint := min(median*math.Exp(sigma*r.NormFloat64()), most)
		scale := uniform(r, 0.7, 1.3) * math.Pow(footprint/median, 0.25)
		p := jobPlan{phases: cycle(compute*scale, wait*scale)}
		p.withMemory(footprint, g)
		return p
	}
}

func long(r *rand.Rand) jobPlan {
	var p jobPlan
	for range 48 {
		p.phases = append(p.phases, cycle(uniform(r, 0.15, 0.35), uniform(r, 0.5, 1.5))...)
	}
	p.withMemory(30*mebibyte, early)
	return p
}

func limited(r *rand.Rand) jobPlan {
	p := jobPlan{phases: []phase{
		{kind: computes, amount: uniform(r, 0.015, 0.025)},
		{kind: calls, amount: uniform(r, 0.5, 1), credit: 1},
	}}
	p.withMemory(5*mebibyte, flat)
	return p
}

// background is a neighbour that only takes memory, the same share all the time.
func background(m *machine, _ uint64) *target {
	m.neighbour.memory = line{at: system * m.memory}
	return nil
}

// rampTo makes the memory of the neighbour go to a share of all of it, within so many seconds.
func (m *machine) rampTo(share, seconds float64) {
	from := m.neighbour.memory.value(0, m.now)
	m.neighbour.memory = pass(from, 0, (share*m.memory-from)/seconds, 0, m.now)
	m.after(seconds, func() { m.neighbour.memory = line{at: share * m.memory} })
}

// split gives each pool that has begun the same share of the CPU, in permits by what its tasks wait per CPU second.
func split(pools []poolPlan, gammas ...float64) func(k, at float64) []float64 {
	return func(k, at float64) []float64 {
		var begun float64
		for _, p := range pools {
			if p.from <= at {
				begun++
			}
		}
		each := make([]float64, len(pools))
		for i := range pools {
			each[i] = k / begun * (1 + gammas[i])
		}
		return each
	}
}

// scenarios returns all of them, for a host of that many cores.
func scenarios(cores int) []scenario {
	c := float64(cores)
	equal := []poolPlan{
		{name: "a", draw: task(0.08, 0.12, 0.2, 0.6, 20*mebibyte)},
		{name: "b", draw: task(0.08, 0.12, 0.2, 0.6, 20*mebibyte), from: 5},
		{name: "c", draw: task(0.08, 0.12, 0.2, 0.6, 20*mebibyte), from: 10},
		{name: "d", draw: task(0.08, 0.12, 0.2, 0.6, 20*mebibyte), from: 15},
	}
	mixed := []poolPlan{
		{name: "cpu", draw: task(0.1, 0.2, 0, 0, 20*mebibyte)},
		{name: "io", draw: task(0.015, 0.025, 0.5, 1, 4*mebibyte), from: 5},
		{name: "short", draw: task(0.008, 0.012, 0.01, 0.03, 10*mebibyte), from: 10},
		{name: "memory", draw: grower(0.1, 0.4, 30*mebibyte, 0.3, 200*mebibyte, early), from: 15},
	}
	all := []scenario{
		{
			name: "cpu-bound", span: 60, stage: background,
			pools: []poolPlan{{draw: task(0.1, 0.2, 0, 0, 20*mebibyte)}},
			least: 0.5 * c, most: 6 * c, share: 0.95, soon: 5,
		},
		{
			name: "io-bound", span: 90, stage: background,
			pools: []poolPlan{{draw: task(0.015, 0.025, 1, 2, 4*mebibyte)}},
			least: 10 * c, most: 200 * c, share: 0.95, soon: 10,
		},
		{
			name: "heavy-tailed memory", span: 150, stage: background,
			pools: []poolPlan{{draw: grower(0.1, 2, 100*mebibyte, 0.9, gibibyte, early)}},
			least: 3 * c, most: 30 * c, share: 0.95, soon: 5,
		},
		{
			name: "neighbour takes half the CPU", span: 90, turns: []float64{30, 60},
			stage: func(m *machine, seed uint64) *target {
				m.at(30, func() { m.neighbour.burners, m.neighbour.apart = c/2, true })
				m.at(60, func() { m.neighbour.burners = 0 })
				return background(m, seed)
			},
			pools: []poolPlan{{draw: task(0.1, 0.2, 0.1, 0.2, 20*mebibyte)}},
			least: 0.5 * c, most: 8 * c, share: 0.95, soon: 5,
		},
		{
			name: "neighbour's memory ramp", span: 170,
			stage: func(m *machine, seed uint64) *target {
				m.at(30, func() { m.rampTo(0.55, 60) })
				m.at(130, func() { m.rampTo(system, 10) })
				return background(m, seed)
			},
			pools: []poolPlan{{draw: grower(0.1, 2, 140*mebibyte, 0.4, 500*mebibyte, early)}},
			// The constant is of what the neighbour leaves: k is what would run were it not there.
			constant: func(k, at float64) []float64 {
				theirs := system
				switch {
				case at > 30 && at < 130:
					theirs += (0.55 - system) * min(1, (at-30)/60)
				case at >= 130 && at < 140:
					theirs += (0.55 - system) * (140 - at) / 10
				}
				return []float64{k * (0.9 - theirs) / (0.9 - system)}
			},
			least: 3 * c, most: 30 * c, share: 0.87, soon: 13,
		},
		{
			name: "four equal pools", arbiter: byServer, span: 90, stage: background, pools: equal,
			constant: split(equal, 4, 4, 4, 4),
			least:    0.1 * c, most: 4 * c, share: 0.95, soon: 5, fair: 0.98, fairFrom: 30,
		},
		{
			name: "four mixed pools", arbiter: byServer, span: 100, stage: background, pools: mixed,
			constant: split(mixed, 0, 37.5, 2, 4),
			least:    0.1 * c, most: 4 * c, share: 0.95, soon: 5, fair: 0.98, fairFrom: 30,
		},
		{
			name: "target answers 429", span: 120,
			stage: func(m *machine, seed uint64) *target {
				background(m, seed)
				return &target{rate: 20 * c, burst: 20 * c, tokens: 20 * c, cost: 0.3, random: rand.New(rand.NewPCG(seed, 429))}
			},
			pools: []poolPlan{{draw: limited, key: "target"}},
			least: 4 * c, most: 60 * c, share: 0.95, soon: 13,
		},
		{
			name: "10 ms tasks", span: 40, stage: background,
			pools: []poolPlan{{draw: task(0.008, 0.012, 0, 0, 10*mebibyte)}},
			least: 0.5 * c, most: 6 * c, share: 0.95, soon: 5,
		},
		{
			name: "60 s tasks", span: 150, stage: background, pools: []poolPlan{{draw: long}},
			least: c, most: 16 * c, share: 0.95, soon: 13,
		},
		{
			name: "cold start with 10,000 queued", span: 120, stage: background,
			pools: []poolPlan{{draw: task(0.08, 0.12, 0.5, 1.5, 10*mebibyte), tasks: 10_000}},
			least: c, most: 40 * c, share: 0.95, soon: 5,
		},
		{
			name: "bursts with idle gaps", span: 120, stage: background,
			pools: []poolPlan{{draw: task(0.08, 0.12, 0.2, 0.6, 20*mebibyte), tasks: int(80 * c), every: 20}},
			least: 0.5 * c, most: 20 * c,
		},
		{
			name: "footprint peaks at the end", span: 150, stage: background,
			pools: []poolPlan{{draw: grower(0.1, 2, 250*mebibyte, 0.4, 800*mebibyte, late)}},
			least: 3 * c, most: 50 * c,
		},
		{
			name: "server restarts midway", arbiter: byServer, span: 90, restart: 45, turns: []float64{45}, stage: background,
			pools: []poolPlan{{draw: task(0.08, 0.12, 0.5, 1.5, 20*mebibyte)}},
			least: c, most: 40 * c,
		},
	}
	variant := func(of, name string, change func(*scenario)) {
		i := slices.IndexFunc(all, func(sc scenario) bool { return sc.name == of })
		sc := all[i]
		sc.name, sc.like = name, of
		change(&sc)
		all = slices.Insert(all, i+1, sc)
	}
	variant("neighbour takes half the CPU", "neighbour takes its fair share", func(sc *scenario) {
		sc.like, sc.share = "", 0
		sc.stage = func(m *machine, seed uint64) *target {
			m.at(30, func() { m.neighbour.burners = c / 2 })
			m.at(60, func() { m.neighbour.burners = 0 })
			return background(m, seed)
		}
	})
	variant("four equal pools", "four equal pools, one process", func(sc *scenario) { sc.arbiter = byBudget })
	variant("four mixed pools", "four mixed pools, one process", func(sc *scenario) { sc.arbiter = byBudget })
	variant("target answers 429", "429, tasks without keys", func(sc *scenario) {
		sc.pools, sc.share = []poolPlan{{draw: limited}}, 0
	})
	return all
}

// bestFor returns the key of the best constant of a scenario.
func (sc *scenario) bestFor(cores int, o objective) bestKey {
	if sc.like != "" {
		return bestKey{sc.like, cores, o}
	}
	return bestKey{sc.name, cores, o}
}
