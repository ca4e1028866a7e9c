package severity_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/severity"
	"github.com/headroom-rpc/headroom/snapshot"
)

func TestTrend(t *testing.T) {
	noise := rand.New(rand.NewPCG(1, 2))
	line := func(start, slope float64) func(float64) float64 {
		return func(x float64) float64 { return start + slope*x }
	}
	for _, tt := range []struct {
		name     string
		seconds  int
		interval time.Duration
		value    func(x float64) float64
		slope    float64 // NaN for none
		within   float64
	}{
		{"a straight fall", 30, s, line(1000, -10), -10, 1e-9},
		{"a straight rise", 12, s, line(0, 3), 3, 1e-9},
		{"flat", 30, s, line(7, 0), 0, 0},
		{"too few", 9, s, line(1000, -10), math.NaN(), 0},
		{"too short a span", 9, 100 * time.Millisecond, line(1000, -10), math.NaN(), 0},
		{"many points", 60, 50 * time.Millisecond, line(1000, -10), -10, 1e-9},
		{"a slight noise", 30, s, func(x float64) float64 { return 1000 - 10*x + 10*noise.NormFloat64() }, -10, 2},
		{"noise alone", 30, s, func(float64) float64 { return 1000 * noise.NormFloat64() }, math.NaN(), 0},
		{"a saw", 30, s, func(x float64) float64 { return 100 * math.Mod(x, 3) }, math.NaN(), 0},
		{"a step", 30, s, func(x float64) float64 {
			if x < 45 {
				return 1000
			}
			return 0
		}, math.NaN(), 0},
		{"a fall that turned to a rise", 60, s, func(x float64) float64 { return math.Abs(x - 45) }, math.NaN(), 0},
		{"an explosion", 30, s, math.Exp2, math.NaN(), 0},
		{"every third point astray", 30, s, func(x float64) float64 {
			if math.Mod(x, 3) == 0 {
				return 2000
			}
			return 1000 - 10*x
		}, math.NaN(), 0},
		{"every fifth point astray", 30, s, func(x float64) float64 {
			if math.Mod(x, 5) == 0 {
				return 1000 - 10*x - 40
			}
			return 1000 - 10*x
		}, -10, 1},
		{"not finite is left out", 30, s, func(x float64) float64 {
			if x == 5 || x == 20 {
				return math.NaN()
			}
			return 1000 - 10*x
		}, -10, 1e-9},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var trend severity.Trend
			for at := time.Duration(0); at < time.Duration(tt.seconds)*s; at += tt.interval {
				x := at.Seconds()
				if tt.seconds == 30 && tt.name == "a step" {
					x += 30
				}
				trend.Add(at, tt.value(x))
			}
			got, reason := trend.Line()
			if none := math.IsNaN(tt.slope); none != (reason != "") {
				t.Fatalf("slope %v, fit %v, reason %q; want a line: %v", got.PerSecond, got.Fit, reason, !none)
			} else if !none && (math.Abs(got.PerSecond-tt.slope) > tt.within || got.Fit < severity.MinTrendFit || got.Fit > 1) {
				t.Errorf("slope %v, fit %v; want %v", got.PerSecond, got.Fit, tt.slope)
			}
		})
	}
}

// After what has been quiet, an abrupt fall is told within seconds, and neither noise nor a step is taken for one.
func TestExhaustionAfterQuiet(t *testing.T) {
	const start = 4000.0 // available in the quiet
	quiet := func(float64) float64 { return start }
	noise := rand.New(rand.NewPCG(3, 4))
	fall := func(x float64) float64 { return start - 100*max(x, 0) }
	for _, tt := range []struct {
		name     string
		interval time.Duration
		before   func(x float64) float64 // 30 s of it
		after    func(x float64) float64 // x seconds later
		told     float64                 // seconds after which In is within a tenth of the truth and stays so; 0 for never in sight
	}{
		{"a hog", s, quiet, fall, 4},
		{"a hog between two readings", s, quiet, func(x float64) float64 { return fall(x - 0.5) }, 5},
		{"a hog, read twice a second", s / 2, quiet, fall, 5},
		{"a hog, read often", s / 10, quiet, fall, 5},
		{"a hog in noise", s, func(float64) float64 { return start + 20*noise.NormFloat64() },
			func(x float64) float64 { return fall(x) + 4*noise.NormFloat64() }, 5},
		{"a hog after a slow fall", s, func(x float64) float64 { return start - 2*x }, fall, 5},
		{"quiet", s, quiet, quiet, 0},
		{"noise", s, quiet, func(float64) float64 { return start + 5*noise.NormFloat64() }, 0},
		{"a step", s, quiet, func(x float64) float64 { return start / 2 }, 0},
		{"a step over two readings", s, quiet, func(x float64) float64 {
			if x < 1 {
				return 0.8 * start
			}
			return start / 2
		}, 0},
		{"a hog that ended", s, func(x float64) float64 { return start - 100*x }, quiet, 0},
		{"a hog that ended soon", s, func(x float64) float64 { return start - 100*max(x-22, 0) }, quiet, 0},
		{"a rise", s, quiet, func(x float64) float64 { return start + 100*x }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := severity.NewReader(severity.ReaderConfig{Scope: snapshot.ScopeHost})
			var told time.Duration // since when In is right
			for at := -30 * s; at <= 25*s; at += tt.interval {
				x := at.Seconds()
				value := tt.before(x + 30)
				if at >= 0 {
					value = tt.after(x)
				}
				e := r.Read(viewOf(at+time.Hour, snapshot.MemoryReading{Used: 10_000 - int64(value), Total: 10_000})).Exhaustion
				if tt.told == 0 {
					if x >= 0 && e.InSight && e.In < 10*time.Minute {
						t.Errorf("at %v s: %+v, want nothing in sight", x, e)
					}
					continue
				}
				truth := value / 100
				if !e.InSight || math.Abs(e.In.Seconds()-truth) > truth/10 {
					told = at + tt.interval
				}
			}
			if tt.told > 0 && told.Seconds() > tt.told {
				t.Errorf("told after %v, want within %v s", told, tt.told)
			}
		})
	}
}

func TestTrendForgets(t *testing.T) {
	add := func(trend *severity.Trend, from, to, slope float64) {
		for x := from; x <= to; x += 2 {
			trend.Add(time.Duration(x)*s, slope*x)
		}
	}
	var trend severity.Trend
	add(&trend, 0, 30, 5)
	add(&trend, 32, 70, 1) // only the last 30 s count
	if got, reason := trend.Line(); reason != "" || math.Abs(got.PerSecond-1) > 1e-9 {
		t.Errorf("after the window: %v, %q; want 1", got.PerSecond, reason)
	}
	for name, at := range map[string]time.Duration{"a gap": 81 * s, "a clock that goes back": 69 * s} {
		copied := trend
		copied.Add(at, at.Seconds())
		if _, reason := copied.Line(); reason == "" {
			t.Errorf("%s: the past still counts", name)
		}
	}
	trend.Add(70*s, 1e9)
	if got, _ := trend.Line(); math.Abs(got.PerSecond-1) > 1e-9 {
		t.Errorf("the same time again: %v, want 1", got.PerSecond)
	}
	trend.Reset()
	if _, reason := trend.Line(); reason == "" {
		t.Error("Reset left a line")
	}
}

func TestTrendDoesNotAllocate(t *testing.T) {
	var trend severity.Trend
	at := time.Duration(0)
	if got := testing.AllocsPerRun(200, func() {
		at += s
		trend.Add(at, -at.Seconds())
		trend.Line()
	}); got != 0 {
		t.Errorf("%v allocations, want 0", got)
	}
}

// viewOf is what a Snapshotter says when it reads this much memory.
func viewOf(at time.Duration, reading snapshot.MemoryReading) snapshot.View {
	return snapshot.View{
		At: at, Time: time.Unix(0, 0).Add(at),
		Newest:  []snapshot.Snapshot{{Signal: "memory", Resource: snapshot.Memory, At: at, Memory: reading, Value: float64(reading.Used)}},
		Current: signals(snapshot.StateIdle, snapshot.SignalStatus{Signal: "memory", State: snapshot.StateIdle}),
	}
}

func TestReaderScopes(t *testing.T) {
	tree := snapshot.MemoryReading{
		Used: 300, Total: 1000, Max: 250, HostUsed: 600, HostTotal: 1000, HostKnown: true, Definition: "tree"}
	host := snapshot.MemoryReading{Used: 600, Total: 1000, Max: 1000, HostUsed: 600, HostTotal: 1000, HostKnown: true}
	limited := snapshot.MemoryReading{Used: 80, Total: 100, HostUsed: 600, HostTotal: 1000, HostKnown: true}
	crowded := snapshot.MemoryReading{Used: 20, Total: 100, HostUsed: 990, HostTotal: 1000, HostKnown: true}
	lone := snapshot.MemoryReading{Used: 300, Total: 1000, Max: 250}
	for _, tt := range []struct {
		name      string
		config    severity.ReaderConfig
		reading   snapshot.MemoryReading
		available int64 // less than 0 is unknown
		total     int64
		used, max int64 // of the process
	}{
		{"process", severity.ReaderConfig{}, tree, 400, 1000, 300, 250},
		{"process, host unknown", severity.ReaderConfig{}, lone, -1, 0, 300, 250},
		{"host", severity.ReaderConfig{Scope: snapshot.ScopeHost}, host, 400, 1000, 0, 0},
		{"a limit below the host's", severity.ReaderConfig{Scope: snapshot.ScopeHost}, limited, 20, 100, 0, 0},
		{"a host tighter than the limit", severity.ReaderConfig{Scope: snapshot.ScopeHost}, crowded, 10, 1000, 0, 0},
		{"a limit by flag", severity.ReaderConfig{Scope: snapshot.ScopeHost, MaxMemory: 800}, host, 200, 800, 0, 0},
		{"over a limit by flag", severity.ReaderConfig{Scope: snapshot.ScopeHost, MaxMemory: 500}, host, 0, 500, 0, 0},
	} {
		in := severity.NewReader(tt.config).Read(viewOf(5*s, tt.reading))
		m := in.Memory
		if m.Known != (tt.available >= 0) || m.Known && (m.Available != tt.available || m.Total != tt.total) {
			t.Errorf("%s: memory %+v, want %d of %d", tt.name, m, tt.available, tt.total)
		}
		if p := in.Process; p.Used != tt.used || p.Max != tt.max || p.Known != (tt.used > 0) {
			t.Errorf("%s: process %+v, want %d of %d", tt.name, p, tt.used, tt.max)
		}
	}
}

func TestReaderTakesTheTightestLimit(t *testing.T) {
	const pod = "memory.max of /pod"
	tight := func(used, total int64) snapshot.MemoryReading {
		return snapshot.MemoryReading{
			Used: 50, Total: 100, Limit: "memory.max of /pod/leaf", Max: 25, Definition: "tree",
			HostUsed: 990, HostTotal: 1000, HostKnown: true,
			Tightest: snapshot.MemoryLevel{Used: used, Total: total, Limit: pod},
		}
	}
	loose := tight(0, 0)
	loose.Tightest = snapshot.MemoryLevel{}
	loose.HostUsed = 0
	host := severity.ReaderConfig{Scope: snapshot.ScopeHost}
	byFlag := severity.ReaderConfig{Scope: snapshot.ScopeHost, MaxMemory: 80}
	for _, tt := range []struct {
		name             string
		config           severity.ReaderConfig
		reading          snapshot.MemoryReading
		available, total int64
		limit            string
	}{
		{"scope process", severity.ReaderConfig{}, tight(180, 200), 20, 200, pod},
		{"scope host", host, tight(180, 200), 20, 200, pod},
		{"over the limit", host, tight(210, 200), 0, 200, pod},
		{"max-memory is tighter", byFlag, tight(160, 200), 30, 80, "max-memory"},
		{"max-memory is wider", byFlag, tight(180, 200), 20, 200, pod},
		{"max-memory alone", byFlag, loose, 30, 80, "max-memory"},
		{"max-memory is wider than the limit of the scope", severity.ReaderConfig{Scope: snapshot.ScopeHost, MaxMemory: 200}, loose,
			50, 100, "memory.max of /pod/leaf"},
		{"the limit of the scope alone", host, loose, 50, 100, "memory.max of /pod/leaf"},
		{"the host alone", severity.ReaderConfig{}, loose, 1000, 1000, "memory of the host"},
	} {
		in := severity.NewReader(tt.config).Read(viewOf(5*s, tt.reading))
		m := in.Memory
		if m.Available != tt.available || m.Total != tt.total || m.Limit != tt.limit || m.At != 5*s {
			t.Errorf("%s: %+v, want %d of %d, %s", tt.name, m, tt.available, tt.total, tt.limit)
		}
		if tt.config.Scope == snapshot.ScopeProcess && (in.Process.Used != 50 || in.Process.Max != 25) {
			t.Errorf("%s: process %+v, want 50 of 25 whatever the limit", tt.name, in.Process)
		}
		in.Exhaustion = severity.Exhaustion{Known: true, InSight: true}
		for _, c := range []severity.Condition{
			severity.GlobalRelative(5), severity.GlobalAbsolute(1), severity.ExhaustionWithin(s),
		} {
			if f := c.Judge(&in); f.Limit != tt.limit || f.LimitBytes != tt.total {
				t.Errorf("%s: %v looked at %q of %d, want %q of %d", tt.name, c, f.Limit, f.LimitBytes, tt.limit, tt.total)
			}
		}
	}
}

// A limit of the same size is another one where it has another name.
func TestAnotherLimitIsAnotherTrend(t *testing.T) {
	r := severity.NewReader(severity.ReaderConfig{Scope: snapshot.ScopeHost})
	read := func(x int64, limit string) severity.Exhaustion {
		reading := snapshot.MemoryReading{Tightest: snapshot.MemoryLevel{Used: 10 * x, Total: 1000, Limit: limit}}
		return r.Read(viewOf(time.Duration(x)*s, reading)).Exhaustion
	}
	for x := range int64(20) {
		read(x, "memory.max of /a")
	}
	if e := read(20, "memory.max of /a"); !e.Known {
		t.Fatalf("exhaustion %+v, want known", e)
	}
	if e := read(21, "memory.max of /b"); e.Known {
		t.Errorf("exhaustion %+v after another limit became the tightest, want unknown", e)
	}
}

func TestReaderSaysWhyNothingIsKnown(t *testing.T) {
	host := severity.ReaderConfig{Scope: snapshot.ScopeHost}
	v := viewOf(5*s, snapshot.MemoryReading{Used: 1, Total: 10})
	v.Current.Signals[0].State, v.Current.Signals[0].Reason = snapshot.StateUnknown, "no answer for 4s"
	if m := severity.NewReader(host).Read(v).Memory; m.Known || m.Reason != "no answer for 4s" {
		t.Errorf("stale: %+v", m)
	}
	v = viewOf(5*s, snapshot.MemoryReading{})
	v.Newest[0].Unknown, v.Newest[0].LastGood, v.Newest[0].HasLastGood = "denied", s, true
	in := severity.NewReader(host).Read(v)
	if m := in.Memory; m.Known || m.Reason != "denied" || in.Exhaustion.Known || in.Exhaustion.Reason != "denied" {
		t.Errorf("failed: %+v, %+v", m, in.Exhaustion)
	}
	if f := severity.GlobalRelative(5).Judge(&in); f.Age != 4*s {
		t.Errorf("the last good reading is %v old, want 4s", f.Age)
	}
	if m := severity.NewReader(host).Read(snapshot.View{}).Memory; m.Known || m.Reason != "not read" {
		t.Errorf("no signal: %+v", m)
	}
}

func TestExhaustionAndRates(t *testing.T) {
	r := severity.NewReader(severity.ReaderConfig{Scope: snapshot.ScopeHost, Signals: []string{"memory", "none", "memory"}})
	var in severity.Input
	for x := int64(0); x <= 20; x++ {
		in = r.Read(viewOf(time.Duration(x)*s, snapshot.MemoryReading{Used: 100 + 10*x, Total: 1000}))
		if known := x >= 5; in.Exhaustion.Known != known || in.Exhaustion.InSight != known {
			t.Errorf("after %d s: exhaustion %+v, want known: %v", x, in.Exhaustion, known)
		}
	}
	// 700 bytes are left, and 10 go each second.
	if e := in.Exhaustion; e.In != 70*s || e.PerSecond != -10 || e.Fit != 1 {
		t.Errorf("exhaustion %+v, want in 70s", e)
	}
	if len(in.Rates) != 2 || in.Rates[0].PerSecond != 10 || !in.Rates[0].Known || in.Rates[1].Known || in.Rates[1].Reason == "" {
		t.Errorf("rates %+v, want 10 a second of memory, and none unknown", in.Rates)
	}
	// Another limit is another quantity.
	if in = r.Read(viewOf(21*s, snapshot.MemoryReading{Used: 310, Total: 2000})); in.Exhaustion.Known {
		t.Errorf("exhaustion %+v after the limit changed", in.Exhaustion)
	}
	for x := int64(22); x <= 60; x++ {
		in = r.Read(viewOf(time.Duration(x)*s, snapshot.MemoryReading{Used: 310, Total: 2000}))
	}
	if e := in.Exhaustion; !e.Known || e.InSight {
		t.Errorf("flat: exhaustion %+v, want known and out of sight", e)
	}
	for x := int64(61); x <= 100; x++ {
		in = r.Read(viewOf(time.Duration(x)*s, snapshot.MemoryReading{Used: x, Total: 10_000}))
	}
	if e := in.Exhaustion; !e.Known || e.InSight || e.PerSecond != -1 {
		t.Errorf("hours away: exhaustion %+v, want known and out of sight", e)
	}
}
