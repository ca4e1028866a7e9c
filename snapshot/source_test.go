package snapshot_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

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

func TestAReporterThatFallsSilentIsNeitherHeldNorMissed(t *testing.T) {
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
			Signals: map[string]snapshot.ReportedSignal{"queue": {Value: 11, Limit: 10}},
		}); err != nil {
			t.Fatal(err)
		}
		sleep(4 * time.Second)
		if got := view(t, s).Current.State; got != overloaded {
			t.Errorf("%v while the report holds, want overloaded", got)
		}
		sleep(8 * time.Second) // the report expired 7 s ago; its verdict is neither held nor missed
		if got := view(t, s).Current.State; got != idle {
			t.Errorf("%v after the reporter fell silent, want idle", got)
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
