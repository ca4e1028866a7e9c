package snapshot_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

func TestProberRunsWhileLoadIsSuspected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var used atomic.Int64
		used.Store(10)
		c := snapshot.Config{Sources: snapshot.Sources{CPU: func(context.Context) (snapshot.CPUReading, error) {
			return snapshot.CPUReading{Used: float64(used.Load()) / 100}, nil
		}}}
		probing := func(s *snapshot.Snapshotter) bool {
			v := view(t, s)
			return v.Newest[2].EventLoop.ProbeKnown
		}
		s, stop := start(t, c)
		defer stop()
		sleep(3*time.Second + 100*time.Millisecond)
		if probing(s) {
			t.Error("the prober runs on a calm machine")
		}
		used.Store(77) // over 0.8 of 0.95; seen at 4 s
		sleep(2 * time.Second)
		if !probing(s) {
			t.Error("the prober rests while the CPU is nearly over its limit")
		}
		used.Store(10) // seen at 6 s; last suspected at 5 s
		sleep(4500 * time.Millisecond)
		if !probing(s) {
			t.Error("the prober rests within 5 s")
		}
		sleep(1500 * time.Millisecond)
		if probing(s) {
			t.Error("the prober runs on after 5 s of calm")
		}
	})
}

func TestProberSeesWhatTheTimerMisses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		// The clock jumps by 80 ms in the middle between two snapshots of the event loop, and gives the
		// time back before the next: one late probe and no late snapshot.
		clock := func() time.Duration {
			now := time.Since(began)
			if now >= 1200*time.Millisecond && now < 1230*time.Millisecond {
				now += 80 * time.Millisecond
			}
			return now
		}
		s, stop := start(t, snapshot.Config{AlwaysProbe: true, Clock: clock})
		defer stop()
		sleep(1100 * time.Millisecond)
		if got := view(t, s).Newest[2].EventLoop; !got.ProbeKnown || got.ProbeMax != 0 {
			t.Errorf("event loop = %+v, want a prober that is on time", got)
		}
		sleep(500 * time.Millisecond)
		got := view(t, s).Newest[2]
		if e := got.EventLoop; e.ProbeMax != 80*time.Millisecond || e.Judged != snapshot.LoopProbe || e.Delay != 80*time.Millisecond || e.TimerLag != 0 {
			t.Errorf("event loop = %+v, want 80 ms by the prober", e)
		}
		if !got.Overloaded || !strings.Contains(got.Source, "prober") {
			t.Errorf("overloaded=%v by %q, want it by the prober", got.Overloaded, got.Source)
		}
	})
}

func TestProberKeepsRunningWhereAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := start(t, snapshot.Config{AlwaysProbe: true})
		defer stop()
		sleep(20*time.Second + time.Millisecond)
		if !view(t, s).Newest[2].EventLoop.ProbeKnown {
			t.Error("the prober rests after 20 s")
		}
	})
}

func TestLateTimerWakesTheProber(t *testing.T) {
	for late, want := range map[time.Duration]bool{25 * time.Millisecond: false, 26 * time.Millisecond: true} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			clock := func() time.Duration {
				now := time.Since(began)
				if now >= 1200*time.Millisecond {
					now += late
				}
				return now
			}
			s, stop := start(t, snapshot.Config{Clock: clock})
			defer stop()
			sleep(2100 * time.Millisecond)
			if got := view(t, s).Newest[2].EventLoop.ProbeKnown; got != want {
				t.Errorf("late by %v: probing=%v, want %v", late, got, want)
			}
		})
	}
}

func TestGapIsNotTheDelayOfAProbe(t *testing.T) {
	for _, at := range []time.Duration{1200, 1495, 1499} { // in the midst, and with the last probe outstanding
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			clock := func() time.Duration {
				now := time.Since(began)
				if now >= at*time.Millisecond {
					now += time.Hour
				}
				return now
			}
			s, stop := start(t, snapshot.Config{AlwaysProbe: true, Clock: clock})
			defer stop()
			sleep(3 * time.Second)
			sample, err := s.AppendSample(nil, snapshot.SignalEventLoop, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, snap := range sample {
				if snap.EventLoop.Delay != 0 || snap.EventLoop.ProbeMax != 0 {
					t.Errorf("gap at %d ms: %+v at %v, want no delay", at, snap.EventLoop, snap.At)
				}
			}
		})
	}
}

func TestProbesInSteps(t *testing.T) {
	const ms = time.Millisecond
	var now time.Duration
	p := snapshot.NewProber(func() time.Duration { return now })
	take := func(at, want time.Duration, wantKnown bool) {
		t.Helper()
		now = at
		if got, known := p.Take(at); got != want || known != wantKnown {
			t.Errorf("at %v: %v %v, want %v %v", at, got, known, want, wantKnown)
		}
	}
	take(0, 0, false)
	p.Suspect(0)
	p.Begin() // due at 10 ms
	take(5*ms, 0, false)
	take(10*ms, 0, false)
	take(50*ms, 40*ms, true) // overdue
	now = 70 * ms
	p.End()
	take(70*ms, 60*ms, true)
	take(70*ms, 0, false)
	p.Begin() // due at 80 ms
	now = 95 * ms
	p.End()
	p.Begin() // due at 105 ms
	now = 107 * ms
	p.End()
	take(107*ms, 15*ms, true) // the greater of the two
	p.Begin()
	now = time.Hour
	p.Discard()
	p.End()
	take(time.Hour, 0, false)
	if p.Begin() {
		t.Error("it probes on 5 s after load was suspected")
	}
}

func TestProberRestsAfterTheClockWentBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var used, step atomic.Int64
		used.Store(90)
		step.Store(int64(time.Hour))
		s, stop := start(t, snapshot.Config{
			Clock: func() time.Duration { return time.Since(began) + time.Duration(step.Load()) },
			Sources: snapshot.Sources{CPU: func(context.Context) (snapshot.CPUReading, error) {
				return snapshot.CPUReading{Used: float64(used.Load()) / 100}, nil
			}},
		})
		defer stop()
		sleep(2500 * time.Millisecond)
		used.Store(10)
		step.Store(0)
		sleep(7 * time.Second)
		if view(t, s).Newest[2].EventLoop.ProbeKnown {
			t.Error("the prober runs on for the hour that the clock went back")
		}
	})
}
