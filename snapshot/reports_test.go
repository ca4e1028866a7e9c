package snapshot_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

func newReports(t *testing.T, reporters, signals int) *snapshot.Reports {
	t.Helper()
	r, err := snapshot.NewReports(reporters, signals)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func put(t *testing.T, r *snapshot.Reports, now time.Duration, identity, name string, report snapshot.Report) {
	t.Helper()
	if _, err := r.Put(now, snapshot.Reporter{Identity: identity, Name: name}, report); err != nil {
		t.Fatal(err)
	}
}

func TestNewReportsRefusesLimitsOutOfRange(t *testing.T) {
	for _, tt := range []struct{ reporters, signals int }{{0, 0}, {65537, 0}, {1, -1}, {1, 257}} {
		if _, err := snapshot.NewReports(tt.reporters, tt.signals); err == nil {
			t.Errorf("NewReports(%d, %d) = nil error", tt.reporters, tt.signals)
		}
	}
	_, err := snapshot.NewReports(0, -1)
	for _, want := range []string{"maxReporters: 0 is outside 1 to 65536", "maxSignals: -1 is outside 0 to 256"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("NewReports(0, -1) = %v, want it to say %q", err, want)
		}
	}
}

func TestReportNamesAllItsFaults(t *testing.T) {
	r := newReports(t, 10, 10)
	report := snapshot.Report{
		EventLoopDelay: -time.Second,
		ClientErrors:   map[int]int64{-1: 5, 1001: 5, 2: -3},
		Signals: map[string]snapshot.ReportedSignal{
			"cpu": {Value: 1, Limit: 2}, "pressure": {}, "Bad": {}, "queue": {Value: math.NaN(), Limit: math.Inf(1)},
		},
		TTL: time.Millisecond,
	}
	_, err := r.Put(0, snapshot.Reporter{Name: "-x"}, report)
	if err == nil {
		t.Fatal("Put = nil error")
	}
	for _, want := range []string{
		`Reporter.Name: "-x"`, "EventLoopDelay: -1s is outside 0s to 1h0m0s", "ClientErrors[-1]: ", "ClientErrors[1001]: ",
		"ClientErrors[2]: -3 is negative", `Signals["cpu"]: the name is that of a built-in`, `Signals["pressure"]: the name is that`,
		`Signals["Bad"]: the name is not`, `Signals["queue"].Value: NaN`, `Signals["queue"].Limit: +Inf`,
		"TTL: 1ms is outside 100ms to 1m0s",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("Put = %v\nwant it to say %q", err, want)
		}
	}
	if errors.Is(err, snapshot.ErrReporters) {
		t.Error("a bad report is not a limit that is reached")
	}
	if workers, signals := r.Size(); workers != 0 || signals != 0 {
		t.Errorf("a refused report left %d workers and %d signals", workers, signals)
	}
}

func TestReportAtItsLimitsIsTaken(t *testing.T) {
	report := snapshot.Report{
		HasEventLoop: true, EventLoopDelay: time.Hour, TTL: time.Minute,
		ClientErrors: map[int]int64{}, Signals: map[string]snapshot.ReportedSignal{},
	}
	for i := range 32 {
		report.ClientErrors[1000-i] = math.MaxInt64
	}
	for i := range 16 {
		report.Signals[strings.Repeat("s", 64-i)] = snapshot.ReportedSignal{Value: math.MaxFloat64, Limit: -math.MaxFloat64}
	}
	put(t, newReports(t, 1, 16), 0, "alice", strings.Repeat("w", 64), report)
}

func TestReporterNames(t *testing.T) {
	r := newReports(t, 100, 0)
	for name, want := range map[string]bool{
		"a": true, "z": true, "A": true, "Z": true, "0": true, "9": true, "aZ09._:/-": true, strings.Repeat("w", 64): true,
		"": false, ".a": false, "-a": false, "a b": false, "a@": false, "a[": false, "a`": false, "a{": false, "a\x00": false, "aé": false,
		strings.Repeat("w", 65): false,
	} {
		if _, err := r.Put(0, snapshot.Reporter{Identity: "alice", Name: name}, snapshot.Report{}); (err == nil) != want {
			t.Errorf("name %q: %v, want it taken: %v", name, err, want)
		}
	}
}

func TestReportTTL(t *testing.T) {
	r := newReports(t, 10, 10)
	for _, tt := range []struct {
		give, want time.Duration
		ok         bool
	}{
		{0, 5 * time.Second, true}, {100 * time.Millisecond, 100 * time.Millisecond, true}, {time.Minute, time.Minute, true},
		{99 * time.Millisecond, 0, false}, {time.Minute + 1, 0, false}, {-1, 0, false},
	} {
		got, err := r.Put(0, snapshot.Reporter{Name: "w"}, snapshot.Report{TTL: tt.give})
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("TTL %v: %v, %v; want %v, ok=%v", tt.give, got, err, tt.want, tt.ok)
		}
	}
	put(t, r, 0, "alice", "w", snapshot.Report{HasEventLoop: true, EventLoopDelay: 1, TTL: time.Second})
	if _, n := r.LoopDelay(time.Second - 1); n != 1 {
		t.Errorf("%d reporters just before the TTL, want 1", n)
	}
	if d, n := r.LoopDelay(time.Second); n != 0 || d != 0 {
		t.Errorf("%v of %d reporters at the TTL, want none", d, n)
	}
}

func TestReportsCombineTheWorstOfAnIdentityByTheUpperMedianOfIdentities(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		name   string
		delays map[string][]time.Duration
		want   time.Duration
		n      int
	}{
		{"nobody", nil, 0, 0},
		{"one", map[string][]time.Duration{"a": {7 * ms}}, 7 * ms, 1},
		{"the worst of an identity", map[string][]time.Duration{"a": {ms, 90 * ms, 3 * ms}}, 90 * ms, 3},
		{"the greater of two", map[string][]time.Duration{"a": {ms}, "b": {90 * ms}}, 90 * ms, 2},
		{"a minority does not decide", map[string][]time.Duration{"a": {ms}, "b": {2 * ms}, "c": {time.Hour, time.Hour}}, 2 * ms, 4},
		{"the upper of four", map[string][]time.Duration{"a": {ms}, "b": {2 * ms}, "c": {3 * ms}, "d": {4 * ms}}, 3 * ms, 4},
	} {
		r := newReports(t, 10, 10)
		for id, delays := range tt.delays {
			for i, d := range delays {
				put(t, r, 0, id, fmt.Sprint("w", i), snapshot.Report{HasEventLoop: true, EventLoopDelay: d})
			}
		}
		put(t, r, 0, "silent", "w", snapshot.Report{})
		if got, n := r.LoopDelay(1); got != tt.want || n != tt.n {
			t.Errorf("%s: %v of %d, want %v of %d", tt.name, got, n, tt.want, tt.n)
		}
	}
}

func TestReportedSignalsCombineByHowFarTheyAreOverTheirBounds(t *testing.T) {
	r := newReports(t, 10, 10)
	signals := func(value, limit float64) snapshot.Report {
		return snapshot.Report{Signals: map[string]snapshot.ReportedSignal{"queue": {Value: value, Limit: limit}}}
	}
	put(t, r, 0, "alice", "w1", signals(90, 100))
	put(t, r, 0, "alice", "w2", signals(12, 10)) // the worse: over its bound
	if got, n := r.Signal(1, "queue"); got != (snapshot.ReportedSignal{Value: 12, Limit: 10}) || n != 2 {
		t.Errorf("worst of alice = %v of %d, want 12 of 10 by 2", got, n)
	}
	put(t, r, 0, "bob", "w1", signals(1, 10))
	put(t, r, 0, "carol", "w1", signals(5, 10))
	if got, n := r.Signal(1, "queue"); got != (snapshot.ReportedSignal{Value: 5, Limit: 10}) || n != 4 {
		t.Errorf("median = %v of %d, want 5 of 10 by 4", got, n)
	}
	if got, n := r.Signal(1, "other"); n != 0 {
		t.Errorf("a signal that nobody reports = %v of %d", got, n)
	}
	// A new report replaces the last one whole.
	put(t, r, 1, "carol", "w1", snapshot.Report{})
	if got, n := r.Signal(1, "queue"); got != (snapshot.ReportedSignal{Value: 12, Limit: 10}) || n != 3 {
		t.Errorf("without carol = %v of %d, want 12 of 10 by 3", got, n)
	}
}

func TestReportsKeepNothingOfTheCallersMaps(t *testing.T) {
	r := newReports(t, 10, 10)
	signals := map[string]snapshot.ReportedSignal{"queue": {Value: 1, Limit: 2}}
	put(t, r, 0, "alice", "w", snapshot.Report{Signals: signals})
	signals["queue"] = snapshot.ReportedSignal{Value: 9}
	if got, _ := r.Signal(1, "queue"); got.Value != 1 {
		t.Errorf("value = %v after the caller changed its map, want 1", got.Value)
	}
}

func TestReportedClientErrorsAreHandedOutOnce(t *testing.T) {
	type event struct {
		at     float64
		counts map[int]int64 // reported, if not nil
		want   int64         // taken, if counts is nil
	}
	two := func(n int64) map[int]int64 { return map[int]int64{2: n} }
	for _, tt := range []struct {
		name   string
		events []event
	}{
		{"what was before the first report does not count", []event{{0, two(50), 0}, {1, nil, 0}, {1, two(51), 0}, {2, nil, 1}}},
		{"two reports add up", []event{{0, two(1), 0}, {0, two(4), 0}, {0, two(6), 0}, {1, nil, 5}, {2, nil, 0}}},
		{"the same count again is nothing new", []event{{0, two(5), 0}, {1, nil, 0}, {1, two(5), 0}, {2, nil, 0}}},
		{"a fall is a restart", []event{{0, two(50), 0}, {1, nil, 0}, {1, two(3), 0}, {2, nil, 3}}},
		{"a fall of another index is one too", []event{
			{0, map[int]int64{1: 9, 2: 3}, 0}, {1, nil, 0}, {1, map[int]int64{1: 2, 2: 4}, 0}, {2, nil, 4}}},
		{"a missing index is one too", []event{{0, map[int]int64{1: 9, 2: 3}, 0}, {1, nil, 0}, {1, two(4), 0}, {2, nil, 4}}},
		{"an index that appears counts from zero", []event{{0, map[int]int64{}, 0}, {1, nil, 0}, {1, two(4), 0}, {2, nil, 4}}},
		{"other indexes do not count", []event{{0, map[int]int64{1: 0}, 0}, {1, map[int]int64{1: 10}, 0}, {2, nil, 0}}},
		{"one that expired before the snapshot still counts", []event{{0, two(1), 0}, {0.5, two(9), 0}, {6, nil, 8}, {7, nil, 0}}},
		{"one that comes back after it expired begins anew", []event{
			{0, two(1), 0}, {0.5, two(9), 0}, {7, two(100), 0}, {8, nil, 8}, {9, two(101), 0}, {9, nil, 1}}},
		{"nor does one that was forgotten count again", []event{
			{0, two(1), 0}, {0.5, two(9), 0}, {1, nil, 8}, {7, nil, 0}, {7, two(9), 0}, {8, nil, 0}}},
		{"the largest counts do not overflow", []event{
			{0, two(0), 0}, {0, two(math.MaxInt64), 0}, {0, two(0), 0}, {0, two(math.MaxInt64), 0}, {1, nil, math.MaxInt64}}},
	} {
		r := newReports(t, 10, 0)
		for _, e := range tt.events {
			if e.counts != nil {
				put(t, r, at(e.at), "alice", "w", snapshot.Report{ClientErrors: e.counts})
				continue
			}
			if got, _, _ := r.TakeClientErrors(at(e.at), 2); got != e.want {
				t.Errorf("%s: %d new errors at %v s, want %d", tt.name, got, e.at, e.want)
			}
		}
	}
}

func TestReportedClientErrorsCombine(t *testing.T) {
	r := newReports(t, 10, 0)
	count := func(identity, name string, n int64) {
		put(t, r, 0, identity, name, snapshot.Report{ClientErrors: map[int]int64{2: n}})
	}
	for _, n := range []int64{0, 7} {
		count("alice", "w1", n)
		count("bob", "w1", n/7*2)
		count("bob", "w2", n/7*3)
		count("carol", "w1", 0)
	}
	put(t, r, 0, "dave", "w1", snapshot.Report{}) // says nothing about errors
	got, total, reporters := r.TakeClientErrors(1, 2)
	if got != 3 || total != 12 || reporters != 4 {
		t.Errorf("%d new of %d by %d, want bob's 3 of 12 by 4", got, total, reporters)
	}
}

func TestEveryLivingWorkerCountsBesideThoseThatDoNot(t *testing.T) {
	r := newReports(t, 100, 10)
	signals := map[string]snapshot.ReportedSignal{"queue": {Value: 2, Limit: 1}}
	for i := range 20 {
		name := strconv.Itoa(i)
		put(t, r, 0, "alice", "expired"+name, snapshot.Report{TTL: time.Second, Signals: signals, ClientErrors: map[int]int64{2: 1}})
		put(t, r, 0, "alice", "silent"+name, snapshot.Report{TTL: time.Minute})
		put(t, r, 0, "alice", "living"+name, snapshot.Report{TTL: time.Minute, Signals: signals, ClientErrors: map[int]int64{2: 1}})
	}
	if _, n := r.Signal(at(2), "queue"); n != 20 {
		t.Errorf("%d reporters of a signal, want 20", n)
	}
	if _, total, n := r.TakeClientErrors(at(2), 2); n != 20 || total != 20 {
		t.Errorf("%d errors of %d reporters, want 20 of 20", total, n)
	}
	if workers, _ := r.Size(); workers != 40 {
		t.Errorf("%d workers are remembered, want the 40 that did not expire", workers)
	}
}

func TestExpiredWorkersWithoutNewErrorsHaveNoVote(t *testing.T) {
	r := newReports(t, 10, 0)
	count := func(now time.Duration, identity string, ttl time.Duration, counts map[int]int64) {
		put(t, r, now, identity, "w", snapshot.Report{TTL: ttl, ClientErrors: counts})
	}
	for _, identity := range []string{"bob", "carol", "dave"} {
		count(0, identity, time.Second, map[int]int64{1: 0, 2: 0})
		count(0, identity, time.Second, map[int]int64{1: 9, 2: 0}) // on an index that nobody asks for
	}
	if got, _, n := r.TakeClientErrors(at(1), 2); got != 0 || n != 0 {
		t.Errorf("%d errors by %d, want none of the expired", got, n)
	}
	count(at(1), "alice", time.Minute, map[int]int64{2: 0})
	count(at(2), "alice", time.Minute, map[int]int64{2: 7})
	if got, total, n := r.TakeClientErrors(at(3), 2); got != 7 || total != 7 || n != 1 {
		t.Errorf("%d errors of %d by %d, want alice's 7", got, total, n)
	}
}

func TestReportsLimits(t *testing.T) {
	r := newReports(t, 2, 2)
	queue := func(names ...string) snapshot.Report {
		report := snapshot.Report{TTL: time.Second, Signals: map[string]snapshot.ReportedSignal{}}
		for _, n := range names {
			report.Signals[n] = snapshot.ReportedSignal{}
		}
		return report
	}
	put(t, r, 0, "alice", "w1", queue("a", "b"))
	put(t, r, 0, "alice", "w2", queue("a"))
	for name, report := range map[string]snapshot.Report{"w3": {}, "w2": queue("a", "c")} {
		if _, err := r.Put(0, snapshot.Reporter{Identity: "alice", Name: name}, report); !errors.Is(err, snapshot.ErrReporters) {
			t.Errorf("%s: %v, want ErrReporters", name, err)
		}
	}
	if got := r.SignalNames(0); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("signals %v after refusals, want a and b", got)
	}
	put(t, r, 0, "alice", "w1", queue("a", "c")) // b goes, c comes
	put(t, r, at(0.5), "alice", "w1", queue("a", "c"))
	put(t, r, at(1), "bob", "w1", queue("a")) // in the place of w2, which expired
	if _, err := r.Put(at(1.05), snapshot.Reporter{Identity: "bob", Name: "w2"}, queue()); !errors.Is(err, snapshot.ErrReporters) {
		t.Errorf("a third worker: %v, want ErrReporters", err)
	}
	put(t, r, at(2), "carol", "w1", queue("d", "e")) // all of the others expired
	if got := r.SignalNames(at(2)); !slices.Equal(got, []string{"d", "e"}) {
		t.Errorf("signals %v, want d and e", got)
	}
}

func TestExpiredReportsDoNotCount(t *testing.T) {
	r := newReports(t, 10, 10)
	signals := map[string]snapshot.ReportedSignal{"queue": {Value: 1}}
	put(t, r, 0, "alice", "w1", snapshot.Report{TTL: time.Second, Signals: signals})
	if _, n := r.Signal(at(0.999), "queue"); n != 1 {
		t.Errorf("%d reporters before the TTL, want 1", n)
	}
	if _, n := r.Signal(at(1), "queue"); n != 0 {
		t.Errorf("%d reporters at the TTL, want none", n)
	}
	put(t, r, time.Hour, "alice", "w1", snapshot.Report{TTL: time.Second, Signals: signals})
	r.SignalNames(0) // the clock went back
	if got := r.SignalNames(time.Minute); len(got) != 0 {
		t.Errorf("signals %v a minute after the clock went back by an hour, want none", got)
	}
}

func TestWorkerThatMadeRoomByItsOwnExpiryIsKept(t *testing.T) {
	r := newReports(t, 2, 1)
	report := func(names ...string) snapshot.Report {
		report := snapshot.Report{TTL: time.Second, HasEventLoop: true, Signals: map[string]snapshot.ReportedSignal{}}
		for _, name := range names {
			report.Signals[name] = snapshot.ReportedSignal{}
		}
		return report
	}
	put(t, r, 0, "alice", "w1", report("a"))
	put(t, r, 0, "bob", "w1", report())
	put(t, r, at(10), "bob", "w1", report("b")) // in the place of alice's, who expired as bob did
	if got := r.SignalNames(at(10)); !slices.Equal(got, []string{"b"}) {
		t.Errorf("signals %v, want b", got)
	}
	if _, n := r.LoopDelay(at(10)); n != 1 {
		t.Errorf("%d reporters, want bob", n)
	}
}

func TestTotalOfAWorkerThatComesBack(t *testing.T) {
	r := newReports(t, 2, 1)
	count := func(now time.Duration, n, want int64) {
		t.Helper()
		put(t, r, now, "alice", "w1", snapshot.Report{TTL: time.Second, ClientErrors: map[int]int64{2: n}})
		if _, got, _ := r.TakeClientErrors(now, 2); got != want {
			t.Errorf("at %v: %d in all, want %d", now, got, want)
		}
	}
	count(0, 10, 10)
	count(at(0.5), 4, 14) // it restarted
	put(t, r, at(0.6), "alice", "w1", snapshot.Report{TTL: time.Second, ClientErrors: map[int]int64{2: 9}})
	count(at(5), 3, 3) // it expired, with errors that nobody took
}

func TestReportedClientErrorsOfChangingIndexesAreBounded(t *testing.T) {
	r := newReports(t, 1, 0)
	for i := range 100 {
		counts := map[int]int64{2: int64(i) + 1}
		for k := range 30 {
			counts[3+(30*i+k)%900] = 1
		}
		put(t, r, at(float64(i)), "alice", "w1", snapshot.Report{ClientErrors: counts})
		want := int64(1)
		if i == 0 {
			want = 0
		}
		// Indexes that vanish look like a restart, after which all that is counted is new.
		got, _, _ := r.TakeClientErrors(at(float64(i)), 2)
		if got < want {
			t.Fatalf("report %d: %d new errors, want at least %d", i, got, want)
		}
	}
	if got := r.MostRetryIndexes(); got > 32 {
		t.Errorf("%d retry indexes are remembered, want at most 32", got)
	}
}

func FuzzReportsAreBounded(f *testing.F) {
	for seed := range uint64(10) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		const reporters, signals = 5, 4
		rng := rand.New(rand.NewPCG(seed, 2))
		r := newReports(t, reporters, signals)
		var now time.Duration
		for i := range 400 {
			now += time.Duration(rng.IntN(400)) * time.Millisecond
			if rng.IntN(50) == 0 {
				now -= time.Minute
			}
			report := snapshot.Report{
				HasEventLoop: rng.IntN(2) == 0, EventLoopDelay: time.Duration(rng.IntN(1000)) * time.Millisecond,
				ClientErrors: map[int]int64{rng.IntN(60): rng.Int64N(100), 2: rng.Int64()},
				Signals:      map[string]snapshot.ReportedSignal{fmt.Sprint("s", rng.IntN(8)): {Value: rng.Float64(), Limit: 0.5}},
				TTL:          time.Duration(100+rng.IntN(3000)) * time.Millisecond,
			}
			from := snapshot.Reporter{Identity: fmt.Sprint(rng.IntN(4)), Name: fmt.Sprint("w", rng.IntN(4))}
			if _, err := r.Put(now, from, report); err != nil && !errors.Is(err, snapshot.ErrReporters) {
				t.Fatalf("step %d: %v", i, err)
			}
			if workers, names := r.Size(); workers > reporters || names > signals {
				t.Fatalf("step %d: %d workers and %d signals, want at most %d and %d", i, workers, names, reporters, signals)
			}
			if d, n := r.LoopDelay(now); d < 0 || d > time.Second || n > reporters {
				t.Fatalf("step %d: delay %v of %d", i, d, n)
			}
			if rng.IntN(3) == 0 {
				if n, total, _ := r.TakeClientErrors(now, 2); n < 0 || total < 0 {
					t.Fatalf("step %d: %d new errors of %d", i, n, total)
				}
			}
			for _, name := range r.SignalNames(now) {
				if _, n := r.Signal(now, name); n == 0 {
					t.Fatalf("step %d: %q is listed and nobody reports it", i, name)
				}
			}
		}
		now += 10 * time.Minute
		r.SignalNames(now)
		if workers, names := r.Size(); workers != 0 || names != 0 {
			t.Fatalf("%d workers and %d signals long after the last report, want none", workers, names)
		}
	})
}
