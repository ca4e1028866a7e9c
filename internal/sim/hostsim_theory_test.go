package sim

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// repeat keeps n jobs of a pool on a machine.
func (m *machine) repeat(pool, n int, draw func() jobPlan) {
	var again func(*job, fate)
	again = func(*job, fate) { m.start(pool, draw(), nil, again) }
	for range n {
		m.start(pool, draw(), nil, again)
	}
}

// productForm returns the cores that n tasks keep busy on average, and the mean run queue, that wait gamma seconds
// for each second of CPU: the probability of k+1 runnable tasks is (n-k)/(gamma min(k+1, cores)) times that of k.
func productForm(n int, cores, gamma float64) (busy, queue float64) {
	p, sum := 1.0, 0.0
	for k := range n + 1 {
		if k > 0 {
			p *= float64(n-k+1) / (gamma * min(float64(k), cores))
		}
		sum += p
		busy += p * min(float64(k), cores)
		queue += p * float64(k)
	}
	return busy / sum, queue / sum
}

// Without penalties the machine is a closed network of a processor-sharing CPU and a delay, whose throughput and
// run queue are known and do not depend on how the two times are distributed.
func TestMachineIsTheNetworkOfTheory(t *testing.T) {
	draws := map[string]func(r *rand.Rand, gamma float64) jobPlan{
		"exponential": func(r *rand.Rand, gamma float64) jobPlan {
			return jobPlan{phases: cycle(0.1*r.ExpFloat64()+1e-9, 0.1*gamma*r.ExpFloat64()+1e-9)}
		},
		"uniform": func(r *rand.Rand, gamma float64) jobPlan {
			return jobPlan{phases: cycle(uniform(r, 0.05, 0.15), 0.1*gamma*uniform(r, 0.5, 1.5))}
		},
	}
	for name, draw := range draws {
		for _, c := range []struct {
			cores, n int
			gamma    float64
		}{{2, 2, 0.5}, {2, 8, 4}, {2, 100, 75}, {2, 170, 75}, {8, 30, 4}, {8, 48, 4}, {8, 500, 75}, {32, 150, 4}} {
			m := newMachine(c.cores, gibibyte, penalty{thrashing: 1})
			r := rand.New(rand.NewPCG(1, uint64(c.n)))
			m.repeat(0, c.n, func() jobPlan { return draw(r, c.gamma) })
			m.advance(100)
			busy, queue, done := m.busy, m.queue, sumOf(m.pools[0].credits)
			length := 4000 / float64(c.cores)
			m.advance(100 + length)
			wantBusy, wantQueue := productForm(c.n, float64(c.cores), c.gamma)
			if got := (m.busy - busy) / length; math.Abs(got/wantBusy-1) > 0.02 {
				t.Errorf("%s: %d cores, n = %d, gamma = %v: %.3f cores busy, want %.3f", name, c.cores, c.n, c.gamma, got, wantBusy)
			}
			if got := (sumOf(m.pools[0].credits) - done) / length; math.Abs(got/wantBusy-1) > 0.02 {
				t.Errorf("%s: %d cores, n = %d, gamma = %v: %.3f CPU seconds done a second, want %.3f", name, c.cores, c.n, c.gamma, got, wantBusy)
			}
			if got := (m.queue - queue) / length; math.Abs(got/wantQueue-1) > 0.06 {
				t.Errorf("%s: %d cores, n = %d, gamma = %v: a run queue of %.3f, want %.3f", name, c.cores, c.n, c.gamma, got, wantQueue)
			}
		}
	}
}

func sumOf(xs []float64) (sum float64) {
	for _, x := range xs {
		sum += x
	}
	return sum
}

// Whoever is runnable gets the same share of the CPU, whatever pool it belongs to.
func TestMachineSharesTheCPUEqually(t *testing.T) {
	m := newMachine(2, gibibyte, usual)
	m.repeat(0, 1, func() jobPlan { return jobPlan{phases: cycle(0.01, 0)} })
	m.repeat(1, 3, func() jobPlan { return jobPlan{phases: cycle(7, 0)} })
	m.advance(400)
	if short, long := m.pools[0].cpu, m.pools[1].cpu; math.Abs(short-200) > 1e-6 || math.Abs(long-600) > 1e-6 {
		t.Errorf("1 of 4 runnable jobs got %v and 3 got %v of 800 CPU seconds, want 200 and 600", short, long)
	}
}

func TestMachineSharesTheCPUWithItsNeighbour(t *testing.T) {
	for name, c := range map[string]struct {
		jobs        int
		burners     float64
		apart       bool
		own, theirs float64
	}{
		"room for both":               {2, 4, true, 2, 4},
		"equals":                      {12, 4, false, 6, 2},
		"a group that needs its half": {12, 4, true, 4, 4},
		"a group that wants more":     {12, 16, true, 4, 4},
		"a group that gets more":      {2, 16, true, 2, 6},
		"a group that needs less":     {12, 1, true, 7, 1},
	} {
		m := newMachine(8, gibibyte, usual)
		m.neighbour.burners, m.neighbour.apart = c.burners, c.apart
		m.setRates()
		m.repeat(0, c.jobs, func() jobPlan { return jobPlan{phases: cycle(1, 0)} })
		m.advance(10)
		if own, all := m.pools[0].cpu/10, m.busy/10; math.Abs(own-c.own) > 1e-6 || math.Abs(all-own-c.theirs) > 1e-6 {
			t.Errorf("%s: %v and %v cores, want %v and %v", name, own, all-own, c.own, c.theirs)
		}
	}
}

// What is done is what was asked for, less by the penalty; nothing is left when all have ended.
func TestMachineConservesWorkAndMemory(t *testing.T) {
	for _, p := range []penalty{{thrashing: 1}, usual} {
		m := newMachine(4, gibibyte, p)
		r := rand.New(rand.NewPCG(7, 7))
		draw := grower(0.05, 0.3, 10*mebibyte, 0.5, 100*mebibyte, early)
		var asked float64
		ends := 0
		for range 500 {
			plan := draw(r)
			for _, ph := range plan.phases {
				asked += ph.credit
			}
			m.after(10*r.Float64(), func() { m.start(0, plan, nil, func(*job, fate) { ends++ }) })
		}
		for m.advance(10); len(m.jobs) > 0; {
			if own := m.pools[0].memory.value(m.served, m.now); math.Abs(own-m.used()) > 1 {
				t.Fatalf("at %v the jobs use %v bytes, and all of them %v", m.now, own, m.used())
			}
			m.advance(m.now + 0.1)
		}
		m.advance(m.now + 0.2)
		u := m.pools[0]
		if done := sumOf(u.credits); ends != 500 || math.Abs(done-asked) > 1e-6 {
			t.Errorf("%d jobs ended, %v CPU seconds of %v are done; want 500, all", ends, done, asked)
		}
		if lost := u.cpu/asked - 1; p == usual && (lost < 0.001 || lost > 0.5) || p != usual && math.Abs(lost) > 1e-6 {
			t.Errorf("penalty %+v: the CPU was busy for %v of the work; want no less, and more with a penalty", p, lost+1)
		}
		if m.used() != 0 || m.kills != 0 || u.runnable != 0 || u.jobs != 0 {
			t.Errorf("after all: %v bytes, %d kills, %d runnable, %d jobs; want none", m.used(), m.kills, u.runnable, u.jobs)
		}
	}
}

func TestMachineMemoryGrowsOverAJobsLife(t *testing.T) {
	m := newMachine(1, gibibyte, usual)
	plan := jobPlan{phases: cycle(1, 9)}
	plan.withMemory(100, early)
	m.start(0, plan, nil, nil)
	for _, c := range []struct{ at, want float64 }{{0, 20}, {3.5, 60}, {7, 100}, {9.9, 100}, {10.1, 0}} {
		if m.advance(c.at); math.Abs(m.used()-c.want) > 1e-6 {
			t.Errorf("after %v of 10 s: %v bytes, want %v", c.at, m.used(), c.want)
		}
	}
}

func TestMachineKillsTheLargestJobWhenMemoryIsGone(t *testing.T) {
	m := newMachine(8, 1000, penalty{thrashing: 1})
	fates := make([]fate, 3)
	for i, footprint := range []float64{300, 500, 400} {
		plan := jobPlan{}
		for range 5 {
			plan.phases = append(plan.phases, cycle(2, 0)...)
		}
		plan.withMemory(footprint, early)
		m.start(0, plan, nil, func(_ *job, how fate) { fates[i] = how })
	}
	m.advance(20)
	if want := []fate{finished, killed, finished}; m.kills != 1 || !slices.Equal(fates, want) {
		t.Errorf("%d kills, fates %v; want 1, %v", m.kills, fates, want)
	}
	if got := sumOf(m.pools[0].credits); math.Abs(got-20) > 1e-6 {
		t.Errorf("%v CPU seconds count as done, want 20: what the killed job did is lost", got)
	}
}

func TestMachineSlowsDownNearTheLimitOfMemory(t *testing.T) {
	for _, c := range []struct{ memory, want float64 }{{0.9, 1}, {0.92, 1}, {0.96, 0.2}, {0.9999, 1. / 9}} {
		m := newMachine(1, 1e6, usual)
		plan := jobPlan{phases: cycle(1, 0)}
		plan.withMemory(c.memory*1e6, flat)
		m.start(0, plan, nil, nil)
		if math.Abs(m.speed()-c.want) > 1e-3 {
			t.Errorf("speed %v with %v of memory in use, want %v", m.speed(), c.memory, c.want)
		}
	}
}

// A target takes its rate, and being asked too often costs it some of it.
func TestTargetTakesItsRate(t *testing.T) {
	for _, c := range []struct {
		n         int
		low, high float64
	}{{20, 19, 20.5}, {48, 46, 48.5}, {75, 35, 45}, {300, 15, 30}} {
		to := &target{rate: 50, burst: 50, cost: 0.3, random: rand.New(rand.NewPCG(1, 1))}
		m := newMachine(8, gibibyte, usual)
		r := rand.New(rand.NewPCG(1, 2))
		var again func(*job, fate)
		again = func(*job, fate) {
			m.start(0, jobPlan{phases: []phase{{kind: computes, amount: 0.001}, {kind: calls, amount: uniform(r, 0.5, 1.5)}}}, to, again)
		}
		for range c.n {
			again(nil, finished)
		}
		m.advance(200)
		if got := float64(to.accepted) / 200; got < c.low || got > c.high {
			t.Errorf("%d callers: %v calls a second, want %v to %v", c.n, got, c.low, c.high)
		}
	}
}

// Runs are judged by what was done, tick by tick.
func TestMarksOfARun(t *testing.T) {
	run := func(ramp float64) *record { // does one a second in the end, and reaches that in so many seconds
		r := &record{m: &machine{pools: []*usage{{}, {}}}, ticks: 600}
		var cpu float64
		for i := range 600 {
			at := float64(i+1) * tickLength
			r.backlog = append(r.backlog, at <= 50)
			r.m.crowds = append(r.m.crowds, at > 30 && at <= 33)
			r.m.pools[0].credits = append(r.m.pools[0].credits, tickLength*min(1, at/ramp))
			r.m.pools[1].credits = append(r.m.pools[1].credits, 0)
			cpu += tickLength
			r.m.pools[0].cpus = append(r.m.pools[0].cpus, cpu)
			r.m.pools[1].cpus = append(r.m.pools[1].cpus, 3*cpu)
		}
		return r
	}
	sc := &scenario{span: 60, pools: make([]poolPlan, 2)}
	got := sc.judge(run(10), run(0.1))
	// A window of 3 s that ends at s has the mean (s-1.5)/10 while it rises: 0.9 from 10.5 s on, less what is capped.
	if got.soon < 10.4 || got.soon > 11 {
		t.Errorf("nine tenths after %v s, want about 10.6", got.soon)
	}
	if math.Abs(got.share-1) > 1e-6 || math.Abs(got.crowded-3/(60-got.soon)) > 1e-6 || math.Abs(got.jain-16./20) > 1e-6 {
		t.Errorf("marks = %+v, want all of the throughput, 3 s of crowds in %v s, and an index of 0.8", got, 60-got.soon)
	}
	if got := sc.judge(run(1000), run(0.1)); !math.IsInf(got.soon, 1) || got.share > 0.06 {
		t.Errorf("marks of a run that gets nowhere = %+v", got)
	}
}
