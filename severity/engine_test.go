package severity_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/severity"
	"github.com/headroom-rpc/headroom/snapshot"
)

const s = time.Second

var idleStatus = signals(snapshot.StateIdle, snapshot.SignalStatus{Signal: "cpu", State: snapshot.StateIdle, Limit: 0.4})

func engine(t testing.TB, c severity.Config) *severity.Engine {
	t.Helper()
	e, err := severity.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// free are levels that are entered under 50, 30 and 10 of 100 bytes available.
func free(change ...func(level *severity.Level)) []severity.Level {
	var levels []severity.Level
	for _, p := range []float64{50, 30, 10} {
		level := severity.Level{Enter: severity.GlobalRelative(p)}
		for _, f := range change {
			f(&level)
		}
		levels = append(levels, level)
	}
	return levels
}

func events(out severity.Outcome) string {
	var texts []string
	for _, e := range out.Events {
		texts = append(texts, fmt.Sprintf("%v%d", e.Kind, e.Level))
	}
	return strings.Join(texts, " ")
}

type step struct {
	at        time.Duration
	available int64 // of 100 bytes; less than 0 is unknown
	level     int
	events    string
	held      severity.Hold
}

func TestSteps(t *testing.T) {
	const none = severity.NotHeld
	one := func(level severity.Level) []severity.Level { return []severity.Level{level} }
	for _, tt := range []struct {
		name   string
		config severity.Config
		steps  []step
	}{
		{"no levels is always 0", severity.Config{}, []step{
			{0, 1, 0, "remaining0", none}, {10 * s, -1, 0, "remaining0", none},
		}},
		{"up and down one step at a time", severity.Config{Levels: free()}, []step{
			{0, 100, 0, "remaining0", none},
			{10 * s, 40, 1, "entered1", none},
			{20 * s, 40, 1, "remaining1", none},
			{30 * s, 5, 3, "entered2 entered3", none},
			{40 * s, 40, 1, "left3 left2", none},
			{50 * s, 100, 0, "left1 normal0", none},
			{60 * s, 100, 0, "remaining0", none},
		}},
		{"from 0 to 3 and back in one step each", severity.Config{Levels: free()}, []step{
			{0, 5, 3, "entered1 entered2 entered3", none},
			{10 * s, 100, 0, "left3 left2 left1 normal0", none},
		}},
		{"equality never fires", severity.Config{Levels: free()}, []step{
			{0, 50, 0, "remaining0", none}, {10 * s, 49, 1, "entered1", none}, {20 * s, 50, 0, "left1 normal0", none},
		}},
		{"remaining of all levels", severity.Config{Levels: free(), RemainingAll: true}, []step{
			{0, 5, 3, "entered1 entered2 entered3", none},
			{10 * s, 5, 3, "remaining3 remaining2 remaining1", none},
			{20 * s, 100, 0, "left3 left2 left1 normal0", none},
			{30 * s, 100, 0, "remaining0", none},
		}},
		{"a lower condition need not hold", severity.Config{Levels: []severity.Level{
			{Enter: severity.All(severity.GlobalRelative(50), severity.Not(severity.GlobalRelative(30)))},
			{Enter: severity.GlobalRelative(30)},
		}}, []step{
			{0, 20, 2, "entered1 entered2", none}, {10 * s, 20, 2, "remaining2", none}, {20 * s, 40, 1, "left2", none},
		}},
		{"unknown holds the level, up and down", severity.Config{Levels: free()}, []step{
			{0, -1, 0, "remaining0", severity.HeldUnknown},
			{10 * s, 20, 2, "entered1 entered2", none},
			{20 * s, -1, 2, "remaining2", severity.HeldUnknown},
			{30 * s, 100, 0, "left2 left1 normal0", none},
		}},
		{"an unknown higher level keeps the level from falling, not from rising", severity.Config{Levels: []severity.Level{
			{Enter: severity.GlobalRelative(50)},
			{Enter: severity.GlobalRelative(30)},
			{Enter: fixed{"lost", U}},
		}}, []step{
			{0, 100, 0, "remaining0", severity.HeldUnknown},
			{10 * s, 20, 2, "entered1 entered2", severity.HeldUnknown},
			{20 * s, 100, 2, "remaining2", severity.HeldUnknown},
		}},
		{"leave bound", severity.Config{Levels: one(severity.Level{
			Enter: severity.GlobalRelative(25), Stay: severity.GlobalRelative(30),
		})}, []step{
			{0, 27, 0, "remaining0", none}, {10 * s, 24, 1, "entered1", none}, {20 * s, 29, 1, "remaining1", none},
			{30 * s, 30, 0, "left1 normal0", none}, {40 * s, 29, 0, "remaining0", none},
		}},
		{"a leave bound narrower than the enter bound does not flap", severity.Config{Levels: one(severity.Level{
			Enter: severity.GlobalRelative(25), Stay: severity.GlobalRelative(20),
		})}, []step{
			{0, 24, 1, "entered1", none}, {10 * s, 24, 1, "remaining1", none}, {20 * s, 25, 0, "left1 normal0", none},
		}},
		{"hold-for", severity.Config{Levels: one(severity.Level{
			Enter: severity.GlobalRelative(25), HoldFor: 2 * s,
		})}, []step{
			{0, 20, 0, "remaining0", severity.HeldEnter},
			{1 * s, 20, 0, "remaining0", severity.HeldEnter},
			{1500 * time.Millisecond, 30, 0, "remaining0", none},
			{2 * s, 20, 0, "remaining0", severity.HeldEnter},
			{3 * s, -1, 0, "remaining0", severity.HeldUnknown},
			{4*s - 1, 20, 0, "remaining0", severity.HeldEnter},
			{4 * s, 20, 1, "entered1", none},
		}},
		{"a gap does not count for hold-for", severity.Config{CheckInterval: s, Levels: one(severity.Level{
			Enter: severity.GlobalRelative(25), HoldFor: 2 * s,
		})}, []step{
			{0, 20, 0, "remaining0", severity.HeldEnter},
			{3*s + 1, 20, 0, "remaining0", severity.HeldEnter},
			{5*s + 1, 20, 1, "entered1", none},
		}},
		{"a gap that ends in what is unknown does not count either", severity.Config{CheckInterval: s, Levels: one(severity.Level{
			Enter: severity.GlobalRelative(25), HoldFor: 2 * s,
		})}, []step{
			{0, 20, 0, "remaining0", severity.HeldEnter},
			{60 * s, -1, 0, "remaining0", severity.HeldUnknown},
			{61 * s, 20, 0, "remaining0", severity.HeldEnter},
			{63 * s, 20, 1, "entered1", none},
		}},
		{"a higher level that waits to be entered keeps the level from falling", severity.Config{Levels: []severity.Level{
			{Enter: severity.All(severity.GlobalRelative(50), severity.Not(severity.GlobalRelative(30)))},
			{Enter: severity.GlobalRelative(30), HoldFor: 2 * s},
		}}, []step{
			{0, 40, 1, "entered1", none}, {1 * s, 20, 1, "remaining1", severity.HeldEnter}, {3 * s, 20, 2, "entered2", none},
		}},
		{"a higher level without hold-for does not wait for a lower one", severity.Config{Levels: []severity.Level{
			{Enter: severity.GlobalRelative(50), HoldFor: time.Minute},
			{Enter: severity.GlobalRelative(30)},
		}}, []step{{0, 20, 2, "entered1 entered2", none}}},
		{"dwell", severity.Config{Levels: free(func(level *severity.Level) { level.Dwell = 10 * s })}, []step{
			{0, 40, 1, "entered1", none},
			{5 * s, 5, 3, "entered2 entered3", none},
			{10 * s, 100, 3, "remaining3", severity.HeldDwell},
			{15*s - 1, 100, 3, "remaining3", severity.HeldDwell},
			{15 * s, 100, 0, "left3 left2 left1 normal0", none},
		}},
		{"dwell of a lower level", severity.Config{Levels: []severity.Level{
			{Enter: severity.GlobalRelative(50), Dwell: 10 * s}, {Enter: severity.GlobalRelative(30), Dwell: s},
		}}, []step{
			{0, 20, 2, "entered1 entered2", none},
			{1 * s, 100, 1, "left2", severity.HeldDwell},
			{2 * s, 100, 1, "remaining1", severity.HeldDwell},
			{10 * s, 100, 0, "left1 normal0", none},
		}},
		{"the trend gate holds back and holds up", severity.Config{Levels: []severity.Level{
			{Enter: severity.All(severity.GlobalRelative(50), severity.Not(severity.GlobalRelative(30)))},
			{Enter: severity.GlobalRelative(30), Unless: severity.GlobalRelative(20)},
		}}, []step{
			{0, 40, 1, "entered1", none}, {10 * s, 10, 1, "remaining1", severity.HeldTrend}, {20 * s, 25, 2, "entered2", none},
			{30 * s, 10, 2, "remaining2", none},
		}},
		{"an unknown trend gate does not hold back", severity.Config{Levels: one(severity.Level{
			Enter: severity.GlobalRelative(50), Unless: severity.Recovering(),
		})}, []step{{0, 40, 1, "entered1", none}}},
		{"a clock that goes back stands still", severity.Config{Levels: free(func(level *severity.Level) { level.Dwell = 10 * s })}, []step{
			{100 * s, 40, 1, "entered1", none}, {0, 100, 1, "remaining1", severity.HeldDwell}, {110 * s, 100, 0, "left1 normal0", none},
		}},
		{"a clock that goes back makes no gap when it catches up", severity.Config{Levels: free(func(level *severity.Level) { level.HoldFor = 2 * s })}, []step{
			{100 * s, 40, 0, "remaining0", severity.HeldEnter}, {0, 40, 0, "remaining0", severity.HeldEnter}, {102 * s, 40, 1, "entered1", none},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := engine(t, tt.config)
			for i, st := range tt.steps {
				in := severity.Input{At: st.at}
				if st.available >= 0 {
					in = memory(st.at, st.available, 100)
				}
				out := e.Step(in)
				if out.Level != st.level || events(out) != st.events || out.Held != st.held {
					t.Fatalf("step %d at %v: level %d, events %q, held %q; want %d, %q, %q", i, st.at,
						out.Level, events(out), out.Held, st.level, st.events, st.held)
				}
				if e.Level() != out.Level {
					t.Errorf("step %d: Level = %d, want %d", i, e.Level(), out.Level)
				}
			}
		})
	}
}

func TestStopFreezesAndResumeMakesUpForNothing(t *testing.T) {
	e := engine(t, severity.Config{Levels: free(func(level *severity.Level) { level.HoldFor = 2 * s })})
	e.Step(memory(0, 40, 100))
	e.Stop()
	for at := s; at < 20*s; at += s {
		if out := e.Step(memory(at, 5, 100)); out.Level != 0 || len(out.Events) != 0 || out.Held != severity.HeldStopped {
			t.Fatalf("stopped at %v: level %d, events %q, held %q", at, out.Level, events(out), out.Held)
		}
	}
	e.Resume()
	for _, st := range []step{{at: 20 * s, level: 0}, {at: 21 * s, level: 0}, {at: 22 * s, level: 3}} {
		if out := e.Step(memory(st.at, 5, 100)); out.Level != st.level {
			t.Errorf("resumed at %v: level %d, want %d", st.at, out.Level, st.level)
		}
	}
}

func texts(evidence []severity.Evidence) []string {
	list := []string{}
	for _, e := range evidence {
		list = append(list, fmt.Sprintf("%d %s %v", e.Level, e.Text, e.Truth))
	}
	return list
}

func TestEvidence(t *testing.T) {
	under := severity.GlobalRelative
	for _, tt := range []struct {
		name         string
		levels       []severity.Level
		before, then int64
		want         [][]string
	}{
		{"each leaf that fired", []severity.Level{{Enter: severity.Any(under(50), under(40), under(10))}}, 100, 20,
			[][]string{{"1 global_relative(50) true", "1 global_relative(40) true"}}},
		{"under not, the leaf that does not hold", []severity.Level{{Enter: severity.Not(severity.All(severity.Not(under(50)), fixed{"yes", T}))}}, 100, 20,
			[][]string{{"1 global_relative(50) true"}}},
		{"all leaves of all", []severity.Level{{Enter: severity.All(under(50), severity.Not(under(10)))}}, 100, 20,
			[][]string{{"1 global_relative(50) true", "1 global_relative(10) false"}}},
		{"a level that is passed names why it is passed", []severity.Level{{Enter: fixed{"no", F}}, {Enter: under(50)}}, 100, 20,
			[][]string{{"2 global_relative(50) true"}, {"2 global_relative(50) true"}}},
		{"down, each leaf that let go", []severity.Level{{Enter: severity.Any(under(50), under(40))}}, 20, 100,
			[][]string{{"1 global_relative(50) false", "1 global_relative(40) false"}}},
		{"down, the leave bound", []severity.Level{{Enter: under(25), Stay: under(30)}}, 20, 30,
			[][]string{{"1 global_relative(30) false"}}},
		{"down, only what let go of all", []severity.Level{{Enter: severity.All(under(50), under(30))}}, 20, 40,
			[][]string{{"1 global_relative(30) false"}}},
		{"down, what is not known here", []severity.Level{{Enter: severity.Any(under(50), severity.WhereKnown(fixed{"lost", U}))}}, 20, 60,
			[][]string{{"1 global_relative(50) false", "1 lost unknown"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := engine(t, severity.Config{Levels: tt.levels})
			e.Step(memory(0, tt.before, 100))
			in := memory(10*s, tt.then, 100)
			in.Memory.At -= 3 * s
			in.Time = time.Unix(1000, 0)
			sequence := e.Step(memory(5*s, tt.before, 100)).Sequence
			var got [][]string
			for _, ev := range e.Step(in).Events {
				if ev.Kind == severity.Normal {
					continue
				}
				tr := ev.Transition
				got = append(got, texts(tr.Evidence))
				sequence++
				if tr.Sequence != sequence || tr.At != 10*s || !tr.Time.Equal(in.Time) {
					t.Errorf("transition %d at %v, %v; want %d at 10s, %v", tr.Sequence, tr.At, tr.Time, sequence, in.Time)
				}
				for _, ev := range tr.Evidence {
					if strings.HasPrefix(ev.Text, "global") && (!ev.HasValue || ev.Value != float64(tt.then)/100 ||
						ev.Unit != "ratio" || ev.Age != 3*s || ev.Bound == 0) {
						t.Errorf("evidence %+v", ev)
					}
				}
			}
			if !slices.EqualFunc(got, tt.want, slices.Equal) {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

func TestOutcomeExplainsItself(t *testing.T) {
	e := engine(t, severity.Config{ProcessMax: 4000, Levels: []severity.Level{
		{Enter: severity.Any(severity.GlobalRelative(50), severity.LocalRelative(20)), Stay: severity.GlobalRelative(60)},
	}})
	in := memory(0, 40, 100)
	out := e.Step(in)
	if got, want := texts(out.Firing), []string{"1 global_relative(50) true"}; !slices.Equal(got, want) {
		t.Errorf("firing %q, want %q", got, want)
	}
	if got, want := texts(out.Unknown), []string{"1 local_relative(20) unknown"}; !slices.Equal(got, want) {
		t.Errorf("unknown %q, want %q", got, want)
	}
	in = memory(s, 55, 100)
	in.Process = severity.Process{Used: 3000, Known: true}
	out = e.Step(in)
	if got, want := texts(out.Firing), []string{"1 global_relative(60) true"}; !slices.Equal(got, want) || len(out.Unknown) != 0 {
		t.Errorf("firing %q, unknown %q, want %q and none", got, texts(out.Unknown), want)
	}
}

func TestAgesCountFromTheLatestInstant(t *testing.T) {
	e := engine(t, severity.Config{Levels: free()})
	e.Step(memory(10*s, 40, 100))
	in := memory(5*s, 40, 100)
	if out := e.Step(in); out.Firing[0].Age != 5*s {
		t.Errorf("age %v, want 5s", out.Firing[0].Age)
	}
}

func TestFraction(t *testing.T) {
	e := engine(t, severity.Config{Levels: free()})
	for _, tt := range []struct {
		available int64
		level     int
		want      float64
	}{
		{100, 0, 0}, {75, 0, 0.5}, {51, 0, 0.98}, {40, 1, 0.5}, {30, 1, 1}, {20, 2, 0.5}, {11, 2, 0.95}, {5, 3, 0},
	} {
		out := e.Step(memory(0, tt.available, 100))
		if diff := out.Fraction - tt.want; out.Level != tt.level || diff < -1e-9 || diff > 1e-9 {
			t.Errorf("%d available: level %d, fraction %v; want %d, %v", tt.available, out.Level, out.Fraction, tt.level, tt.want)
		}
	}
	if out := e.Step(severity.Input{}); out.Fraction != 0 {
		t.Errorf("unknown: fraction %v, want 0", out.Fraction)
	}
	both := engine(t, severity.Config{Levels: []severity.Level{{Enter: severity.All(
		severity.GlobalRelative(50), severity.Any(severity.GlobalRelative(20), severity.Not(fixed{"lost", U})))}}})
	if out := both.Step(memory(0, 60, 100)); out.Fraction != 0.5 {
		t.Errorf("all takes the least far: fraction %v, want 0.5", out.Fraction)
	}
	not := engine(t, severity.Config{Levels: []severity.Level{{
		Enter: severity.Not(severity.GlobalRelative(50)), HoldFor: time.Minute,
	}}})
	if out := not.Step(memory(0, 60, 100)); out.Held != severity.HeldEnter || out.Fraction != 1 {
		t.Errorf("a negation that holds: held by %q, fraction %v, want 1", out.Held, out.Fraction)
	}
	if out := not.Step(memory(s, 40, 100)); out.Fraction != 0 {
		t.Errorf("a negation that does not hold: fraction %v, want 0", out.Fraction)
	}
}

type faulty struct{ fixed }

func (f faulty) Judge(in *severity.Input) severity.Finding {
	if in.At > 0 {
		return severity.Finding{Truth: 7}
	}
	panic("no")
}

func TestFaultyConditionIsUnknown(t *testing.T) {
	e := engine(t, severity.Config{Levels: []severity.Level{{Enter: faulty{fixed{name: "faulty"}}}}})
	for _, tt := range []struct {
		at   time.Duration
		want string
	}{{0, "panic: no"}, {s, "7 is not a truth value"}} {
		out := e.Step(severity.Input{At: tt.at})
		if out.Level != 0 || len(out.Unknown) != 1 || out.Unknown[0].Reason != tt.want {
			t.Errorf("level %d, unknown %v; want 0 for %q", out.Level, out.Unknown, tt.want)
		}
	}
}

func TestBuiltinLevels(t *testing.T) {
	e := engine(t, severity.Config{Levels: severity.BuiltinLevels()})
	for i, level := range e.Config().Levels {
		if level.HoldFor > 2*s || level.Dwell > 10*s || level.Stay == nil || level.Name == "" {
			t.Errorf("level %d: hold for %v, dwell %v, stay %v, name %q", i+1, level.HoldFor, level.Dwell, level.Stay, level.Name)
		}
	}
	for _, st := range []struct {
		at        time.Duration
		available int64
		exhausted time.Duration
		want      int
	}{
		{0, 90, 0, 0}, {1 * s, 24, 0, 0}, {3 * s, 24, 0, 1}, {4 * s, 14, 0, 1}, {6 * s, 14, 0, 2},
		{7 * s, 14, 29 * s, 2}, {8 * s, 14, 29 * s, 3}, {17 * s, 90, 59 * s, 3}, {18 * s, 90, 59 * s, 3},
		{19 * s, 90, 0, 0},
	} {
		in := memory(st.at, st.available, 100)
		in.Current = idleStatus
		in.Exhaustion = severity.Exhaustion{Known: st.exhausted > 0, InSight: true, In: st.exhausted}
		if out := e.Step(in); out.Level != st.want {
			t.Errorf("at %v: level %d, want %d", st.at, out.Level, st.want)
		}
	}
}
