package limit_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/limit"
)

// handedOver returns the limits of a pool before another began, whose permits use that many cores each, and after each of
// the next steps of 200 ms. Of the pool a fifth ends in a step.
func handedOver(law limit.Law, cores float64, steps int) []int64 {
	const step = 200 * time.Millisecond
	n, m := settle(law, 0, 60, mib).Limit, int64(0)
	limits := []int64{n}
	in := steady(60*time.Second+step, n, mib)
	for in.Window = 0; len(limits) <= steps; in.At, in.Window = in.At+step, step {
		old, young := min(0.09*float64(n), 8-cores*float64(m)), cores*float64(m)
		in.Host.Busy, in.Host.RunQueue = old+young, old+young
		in.Pools = []limit.Pool{
			{
				ID: "a", InUse: float64(n), Leased: n, Waiting: 1000, Started: n / 5, Completed: n / 5,
				CPU: old, CPUKnown: true, Runnable: old, RunnableKnown: true,
			},
			{
				ID: "young", InUse: float64(m), Leased: m, Waiting: 1000, Started: m,
				CPU: young, CPUKnown: true, Runnable: young, RunnableKnown: true,
			},
		}
		d := law.Step(in)
		n, m = d.Shares[0].Limit, d.Shares[1].Limit
		limits = append(limits, n)
	}
	return limits
}

// A pool gives way to one that begins over some steps, and goes on with some of what ends meanwhile: with none, the cores
// would be idle until the other has grown, and then both would start many at once.
func TestTwoStationHandsOver(t *testing.T) {
	for _, text := range []string{"twostation", "twostation objective=latency"} {
		limits := handedOver(mustParse(t, text), 0.01, 15)
		for i, n := range limits[1:4] {
			if last := limits[i]; n > last || n < last-last/10 {
				t.Errorf("%s: %v, want less in step %d, but by at most half of what ended", text, limits, i+1)
			}
		}
		if first, last := limits[0], limits[15]; last > first*6/10 {
			t.Errorf("%s: %v, want about half in the end", text, limits)
		}
	}
}

// It gives way at once to one that has all the permits its share of the cores takes, and within a second to any.
func TestTwoStationHandsOverAtOnce(t *testing.T) {
	for text, step := range map[string]int{"twostation": 5, "twostation objective=latency": 2} {
		if limits := handedOver(mustParse(t, text), 0.9, step); limits[step] > limits[0]*2/3 {
			t.Errorf("%s: %v, want little over half in step %d", text, limits, step)
		}
	}
}

// In its first seconds a pool that grew too far comes down in the same way.
func TestTwoStationComesDownSlowly(t *testing.T) {
	const step = 200 * time.Millisecond
	law := mustParse(t, "twostation")
	in := limit.Input{Host: limit.Host{Cores: 2}, Pools: []limit.Pool{{ID: "a", Waiting: 1000}}}
	n := law.Step(in).Limit
	fell := false
	for in.At = step; in.At < 2*time.Second; in.At += step {
		in.Window = step
		cpu, atCPU := min(2, 0.1*float64(n)), 0.1*float64(n)
		if in.At > time.Second {
			cpu, atCPU = 2, 0.8*float64(n) // they wait much less than it seemed
		}
		in.Host.Busy, in.Host.BusyKnown = cpu, true
		in.Pools = []limit.Pool{{
			ID: "a", InUse: float64(n), Leased: n, Waiting: 1000, Started: n / 5, Completed: n / 10,
			CPU: cpu, CPUKnown: true, Runnable: atCPU, RunnableKnown: true,
		}}
		before := n
		n = law.Step(in).Limit
		if n < before-1-before/20 {
			t.Errorf("%v: from %d to %d, want less by no more than half of the %d that ended", in.At, before, n, before/10)
		}
		fell = fell || n < before
	}
	if !fell {
		t.Errorf("%d permits, and never less", n)
	}
}

// Nobody is held up for longer than a second, neither by a pool that waits and never begins nor by one that begins after the
// other.
func TestTwoStationHandsOverForASecond(t *testing.T) {
	const step = 200 * time.Millisecond
	waits := func(i int) limit.Pool { return limit.Pool{ID: fmt.Sprint(i), Waiting: 10} }
	capped := waits(0)
	capped.Max = 1
	for name, others := range map[string]func(step int) []limit.Pool{
		"a pool that never begins": func(int) []limit.Pool { return []limit.Pool{capped} },
		"one after the other": func(step int) []limit.Pool {
			pools := []limit.Pool{waits(step + 1)}
			for i := range step {
				p := waits(i + 1)
				p.InUse, p.Leased, p.Started, p.CPU, p.CPUKnown = 1, 1, 1, 0.1, true
				pools = append(pools, p)
			}
			return pools
		},
	} {
		for _, text := range []string{"twostation", "twostation objective=latency"} {
			law := mustParse(t, text)
			before := settle(law, 0, 60, mib).Limit
			in := steady(60*time.Second+step, before, mib)
			n := before
			for i := 0; i < 8; i, in.At = i+1, in.At+step {
				in.Window = step
				in.Pools = append([]limit.Pool{{
					ID: "a", InUse: float64(n), Leased: n, Waiting: 1000, Started: n / 50, Completed: n / 50,
					CPU: 4, CPUKnown: true, Runnable: 4, RunnableKnown: true,
				}}, others(i)...)
				n = law.Step(in).Shares[0].Limit
			}
			if n > before*6/10 {
				t.Errorf("%s, %s: %d permits, %d before, want about half at most", name, text, n, before)
			}
		}
	}
}
