package snapshot_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

// still returns a source of pressure that gives the same shares each time.
func still(some, full float64, fullKnown bool) func(context.Context, snapshot.Resource) (snapshot.PressureReading, error) {
	return func(context.Context, snapshot.Resource) (snapshot.PressureReading, error) {
		return snapshot.PressureReading{Some: some, Full: full, FullKnown: fullKnown, Source: "test PSI"}, nil
	}
}

func TestPressureIsASignalForEachResource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		asked := map[snapshot.Resource]int{}
		shares := map[snapshot.Resource]float64{snapshot.CPU: 0.81, snapshot.Memory: 0.2, 0: 0.5}
		c := snapshot.Config{Sources: snapshot.Sources{
			Pressure: func(_ context.Context, stalled snapshot.Resource) (snapshot.PressureReading, error) {
				mu.Lock()
				defer mu.Unlock()
				asked[stalled]++
				return snapshot.PressureReading{Some: shares[stalled], Source: "test PSI"}, nil
			},
		}}
		c.Signals = []snapshot.Signal{{Name: "apple", Read: read}}
		s, stop := start(t, c)
		sleep(10 * time.Second)
		v := view(t, s)
		var order []string
		for _, sig := range v.Current.Signals {
			order = append(order, sig.Signal+" "+sig.Resource.String())
		}
		want := "cpu cpu, memory memory, event_loop event_loop, client client, " +
			"pressure_cpu pressure, pressure_memory pressure, pressure_io pressure, apple custom"
		if got := strings.Join(order, ", "); got != want {
			t.Errorf("signals: %s\nwant     %s", got, want)
		}
		if got := strings.Join(s.Signals(), " "); got != "cpu memory event_loop client pressure_cpu pressure_memory pressure_io apple" {
			t.Errorf("Signals = %s", got)
		}
		for name, want := range map[string]struct {
			state snapshot.State
			bound float64
			of    snapshot.Resource
		}{
			"pressure_cpu": {overloaded, 0.8, snapshot.CPU}, "pressure_memory": {idle, 0.2, snapshot.Memory}, "pressure_io": {idle, 0.5, 0},
		} {
			got := signal(t, s, name)
			if got.State != want.state || got.Bound != want.bound || got.Limit != 0.4 || got.Value != shares[want.of] {
				t.Errorf("%s = %+v, want %v at %v of %v, 0.4 of the window", name, got, want.state, shares[want.of], want.bound)
			}
			for _, snap := range v.Newest {
				if snap.Signal == name && (snap.Pressure.Stalled != want.of || snap.Source != "test PSI") {
					t.Errorf("%s: %+v from %q, want the resource %d from test PSI", name, snap.Pressure, snap.Source, want.of)
				}
			}
		}
		if v.Current.State != overloaded || v.Current.Binding()[0].Signal != "pressure_cpu" {
			t.Errorf("state %v by %v, want overloaded by pressure_cpu", v.Current.State, v.Current.Binding())
		}
		stop()
		if asked[snapshot.CPU] != 11 || asked[snapshot.Memory] != 11 || asked[0] != 11 || len(asked) != 3 {
			t.Errorf("asked %v times in 10 s, want 11 times for each of cpu, memory and I/O", asked)
		}
	})
}

func TestWhatOfPressureIsJudged(t *testing.T) {
	for _, tt := range []struct {
		name   string
		signal string
		raw    snapshot.PressureReading
		value  float64
		over   bool
		reason string
	}{
		{"CPU by some", "pressure_cpu", snapshot.PressureReading{Some: 0.81, Full: 0.1, FullKnown: true}, 0.81, true, ""},
		{"CPU at its limit", "pressure_cpu", snapshot.PressureReading{Some: 0.8}, 0.8, false, ""},
		{"memory by some", "pressure_memory", snapshot.PressureReading{Some: 0.21, Full: 0.1, FullKnown: true}, 0.21, true, ""},
		{"I/O by full", "pressure_io", snapshot.PressureReading{Some: 0.9, Full: 0.5, FullKnown: true}, 0.5, false, ""},
		{"I/O over it", "pressure_io", snapshot.PressureReading{Some: 0.9, Full: 0.51, FullKnown: true}, 0.51, true, ""},
		{"I/O by some where full is not known", "pressure_io", snapshot.PressureReading{Some: 0.6}, 0.6, true, ""},
		{"not a number", "pressure_cpu", snapshot.PressureReading{Some: math.NaN()}, 0, false, "the source gave a share of NaN"},
		{"negative", "pressure_io", snapshot.PressureReading{Full: -0.1, Source: "PSI"}, 0, false, "PSI gave a share of -0.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := snapshot.Config{Sources: calm()}
			c.Sources.Pressure = still(0, 0, false)
			track, err := snapshot.NewTrack(c, tt.signal, 0)
			if err != nil {
				t.Fatal(err)
			}
			got := track.Read(time.Second, snapshot.Snapshot{Pressure: tt.raw}, nil)
			if got.Value != tt.value || got.Overloaded != tt.over || got.Unknown != tt.reason {
				t.Errorf("value %v, overloaded %v, unknown %q; want %v, %v, %q",
					got.Value, got.Overloaded, got.Unknown, tt.value, tt.over, tt.reason)
			}
		})
	}
}

func TestWithoutPressureTheWholeIsJudgedByTheOthers(t *testing.T) {
	off := errors.New("open /proc/pressure/cpu: no such file or directory")
	for policy, want := range map[snapshot.StalePolicy]snapshot.State{
		snapshot.StaleHold: idle, snapshot.StaleIgnore: idle, snapshot.StaleOverloaded: overloaded,
	} {
		synctest.Test(t, func(t *testing.T) {
			var log text
			s, stop := start(t, snapshot.Config{
				Stale: policy,
				Log:   slog.New(slog.NewTextHandler(&log, nil)),
				Sources: snapshot.Sources{
					Pressure: func(context.Context, snapshot.Resource) (snapshot.PressureReading, error) {
						return snapshot.PressureReading{}, off
					},
				},
			})
			if !isClosed(s.Ready()) {
				t.Error("not ready, though every signal was tried")
			}
			sleep(50 * time.Second)
			if got := view(t, s).Current.State; got != want {
				t.Errorf("policy %d: %v, want %v", policy, got, want)
			}
			got := signal(t, s, "pressure_memory")
			if got.Reason != off.Error() || got.HasValue {
				t.Errorf("pressure_memory = %+v, want no value because %v", got, off)
			}
			stop()
			if n := strings.Count(log.String(), "signal is unknown"); n != 3 {
				t.Errorf("logged %d times, want once for each signal:\n%s", n, log.String())
			}
		})
	}
}

func TestPressureCanBeDisabledAndReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := snapshot.Config{
			Disabled: []string{snapshot.SignalPressureCPU},
			Signals: []snapshot.Signal{{
				Name: snapshot.SignalPressureMemory, Source: "own",
				Read: func(context.Context) (value, limit float64, err error) { return 0.3, 0.1, nil },
			}},
			MaxIOPressure: 0.05, PressureOverloadRatio: 0.9, PressureInterval: 500 * time.Millisecond,
		}
		c.Sources.Pressure = still(0.1, 0, false)
		s, stop := start(t, c)
		defer stop()
		sleep(5*time.Second + time.Millisecond)
		if got := signal(t, s, "pressure_cpu"); got.State != snapshot.StateDisabled {
			t.Errorf("pressure_cpu = %+v, want disabled", got)
		}
		if got := signal(t, s, "pressure_memory"); got.State != overloaded || got.Limit != 0.9 || got.Value != 0.3 {
			t.Errorf("pressure_memory = %+v, want overloaded by the program's own 0.3", got)
		}
		if got := signal(t, s, "pressure_io"); got.State != overloaded || got.Count != 10 || got.Bound != 0.05 {
			t.Errorf("pressure_io = %+v, want overloaded by 10 snapshots over 0.05", got)
		}
		for _, snap := range view(t, s).Newest {
			if snap.Signal != "pressure_memory" {
				continue
			}
			want := snapshot.PressureReading{Stalled: snapshot.Memory, Some: 0.3, Source: "own"}
			if snap.Resource != snapshot.Pressure || snap.Pressure != want {
				t.Errorf("own pressure = %v %+v, want %+v", snap.Resource, snap.Pressure, want)
			}
		}
	})
}

func TestWhereThereIsNoPressure(t *testing.T) {
	names := func(c snapshot.Config) string {
		s, err := snapshot.New(c)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(s.Signals(), " ")
	}
	const four = "cpu memory event_loop client"
	c := snapshot.Config{Sources: calm(), Disabled: []string{snapshot.SignalPressureIO}}
	if got := names(c); got != four {
		t.Errorf("without a source: %s, want %s", got, four)
	}
	c.Sources.Pressure = still(1, 1, true)
	for _, p := range []snapshot.Profile{snapshot.ProfileCrawleePython, snapshot.ProfileCrawleeJS} {
		if c.Profile = p; names(c) != four {
			t.Errorf("%v: %s, want %s", p, names(c), four)
		}
	}
	c.Signals = []snapshot.Signal{{Name: snapshot.SignalPressureCPU, Read: read}, {Name: "apple", Read: read}}
	if got, want := names(c), four+" pressure_cpu apple"; got != want {
		t.Errorf("with one of the program's own: %s, want %s", got, want)
	}
}

func TestFaultsOfPressure(t *testing.T) {
	_, err := snapshot.New(snapshot.Config{
		Sources: calm(), PressureInterval: time.Millisecond, MaxCPUPressure: 2, MaxMemoryPressure: -1,
		MaxIOPressure: math.Inf(1), PressureOverloadRatio: 1.5,
	})
	for _, want := range []string{
		"PressureInterval: 1ms is outside", "MaxCPUPressure: 2", "MaxMemoryPressure: -1", "MaxIOPressure: +Inf",
		"PressureOverloadRatio: 1.5",
	} {
		if !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("New = %v\nwant it to say %q", err, want)
		}
	}
	reports, err := snapshot.NewReports(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	_, err = reports.Put(0, snapshot.Reporter{Name: "w"}, snapshot.Report{
		Signals: map[string]snapshot.ReportedSignal{snapshot.SignalPressureIO: {}},
	})
	if err == nil || !strings.Contains(err.Error(), "the name is that of a built-in signal") {
		t.Errorf("report of pressure_io = %v, want a fault", err)
	}
}
