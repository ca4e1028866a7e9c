package limit_test

import (
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/limit"
)

// While the number of tasks that begin with CPU time doubles again and again, that time is in proportion to what runs as well,
// and some of what starts has it only in the next window. The number is then not bounded by how long those wait that have not
// come back yet. The windows are of commands on a real host.
func TestTwoStationTellsDoublingFromSteadyUse(t *testing.T) {
	law := mustParse(t, "twostation")
	in := limit.Input{Host: limit.Host{Cores: 2}, Pools: []limit.Pool{{ID: "a", Waiting: 1000}, {ID: "b", Waiting: 1000}}}
	law.Step(in)
	for i, w := range []struct {
		window             time.Duration
		inUse              float64
		leased             int64
		cpu, runnable      float64
		started, completed int64
		least              int64
	}{
		{400 * time.Millisecond, 1.27, 1, 0.12, 0.23, 1, 0, 0},
		{400 * time.Millisecond, 3.10, 4, 0.18, 0.38, 3, 0, 0},
		{200 * time.Millisecond, 5.04, 5, 0.10, 0.22, 1, 0, 0},
		{200 * time.Millisecond, 7.15, 9, 0.11, 0.29, 5, 1, 15},
		{200 * time.Millisecond, 11.72, 13, 0.67, 2.11, 4, 0, 22},
		{200 * time.Millisecond, 14.90, 21, 0.45, 1.48, 9, 1, 30},
		{200 * time.Millisecond, 22.48, 22, 0.81, 2.79, 2, 1, 29},
		{200 * time.Millisecond, 23.59, 23, 0.18, 0.83, 1, 0, 30},
	} {
		in.At, in.Window = in.At+w.window, w.window
		in.Host.Busy, in.Host.BusyKnown = 2, true
		in.Pools = []limit.Pool{
			{
				ID: "a", InUse: w.inUse, Leased: w.leased, Waiting: 1000, Started: w.started, Completed: w.completed,
				CPU: w.cpu, CPUKnown: true, Runnable: w.runnable, RunnableKnown: true,
			},
			{
				ID: "b", InUse: 3, Leased: 3, Waiting: 1000, Started: 2, Completed: 2,
				CPU: 2 - w.cpu, CPUKnown: true, Runnable: 3, RunnableKnown: true,
			},
		}
		if s := law.Step(in).Shares[0]; s.Limit < w.least {
			t.Errorf("window %d, with %d: limit %d, want at least %d (%s)", i, w.leased, s.Limit, w.least, s.Binding)
		}
	}
}
