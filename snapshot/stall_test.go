package snapshot_test

import (
	"runtime/metrics"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

func TestStallIsADelayAndASuspendIsNot(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		name       string
		config     snapshot.Config
		gap, awake time.Duration
		lag        time.Duration
		over, cut  bool
	}{
		{"a short stall", snapshot.Config{}, 1501 * ms, 1501 * ms, 1001 * ms, true, false},
		{"a long stall", snapshot.Config{}, time.Minute, time.Minute, time.Minute - 500*ms, true, false},
		{"a stall of a short interval", snapshot.Config{EventLoopInterval: 50 * ms}, 151 * ms, 151 * ms, 101 * ms, true, false},
		{"a stall under a high limit", snapshot.Config{MaxEventLoopDelay: 2 * time.Second}, 2 * time.Second, 2 * time.Second, 1500 * ms, false, false},
		{"a stall over a high limit", snapshot.Config{MaxEventLoopDelay: 2 * time.Second}, 3 * time.Second, 3 * time.Second, 2500 * ms, true, false},
		{"a suspend", snapshot.Config{}, time.Hour, 500 * ms, 0, false, true},
		{"a stall on waking up", snapshot.Config{}, time.Hour, 3 * time.Second, 0, false, true},
		{"clocks an interval apart", snapshot.Config{}, 3 * time.Second, 2500 * ms, 2500 * ms, true, false},
		{"clocks more than that apart", snapshot.Config{}, 3 * time.Second, 2499 * ms, 0, false, true},
		{"a clock that goes back", snapshot.Config{}, -time.Second, 500 * ms, 0, false, true},
	} {
		loop := newTrack(t, tt.config, snapshot.SignalEventLoop)
		start := time.Now()
		loop.Read(time.Hour, snapshot.Snapshot{Time: start}, nil)
		got := loop.Read(time.Hour+tt.gap, snapshot.Snapshot{Time: start.Add(tt.awake)}, nil)
		if got.EventLoop.TimerLag != tt.lag || got.Overloaded != tt.over || got.Discontinuity != tt.cut {
			t.Errorf("%s: lag %v, overloaded=%v, discontinuity=%v; want %v, %v, %v",
				tt.name, got.EventLoop.TimerLag, got.Overloaded, got.Discontinuity, tt.lag, tt.over, tt.cut)
		}
	}
}

func TestOtherSignalsDoNotBillAGap(t *testing.T) {
	cpu := newTrack(t, snapshot.Config{}, snapshot.SignalCPU)
	start := time.Now()
	cpu.Read(0, snapshot.Snapshot{Time: start}, nil)
	if got := cpu.Read(at(3.001), snapshot.Snapshot{Time: start.Add(at(3.001))}, nil); !got.Discontinuity {
		t.Error("a source that hung for more than three intervals is no discontinuity")
	}
}

// The stall stands in for a machine so loaded that the sampler seldom gets the CPU.
func TestStarvedSamplerIsOverloaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := snapshot.New(snapshot.Config{Sources: calm()})
		if err != nil {
			t.Fatal(err)
		}
		s.WithScheduler(func() *metrics.Float64Histogram {
			time.Sleep(2 * time.Second)
			return nil
		})
		stop := run(t, s)
		defer stop()
		sleep(30*time.Second + time.Millisecond)
		v := view(t, s)
		for _, st := range []snapshot.SignalStatus{v.Current.Signals[2], v.Historical.Signals[2]} {
			if st.State != overloaded || st.Value != 2 {
				t.Errorf("event loop = %+v, want overloaded by a delay of 2 s", st)
			}
		}
	})
}
