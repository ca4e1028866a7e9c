package sim

import (
	"math"
	"math/rand/v2"
	"testing"
)

// What a constant number of tasks did on a real host: 2 virtual CPUs, a process for each task. The times that tasks
// of 20 ms took of a CPU are those that were measured there, with the start of the process.
func TestMachineDoesWhatARealHostDid(t *testing.T) {
	for _, c := range []struct {
		name      string
		n         int
		draw      func(r *rand.Rand) jobPlan
		perSecond float64 // tasks
		within    float64 // the spread of the measurements, and that of reading them
		low, high float64 // share of the time in which the run queue is over twice the cores, as far as it says much
	}{
		{"cpu", 2, task(0.104, 0.204, 0, 0, 0), 12.85, 0.03, 0, 0.01},
		{"cpu", 3, task(0.104, 0.204, 0, 0, 0), 12.9, 0.03, 0, 0.02},
		{"short", 2, task(0.0122, 0.0122, 0, 0, 0), 157, 0.05, 0, 0.01},
		{"short", 6, task(0.0122, 0.0122, 0, 0, 0), 159, 0.05, 0.9, 1},
		{"io", 58, task(0.0225, 0.0255, 1, 2, 0), 38, 0.03, 0, 0.12},
		{"io", 90, task(0.0225, 0.0255, 1, 2, 0), 58, 0.03, 0.05, 0.34},
		{"io", 150, task(0.0225, 0.0255, 1, 2, 0), 79.5, 0.03, 0.75, 1},
	} {
		m := newMachine(2, gibibyte, usual)
		r := rand.New(rand.NewPCG(3, 3))
		ends := 0
		var again func(*job, fate)
		again = func(*job, fate) { ends++; m.start(0, c.draw(r), nil, again) }
		for range c.n {
			again(nil, finished)
		}
		m.advance(20)
		before := ends
		m.advance(320)
		crowded := 0
		for _, over := range m.crowds[200:] {
			if over {
				crowded++
			}
		}
		got, over := float64(ends-before)/300, float64(crowded)/3000
		t.Logf("%s, n = %d: %.1f tasks a second, %.0f there; crowded %.0f %% of the time", c.name, c.n, got, c.perSecond, 100*over)
		if math.Abs(got/c.perSecond-1) > c.within {
			t.Errorf("%s, n = %d: %.2f tasks a second, want %.2f within %v", c.name, c.n, got, c.perSecond, c.within)
		}
		if over < c.low || over > c.high {
			t.Errorf("%s, n = %d: crowded %.3f of the time, want %v to %v", c.name, c.n, over, c.low, c.high)
		}
	}
}
