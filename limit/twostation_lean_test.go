package limit_test

import (
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/limit"
)

// Of pools that compete for a full CPU, one that uses more of it than another does with what the model gives them both comes
// to fewer permits and the other to more; not where the CPU has time to spare, which says that something else is short.
func TestTwoStationLeansTowardsWhoHasLess(t *testing.T) {
	for _, tt := range []struct {
		name                 string
		computing, waiting   float64 // cores that the pools use
		fewer, more, exactly bool    // permits of the one that waits, in the end
	}{
		{"the one that waits has less", 1.1, 0.9, false, true, false},
		{"the one that waits has more", 0.9, 1.1, true, false, false},
		{"both have the same", 1, 1, false, false, true},
		{"the CPU has time to spare", 1, 0.8, false, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			law := mustParse(t, "twostation")
			limits := [2]int64{4, 50}
			var settled int64
			for second := 1; second <= 60; second++ {
				in := limit.Input{
					At: time.Duration(second) * time.Second, Window: time.Second,
					Host: limit.Host{
						Cores: 2, Busy: tt.computing + tt.waiting, BusyKnown: true, RunQueue: 6, RunQueueKnown: true,
					},
				}
				for i, cpu := range []float64{tt.computing, tt.waiting} {
					const gamma = 50
					p := limit.Pool{
						ID: string(rune('a' + i)), InUse: float64(limits[i]), Leased: limits[i], Waiting: 100, CPU: cpu, CPUKnown: true,
						Runnable: float64(limits[i]), RunnableKnown: true, Started: 20, Completed: 20,
					}
					if i == 1 {
						p.Runnable = p.InUse - gamma*cpu // so that nothing is learned of the tasks that was not known
					}
					in.Pools = append(in.Pools, p)
				}
				d := law.Step(in)
				limits = [2]int64{d.Shares[0].Limit, d.Shares[1].Limit}
				if second == 5 {
					settled = limits[1]
				}
			}
			switch got := limits[1]; {
			case tt.fewer && got >= settled, tt.more && got <= settled, tt.exactly && (got < settled-1 || got > settled+1):
				t.Errorf("%d permits for the one that waits, %d at first", got, settled)
			}
		})
	}
}
