package limit_test

import (
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/limit"
)

// That tasks use no CPU at first is not concluded from one short window in which a sensor saw none: the number of tasks that
// do would then grow only as populations end.
func TestTwoStationWaitsForTheFirstCPUTime(t *testing.T) {
	last := func(first float64) int64 {
		law := mustParse(t, "twostation")
		in := limit.Input{Host: limit.Host{Cores: 2}, Pools: []limit.Pool{{ID: "a", Waiting: 1000}}}
		n := law.Step(in).Limit
		for i := range 8 {
			cpu := 0.3 + 0.1*float64(i)
			if i == 0 {
				cpu = first
			}
			in.At, in.Window = in.At+200*time.Millisecond, 200*time.Millisecond
			in.Host.Busy, in.Host.BusyKnown = cpu, true
			in.Pools = []limit.Pool{{
				ID: "a", InUse: float64(n), Leased: n, Waiting: 1000, CPU: cpu, CPUKnown: true, Runnable: cpu, RunnableKnown: true, Started: 4,
			}}
			n = law.Step(in).Limit
		}
		return n
	}
	if got, want := last(0.0001), last(0.3); 2*got < want {
		t.Errorf("%d permits after a first window without CPU time, %d after one with some", got, want)
	}
}
