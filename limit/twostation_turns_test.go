package limit_test

import (
	"testing"
	"time"
)

// Pools that have a part of a permit take turns by what they hold, not by what they told of a window that is over: else
// all those get one together that had none then.
func TestTwoStationTakesTurnsByWhatIsHeld(t *testing.T) {
	const pools, late, steps = 6, 3, 200
	law := mustParse(t, "twostation objective=latency")
	in := busyHost(pools, 20, 2)
	var gave [steps][pools]int64
	var turns [pools]int64
	for i := range steps {
		in.At = time.Duration(i) * 500 * time.Millisecond
		d := law.Step(in)
		for k, s := range d.Shares {
			gave[i][k] = s.Limit
			p, told := &in.Pools[k], float64(gave[max(0, i-late)][k])
			p.Window, p.Leased, p.InUse, p.CPU, p.Runnable = time.Second, s.Limit, told, 0.25*told, 0.3*told
			if i >= steps/2 {
				turns[k] += s.Limit
			}
		}
		if i >= steps/2 && d.Limit > 4 {
			t.Fatalf("step %d: %d permits for %d pools on 2 cores, want at most 4", i, d.Limit, pools)
		}
	}
	for k, n := range turns {
		if n < steps/10 {
			t.Errorf("pool %d had a permit in %d of %d steps, want its turns", k, n, steps/2)
		}
	}
}
