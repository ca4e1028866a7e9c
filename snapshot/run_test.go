package snapshot_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

// calm returns sources of a machine at a tenth of its load.
func calm() snapshot.Sources {
	return snapshot.Sources{
		CPU: func(context.Context) (snapshot.CPUReading, error) {
			return snapshot.CPUReading{Used: 0.1, Cores: 4, Source: "test"}, nil
		},
		Memory: func(context.Context) (snapshot.MemoryReading, error) {
			return snapshot.MemoryReading{Used: 1 << 30, Total: 16 << 30, Source: "test"}, nil
		},
	}
}

// start runs a Snapshotter of c in a bubble until the test or the returned stop ends it.
func start(t *testing.T, c snapshot.Config) (s *snapshot.Snapshotter, stop func()) {
	t.Helper()
	if c.Sources.CPU == nil {
		c.Sources.CPU = calm().CPU
	}
	if c.Sources.Memory == nil {
		c.Sources.Memory = calm().Memory
	}
	s, err := snapshot.New(c)
	if err != nil {
		t.Fatal(err)
	}
	s.WithoutScheduler()
	return s, run(t, s)
}

func run(t *testing.T, s *snapshot.Snapshotter) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	synctest.Wait()
	return func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	}
}

func sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func view(t *testing.T, s *snapshot.Snapshotter) snapshot.View {
	t.Helper()
	v, _, err := s.View()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// signal returns the judgement of a signal over the current window.
func signal(t *testing.T, s *snapshot.Snapshotter, name string) snapshot.SignalStatus {
	t.Helper()
	for _, sig := range view(t, s).Current.Signals {
		if sig.Signal == name {
			return sig
		}
	}
	t.Fatalf("no signal %q", name)
	return snapshot.SignalStatus{}
}

// times returns when the snapshots of a signal were taken.
func times(t *testing.T, s *snapshot.Snapshotter, name string) []time.Duration {
	t.Helper()
	sample, err := s.AppendSample(nil, name, 0)
	if err != nil {
		t.Fatal(err)
	}
	var at []time.Duration
	for _, snap := range sample {
		at = append(at, snap.At)
	}
	return at
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestRunTakesTheFirstSnapshotAtOnceAndThenAtItsInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := start(t, snapshot.Config{Signals: []snapshot.Signal{{Name: "queue", Read: read, Interval: 300 * time.Millisecond}}})
		defer stop()
		for name, interval := range map[string]time.Duration{
			snapshot.SignalCPU: time.Second, snapshot.SignalMemory: time.Second, snapshot.SignalClient: time.Second,
			snapshot.SignalEventLoop: 500 * time.Millisecond, "queue": 300 * time.Millisecond,
		} {
			if got := times(t, s, name); !slices.Equal(got, []time.Duration{0}) {
				t.Errorf("%s: snapshots at %v, want one at once", name, got)
			}
			_ = interval
		}
		sleep(3*time.Second + time.Millisecond)
		for name, interval := range map[string]time.Duration{
			snapshot.SignalCPU: time.Second, snapshot.SignalMemory: time.Second, snapshot.SignalClient: time.Second,
			snapshot.SignalEventLoop: 500 * time.Millisecond, "queue": 300 * time.Millisecond,
		} {
			var want []time.Duration
			for d := time.Duration(0); d <= 3*time.Second; d += interval {
				want = append(want, d)
			}
			if got := times(t, s, name); !slices.Equal(got, want) {
				t.Errorf("%s: snapshots at %v, want %v", name, got, want)
			}
		}
		v := view(t, s)
		if v.Current.State != idle || v.Historical.State != idle || v.At != 3*time.Second+time.Millisecond {
			t.Errorf("at %v: %v and %v, want idle", v.At, v.Current.State, v.Historical.State)
		}
		var names []string
		for i := range v.Newest {
			names = append(names, v.Newest[i].Signal)
		}
		if got := strings.Join(names, " "); got != "cpu memory event_loop client queue" {
			t.Errorf("Newest = %s", got)
		}
		if v.Newest[0].Time != time.Now().Add(-time.Millisecond) {
			t.Errorf("wall time %v, want that of the snapshot", v.Newest[0].Time)
		}
	})
}

func TestRunTwiceIsAnErrorAndAgainIsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := start(t, snapshot.Config{})
		if err := s.Run(t.Context()); !errors.Is(err, snapshot.ErrActive) {
			t.Errorf("second Run = %v, want ErrActive", err)
		}
		ready := s.Ready()
		if !s.Active() || !isClosed(ready) {
			t.Errorf("Active = %v, ready = %v; want both", s.Active(), isClosed(ready))
		}
		sleep(5 * time.Second)
		before, changed, _ := s.View()
		stop()
		if s.Active() || isClosed(s.Ready()) || !isClosed(changed) {
			t.Errorf("after Run: Active = %v, ready = %v, watchers woken = %v", s.Active(), isClosed(s.Ready()), isClosed(changed))
		}

		sleep(time.Minute)
		stop = run(t, s)
		defer stop()
		if got := times(t, s, snapshot.SignalCPU); !slices.Equal(got, []time.Duration{65 * time.Second}) {
			t.Errorf("snapshots at %v after a restart, want one, at 65 s", got)
		}
		v := view(t, s)
		for _, snap := range v.Newest {
			if snap.Discontinuity || snap.EventLoop.Delay != 0 {
				t.Errorf("%s: the time of the stop is billed: %+v", snap.Signal, snap)
			}
		}
		if v.Version <= before.Version || v.Verdict <= before.Verdict {
			t.Errorf("version %d, verdict %d after a restart; they were %d and %d", v.Version, v.Verdict, before.Version, before.Verdict)
		}
		if !isClosed(s.Ready()) {
			t.Error("not ready after a restart")
		}
	})
}

func TestNothingIsKnownWhileInactive(t *testing.T) {
	s, err := snapshot.New(snapshot.Config{Sources: calm()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.AppendSample(nil, snapshot.SignalCPU, 0); !errors.Is(err, snapshot.ErrInactive) {
		t.Errorf("AppendSample = %v, want ErrInactive", err)
	}
	if _, _, err := s.View(); !errors.Is(err, snapshot.ErrInactive) {
		t.Errorf("View = %v, want ErrInactive", err)
	}
}

func TestSignalsThatAreNotThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := start(t, snapshot.Config{Disabled: []string{snapshot.SignalClient}})
		defer stop()
		for _, name := range []string{"disk", "", snapshot.SignalClient} {
			if _, err := s.AppendSample(nil, name, 0); !errors.Is(err, snapshot.ErrNoSignal) {
				t.Errorf("AppendSample(%q) = %v, want ErrNoSignal", name, err)
			}
		}
		if got := signal(t, s, snapshot.SignalClient); got.State != snapshot.StateDisabled || got.Limit != 0 || got.HasValue {
			t.Errorf("client = %+v, want disabled", got)
		}
		if v := view(t, s); v.Current.State != idle || len(v.Newest) != 3 {
			t.Errorf("%v with %d snapshots, want idle with 3", v.Current.State, len(v.Newest))
		}
	})
}

func TestDisabledSignalLeavesTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := start(t, snapshot.Config{Disabled: []string{snapshot.SignalCPU}})
		defer stop()
		var names []string
		for _, snap := range view(t, s).Newest {
			names = append(names, snap.Signal)
		}
		if got := strings.Join(names, " "); got != "memory event_loop client" {
			t.Errorf("snapshots of %q, want those of all but the CPU", got)
		}
	})
}

func TestWithEverySignalDisabledNothingIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := start(t, snapshot.Config{Disabled: []string{"cpu", "memory", "event_loop", "client"}})
		defer stop()
		if got := view(t, s).Current.State; got != unknown || !isClosed(s.Ready()) {
			t.Errorf("%v, ready=%v; want unknown and ready", got, isClosed(s.Ready()))
		}
	})
}

func TestClockStep(t *testing.T) {
	for profile, wantDelay := range map[snapshot.Profile]time.Duration{headroom: 0, python: time.Hour, js: time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			var step atomic.Int64
			clock := func() time.Duration { return time.Since(began) + time.Duration(step.Load()) }
			s, stop := start(t, snapshot.Config{Profile: profile, Clock: clock, History: 5 * time.Second})
			defer stop()
			sleep(10*time.Second + 100*time.Millisecond)
			step.Store(int64(time.Hour)) // as a suspend looks
			sleep(time.Second)
			sample, _ := s.AppendSample(nil, snapshot.SignalEventLoop, 0)
			if got := sample[0]; !got.Discontinuity || got.EventLoop.Delay != wantDelay && profile != js {
				t.Errorf("%v: first after the step %+v, want a discontinuity with a delay of %v", profile, got.EventLoop, wantDelay)
			}
			if sample[1].Discontinuity {
				t.Errorf("%v: the second after the step is a discontinuity", profile)
			}
			step.Store(0) // and back
			sleep(3 * time.Second)
			v := view(t, s)
			for _, st := range append(v.Current.Signals, v.Historical.Signals...) {
				if st.Actual < 0 || st.Actual > 1 || st.Age < 0 || st.Age > time.Second {
					t.Errorf("%v: after the clock went back %s has ratio %v and age %v", profile, st.Signal, st.Actual, st.Age)
				}
			}
			if profile == headroom && v.Current.State != idle {
				t.Errorf("after the clock went back: %v, want idle", v.Current.State)
			}
		})
	}
}

func TestViewTellsOfNewSnapshotsAndVerdicts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var used atomic.Int64
		used.Store(10)
		c := snapshot.Config{
			Disabled: []string{"memory", "event_loop", "client"},
			Sources: snapshot.Sources{CPU: func(context.Context) (snapshot.CPUReading, error) {
				return snapshot.CPUReading{Used: float64(used.Load()) / 100}, nil
			}},
		}
		s, stop := start(t, c)
		defer stop()
		sleep(500 * time.Millisecond)
		v, changed, err := s.View()
		if err != nil {
			t.Fatal(err)
		}
		if isClosed(changed) {
			t.Error("changed before there is anything new")
		}
		sleep(time.Second)
		if !isClosed(changed) {
			t.Error("not told of a new snapshot")
		}
		next := view(t, s)
		if next.Version != v.Version+1 || next.Verdict != v.Verdict {
			t.Errorf("version %d and verdict %d after %d and %d, want one more version only", next.Version, next.Verdict, v.Version, v.Verdict)
		}
		used.Store(99)
		sleep(time.Second)
		over := view(t, s)
		if over.Verdict == next.Verdict || !over.Newest[0].Overloaded {
			t.Error("no new verdict for an overloaded snapshot")
		}
		if got := over.Current.Binding(); len(got) != 1 || got[0].Signal != "cpu" {
			t.Errorf("binding = %v, want cpu", got)
		}
	})
}

func TestConcurrentUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reports := newReports(t, 100, 100)
		began := time.Now()
		clock := func() time.Duration { return time.Since(began) }
		s, stop := start(t, snapshot.Config{Clock: clock, Reports: reports, AlwaysProbe: true})
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				from := snapshot.Reporter{Identity: "alice", Name: strconv.Itoa(i)}
				var dst []snapshot.Snapshot
				for n := range 300 {
					time.Sleep(time.Duration(7+i) * time.Millisecond)
					if _, err := reports.Put(clock(), from, snapshot.Report{
						HasEventLoop: true, ClientErrors: map[int]int64{2: int64(n)},
						Signals: map[string]snapshot.ReportedSignal{"s" + strconv.Itoa(n%50): {}},
					}); err != nil {
						t.Error(err)
					}
					v, _, err := s.View()
					if err != nil || len(v.Current.Signals) != len(v.Historical.Signals) {
						t.Errorf("View of %d and %d signals, %v", len(v.Current.Signals), len(v.Historical.Signals), err)
					}
					for _, name := range s.Signals() {
						if dst, err = s.AppendSample(dst[:0], name, time.Second); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		wg.Wait()
		stop()
		if got := len(s.Signals()); got != 4 {
			t.Errorf("%d signals after Run, want the 4 of the Config", got)
		}
	})
}

func TestPassageOfTimeChangesVerdicts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hang atomic.Bool
		c := snapshot.Config{
			Disabled: []string{"memory", "event_loop", "client"},
			Stale:    snapshot.StaleIgnore,
			Sources: snapshot.Sources{CPU: func(ctx context.Context) (snapshot.CPUReading, error) {
				if hang.Load() {
					<-ctx.Done()
				}
				return snapshot.CPUReading{Used: 0.1}, nil
			}},
		}
		s, stop := start(t, c)
		defer stop()
		hang.Store(true)
		sleep(1500 * time.Millisecond)
		v, changed, err := s.View()
		if err != nil {
			t.Fatal(err)
		}
		sleep(3 * time.Second) // three intervals since the last answer, and the next look
		if !isClosed(changed) {
			t.Error("nobody was told that the CPU became unknown")
		}
		if next := view(t, s); next.Verdict == v.Verdict || next.Current.State != unknown {
			t.Errorf("verdict %d then %d, %v; want another one, unknown", v.Verdict, next.Verdict, next.Current.State)
		}
	})
}
