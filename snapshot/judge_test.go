package snapshot_test

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

const (
	idle       = snapshot.StateIdle
	overloaded = snapshot.StateOverloaded
	unknown    = snapshot.StateUnknown
)

var errSource = errors.New("source is gone")

// step is one attempt to read the CPU: its time, and the verdict of the snapshot.
type step struct {
	at   time.Duration
	over bool
	lost bool
}

func at(s float64) time.Duration { return time.Duration(math.Round(s * float64(time.Second))) }

func good(s float64) step { return step{at: at(s)} }
func over(s float64) step { return step{at: at(s), over: true} }
func lost(s float64) step { return step{at: at(s), lost: true} }

// track plays the steps to the CPU signal of c.
func track(t *testing.T, c snapshot.Config, steps []step) *snapshot.Track {
	t.Helper()
	c.Sources = calm()
	cpu, err := snapshot.NewTrack(c, snapshot.SignalCPU, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range steps {
		raw := snapshot.Snapshot{CPU: snapshot.CPUReading{Used: 0.1}}
		if s.over {
			raw.CPU.Used = 0.99
		}
		var err error
		if s.lost {
			err = errSource
		}
		if got := cpu.Read(s.at, raw, err); got.Overloaded != s.over || got.Known() == s.lost {
			t.Fatalf("snapshot at %v is overloaded=%v unknown=%q", s.at, got.Overloaded, got.Unknown)
		}
	}
	return cpu
}

func TestCrawleeStatusOverTheCurrentWindow(t *testing.T) {
	// 5 s in steps of which the overloaded part is just over a fifth: 1.002 of 5 s.
	edge := []step{good(0), over(1.002), good(2), good(3), good(4), good(5)}
	for _, tt := range []struct {
		name         string
		limit        float64
		steps        []step
		python, js   snapshot.State
		pyAct, jsAct float64
	}{
		{"empty is idle", 0.4, nil, idle, idle, 0, 0},
		{"one counts by its flag", 0.4, []step{over(0)}, overloaded, overloaded, 1, 1},
		{"one idle", 0.4, []step{good(0)}, idle, idle, 0, 0},
		{"the first flag does not count", 0.4, []step{over(0), good(1)}, idle, idle, 0, 0},
		{"the later flag counts", 0.4, []step{good(0), over(1)}, overloaded, overloaded, 1, 1},
		{"0.2004 is over 0.2 unrounded only", 0.2, edge, idle, overloaded, 0.2, 0.2004},
		{"exactly the limit is not over", 0.2, []step{good(0), over(1), good(5)}, idle, idle, 0.2, 0.2},
		{"all of one stamp", 0.4, []step{over(1), over(1), over(1)}, idle, overloaded, 0, 1},
		{"zero intervals weigh a millisecond in js", 0.4, []step{good(0), over(0), good(0.001)}, idle, overloaded, 0, 0.5},
		{"the edge of the window is inside", 0.4, []step{good(0), over(5)}, overloaded, overloaded, 1, 1},
		{"beyond the edge is out", 0.4, []step{over(0), good(0.5), over(2), good(5.001)}, overloaded, overloaded, 0.333, 1.5 / 4.501},
		{"a failed reading leaves none", 0.4, []step{good(0), over(1), lost(2), lost(3)}, overloaded, overloaded, 1, 1},
	} {
		limit := tt.limit
		if tt.name == "beyond the edge is out" {
			limit = 0.3
		}
		c := snapshot.Config{CPUOverloadRatio: limit}
		c.Profile = snapshot.ProfileCrawleePython
		python := track(t, c, tt.steps).Current(time.Hour)
		c.Profile = snapshot.ProfileCrawleeJS
		js := track(t, c, tt.steps).Current(time.Hour)
		if python.State != tt.python || python.Actual != tt.pyAct {
			t.Errorf("%s: python = %v %v, want %v %v", tt.name, python.State, python.Actual, tt.python, tt.pyAct)
		}
		if js.State != tt.js || math.Abs(js.Actual-tt.jsAct) > 1e-12 {
			t.Errorf("%s: js = %v %v, want %v %v", tt.name, js.State, js.Actual, tt.js, tt.jsAct)
		}
	}
}

func TestCrawleeNeverForgetsADeadSource(t *testing.T) {
	for _, p := range []snapshot.Profile{snapshot.ProfileCrawleePython, snapshot.ProfileCrawleeJS} {
		steps := []step{good(0), over(1)}
		for s := 2; s < 100; s++ {
			steps = append(steps, lost(float64(s)))
		}
		cpu := track(t, snapshot.Config{Profile: p, Stale: snapshot.StaleIgnore}, steps)
		got := cpu.Current(100 * time.Second)
		if got.State != overloaded || got.Count != 2 || got.Reason != errSource.Error() || got.Age != 99*time.Second {
			t.Errorf("%v: %+v, want overloaded by the 2 snapshots of 99 s ago, with the reason", p, got)
		}
		if n := len(cpu.Sample(0)); n != 2 {
			t.Errorf("%v: %d snapshots in the history, want 2", p, n)
		}
	}
}

func TestCrawleeBillsAGap(t *testing.T) {
	steps := []step{good(0), good(1), over(4.5), good(5)}
	for p, want := range map[snapshot.Profile]snapshot.State{
		snapshot.ProfileCrawleePython: overloaded,
		snapshot.ProfileCrawleeJS:     overloaded,
		snapshot.ProfileHeadroom:      idle,
	} {
		if got := track(t, snapshot.Config{Profile: p}, steps).Current(at(5)); got.State != want {
			t.Errorf("%v: %v at %v, want %v", p, got.State, got.Actual, want)
		}
	}
}

func TestStatusOverTheWindowThatEndsNow(t *testing.T) {
	for _, tt := range []struct {
		name  string
		steps []step
		now   float64
		state snapshot.State
		want  float64
		count int
	}{
		{"no snapshot", nil, 1, unknown, 0, 0},
		{"only failures", []step{lost(0), lost(1)}, 1, unknown, 0, 2},
		{"one counts by its flag", []step{over(0)}, 0, overloaded, 1, 1},
		{"one idle", []step{good(0)}, 2, idle, 0, 1},
		{"the first flag does not count", []step{over(0), good(1)}, 1, idle, 0, 2},
		{"exactly the limit is not over", []step{good(0), over(1), over(2), good(3), good(4), good(5)}, 5, idle, 0.4, 6},
		{"unrounded", []step{good(0), over(1), over(2.001), good(3), good(4), good(5)}, 5, overloaded, 0.4002, 6},
		{"the left interval is clipped", []step{good(0), over(2), good(3), good(4), good(5), good(6)}, 6, idle, 0.2, 5},
		{"the window moves with now", []step{good(0), over(2), good(3), good(4), good(5), good(6)}, 6.5, idle, 0.5 / 4.5, 5},
		{"a snapshot on the left edge is inside", []step{good(0), over(1), good(2), good(5)}, 6, idle, 0, 3},
		{"all of one stamp: by the newest flag", []step{good(1), over(1)}, 1, overloaded, 1, 2},
		{"an unknown interval is excluded", []step{good(0), over(1), lost(2), good(3)}, 3, overloaded, 0.5, 4},
		{"between unknowns: by the newest good flag", []step{lost(0), over(1), lost(2), lost(3)}, 3, overloaded, 1, 4},
		{"a gap is excluded", []step{good(0), over(1), over(4.5), good(5)}, 5, overloaded, 1 / 1.5, 4},
		{"three intervals are no gap", []step{good(0), over(3), good(4)}, 4, overloaded, 0.75, 3},
		{"just over three are", []step{good(0), over(3.001), good(4)}, 4, idle, 0, 3},
		{"after a gap longer than the history", []step{over(0), over(1), good(100)}, 100, idle, 0, 1},
	} {
		got := track(t, snapshot.Config{}, tt.steps).Current(at(tt.now))
		if got.State != tt.state || math.Abs(got.Actual-tt.want) > 1e-12 || got.Count != tt.count {
			t.Errorf("%s: %v %v of %d, want %v %v of %d", tt.name, got.State, got.Actual, got.Count, tt.state, tt.want, tt.count)
		}
	}
}

func TestStalePolicies(t *testing.T) {
	// Overloaded for 2 of 4 s, then silence: hung, or failing each second.
	before := []step{good(0), over(1), good(2), over(3), good(4)}
	failing := before
	for s := 5; s < 40; s++ {
		failing = append(failing[:len(failing):len(failing)], lost(float64(s)))
	}
	type verdict struct {
		now   float64
		state snapshot.State
		act   float64
	}
	for _, tt := range []struct {
		policy snapshot.StalePolicy
		want   []verdict
	}{
		{snapshot.StaleIgnore, []verdict{{4, overloaded, 0.5}, {7, overloaded, 0.5}, {7.001, unknown, 0}, {40, unknown, 0}}},
		{snapshot.StaleHold, []verdict{{4, overloaded, 0.5}, {7.001, overloaded, 0.5}, {34, overloaded, 0.5}, {34.001, unknown, 0}}},
		{snapshot.StaleOverloaded, []verdict{{4, overloaded, 0.5}, {7.001, overloaded, 1}, {100, overloaded, 1}}},
	} {
		for name, steps := range map[string][]step{"hung": before, "failing": failing} {
			for _, want := range tt.want {
				played := steps
				for len(played) > 0 && played[len(played)-1].at > at(want.now) {
					played = played[:len(played)-1]
				}
				cpu := track(t, snapshot.Config{Stale: tt.policy}, played)
				got := cpu.Historical(at(want.now))
				if got.State != want.state || got.Actual != want.act {
					t.Errorf("policy %d, %s, at %v s: %v %v, want %v %v", tt.policy, name, want.now, got.State, got.Actual, want.state, want.act)
				}
			}
		}
	}
}

func TestASourceThatNeverAnswersIsStale(t *testing.T) {
	for policy, want := range map[snapshot.StalePolicy]snapshot.State{
		snapshot.StaleIgnore: unknown, snapshot.StaleHold: unknown, snapshot.StaleOverloaded: overloaded,
	} {
		cpu := track(t, snapshot.Config{Stale: policy}, nil)
		if got := cpu.Current(at(3)); got.State != unknown || got.Reason != "no reading yet" {
			t.Errorf("policy %d after 3 intervals: %v %q, want unknown, no reading yet", policy, got.State, got.Reason)
		}
		if got := cpu.Current(at(3.5)); got.State != want || got.Reason != "no answer for 3.5s" {
			t.Errorf("policy %d after 3.5 intervals: %v %q, want %v, no answer for 3.5s", policy, got.State, got.Reason, want)
		}
	}
}

func TestUnknownSnapshotTellsOfTheLastGoodOne(t *testing.T) {
	cpu := track(t, snapshot.Config{}, []step{over(1)})
	got := cpu.Read(at(2), snapshot.Snapshot{CPU: snapshot.CPUReading{Used: 0.5}, Value: 7}, errSource)
	want := snapshot.Snapshot{
		Signal: "cpu", Resource: snapshot.CPU, At: at(2), Unknown: "source is gone", LastGood: at(1), HasLastGood: true,
	}
	if got != want {
		t.Errorf("snapshot = %+v\nwant %+v", got, want)
	}
	st := cpu.Current(at(2))
	if !st.HasValue || st.Value != 0.99 || st.Bound != 0.95 || st.Age != time.Second || st.Reason != "source is gone" {
		t.Errorf("status = %+v, want the value 0.99 of 0.95 of 1 s ago and the reason", st)
	}
}

func TestReadingsThatMakeNoSenseAreUnknown(t *testing.T) {
	for _, used := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), -0.1} {
		cpu := track(t, snapshot.Config{}, nil)
		if got := cpu.Read(0, snapshot.Snapshot{CPU: snapshot.CPUReading{Used: used}}, nil); got.Known() || got.Value != 0 {
			t.Errorf("used %v: known=%v value=%v, want unknown", used, got.Known(), got.Value)
		}
	}
}

func TestClockThatGoesBack(t *testing.T) {
	for _, tt := range []struct {
		profile snapshot.Profile
		back    float64
		count   int // of the snapshots kept
	}{
		{snapshot.ProfileHeadroom, 3, 5},
		{snapshot.ProfileHeadroom, 3600, 4},
		{snapshot.ProfileCrawleePython, 3, 8},
		{snapshot.ProfileCrawleePython, 3600, 4},
		{snapshot.ProfileCrawleeJS, 3, 8},
		{snapshot.ProfileCrawleeJS, 3600, 4},
	} {
		steps := []step{over(3601), over(3602), over(3603), over(3604)}
		if tt.back > 3000 {
			steps = append(steps, good(4), good(5), good(6), good(7))
		} else {
			steps = append(steps, good(3601.5), good(3602.5), good(3603.5), good(3604.5))
		}
		cpu := track(t, snapshot.Config{Profile: tt.profile}, steps)
		if got := len(cpu.Sample(0)); got != tt.count {
			t.Errorf("%v back by %v s: %d snapshots kept, want %d", tt.profile, tt.back, got, tt.count)
		}
		now := steps[len(steps)-1].at
		for _, snap := range cpu.Sample(0) {
			if want := snap.At == steps[4].at; snap.Discontinuity != want && snap.At <= now {
				t.Errorf("%v back by %v s: at %v discontinuity=%v, want %v", tt.profile, tt.back, snap.At, snap.Discontinuity, want)
			}
		}
		if kept := cpu.Sample(0); tt.back > 3000 && kept[len(kept)-1].At != now {
			t.Errorf("%v back by %v s: the newest is of %v, want %v", tt.profile, tt.back, kept[len(kept)-1].At, now)
		}
		for _, st := range []snapshot.SignalStatus{cpu.Current(now), cpu.Historical(now), cpu.Current(now - time.Hour)} {
			if st.Actual < 0 || st.Actual > 1 || st.Age < 0 {
				t.Errorf("%v back by %v s: ratio %v of age %v", tt.profile, tt.back, st.Actual, st.Age)
			}
		}
		if got := cpu.Current(now); tt.profile == snapshot.ProfileHeadroom && got.State != idle {
			t.Errorf("back by %v s: %v, want idle at once", tt.back, got.State)
		}
	}
}

func TestSourceThatDiesWhenTheClockGoesBackIsUnknown(t *testing.T) {
	cpu := track(t, snapshot.Config{Stale: snapshot.StaleOverloaded}, []step{over(3600), over(3601), lost(4), lost(5)})
	if got := cpu.Current(at(7)); got.State != unknown {
		t.Errorf("with nothing left to judge: %v, want unknown", got.State)
	}
	if got := cpu.Current(at(7.001)); got.State != overloaded {
		t.Errorf("after three intervals: %v, want overloaded by the policy", got.State)
	}
	if got := cpu.Sample(0)[0]; got.LastGood != at(4) || !got.HasLastGood {
		t.Errorf("the last good one is of %v, want no later than the snapshot", got.LastGood)
	}
}

func TestSourceThatNeverAnswersWhenTheClockGoesBackIsStale(t *testing.T) {
	cpu, err := snapshot.NewTrack(snapshot.Config{Sources: calm(), Stale: snapshot.StaleOverloaded}, snapshot.SignalCPU, at(3600))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []float64{3600, 4, 8} {
		cpu.Read(at(s), snapshot.Snapshot{}, errSource)
	}
	if got := cpu.Current(at(8)); got.State != overloaded {
		t.Errorf("%v, want overloaded by the policy", got.State)
	}
}

func TestRoundingIsThatOfPython(t *testing.T) {
	for ratio, want := range map[float64]float64{
		0: 0, 1: 1, 0.2004: 0.2, 0.2005: 0.201, 0.2015: 0.202, 0.9995: 1, 0.9994999: 0.999,
		0.0625: 0.062, 0.1875: 0.188, 0.3125: 0.312, 0.0005: 0.001, 0.00049999: 0,
	} {
		if got := snapshot.RoundToThousandths(ratio); got != want {
			t.Errorf("round(%v) = %v, want %v", ratio, got, want)
		}
	}
}

func TestJudgingDoesNotAllocate(t *testing.T) {
	for _, p := range []snapshot.Profile{snapshot.ProfileHeadroom, snapshot.ProfileCrawleePython, snapshot.ProfileCrawleeJS} {
		cpu := track(t, snapshot.Config{Profile: p, CPUInterval: 100 * time.Millisecond}, nil)
		var now time.Duration
		raw := snapshot.Snapshot{CPU: snapshot.CPUReading{Used: 0.99}}
		for range 400 {
			now += 100 * time.Millisecond
			cpu.Read(now, raw, nil)
		}
		if got := cpu.Historical(now); got.Count != 301 {
			t.Fatalf("%v: %d snapshots, want 301", p, got.Count)
		}
		allocs := testing.AllocsPerRun(100, func() {
			now += 100 * time.Millisecond
			cpu.Read(now, raw, nil)
			cpu.Current(now)
			cpu.Historical(now)
		})
		if allocs != 0 {
			t.Errorf("%v: %v allocations to append and judge 300 snapshots, want 0", p, allocs)
		}
	}
}

func TestTakingASnapshotDoesNotAllocate(t *testing.T) {
	for _, name := range []string{snapshot.SignalCPU, snapshot.SignalMemory, snapshot.SignalEventLoop, snapshot.SignalClient} {
		var now time.Duration
		counts := map[int]int64{2: 7}
		tr := newTrack(t, snapshot.Config{
			Clock:        func() time.Duration { now += time.Second / 2; return now },
			ClientErrors: func() map[int]int64 { return counts },
		}, name)
		for range 100 {
			tr.Snapshot()
		}
		if allocs := testing.AllocsPerRun(100, tr.Snapshot); allocs != 0 {
			t.Errorf("%s: %v allocations to read, judge, keep and publish a snapshot, want 0", name, allocs)
		}
	}
}

func TestSourcesAreNotNeededForDisabledSignals(t *testing.T) {
	_, err := snapshot.New(snapshot.Config{Disabled: []string{"cpu"}, Signals: []snapshot.Signal{{
		Name: "memory", Read: func(context.Context) (float64, float64, error) { return 0, 1, nil },
	}}})
	if err != nil {
		t.Errorf("New = %v, want nil", err)
	}
}
