package snapshot_test

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

const (
	headroom = snapshot.ProfileHeadroom
	python   = snapshot.ProfileCrawleePython
	js       = snapshot.ProfileCrawleeJS
)

func newTrack(t *testing.T, c snapshot.Config, signal string) *snapshot.Track {
	t.Helper()
	c.Sources = calm()
	tr, err := snapshot.NewTrack(c, signal, 0)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func TestCPUIsOverloadedStrictlyOverItsLimit(t *testing.T) {
	cpu := newTrack(t, snapshot.Config{}, snapshot.SignalCPU)
	for i, tt := range []struct {
		used float64
		want bool
	}{{0, false}, {0.95, false}, {math.Nextafter(0.95, 1), true}, {1, true}, {1.5, true}} {
		raw := snapshot.Snapshot{CPU: snapshot.CPUReading{Used: tt.used, Source: "fixture"}}
		got := cpu.Read(time.Duration(i)*time.Second, raw, nil)
		if got.Overloaded != tt.want || got.Value != tt.used || got.Limit != 0.95 || got.Source != "fixture" {
			t.Errorf("used %v: overloaded=%v %v of %v by %q, want %v", tt.used, got.Overloaded, got.Value, got.Limit, got.Source, tt.want)
		}
	}
}

func TestMemoryVerdict(t *testing.T) {
	const total = 1000
	host := func(used, hostUsed int64) snapshot.MemoryReading {
		return snapshot.MemoryReading{Used: used, Total: total, HostUsed: hostUsed, HostTotal: total, HostKnown: true}
	}
	own := func(used int64) snapshot.MemoryReading { return snapshot.MemoryReading{Used: used, Total: total} }
	for _, tt := range []struct {
		name         string
		c            snapshot.Config
		r            snapshot.MemoryReading
		over         bool
		value, limit float64
		max          int64
	}{
		{"a quarter in scope process", snapshot.Config{}, own(225), false, 0.9, 0.9, 250},
		{"over it", snapshot.Config{}, own(226), true, 0.904, 0.9, 250},
		{"all of it in scope host", snapshot.Config{Scope: snapshot.ScopeHost}, own(900), false, 0.9, 0.9, 1000},
		{"a quarter of the host in crawlee", snapshot.Config{Scope: snapshot.ScopeHost, Profile: python}, own(226), true, 0.904, 0.9, 250},
		{"the ratio as given", snapshot.Config{AvailableMemoryRatio: 0.5}, own(226), false, 0.452, 0.9, 500},
		{"a fixed budget", snapshot.Config{MaxMemory: 100}, own(91), true, 0.91, 0.9, 100},
		{"a fixed budget over the total", snapshot.Config{MaxMemory: 2000}, own(901), true, 0.901, 0.9, 1000},
		{"the same in crawlee-python", snapshot.Config{MaxMemory: 2000, Profile: python}, own(901), false, 0.4505, 0.9, 2000},
		{"the same in crawlee-js", snapshot.Config{MaxMemory: 2000, Profile: js}, own(901), false, 0.4505, 0.9, 2000},
		{"a fixed budget needs no total", snapshot.Config{MaxMemory: 100}, snapshot.MemoryReading{Used: 10}, false, 0.1, 0.9, 100},
		{"the host at 97 %", snapshot.Config{}, host(1, 970), false, 0.004, 0.9, 250},
		{"the host over 97 %", snapshot.Config{}, host(1, 971), true, 0.971, 0.97, 250},
		{"the same in crawlee-python", snapshot.Config{Profile: python}, host(1, 971), true, 0.971, 0.97, 250},
		{"not in crawlee-js", snapshot.Config{Profile: js}, host(1, 971), false, 0.004, 0.9, 250},
		{"both over: the budget is named", snapshot.Config{}, host(250, 999), true, 1, 0.9, 250},
		{"more than the budget", snapshot.Config{}, own(750), true, 3, 0.9, 250},
		{"python truncates the budget", snapshot.Config{Profile: python, AvailableMemoryRatio: 0.0105}, own(9), false, 0.9, 0.9, 10},
		{"js keeps its fraction", snapshot.Config{Profile: js, AvailableMemoryRatio: 0.0105}, own(9), false, 9 / 10.5, 0.9, 10},
	} {
		got := newTrack(t, tt.c, snapshot.SignalMemory).Read(0, snapshot.Snapshot{Memory: tt.r}, nil)
		if got.Overloaded != tt.over || got.Value != tt.value || got.Limit != tt.limit || got.Memory.Max != tt.max {
			t.Errorf("%s: overloaded=%v %v of %v, max %d (%s); want %v %v of %v, max %d",
				tt.name, got.Overloaded, got.Value, got.Limit, got.Memory.Max, got.Unknown, tt.over, tt.value, tt.limit, tt.max)
		}
	}
}

func TestMemoryWithoutABudgetIsUnknown(t *testing.T) {
	for _, r := range []snapshot.MemoryReading{{Used: 1}, {Used: 1, Total: 3}, {Used: -1, Total: 100}} {
		got := newTrack(t, snapshot.Config{}, snapshot.SignalMemory).Read(0, snapshot.Snapshot{Memory: r}, nil)
		if got.Known() || got.Overloaded {
			t.Errorf("used %d of %d: known, want unknown", r.Used, r.Total)
		}
	}
}

func TestCriticalMemory(t *testing.T) {
	const gib8 = 8192 << 20
	for _, tt := range []struct {
		profile  snapshot.Profile
		critical float64
		warns    bool // of 95 % of 8 GiB, truncated to bytes
	}{
		{python, 8160437861, true},
		{js, 8160437862.4, false},
		{headroom, 8160437862.4, false},
	} {
		_, critical := snapshot.CriticalMemory(snapshot.Config{Profile: tt.profile, MaxMemory: gib8}, 0)
		if math.Abs(critical-tt.critical) > 1e-5 {
			t.Errorf("%v: critical above %v bytes, want %v", tt.profile, critical, tt.critical)
		}
		due := snapshot.WarnsOfMemory(10*time.Second, 8160437862, critical, 0)
		if got := len(due) == 1; got != tt.warns {
			t.Errorf("%v: warns of 8160437862 bytes: %v, want %v", tt.profile, got, tt.warns)
		}
	}
	budget, _ := snapshot.CriticalMemory(snapshot.Config{Profile: python}, 4097)
	if budget != 1024 {
		t.Errorf("python: a quarter of 4097 bytes is %v, want 1024", budget)
	}
	budget, _ = snapshot.CriticalMemory(snapshot.Config{Profile: js}, 4097)
	if budget != 1024.25 {
		t.Errorf("js: a quarter of 4097 bytes is %v, want 1024.25", budget)
	}
}

func TestMemoryWarningsRestForTheCooldown(t *testing.T) {
	got := snapshot.WarnsOfMemory(10*time.Second, 96, 95, at(0), at(1), at(9.999), at(10), at(19.5), at(20), at(60))
	if want := []time.Duration{at(0), at(10), at(20), at(60)}; !slices.Equal(got, want) {
		t.Errorf("warned at %v, want %v", got, want)
	}
	if got := snapshot.WarnsOfMemory(10*time.Second, 95, 95, at(0)); len(got) != 0 {
		t.Error("warned of exactly the critical use")
	}
}

func TestPercentInTheMemoryWarning(t *testing.T) {
	for p, want := range map[snapshot.Profile]int{python: 96, js: 97, headroom: 97} {
		if got := snapshot.PercentOfMemory(snapshot.Config{Profile: p}, 965, 1000); got != want {
			t.Errorf("%v: 96.5 %% is written as %d %%, want %d %%", p, got, want)
		}
	}
}

func TestEventLoopTimerLag(t *testing.T) {
	type reading struct {
		at   float64
		lag  time.Duration
		over bool
	}
	const ms = time.Millisecond
	for _, tt := range []struct {
		name    string
		profile snapshot.Profile
		want    []reading
	}{
		{"the first is 0", headroom, []reading{{7, 0, false}}},
		{"exactly the limit", headroom, []reading{{0, 0, false}, {0.55, 50 * ms, false}}},
		{"strictly over it", headroom, []reading{{0, 0, false}, {0.551, 51 * ms, true}, {1.051, 0, false}}},
		{"early is 0", headroom, []reading{{0, 0, false}, {0.4, 0, false}}},
		{"early is negative in crawlee", python, []reading{{0, 0, false}, {0.4, -100 * ms, false}}},
		{"early is negative in crawlee", js, []reading{{0, 0, false}, {0.4, -100 * ms, false}}},
		{"at three intervals", headroom, []reading{{0, 0, false}, {1.5, 1000 * ms, true}}},
		{"a suspend is nobody's", headroom, []reading{{0, 0, false}, {1.501, 0, false}, {2.101, 100 * ms, true}}},
		{"a gap is billed in crawlee", python, []reading{{0, 0, false}, {10, 9500 * ms, true}}},
		{"a gap is billed in crawlee", js, []reading{{0, 0, false}, {10, 9500 * ms, true}}},
		{"js forgets a snapshot older than the history", js, []reading{{0, 0, false}, {30.001, 0, false}}},
		{"python does not", python, []reading{{0, 0, false}, {30.001, 29501 * ms, true}}},
		{"python: after the newest", python, []reading{{10, 0, false}, {9, -1500 * ms, false}, {10.6, 100 * ms, true}}},
		{"python: anew where all is in the future", python, []reading{{3600, 0, false}, {3, -3597500 * ms, false}, {3.6, 100 * ms, true}}},
		{"js: after the last made", js, []reading{{10, 0, false}, {9, -1500 * ms, false}, {10.6, 1100 * ms, true}}},
	} {
		loop := newTrack(t, snapshot.Config{Profile: tt.profile}, snapshot.SignalEventLoop)
		for _, want := range tt.want {
			got := loop.Read(at(want.at), snapshot.Snapshot{}, nil)
			if got.EventLoop.TimerLag != want.lag || got.EventLoop.Delay != want.lag || got.Overloaded != want.over ||
				got.EventLoop.Judged != snapshot.LoopTimer || got.Value != want.lag.Seconds() {
				t.Errorf("%s (%v): at %v s %+v overloaded=%v, want lag %v overloaded=%v",
					tt.name, tt.profile, want.at, got.EventLoop, got.Overloaded, want.lag, want.over)
			}
		}
	}
}

func TestEventLoopIsJudgedByTheWorstDelay(t *testing.T) {
	for _, p := range []snapshot.Profile{headroom, python, js} {
		reports := newReports(t, 10, 10)
		loop := newTrack(t, snapshot.Config{Profile: p, Reports: reports}, snapshot.SignalEventLoop)
		put(t, reports, 0, "alice", "w1", snapshot.Report{HasEventLoop: true, EventLoopDelay: 80 * time.Millisecond})

		got := loop.Read(0, snapshot.Snapshot{}, nil)
		if e := got.EventLoop; e.Judged != snapshot.LoopReported || e.Delay != 80*time.Millisecond || e.Reporters != 1 || !got.Overloaded {
			t.Errorf("%v: %+v, want 80 ms, reported by 1", p, e)
		}
		got = loop.Read(at(0.6), snapshot.Snapshot{}, nil)
		if e := got.EventLoop; e.Judged != snapshot.LoopTimer || e.Delay != 100*time.Millisecond || e.Reported != 80*time.Millisecond {
			t.Errorf("%v: %+v, want the timer's 100 ms beside the reported 80 ms", p, e)
		}
		got = loop.Read(at(5.1), snapshot.Snapshot{}, nil)
		if e := got.EventLoop; e.Reporters != 0 || e.Reported != 0 {
			t.Errorf("%v: %+v, want no reporter after its TTL", p, e)
		}
	}
}

func TestClientErrors(t *testing.T) {
	type reading struct {
		total, fresh int64
		over         bool
	}
	for _, tt := range []struct {
		name    string
		profile snapshot.Profile
		want    []reading
	}{
		{"python counts what was before the start", python, []reading{{5, 5, true}, {5, 0, false}, {6, 1, false}, {8, 2, true}}},
		{"js does not, and allows three", js, []reading{{5, 0, false}, {8, 3, false}, {12, 4, true}}},
		{"nor does the default", headroom, []reading{{5, 0, false}, {6, 1, false}, {8, 2, true}}},
		{"a reset is negative", headroom, []reading{{5, 0, false}, {1, -4, false}, {3, 2, true}}},
		{"a reset is negative in python", python, []reading{{1, 1, false}, {0, -1, false}, {2, 2, true}}},
		{"a reset is negative in js", js, []reading{{5, 0, false}, {0, -5, false}, {4, 4, true}}},
	} {
		client := newTrack(t, snapshot.Config{Profile: tt.profile}, snapshot.SignalClient)
		for i, want := range tt.want {
			got := client.Read(time.Duration(i)*time.Second, snapshot.Snapshot{Client: snapshot.ClientReading{Total: want.total}}, nil)
			if got.Client.New != want.fresh || got.Overloaded != want.over || got.Value != float64(want.fresh) || got.Client.RetryIndex != 2 {
				t.Errorf("%s: snapshot %d: %+v overloaded=%v, want %+v", tt.name, i, got.Client, got.Overloaded, want)
			}
		}
	}
}

func TestClientErrorsAfterTheClockWentBackCountOnce(t *testing.T) {
	for _, p := range []snapshot.Profile{headroom, python, js} {
		client := newTrack(t, snapshot.Config{Profile: p}, snapshot.SignalClient)
		for i, s := range []float64{3600, 1, 2, 3} {
			total := int64(min(i, 1) * 9)
			got := client.Read(at(s), snapshot.Snapshot{Client: snapshot.ClientReading{Total: total}}, nil)
			if want := s == 1; got.Overloaded != want {
				t.Errorf("%v: at %v s %d new errors, overloaded=%v, want %v", p, s, got.Client.New, got.Overloaded, want)
			}
		}
	}
}

func TestClientErrorsOfWorkersCountBesideTheProgramsOwn(t *testing.T) {
	own := func() map[int]int64 { return nil }
	reports := newReports(t, 10, 0)
	client := newTrack(t, snapshot.Config{Reports: reports, ClientErrors: own}, snapshot.SignalClient)
	read := func(s float64, total int64) snapshot.ClientReading {
		return client.Read(at(s), snapshot.Snapshot{Client: snapshot.ClientReading{Total: total}}, nil).Client
	}
	put(t, reports, 0, "alice", "w1", snapshot.Report{ClientErrors: map[int]int64{2: 100}})
	if got := read(0, 0); got.New != 0 || got.Total != 100 || got.Reporters != 1 {
		t.Errorf("at 0: %+v, want nothing new of 100", got)
	}
	put(t, reports, at(0.3), "alice", "w1", snapshot.Report{ClientErrors: map[int]int64{2: 103}})
	put(t, reports, at(0.6), "alice", "w1", snapshot.Report{ClientErrors: map[int]int64{2: 107}})
	if got := read(1, 2); got.New != 7 || got.Total != 109 {
		t.Errorf("at 1: %+v, want 7 of two reports, and 109 in all", got)
	}
	if got := read(2, 5); got.New != 3 || got.Total != 112 {
		t.Errorf("at 2: %+v, want the program's own 3", got)
	}
	// A snapshot that fails takes nothing, so nothing is lost.
	put(t, reports, at(2.5), "alice", "w1", snapshot.Report{ClientErrors: map[int]int64{2: 111}})
	client.Read(at(3), snapshot.Snapshot{}, errSource)
	if got := read(4, 5); got.New != 4 {
		t.Errorf("at 4: %+v, want the 4 that the failed snapshot left", got)
	}
}

func TestWorkerThatReportsLateIsNotOverloaded(t *testing.T) {
	for _, p := range []snapshot.Profile{headroom, python, js} {
		reports := newReports(t, 10, 0)
		client := newTrack(t, snapshot.Config{Profile: p, Reports: reports}, snapshot.SignalClient)
		for s := range 60 {
			if s%6 == 0 { // the TTL is 5 s
				put(t, reports, at(float64(s)), "alice", "w1", snapshot.Report{ClientErrors: map[int]int64{2: 100}})
			}
			if got := client.Read(at(float64(s)), snapshot.Snapshot{}, nil); got.Overloaded {
				t.Errorf("%v: %d new errors at %d s of a worker that counted none", p, got.Client.New, s)
			}
		}
	}
}

func TestPercentile99(t *testing.T) {
	edges := []float64{math.Inf(-1), 0, 0.001, 0.01, 0.1, math.Inf(1)}
	for _, tt := range []struct {
		name         string
		counts, base []uint64
		want         time.Duration
		known        bool
	}{
		{"no waits", []uint64{0, 9, 9, 9, 9}, []uint64{0, 9, 9, 9, 9}, 0, false},
		{"19 waits", []uint64{0, 0, 19, 0, 0}, make([]uint64, 5), 0, false},
		{"20 waits", []uint64{0, 0, 20, 0, 0}, make([]uint64, 5), time.Millisecond, true},
		{"the greatest of 20", []uint64{0, 19, 0, 1, 0}, make([]uint64, 5), 10 * time.Millisecond, true},
		{"one of a hundred is above it", []uint64{0, 99, 0, 0, 1}, make([]uint64, 5), 0, true},
		{"two of a hundred are not", []uint64{0, 98, 0, 0, 2}, make([]uint64, 5), 100 * time.Millisecond, true},
		{"since the base only", []uint64{0, 1000, 50, 0, 0}, []uint64{0, 1000, 0, 0, 0}, time.Millisecond, true},
		{"below the first edge", []uint64{30, 0, 0, 0, 0}, make([]uint64, 5), 0, true},
	} {
		got, known := snapshot.Percentile99(tt.counts, tt.base, edges)
		if got != tt.want || known != tt.known {
			t.Errorf("%s: %v %v, want %v %v", tt.name, got, known, tt.want, tt.known)
		}
	}
}

func TestCustomSignalIsOverloadedStrictlyOverItsLimit(t *testing.T) {
	queue := newTrack(t, snapshot.Config{Signals: []snapshot.Signal{{Name: "queue", Read: read}}}, "queue")
	for i, tt := range []struct {
		value, limit float64
		over, known  bool
	}{
		{5, 5, false, true}, {5.1, 5, true, true}, {-1, -2, true, true}, {0, 0, false, true},
		{math.NaN(), 1, false, false}, {1, math.NaN(), false, false}, {math.Inf(1), 1, false, false},
	} {
		got := queue.Read(time.Duration(i)*time.Second, snapshot.Snapshot{Value: tt.value, Limit: tt.limit}, nil)
		if got.Overloaded != tt.over || got.Known() != tt.known {
			t.Errorf("%v of %v: overloaded=%v known=%v, want %v %v", tt.value, tt.limit, got.Overloaded, got.Known(), tt.over, tt.known)
		}
	}
}

func TestNamesOfEnums(t *testing.T) {
	for got, want := range map[string]string{
		fmt.Sprint(snapshot.CPU, snapshot.Memory, snapshot.EventLoop, snapshot.Client, snapshot.Pressure, snapshot.Custom, snapshot.Resource(0)): "cpu memory event_loop client pressure custom unknown",
		fmt.Sprint(snapshot.LoopTimer, snapshot.LoopScheduler, snapshot.LoopProbe, snapshot.LoopReported, snapshot.LoopSource(0)):                "timer scheduler probe reported unknown",
		fmt.Sprint(idle, overloaded, unknown, snapshot.StateDisabled, snapshot.State(0)):                                                         "idle overloaded unknown disabled unknown",
		fmt.Sprint(headroom, python, js, snapshot.Profile(9)):                                                                                    "headroom crawlee-python crawlee-js unknown",
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestSlowSourceSkipsTicks(t *testing.T) {
	start := time.Now()
	for _, tt := range []struct{ due, now, want float64 }{
		{0, 0, 1}, {0, 0.999, 1}, {0, 1, 2}, {0, 2.5, 3}, {3, 3.2, 4}, {3, 100.5, 101},
	} {
		got := snapshot.NextTick(start.Add(at(tt.due)), start.Add(at(tt.now)), time.Second)
		if want := start.Add(at(tt.want)); !got.Equal(want) {
			t.Errorf("due %v s, now %v s: next at %v, want %v s", tt.due, tt.now, got.Sub(start), tt.want)
		}
	}
}
