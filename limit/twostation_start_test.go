package limit_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/limit"
)

// Tasks that begin with CPU time and then wait keep the CPU full from the first second on, with few in the queue, before
// enough of them ended to tell how long they wait.
func TestTwoStationStartsAsTheCPUTakes(t *testing.T) {
	for _, tt := range []struct {
		cores, cpu, wait float64
		busy, queue      float64 // least share of the cores in use, and most tasks at the CPU by core
	}{
		{2, 0.1, 1, 0.98, 7},
		{8, 0.1, 1, 0.97, 4},
		{32, 0.1, 1, 0.96, 4},
		{8, 0.1, 3, 0.8, 7},
		{8, 0.1, 0.4, 0.85, 4},
	} {
		m := &model{cores: tt.cores, rng: rand.New(rand.NewPCG(1, 2)), tasks: []modelPool{
			{cpu: uniform(0.8*tt.cpu, 1.2*tt.cpu), wait: uniform(0.8*tt.wait, 1.2*tt.wait), cpuFirst: true},
		}}
		law := mustParse(t, "twostation")
		m.keepUp(law, 1)
		m.area, m.tasks[0].totalCPU = 0, 0
		m.keepUp(law, 3)
		busy, queue := m.tasks[0].totalCPU/3/tt.cores, m.area/3/tt.cores
		if busy < tt.busy || queue > tt.queue {
			t.Errorf("%v cores, %v s of CPU, then %v s: %.3f of the cores busy, %.2f at the CPU by core; want at least %v and at most %v",
				tt.cores, tt.cpu, tt.wait, busy, queue, tt.busy, tt.queue)
		}
	}
}

// young steps a law of 8 cores whose first tasks have begun with a tenth of a second of CPU time, and returns what it decides
// by the third window, in which change applies.
func young(t *testing.T, text string, change func(*limit.Pool)) limit.Decision {
	t.Helper()
	law := mustParse(t, text)
	in := limit.Input{Host: limit.Host{Cores: 8}, Pools: []limit.Pool{{ID: "a", Waiting: 1000}}}
	if d := law.Step(in); d.Limit != 16 {
		t.Errorf("%+v at first, want two for each core", d)
	}
	var d limit.Decision
	for i, p := range []limit.Pool{
		{InUse: 12, Leased: 16, CPU: 4.8, Runnable: 5, Started: 8},
		{InUse: 24, Leased: 32, CPU: 6.4, Runnable: 8, Started: 16},
		{InUse: 40, Leased: 48, CPU: 7.2, Runnable: 12, Started: 16},
	} {
		p.ID, p.Waiting, p.CPUKnown, p.RunnableKnown = "a", 1000, true, true
		if i == 2 {
			change(&p)
		}
		in.At, in.Window, in.Pools = in.At+250*time.Millisecond, 250*time.Millisecond, []limit.Pool{p}
		in.Host.Busy, in.Host.BusyKnown = p.CPU, true
		d = law.Step(in)
	}
	return d
}

// While the number of tasks grows that begin with CPU time, as many start as the CPU takes, but for those that follow others,
// and for those that wait there.
func TestTwoStationFillsTheCPU(t *testing.T) {
	const throughput, latency = "twostation", "twostation objective=latency"
	for _, tt := range []struct {
		name, law string
		change    func(*limit.Pool)
		low, high int64
		binding   string
	}{
		{"as many as the CPU takes", throughput, func(*limit.Pool) {}, 64, 67, "begin with"},
		{"eight ended and were followed", throughput, func(p *limit.Pool) { p.Completed, p.Started = 8, 24 }, 58, 64, "begin with"},
		{"ten more at the CPU", throughput, func(p *limit.Pool) { p.Runnable += 10 }, 52, 60, "begin with"},
		{"fewer at the CPU than is planned", throughput, func(p *limit.Pool) { p.Runnable = 7.2 }, 62, 68, "begin with"},
		{"nothing new was told", throughput, func(p *limit.Pool) { p.Stale = true }, 48, 54, "begin with"},
		{"it is not known who waits", throughput, func(p *limit.Pool) { p.RunnableKnown = false }, 24, 48, "CPU"},
		{"few at the CPU", latency, func(*limit.Pool) {}, 40, 56, ""},
	} {
		d := young(t, tt.law, tt.change)
		if d.Limit < tt.low || d.Limit > tt.high || !strings.Contains(d.Binding, tt.binding) {
			t.Errorf("%s: %d (%s), want %d to %d by %q", tt.name, d.Limit, d.Binding, tt.low, tt.high, tt.binding)
		}
	}
}

// Of two pools the one that comes later has its part of the cores soon, whatever the first does, also where its tasks
// begin with CPU time and then wait for a second.
func TestTwoStationSharesWithWhoComesLater(t *testing.T) {
	waits := modelPool{cpu: uniform(0.015, 0.025), wait: uniform(1, 2), cpuFirst: true}
	for name, first := range map[string]modelPool{"compute": {cpu: uniform(0.1, 0.2), wait: constant(0)}, "wait": waits} {
		for _, cores := range []float64{2, 8} {
			late := waits
			late.idle = true
			m := &model{cores: cores, rng: rand.New(rand.NewPCG(1, 2)), tasks: []modelPool{first, late}}
			law := mustParse(t, "twostation")
			m.keepUp(law, 20)
			m.tasks[1].idle = false
			m.keepUp(law, 6)
			m.tasks[0].totalCPU, m.tasks[1].totalCPU = 0, 0
			m.keepUp(law, 4)
			a, b := m.tasks[0].totalCPU/4, m.tasks[1].totalCPU/4
			if a+b < 0.9*cores || b < 0.8*a || a < 0.8*b {
				t.Errorf("where the tasks of the first %s: %.2f and %.2f of %v cores from 6 s to 10 s after the second began, want nearly the same",
					name, a, b, cores)
			}
		}
	}
}
