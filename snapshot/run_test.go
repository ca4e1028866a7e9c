package snapshot_test

import (
	"context"
	"errors"
	"math"
	"runtime"
	"runtime/metrics"
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

func TestFailingSourceIsUnknownAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fails atomic.Bool
		c := snapshot.Config{Stale: snapshot.StaleIgnore, Sources: snapshot.Sources{CPU: func(context.Context) (snapshot.CPUReading, error) {
			if fails.Load() {
				return snapshot.CPUReading{Used: 0.99}, errSource
			}
			return snapshot.CPUReading{Used: 0.99}, nil
		}}}
		s, stop := start(t, c)
		defer stop()
		sleep(10*time.Second + time.Millisecond)
		if got := signal(t, s, snapshot.SignalCPU); got.State != overloaded || got.Actual != 1 {
			t.Errorf("CPU = %+v, want overloaded", got)
		}
		fails.Store(true)
		sleep(3 * time.Second)
		if got := signal(t, s, snapshot.SignalCPU); got.State != unknown || got.Reason != "source is gone" || got.Value != 0.99 {
			t.Errorf("CPU after 3 failures = %+v, want unknown with the reason and the last value", got)
		}
		if v := view(t, s); v.Current.State != idle {
			t.Errorf("state %v, want idle by the others", v.Current.State)
		}
		fails.Store(false)
		sleep(time.Second)
		if got := signal(t, s, snapshot.SignalCPU); got.State != overloaded || got.Reason != "" {
			t.Errorf("CPU after its return = %+v, want overloaded", got)
		}
	})
}

func TestTheWholeIsUnknownWithoutOneThatIsNotIgnored(t *testing.T) {
	const short = 5 * time.Second
	for policy, want := range map[snapshot.StalePolicy][3]snapshot.State{ // within 3 s, after it, after the history
		snapshot.StaleHold:       {idle, idle, unknown},
		snapshot.StaleIgnore:     {idle, idle, idle},
		snapshot.StaleOverloaded: {idle, overloaded, overloaded},
	} {
		synctest.Test(t, func(t *testing.T) {
			var fails atomic.Bool
			s, stop := start(t, snapshot.Config{
				Stale: policy, History: short,
				Sources: snapshot.Sources{CPU: func(context.Context) (snapshot.CPUReading, error) {
					if fails.Load() {
						return snapshot.CPUReading{}, errSource
					}
					return snapshot.CPUReading{Used: 0.1}, nil
				}},
			})
			defer stop()
			sleep(10*time.Second + time.Millisecond)
			fails.Store(true)
			var got [3]snapshot.State
			for i, wait := range []time.Duration{2 * time.Second, 2 * time.Second, 2 * time.Second} {
				sleep(wait)
				got[i] = view(t, s).Current.State
			}
			if got != want {
				t.Errorf("policy %d: %v after 2, 4 and 6 s, want %v", policy, got, want)
			}
		})
	}
}

func TestAReporterThatFallsSilentLeavesTheWholeKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reports, err := snapshot.NewReports(1, 1)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		clock := func() time.Duration { return time.Since(began) }
		s, stop := start(t, snapshot.Config{Reports: reports, Clock: clock})
		defer stop()
		sleep(time.Second)
		if _, err := reports.Put(clock(), snapshot.Reporter{Name: "w"}, snapshot.Report{
			Signals: map[string]snapshot.ReportedSignal{"queue": {Value: 1, Limit: 10}},
		}); err != nil {
			t.Fatal(err)
		}
		sleep(12 * time.Second)
		if got := view(t, s).Current.State; got != idle {
			t.Errorf("%v after its reporter fell silent, want idle", got)
		}
	})
}

func TestHangingSourceDelaysNobodyAndBecomesUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		c := snapshot.Config{Stale: snapshot.StaleIgnore, Sources: snapshot.Sources{Memory: func(ctx context.Context) (snapshot.MemoryReading, error) {
			if calls.Add(1) == 3 {
				<-ctx.Done()
				return snapshot.MemoryReading{}, ctx.Err()
			}
			return snapshot.MemoryReading{Used: 1 << 30, Total: 16 << 30}, nil
		}}}
		s, stop := start(t, c)
		sleep(10 * time.Second)
		if got := signal(t, s, snapshot.SignalMemory); got.State != unknown || got.Reason != "no answer for 9s" || got.Age != 9*time.Second {
			t.Errorf("memory = %+v, want unknown, no answer for 9s", got)
		}
		if got := len(times(t, s, snapshot.SignalCPU)); got != 11 {
			t.Errorf("%d CPU snapshots beside it, want 11", got)
		}
		stop()
		if got := calls.Load(); got != 3 {
			t.Errorf("%d calls, want 3: never two at once", got)
		}
	})
}

func TestReadyDoesNotWaitForASourceThatNeverAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := snapshot.Config{Sources: snapshot.Sources{CPU: func(ctx context.Context) (snapshot.CPUReading, error) {
			<-ctx.Done()
			return snapshot.CPUReading{}, ctx.Err()
		}}}
		s, stop := start(t, c)
		defer stop()
		sleep(2500 * time.Millisecond)
		if isClosed(s.Ready()) {
			t.Error("ready before the CPU was tried")
		}
		sleep(2 * time.Second)
		if !isClosed(s.Ready()) {
			t.Error("not ready after three intervals without an answer")
		}
		if got := len(view(t, s).Newest); got != 3 {
			t.Errorf("%d newest snapshots, want 3 without the CPU", got)
		}
	})
}

func TestSlowSourceSkipsTicksInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := snapshot.Config{Signals: []snapshot.Signal{{Name: "slow", Read: func(ctx context.Context) (float64, float64, error) {
			time.Sleep(1700 * time.Millisecond)
			return 0, 1, nil
		}}}}
		s, stop := start(t, c)
		defer stop()
		sleep(8 * time.Second)
		want := []time.Duration{1700 * time.Millisecond, 3700 * time.Millisecond, 5700 * time.Millisecond, 7700 * time.Millisecond}
		if got := times(t, s, "slow"); !slices.Equal(got, want) {
			t.Errorf("snapshots at %v, want %v", got, want)
		}
	})
}

func TestPanicOfTheProgramsFunctionsIsUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := start(t, snapshot.Config{
			ClientErrors: func() map[int]int64 { panic("client boom") },
			Signals: []snapshot.Signal{
				{Name: "queue", Read: func(context.Context) (float64, float64, error) { panic(errors.New("queue boom")) }},
			},
			Sources: snapshot.Sources{CPU: func(context.Context) (snapshot.CPUReading, error) { panic("cpu boom") }},
		})
		defer stop()
		sleep(2 * time.Second)
		for name, want := range map[string]string{"client": "panic: client boom", "queue": "panic: queue boom", "cpu": "panic: cpu boom"} {
			if got := signal(t, s, name); got.State != unknown || got.Reason != want || got.Count != 3 {
				t.Errorf("%s = %+v, want unknown by 3 snapshots, %q", name, got, want)
			}
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

func TestReplacedAndCustomSignals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		over := func(context.Context) (float64, float64, error) { return 2, 1, nil }
		s, stop := start(t, snapshot.Config{
			EventLoopOverloadRatio: 0.7,
			Signals: []snapshot.Signal{
				{Name: "event_loop", Read: over, Interval: 200 * time.Millisecond, Source: "the UI thread"},
				{Name: "queue", Read: over, OverloadRatio: 0.5},
			},
		})
		defer stop()
		sleep(time.Second)
		loop, queue := signal(t, s, "event_loop"), signal(t, s, "queue")
		if loop.Resource != snapshot.EventLoop || loop.Limit != 0.7 || loop.State != overloaded || loop.Count != 6 {
			t.Errorf("event_loop = %+v, want the replacement, overloaded, with the threshold of the built-in one", loop)
		}
		if queue.Resource != snapshot.Custom || queue.Limit != 0.5 || queue.State != overloaded || queue.Value != 2 || queue.Bound != 1 {
			t.Errorf("queue = %+v, want overloaded by 2 of 1", queue)
		}
		v := view(t, s)
		if got := v.Newest[2]; got.Source != "the UI thread" || got.EventLoop.Delay != 2*time.Second {
			t.Errorf("event_loop = %+v, want 2 s by the UI thread", got)
		}
		if got := v.Current.Binding(); len(got) != 2 || got[0].Signal != "queue" {
			t.Errorf("binding = %v, want queue, the furthest over, first", got)
		}
	})
}

func TestReportedSignalsComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reports := newReports(t, 10, 10)
		s, stop := start(t, snapshot.Config{
			Reports: reports,
			History: 10 * time.Second,
			Signals: []snapshot.Signal{{Name: "both", Read: read}},
		})
		defer stop()
		report := snapshot.Report{TTL: 2 * time.Second, Signals: map[string]snapshot.ReportedSignal{
			"proxies": {Value: 9, Limit: 5}, "both": {Value: 3, Limit: 1}, "quota": {Value: 5, Limit: 5},
		}}
		sleep(500 * time.Millisecond)
		put(t, reports, 500*time.Millisecond, "alice", "w1", report)
		before := view(t, s)
		synctest.Wait()
		if got := times(t, s, "proxies"); !slices.Equal(got, []time.Duration{500 * time.Millisecond}) {
			t.Errorf("proxies sampled at %v, want at once", got)
		}
		sleep(time.Second)
		if got := strings.Join(s.Signals(), " "); got != "cpu memory event_loop client both proxies quota" {
			t.Errorf("Signals = %s", got)
		}
		if v := view(t, s); v.Verdict == before.Verdict {
			t.Error("a new signal is no new verdict")
		}
		if got := signal(t, s, "proxies"); got.State != overloaded || got.Value != 9 || got.Bound != 5 || got.Limit != 0.3 || got.Resource != snapshot.Custom {
			t.Errorf("proxies = %+v, want overloaded by 9 of 5", got)
		}
		if got := signal(t, s, "quota"); got.State != idle {
			t.Errorf("quota = %+v, want idle at its limit", got)
		}
		if got := signal(t, s, "both"); got.Value != 3 || got.Bound != 1 {
			t.Errorf("both = %+v, want the reported 3 of 1, which is worse than the program's own", got)
		}
		sleep(5 * time.Second) // at 6.5 s: expired at 2.5 s, last good reading at 2 s
		if got := signal(t, s, "proxies"); got.State != unknown || !strings.Contains(got.Reason, "no worker reports it") {
			t.Errorf("proxies after its TTL = %+v, want unknown", got)
		}
		if got := signal(t, s, "both"); got.Value != 0 || got.Bound != 1 {
			t.Errorf("both = %+v, want the program's own 0 of 1 again", got)
		}
		sleep(5 * time.Second)
		if s.Resource("proxies") == 0 {
			t.Error("proxies is gone before the history is over")
		}
		sleep(2 * time.Second)
		if s.Resource("proxies") != 0 {
			t.Error("proxies is still there after its reporters were silent for the history")
		}
	})
}

func TestReportedSignalsStayWithinTheLimitOfReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reports := newReports(t, 10, 2)
		s, stop := start(t, snapshot.Config{Reports: reports})
		defer stop()
		for i, name := range []string{"a", "b", "c", "d", "e"} {
			put(t, reports, time.Duration(i)*2*time.Second, "alice", "w1", snapshot.Report{
				TTL: time.Second, Signals: map[string]snapshot.ReportedSignal{name: {}},
			})
			sleep(2 * time.Second)
		}
		if got := strings.Join(s.Signals()[4:], " "); got != "d e" {
			t.Errorf("reported signals = %s, want the last two", got)
		}
	})
}

func TestInventedSignalsDoNotSetThePace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reports := newReports(t, 10, 10)
		s, stop := start(t, snapshot.Config{Reports: reports})
		defer stop()
		sleep(500 * time.Millisecond)
		for i, name := range []string{"a", "b", "c"} { // at 500, 510 and 520 ms
			put(t, reports, 500*time.Millisecond, "alice", name, snapshot.Report{Signals: map[string]snapshot.ReportedSignal{name: {}}})
			sleep(10 * time.Millisecond)
			if got := len(s.Signals()); i > 0 && got != 5 {
				t.Errorf("%d signals before 100 ms are over, want the four and a", got)
			}
		}
		sleep(time.Second / 10)
		for name, want := range map[string]time.Duration{"a": 500 * time.Millisecond, "b": 600 * time.Millisecond, "c": 600 * time.Millisecond} {
			if got := times(t, s, name); !slices.Equal(got, []time.Duration{want}) {
				t.Errorf("%s sampled at %v, want %v", name, got, want)
			}
		}
	})
}

func TestInventedSignalsDoNotEachTakeAHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const names, historyBytes = 40, 1 << 20 // an hour of snapshots takes more
		reports := newReports(t, 10, 2)
		s, stop := start(t, snapshot.Config{Reports: reports, History: time.Hour, EventLoopInterval: time.Second})
		defer stop()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for i := range names {
			put(t, reports, time.Duration(i)*200*time.Millisecond, "alice", "w1", snapshot.Report{
				TTL: 150 * time.Millisecond, Signals: map[string]snapshot.ReportedSignal{"s" + strconv.Itoa(i): {}},
			})
			sleep(200 * time.Millisecond)
			if got := len(times(t, s, "s"+strconv.Itoa(i))); got > 2 {
				t.Fatalf("name %d: %d snapshots in 200 ms: it has those of another signal", i, got)
			}
		}
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > names*historyBytes/2 {
			t.Errorf("%d bytes for %d names, want less than %d", got, names, names*historyBytes/2)
		}
	})
}

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

func TestStalePolicyOfACustomSignal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fail := func(context.Context) (float64, float64, error) { return 0, 0, errSource }
		s, stop := start(t, snapshot.Config{Signals: []snapshot.Signal{
			{Name: "ignored", Read: fail, Stale: snapshot.StaleIgnore}, {Name: "feared", Read: fail, Stale: snapshot.StaleOverloaded},
		}})
		defer stop()
		sleep(4 * time.Second)
		if got := signal(t, s, "ignored"); got.State != unknown {
			t.Errorf("ignored = %v, want unknown", got.State)
		}
		if got := signal(t, s, "feared"); got.State != overloaded || got.Actual != 1 || got.Reason != errSource.Error() {
			t.Errorf("feared = %+v, want overloaded with the reason", got)
		}
	})
}

func TestSchedulerLatencySlidesOverASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var short, long, jump atomic.Int64 // waits since the start of the process
		short.Store(1000)
		long.Store(1000)
		began := time.Now()
		s, err := snapshot.New(snapshot.Config{
			Sources: calm(),
			Clock:   func() time.Duration { return time.Since(began) + time.Duration(jump.Load()) },
		})
		if err != nil {
			t.Fatal(err)
		}
		s.WithScheduler(func() *metrics.Float64Histogram {
			return &metrics.Float64Histogram{
				Counts:  []uint64{0, uint64(short.Load()), uint64(long.Load())},
				Buckets: []float64{math.Inf(-1), 0, 0.06, math.Inf(1)},
			}
		})
		stop := run(t, s)
		defer stop()
		for i, step := range []struct {
			short, long int64 // new waits
			jump        time.Duration
			want        time.Duration
			known       bool
		}{
			{0, 30, 0, 60 * time.Millisecond, true}, // in half a second
			{30, 0, 0, 60 * time.Millisecond, true}, // still within the last second
			{30, 0, 0, 0, true},                     // no longer
			{5, 0, 0, 0, true},                      // 35 in a second
			{0, 0, 0, 0, false},                     // 5 in a second
			{0, 19, 0, 0, false},
			{0, 1, 0, 60 * time.Millisecond, true},
			{0, 500, time.Minute, 0, false}, // across a gap
			{20, 0, 0, 0, true},             // since the gap only
		} {
			short.Add(step.short)
			long.Add(step.long)
			jump.Add(int64(step.jump))
			sleep(500 * time.Millisecond)
			got := view(t, s).Newest[2]
			e := got.EventLoop
			if e.SchedulerP99 != step.want || e.SchedulerKnown != step.known || e.Delay != step.want {
				t.Errorf("step %d: %+v, want a p99 of %v, known=%v", i, e, step.want, step.known)
			}
			if want := step.want > 0; got.Overloaded != want || (e.Judged == snapshot.LoopScheduler) != want {
				t.Errorf("step %d: overloaded=%v by %v", i, got.Overloaded, e.Judged)
			}
		}
	})
}

func TestSchedulerLatencyIsReadFromTheRuntime(t *testing.T) {
	s, err := snapshot.New(snapshot.Config{Sources: calm(), EventLoopInterval: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() { stop(); <-done }()
	<-s.Ready()
	for {
		v, changed, err := s.View()
		if err != nil {
			t.Fatal("no 20 waits of the scheduler in 10 s")
		}
		if e := v.Newest[2].EventLoop; e.SchedulerKnown {
			if e.SchedulerP99 < 0 {
				t.Errorf("p99 = %v", e.SchedulerP99)
			}
			return
		}
		for range 200 { // give the scheduler something to count
			c := make(chan struct{})
			go close(c)
			<-c
		}
		<-changed
	}
}
