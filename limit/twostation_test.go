package limit_test

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/limit"
)

// The law finds the capacity of a model host by itself, keeps it, and shares it.
func TestTwoStationFindsTheCapacity(t *testing.T) {
	web := modelPool{cpu: exponential(0.02), wait: uniform(1, 2), cpuFirst: true}
	late := modelPool{cpu: exponential(0.02), wait: uniform(1, 2)}
	for _, tt := range []struct {
		name      string
		objective limit.Objective
		cores     float64
		pools     []modelPool
		busy      float64 // least share of the cores in use
		queue     float64 // most tasks at the CPU on average, by core
		crowded   float64 // most of the time over twice the cores
	}{
		{"compute on 2 cores", limit.Throughput, 2, []modelPool{{cpu: uniform(0.1, 0.2), wait: constant(0)}}, 0.999, 1.01, 0},
		{"compute on 32 cores", limit.Latency, 32, []modelPool{{cpu: uniform(0.1, 0.2), wait: constant(0)}}, 0.999, 1.01, 0},
		{"waits on 2 cores", limit.Throughput, 2, []modelPool{web}, 0.94, 9, 1},
		{"waits on 8 cores", limit.Throughput, 8, []modelPool{web}, 0.95, 4, 1},
		{"waits on 8 cores, few in the queue", limit.Latency, 8, []modelPool{web}, 0.6, 1, 0.03},
		{"waits first", limit.Throughput, 8, []modelPool{late}, 0.94, 5, 1},
		{"short tasks", limit.Throughput, 8, []modelPool{{cpu: uniform(0.005, 0.015), wait: uniform(0.0005, 0.0015)}}, 0.95, 1.2, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := &model{cores: tt.cores, rng: rand.New(rand.NewPCG(1, 2)), tasks: tt.pools}
			law, err := limit.NewTwoStation(limit.TwoStation{Objective: tt.objective})
			if err != nil {
				t.Fatal(err)
			}
			m.follow(law, 30, nil)
			m.area, m.crowded, m.tasks[0].totalCPU = 0, 0, 0
			const seconds = 40
			m.follow(law, seconds, nil)
			busy, queue := m.tasks[0].totalCPU/seconds/tt.cores, m.area/seconds/tt.cores
			if busy < tt.busy || queue > tt.queue || m.crowded/seconds > tt.crowded {
				t.Errorf("%.3f of the cores busy, %.2f at the CPU by core, crowded for %.3f of the time; want at least %v, at most %v and %v",
					busy, queue, m.crowded/seconds, tt.busy, tt.queue, tt.crowded)
			}
		})
	}
}

// hidesQueue hides from a law how many tasks run or wait for a CPU.
type hidesQueue struct{ limit.Law }

func (l hidesQueue) Step(in limit.Input) limit.Decision {
	in.Host.RunQueueKnown = false
	for i := range in.Pools {
		in.Pools[i].RunnableKnown = false
	}
	return l.Law.Step(in)
}

// A CPU that is full tells nothing of who waits for it, yet the law finds out how few keep it so, from either side.
func TestTwoStationWithoutTheQueue(t *testing.T) {
	for name, tt := range map[string]struct {
		tasks modelPool
		queue float64 // most tasks at the CPU on average, by core
	}{
		"compute": {modelPool{cpu: uniform(0.1, 0.2), wait: constant(0)}, 4},
		"wait":    {modelPool{cpu: exponential(0.02), wait: uniform(0.2, 0.4), cpuFirst: true}, 6},
	} {
		t.Run(name, func(t *testing.T) {
			m := &model{cores: 8, rng: rand.New(rand.NewPCG(1, 2)), tasks: []modelPool{tt.tasks}}
			m.tasks[0].limit = 200
			m.run(1)
			law := hidesQueue{mustParse(t, "twostation")}
			m.follow(law, 60, nil)
			m.area, m.tasks[0].totalCPU = 0, 0
			m.follow(law, 40, nil)
			busy, queue := m.tasks[0].totalCPU/40/8, m.area/40/8
			if busy < 0.93 || queue > tt.queue {
				t.Errorf("%.3f of the cores busy, %.2f at the CPU by core, want at least 0.93 and at most %v", busy, queue, tt.queue)
			}
		})
	}
}

// Cores are shared, not permits: pools of very different tasks get the same of them, soon.
func TestTwoStationSharesCores(t *testing.T) {
	m := &model{cores: 8, rng: rand.New(rand.NewPCG(1, 2)), tasks: []modelPool{
		{cpu: uniform(0.1, 0.2), wait: constant(0)},
		{cpu: exponential(0.02), wait: uniform(0.5, 1), cpuFirst: true},
		{cpu: uniform(0.005, 0.015), wait: uniform(0.01, 0.03)},
		{cpu: exponential(0.1), wait: uniform(0.3, 0.5)},
	}}
	law := mustParse(t, "twostation")
	m.follow(law, 8, nil)
	for i := range m.tasks {
		m.tasks[i].totalCPU = 0
	}
	m.follow(law, 20, nil)
	var sum, squares float64
	for i := range m.tasks {
		x := m.tasks[i].totalCPU
		sum += x
		squares += x * x
	}
	if jain := sum * sum / 4 / squares; jain < 0.99 || sum/20 < 7.6 {
		t.Errorf("Jain's index %.3f with %.2f cores in use, want at least 0.99 and 7.6", jain, sum/20)
	}
}

// A neighbour that takes half of the CPU costs half of the limit at once, and nothing once it has left.
func TestTwoStationFollowsANeighbour(t *testing.T) {
	m := &model{cores: 8, rng: rand.New(rand.NewPCG(1, 2)), tasks: []modelPool{{cpu: uniform(0.1, 0.2), wait: constant(0)}}}
	law := mustParse(t, "twostation")
	var got []int64
	record := func(_ limit.Input, d limit.Decision) { got = append(got, d.Limit) }
	m.follow(law, 5, nil)
	m.others = 4
	m.follow(law, 4, record)
	m.others = 0
	m.follow(law, 4, record)
	if got[1] > 6 || got[3] > 5 || got[5] < 7 || got[7] != 8 {
		t.Errorf("limits %d, want about 4 a second after the neighbour came, and 8 after it left", got)
	}
}

// steady is a window of a host of 8 cores and 16 GiB on which one pool has n permits in use, each of which waits nine
// times its CPU time, and as much memory as it is given.
func steady(at time.Duration, n int64, memory int64) limit.Input {
	u := min(float64(n)/10, 7.9)
	return limit.Input{
		At: at, Window: time.Second,
		Host: limit.Host{Cores: 8, Busy: u, BusyKnown: true, RunQueue: u, RunQueueKnown: true, MemoryUsed: 1<<30 + memory, MemoryTotal: 16 << 30},
		Pools: []limit.Pool{{
			ID: "a", InUse: float64(n), Leased: n, Waiting: 1000, CPU: u, CPUKnown: true, Runnable: u, RunnableKnown: true,
			Memory: memory, MemoryKnown: true, Started: n, Completed: n, Duration: time.Second, Grown: 0.825 * float64(n), Calls: 100,
		}},
	}
}

// settle steps a law for a while, with all that it gives in use, and returns the last decision.
func settle(law limit.Law, from, to int, footprint int64) limit.Decision {
	d := limit.Decision{Limit: 8}
	for i := from; i < to; i++ {
		n := max(d.Limit, 1)
		d = law.Step(steady(time.Duration(i)*time.Second, n, int64(0.825*float64(n))*footprint))
	}
	return d
}

const mib = 1 << 20

func TestTwoStationRules(t *testing.T) {
	t.Run("a rise is paced and a fall is not", func(t *testing.T) {
		law := mustParse(t, "twostation")
		d := settle(law, 0, 1, mib)
		if d.Pace <= 0 || d.From >= d.Limit || d.After(0) >= d.Limit || d.After(d.Pace) != d.Limit {
			t.Errorf("%+v: want a rise over a time", d)
		}
		in := steady(5*time.Second, d.Limit, mib)
		in.Host.MemoryUsed = 16 << 30 * 97 / 100
		in.Pools[0].Memory = 10 << 30
		if fall := law.Step(in); fall.Limit >= d.Limit || fall.After(0) != fall.Limit {
			t.Errorf("%+v after %d: want a fall at once", fall, d.Limit)
		}
	})
	t.Run("the first windows are short, whatever the clock says", func(t *testing.T) {
		const short = 150 * time.Millisecond
		law := mustParse(t, "twostation")
		in := limit.Input{At: time.Hour, Host: limit.Host{Cores: 2}, Pools: []limit.Pool{{ID: "a"}}}
		first := law.Step(in).Next
		in.At, in.Window = in.At+time.Second, time.Second
		idle := law.Step(in).Next
		in.Pools[0].Waiting = 9
		if waits := law.Step(in).Next; first != short || idle != 0 || waits != short {
			t.Errorf("the next step in %v, %v while nothing runs, and %v where work waits; want %v, 0 and %v", first, idle, waits, short, short)
		}
	})
	t.Run("a host on which nothing runs gives what its cores start with", func(t *testing.T) {
		law := mustParse(t, "twostation")
		law.Step(limit.Input{Host: limit.Host{Cores: 2}})
		if got := law.Step(limit.Input{At: time.Second, Window: time.Second, Host: limit.Host{Cores: 32}}); got.Limit != 64 {
			t.Errorf("%+v, want two for each of 32 cores", got)
		}
	})
	t.Run("a decision without a pace holds at any time", func(t *testing.T) {
		d := limit.Decision{Limit: 9, From: 3, Shares: []limit.Share{{Limit: 9, From: 3}}}
		for _, elapsed := range []time.Duration{-time.Second, 0, time.Second} {
			if d.After(elapsed) != 9 || d.ShareAfter(0, elapsed) != 9 {
				t.Errorf("%v after: %d and %d, want 9", elapsed, d.After(elapsed), d.ShareAfter(0, elapsed))
			}
		}
	})
	t.Run("no more than four times as many in a window", func(t *testing.T) {
		law := mustParse(t, "twostation")
		law.Step(limit.Input{Host: limit.Host{Cores: 2}, Pools: []limit.Pool{{ID: "a", Waiting: 9}}})
		in := steady(time.Second, 2, 0)
		in.Host.Cores, in.Pools[0].Completed = 2, 0
		if got := law.Step(in); got.Limit > 8 || !strings.Contains(got.Binding, "growth") {
			t.Errorf("%+v, want at most 8, by growth", got)
		}
	})
	t.Run("nothing is learned twice", func(t *testing.T) {
		law, again := mustParse(t, "twostation"), mustParse(t, "twostation")
		settle(law, 0, 1, mib)
		settle(again, 0, 1, mib)
		in := steady(2*time.Second, 30, mib)
		in.Pools[0].CPU, in.Host.Busy = 2, 2
		law.Step(in)
		for range 5 {
			again.Step(in)
			in.Pools[0].Stale = true
		}
		in = steady(3*time.Second, 30, mib)
		if want, got := law.Step(in).Limit, again.Step(in).Limit; got != want {
			t.Errorf("%d after a window that was seen five times, %d after it was seen once", got, want)
		}
	})
	t.Run("a pool's own window counts for it", func(t *testing.T) {
		law, own := mustParse(t, "twostation"), mustParse(t, "twostation")
		settle(law, 0, 5, mib)
		settle(own, 0, 5, mib)
		in := steady(6*time.Second, 30, mib)
		in.Pools[0].CPU, in.Host.Busy = 2, 2
		want := law.Step(in).Limit
		in.Window, in.Pools[0].Window = 300*time.Millisecond, time.Second
		if got := own.Step(in).Limit; got != want {
			t.Errorf("%d, want %d, as by a step as long", got, want)
		}
	})
	t.Run("without a backlog it stays", func(t *testing.T) {
		law := mustParse(t, "twostation")
		before := settle(law, 0, 1, mib).Limit
		in := steady(5*time.Second, before, mib)
		in.Pools[0].Waiting = 0
		if got := law.Step(in); got.Limit != before || !strings.Contains(got.Binding, "no task waits") {
			t.Errorf("%+v, want no more than %d", got, before)
		}
	})
	t.Run("what is capped by the minute is no backlog", func(t *testing.T) {
		law := mustParse(t, "twostation")
		before := settle(law, 0, 1, mib).Limit
		in := steady(5*time.Second, before, mib)
		in.Pools[0].Capped = true
		if got := law.Step(in); got.Limit != before {
			t.Errorf("%+v, want %d", got, before)
		}
	})
	t.Run("memory binds", func(t *testing.T) {
		law := mustParse(t, "twostation")
		d := settle(law, 0, 60, 400*mib)
		if d.Limit > 14<<30/(400*mib*825/1000) || d.Limit < 20 || !strings.Contains(d.Binding, "memory") ||
			d.Shares[0].Footprint < 350*mib || d.Shares[0].Footprint > 450*mib {
			t.Errorf("%+v, want what 400 MiB a task leave of 16 GiB", d)
		}
	})
	t.Run("of tasks that take all at once it does not matter how many are young", func(t *testing.T) {
		even := settle(mustParse(t, "twostation"), 0, 200, 400*mib).Limit
		law, d, rng := mustParse(t, "twostation"), limit.Decision{Limit: 8}, rand.New(rand.NewPCG(1, 1))
		for i := range 200 {
			in := steady(time.Duration(i)*time.Second, d.Limit, int64(0.825*float64(d.Limit))*400*mib)
			in.Pools[0].Grown *= 0.8 + 0.4*rng.Float64()
			d = law.Step(in)
		}
		if d.Limit < even*95/100 || d.Limit > even*105/100 {
			t.Errorf("%d where ages vary, want about %d", d.Limit, even)
		}
	})
	t.Run("what is read of others at another time than of the pools changes little", func(t *testing.T) {
		even := settle(mustParse(t, "twostation"), 0, 60, 400*mib).Limit
		law, d, rng := mustParse(t, "twostation"), limit.Decision{Limit: 8}, rand.New(rand.NewPCG(2, 2))
		for i := range 60 {
			in := steady(time.Duration(i)*time.Second, d.Limit, int64(0.825*float64(d.Limit))*400*mib)
			in.Host.MemoryUsed += int64((rng.Float64() - 0.5) * 1.6 * float64(1<<30))
			if d = law.Step(in); i > 30 && (d.Limit < even*93/100 || d.Limit > even*106/100) {
				t.Errorf("after %d s: %d, want about %d", i, d.Limit, even)
			}
		}
	})
	t.Run("what others take at a leap counts from the second window", func(t *testing.T) {
		law, d := mustParse(t, "twostation"), limit.Decision{Limit: 8}
		step := func(second int, others int64) int64 {
			in := steady(time.Duration(second)*time.Second, d.Limit, int64(0.825*float64(d.Limit))*400*mib)
			in.Host.MemoryUsed += others
			d = law.Step(in)
			return d.Limit
		}
		for i := range 60 {
			step(i, 3<<30)
		}
		before := d.Limit
		if once := step(60, 0); once != before {
			t.Errorf("from %d to %d by one window", before, once)
		}
		if twice := step(61, 0); twice < before+2 {
			t.Errorf("%d after two windows with 3 GiB less of others, before %d", twice, before)
		}
	})
	t.Run("what others will take while a task lives is left free", func(t *testing.T) {
		const grown = 6 << 30
		limits := func(others func(second int64) int64) int64 {
			law, d := mustParse(t, "twostation"), limit.Decision{Limit: 8}
			for i := range int64(25) {
				in := steady(time.Duration(i)*time.Second, d.Limit, int64(0.825*float64(d.Limit))*400*mib)
				in.Host.MemoryUsed += others(i)
				d = law.Step(in)
			}
			return d.Limit
		}
		still := limits(func(int64) int64 { return grown })
		growing := limits(func(second int64) int64 { return second * grown / 24 })
		if growing > still-1 || growing < still*8/10 {
			t.Errorf("%d while others grow by 256 MiB a second, want somewhat less than the %d of others that have grown", growing, still)
		}
	})
	t.Run("the gate counts what tasks will still take", func(t *testing.T) {
		law := mustParse(t, "twostation")
		d := settle(law, 0, 60, 400*mib)
		young := d.Shares[0].Growth(d.Limit, 0.3*float64(d.Limit))
		if young <= 0 || d.Shares[0].Growth(d.Limit, float64(d.Limit)) != 0 {
			t.Errorf("growth of the young %d, want over 0, and 0 of the grown", young)
		}
		if !d.Gate.Open(d.Gate.Line-young, young) || d.Gate.Open(d.Gate.Line-young+1, young) {
			t.Errorf("gate %+v does not shut at use and growth over the line", d.Gate)
		}
		if d.Gate.Line > 16<<30*9/10 {
			t.Errorf("line %d, want at most nine tenths of memory", d.Gate.Line)
		}
	})
	t.Run("a kill lowers the line a little, and it is forgiven", func(t *testing.T) {
		law := mustParse(t, "twostation")
		before := settle(law, 0, 60, 400*mib)
		in := steady(61*time.Second, before.Limit, int64(0.825*float64(before.Limit))*400*mib)
		in.Host.Kills = 1
		after := law.Step(in)
		if after.Limit < before.Limit*7/10 || after.Limit > before.Limit*8/10 || after.Gate.Line >= before.Gate.Line {
			t.Errorf("from %+v to %+v, want about three quarters and a lower line", before, after)
		}
	})
	t.Run("critical memory halves", func(t *testing.T) {
		law := mustParse(t, "twostation")
		before := settle(law, 0, 60, 400*mib).Limit
		in := steady(61*time.Second, before, 12<<30)
		in.Host.Stalled, in.Host.StalledKnown = 0.6, true
		if got := law.Step(in); got.Limit > before/2+1 || !strings.Contains(got.Binding, "critical") {
			t.Errorf("%+v after %d, want half", got, before)
		}
	})
	t.Run("two readings at once decide nothing", func(t *testing.T) {
		law := mustParse(t, "twostation objective=latency")
		before := settle(law, 0, 60, mib).Limit
		for i := range 5 {
			in := steady(60*time.Second+time.Duration(i)*time.Millisecond, before, mib)
			in.Window, in.Host.RunQueue, in.Host.Crowded, in.Pools[0].Runnable = 10*time.Millisecond, 100, 1, 100
			if got := law.Step(in).Limit; got < before-1 {
				t.Errorf("from %d to %d by a window of 10 ms", before, got)
			}
		}
	})
	t.Run("refusals make a ceiling that is searched by halves", func(t *testing.T) {
		law := mustParse(t, "twostation")
		n := settle(law, 0, 20, mib).Limit
		var highest int64
		const allowed = 30
		for i := 20; i < 200; i++ {
			in := steady(time.Duration(i)*time.Second, n, mib)
			if n > allowed {
				in.Pools[0].Throttled = (n - allowed) * 3
			}
			d := law.Step(in)
			if n = d.Limit; i > 60 {
				highest = max(highest, n)
			}
			if i == 60 && (n < allowed*8/10 || !strings.Contains(d.Binding, "too many requests")) {
				t.Errorf("after 40 s: %+v, want near %d", d, allowed)
			}
		}
		if highest > allowed*12/10 {
			t.Errorf("up to %d, where %d are allowed", highest, allowed)
		}
	})
	t.Run("refusals count against what was at work before them", func(t *testing.T) {
		law := mustParse(t, "twostation")
		before := settle(law, 0, 60, mib).Limit
		in := steady(60*time.Second, before, mib)
		p := &in.Pools[0]
		p.Throttled, p.Calls = 2, before
		p.InUse, p.Leased = p.InUse/2, before/4 // which it has held back since
		if got := law.Step(in).Limit; got < before*8/10 {
			t.Errorf("from %d to %d by two refusals, want nine tenths", before, got)
		}
	})
	t.Run("others that use no end of cores are forgotten", func(t *testing.T) {
		law := mustParse(t, "twostation")
		before := settle(law, 0, 60, mib).Limit
		for i := range 10 {
			in := steady(time.Duration(60+i)*time.Second, before, mib)
			if in.Host.OthersKnown = true; i < 3 {
				in.Host.Others = math.Inf(1)
			}
			if got := law.Step(in); i == 9 && (got.Limit < before*9/10 || got.Limit > before*11/10) {
				t.Errorf("from %d to %d (%s)", before, got.Limit, got.Binding)
			}
		}
	})
	t.Run("weights and bounds", func(t *testing.T) {
		law := mustParse(t, "twostation")
		in := busyHost(3, 60, 8)
		in.Pools[0].Weight, in.Pools[1].Min, in.Pools[2].Max = 3, 20, 4
		var d limit.Decision
		for i := range 30 {
			in.At = time.Duration(i) * time.Second
			d = law.Step(in)
		}
		if d.Shares[0].Limit < 2*d.Shares[2].Limit || d.Shares[1].Limit < 20 || d.Shares[2].Limit > 4 {
			t.Errorf("%+v, want by weight, at least 20 and at most 4", d.Shares)
		}
	})
	t.Run("without a reading of the run queue a busy CPU is no reason to grow", func(t *testing.T) {
		law := mustParse(t, "twostation")
		n := int64(8)
		for i := range 20 {
			in := steady(time.Duration(i)*time.Second, n, mib)
			in.Host.RunQueueKnown, in.Pools[0].RunnableKnown = false, false
			in.Host.Busy, in.Pools[0].CPU = 8, 8 // tasks that only compute
			n = law.Step(in).Limit
		}
		if n > 16 {
			t.Errorf("%d on 8 cores, want at most 16", n)
		}
	})
	t.Run("many pools on few cores take turns", func(t *testing.T) {
		law := mustParse(t, "twostation")
		in := busyHost(20, 20, 2)
		had := make([]int64, 20)
		for i := range 100 {
			in.At = time.Duration(i) * time.Second
			d := law.Step(in)
			for k, s := range d.Shares {
				had[k] += s.Limit
				in.Pools[k].InUse, in.Pools[k].Leased = float64(s.Limit), s.Limit
				in.Pools[k].CPU, in.Pools[k].Runnable = 2*float64(s.Limit)/float64(d.Limit), float64(s.Limit)
			}
			if i > 20 && d.Limit > 6 {
				t.Fatalf("step %d: %d on 2 cores, want at most 6", i, d.Limit)
			}
		}
		for k, n := range had {
			if n < 5 {
				t.Errorf("pool %d had %d permit-seconds of 100 s, want its turns", k, n)
			}
		}
	})
	t.Run("more cores are never fewer permits", func(t *testing.T) {
		var last int64
		for _, cores := range []float64{1, 2, 4, 8, 16, 64} {
			law := mustParse(t, "twostation")
			var d limit.Decision
			for i := range 40 {
				in := busyHost(1, 100, cores)
				in.At = time.Duration(i) * time.Second
				in.Pools[0].CPU, in.Pools[0].Runnable, in.Host.Busy, in.Host.RunQueue = cores/2, cores/2, cores/2, cores/2
				in.Pools[0].InUse, in.Pools[0].Leased = 10*cores, int64(10*cores)
				d = law.Step(in)
			}
			if d.Limit < last {
				t.Errorf("%v cores: %d, fewer than %d", cores, d.Limit, last)
			}
			last = d.Limit
		}
	})
}

func TestTwoStationRefuses(t *testing.T) {
	_, err := limit.NewTwoStation(limit.TwoStation{Objective: "speed", Busy: 1, Crowded: -1, Margin: 11, Memory: 0.99})
	for _, want := range []string{"objective:", "busy:", "crowded:", "margin:", "memory:"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one that names %s", err, want)
		}
	}
}
