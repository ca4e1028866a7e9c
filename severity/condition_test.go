package severity_test

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/severity"
	"github.com/headroom-rpc/headroom/snapshot"
)

const (
	F = severity.False
	T = severity.True
	U = severity.Unknown
)

// fixed is a condition of a program's own that always finds the same.
type fixed struct {
	name  string
	truth severity.Truth
}

func (f fixed) Judge(*severity.Input) severity.Finding {
	return severity.Finding{Truth: f.truth, Signal: f.name, Reason: map[bool]string{true: "test"}[f.truth == U]}
}
func (f fixed) String() string { return f.name }

// memory is an input at a time with so many bytes available.
func memory(at time.Duration, available, total int64) severity.Input {
	return severity.Input{At: at, Memory: severity.Memory{
		Available: available, Total: total, Used: total - available, At: at, Known: true,
	}}
}

func process(used, most int64) severity.Input {
	return severity.Input{Process: severity.Process{Used: used, Max: most, Known: true}}
}

func TestKleene(t *testing.T) {
	all := []severity.Truth{U, F, T}
	and := [][]severity.Truth{{U, F, U}, {F, F, F}, {U, F, T}}
	or := [][]severity.Truth{{U, U, T}, {U, F, T}, {T, T, T}}
	for i, a := range all {
		for j, b := range all {
			if got := a.And(b); got != and[i][j] {
				t.Errorf("%v and %v = %v, want %v", a, b, got, and[i][j])
			}
			if got := a.Or(b); got != or[i][j] {
				t.Errorf("%v or %v = %v, want %v", a, b, got, or[i][j])
			}
		}
	}
	for a, want := range map[severity.Truth]severity.Truth{U: U, F: T, T: F} {
		if got := a.Not(); got != want {
			t.Errorf("not %v = %v, want %v", a, got, want)
		}
	}
}

func TestMemoryConditionsAreStrict(t *testing.T) {
	for _, tt := range []struct {
		name      string
		condition severity.Condition
		in        severity.Input
		want      severity.Truth
	}{
		{"global absolute at the bound", severity.GlobalAbsolute(100), memory(0, 100, 1000), F},
		{"global absolute a byte under it", severity.GlobalAbsolute(100), memory(0, 99, 1000), T},
		{"global absolute, unknown", severity.GlobalAbsolute(100), severity.Input{}, U},
		{"global relative at the bound", severity.GlobalRelative(20), memory(0, 200, 1000), F},
		{"global relative a byte under it", severity.GlobalRelative(20), memory(0, 199, 1000), T},
		{"global relative, unknown", severity.GlobalRelative(20), severity.Input{}, U},
		{"global relative, no total", severity.GlobalRelative(20), memory(0, 0, 0), U},
		{"local absolute at the bound", severity.LocalAbsolute(100), process(3900, 4000), F},
		{"local absolute a byte under it", severity.LocalAbsolute(100), process(3901, 4000), T},
		{"local absolute over the maximum", severity.LocalAbsolute(100), process(5000, 4000), T},
		{"local absolute, unknown", severity.LocalAbsolute(100), severity.Input{}, U},
		{"local relative of nothing used", severity.LocalRelative(20), process(0, 4000), F},
		{"local relative under the bound", severity.LocalRelative(20), process(3199, 4000), F},
		{"local relative at the bound", severity.LocalRelative(20), process(3200, 4000), F},
		{"local relative a byte over it", severity.LocalRelative(20), process(3201, 4000), T},
		{"local relative over the maximum", severity.LocalRelative(20), process(4001, 4000), T},
		{"local relative, unknown", severity.LocalRelative(20), severity.Input{}, U},
		{"local relative, no maximum", severity.LocalRelative(20), process(1, 0), U},
	} {
		if got := tt.condition.Judge(&tt.in).Truth; got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// The formula 1 - p/100 is misrounded for many whole percentages; at the bound nothing must fire for any.
func TestNoPercentageFiresAtItsBound(t *testing.T) {
	for p := int64(1); p < 100; p++ {
		for _, unit := range []int64{1, 1 << 20, 40 << 20} {
			in := process((100-p)*unit, 100*unit)
			in.Memory = memory(0, p*unit, 100*unit).Memory
			for _, c := range []severity.Condition{severity.LocalRelative(float64(p)), severity.GlobalRelative(float64(p))} {
				if got := c.Judge(&in).Truth; got != F {
					t.Errorf("%v at its bound = %v, want false", c, got)
				}
			}
			in.Process.Used++
			in.Memory.Available--
			for _, c := range []severity.Condition{severity.LocalRelative(float64(p)), severity.GlobalRelative(float64(p))} {
				if got := c.Judge(&in).Truth; got != T {
					t.Errorf("%v a byte past its bound = %v, want true", c, got)
				}
			}
		}
	}
}

func signals(state snapshot.State, list ...snapshot.SignalStatus) snapshot.Status {
	return snapshot.Status{State: state, Signals: list}
}

func TestTerms(t *testing.T) {
	idle := snapshot.SignalStatus{Signal: "cpu", State: snapshot.StateIdle, Actual: 0.3, Limit: 0.4, Age: time.Second}
	over := snapshot.SignalStatus{Signal: "memory", State: snapshot.StateOverloaded, Actual: 0.5, Limit: 0.2}
	off := snapshot.SignalStatus{Signal: "client", State: snapshot.StateDisabled}
	lost := snapshot.SignalStatus{Signal: "event_loop", State: snapshot.StateUnknown, Reason: "gone"}
	in := severity.Input{
		At:         10 * time.Second,
		Current:    signals(snapshot.StateOverloaded, idle, over, off, lost),
		Historical: signals(snapshot.StateIdle, idle, lost),
		Newest: []snapshot.Snapshot{
			{Signal: "queue", Resource: snapshot.Custom, Value: 7, At: 9 * time.Second},
			{Signal: "broken", Resource: snapshot.Custom, Unknown: "no route", LastGood: 4 * time.Second, HasLastGood: true},
			{Signal: "event_loop", Resource: snapshot.EventLoop, Value: 1},
			{Signal: "psi", Resource: snapshot.Pressure, Pressure: snapshot.PressureReading{
				Stalled: snapshot.Memory, Some: 0.25, Full: 0.1, FullKnown: true}},
			{Signal: "psi.cpu", Resource: snapshot.Pressure, Pressure: snapshot.PressureReading{
				Stalled: snapshot.CPU, Some: 0.5}},
		},
		Rates: []severity.Rate{
			{Signal: "queue", PerSecond: 2, Known: true},
			{Signal: "broken", Reason: "no straight line fits the readings"},
		},
		Exhaustion: severity.Exhaustion{Known: true, InSight: true, In: 30 * time.Second, PerSecond: -1},
	}
	calm := severity.Input{Exhaustion: severity.Exhaustion{Known: true, PerSecond: 1}}
	for _, tt := range []struct {
		condition severity.Condition
		in        *severity.Input
		want      severity.Truth
		signal    string
		value     float64
	}{
		{severity.AnyOverloaded(severity.Current), &in, T, "memory", 0.5},
		{severity.AnyOverloaded(severity.Historical), &in, F, "cpu", 0.3},
		{severity.AnyOverloaded(severity.Current), &calm, U, "", 0},
		{severity.Overloaded("memory", severity.Current), &in, T, "memory", 0.5},
		{severity.Overloaded("cpu", severity.Current), &in, F, "cpu", 0.3},
		{severity.Overloaded("memory", severity.Historical), &in, U, "memory", 0},
		{severity.Overloaded("event_loop", severity.Current), &in, U, "event_loop", 0},
		{severity.Overloaded("client", severity.Current), &in, U, "client", 0},
		{severity.Above("queue", 7), &in, F, "queue", 7},
		{severity.Above("queue", 6.9), &in, T, "queue", 7},
		{severity.Below("queue", 7), &in, F, "queue", 7},
		{severity.Below("queue", 7.1), &in, T, "queue", 7},
		{severity.Above("broken", 0), &in, U, "broken", 0},
		{severity.Above("event_loop", 0), &in, U, "event_loop", 0}, // judged unknown: too old
		{severity.Above("none", 0), &in, U, "none", 0},
		{severity.PressureSome(snapshot.Memory, 0.25), &in, F, "psi", 0.25},
		{severity.PressureSome(snapshot.Memory, 0.24), &in, T, "psi", 0.25},
		{severity.PressureFull(snapshot.Memory, 0.05), &in, T, "psi", 0.1},
		{severity.PressureFull(snapshot.CPU, 0), &in, U, "psi.cpu", 0},
		{severity.PressureSome(0, 0.1), &in, U, "pressure", 0},
		{severity.PressureSome(snapshot.Memory, 0.2), &calm, U, "pressure", 0},
		{severity.Rising("queue", 2), &in, F, "queue", 2},
		{severity.Rising("queue", 1.9), &in, T, "queue", 2},
		{severity.Falling("queue", 0), &in, F, "queue", -2},
		{severity.Rising("broken", 0), &in, U, "broken", 0},
		{severity.Rising("none", 0), &in, U, "none", 0},
		{severity.ExhaustionWithin(30 * time.Second), &in, F, "memory", 30},
		{severity.ExhaustionWithin(31 * time.Second), &in, T, "memory", 30},
		{severity.ExhaustionWithin(time.Minute), &calm, F, "memory", 0},
		{severity.ExhaustionWithin(time.Minute), &severity.Input{}, U, "memory", 0},
		{severity.Recovering(), &in, F, "memory", -1},
		{severity.Recovering(), &calm, T, "memory", 1},
		{severity.Recovering(), &severity.Input{}, U, "memory", 0},
	} {
		f := tt.condition.Judge(tt.in)
		if f.Truth != tt.want || f.Signal != tt.signal || f.Value != tt.value {
			t.Errorf("%v = %v of %q at %v, want %v of %q at %v",
				tt.condition, f.Truth, f.Signal, f.Value, tt.want, tt.signal, tt.value)
		}
		if (f.Truth == U) != (f.Reason != "") {
			t.Errorf("%v = %v for the reason %q", tt.condition, f.Truth, f.Reason)
		}
	}
	partly := severity.Input{Current: signals(snapshot.StateUnknown, idle, off, lost)}
	if f := severity.AnyOverloaded(severity.Current).Judge(&partly); f.Truth != U || f.Signal != "event_loop" || f.Reason != "gone" {
		t.Errorf("any overloaded is %v by %q for %q, want unknown by event_loop for gone", f.Truth, f.Signal, f.Reason)
	}
	if f := severity.Above("broken", 0).Judge(&in); f.Age != 6*time.Second || f.Reason != "no route" {
		t.Errorf("a broken signal is %v old for %q, want 6s for no route", f.Age, f.Reason)
	}
}

func TestCombinators(t *testing.T) {
	yes, no, lost := fixed{"yes", T}, fixed{"no", F}, fixed{"lost", U}
	for _, tt := range []struct {
		condition severity.Condition
		want      severity.Truth
	}{
		{severity.All(yes, yes), T},
		{severity.All(yes, lost), U},
		{severity.All(no, lost), F},
		{severity.Any(no, no), F},
		{severity.Any(no, lost), U},
		{severity.Any(yes, lost), T},
		{severity.Not(lost), U},
		{severity.Not(severity.All(yes, no)), T},
		{severity.WhereKnown(lost), F},
		{severity.WhereKnown(yes), T},
		{severity.Any(no, severity.WhereKnown(lost)), F},
	} {
		if got := tt.condition.Judge(&severity.Input{}).Truth; got != tt.want {
			t.Errorf("%v alone = %v, want %v", tt.condition, got, tt.want)
		}
		// The Engine evaluates them in its own way.
		e := engine(t, severity.Config{Levels: []severity.Level{{Enter: tt.condition}}})
		out := e.Step(severity.Input{})
		if got := out.Level == 1; got != (tt.want == T) {
			t.Errorf("%v in the engine holds: %v, want %v", tt.condition, got, tt.want)
		}
		if got := out.Held == severity.HeldUnknown; got != (tt.want == U) {
			t.Errorf("%v in the engine is unknown: %v, want %v", tt.condition, got, tt.want)
		}
	}
}

func TestConfigFaultsAreToldAtOnce(t *testing.T) {
	_, err := severity.New(severity.Config{
		CheckInterval: -1,
		Levels: []severity.Level{
			{Enter: severity.All(), Stay: severity.Any(), HoldFor: -time.Second},
			{Enter: nil, Dwell: 25 * time.Hour},
			{Enter: severity.All(severity.LocalRelative(20), severity.Not(nil), severity.LocalAbsolute(0))},
			{Enter: severity.Any(severity.GlobalRelative(math.NaN()), severity.GlobalRelative(100.5), severity.GlobalAbsolute(-5))},
			{Enter: severity.Any(severity.Custom("", nil, -1), severity.Above("", math.Inf(1)), severity.Rising("x", -1))},
			{Enter: severity.Any(severity.PressureSome(snapshot.Client, 2), severity.ExhaustionWithin(0)),
				Unless: severity.Overloaded("", severity.Window(9))},
		},
	})
	if err == nil {
		t.Fatal("New took it")
	}
	for _, want := range []string{
		"CheckInterval: -1ns is outside 50ms to 24h0m0s",
		"Levels[0].Enter.all: no conditions",
		"Levels[0].Stay.any: no conditions",
		"Levels[0].HoldFor: -1s is outside",
		"Levels[1].Enter: required",
		"Levels[1].Dwell: 25h0m0s is outside",
		"Levels[2].Enter.all[0]: local_relative needs ProcessMax",
		"Levels[2].Enter.all[1].not[0]: required",
		"Levels[2].Enter.all[2]: 0 bytes is less than 1",
		"local_absolute needs ProcessMax",
		"Levels[3].Enter.any[0]: NaN percent is outside (0, 100]",
		"Levels[3].Enter.any[1]: 100.5 percent is outside (0, 100]",
		"Levels[3].Enter.any[2]: -5 bytes is less than 1",
		"Levels[4].Enter.any[0]: a custom condition has no name",
		`custom("") has no function`,
		"deadline -1ns is outside 0 to 1m0s",
		"Levels[4].Enter.any[1]: no name of a signal",
		"+Inf is not a finite number",
		"-1 per second is negative",
		"pressure on client is not measured",
		"2 is outside [0, 1]",
		"0s is outside (0, 1h0m0s]",
		"Levels[5].Unless: no name of a signal",
		"9 is not a window",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q:\n%v", want, err)
		}
	}
	many := make([]severity.Condition, 66)
	for i := range many {
		many[i] = severity.GlobalAbsolute(1)
	}
	deep := severity.GlobalAbsolute(1)
	for range 40 {
		deep = severity.Not(deep)
	}
	_, err = severity.New(severity.Config{ProcessMax: -1, Levels: append(make([]severity.Level, 64),
		severity.Level{Enter: severity.All(many...), Stay: deep})})
	for _, want := range []string{"66 leaves are more than 65", "deeper than 34", "65 are more than 64", "-1 bytes is negative"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q:\n%v", want, err)
		}
	}
}

func TestTexts(t *testing.T) {
	for _, tt := range []struct {
		condition severity.Condition
		want      string
	}{
		{severity.All(severity.GlobalAbsolute(5), severity.Not(severity.LocalAbsolute(6))), "all(global_absolute(5), not(local_absolute(6)))"},
		{severity.Any(severity.GlobalRelative(2.5), severity.LocalRelative(20)), "any(global_relative(2.5), local_relative(20))"},
		{severity.WhereKnown(severity.PressureSome(snapshot.Memory, 0.2)), "where_known(pressure_some(memory, 0.2))"},
		{severity.PressureFull(0, 0.2), "pressure_full(io, 0.2)"},
		{severity.AnyOverloaded(severity.Current), "any_overloaded(current)"},
		{severity.Overloaded("cpu", severity.Historical), `overloaded("cpu", historical)`},
		{severity.Above("q", 1), `above("q", 1)`},
		{severity.Below("q", 1), `below("q", 1)`},
		{severity.Rising("q", 1), `rising("q", 1)`},
		{severity.Falling("q", 1), `falling("q", 1)`},
		{severity.ExhaustionWithin(time.Minute), "exhaustion_within(1m0s)"},
		{severity.Recovering(), "recovering()"},
		{severity.Custom("mine", func(context.Context, severity.Input) (bool, error) { return false, nil }, 0), `custom("mine")`},
	} {
		if got := tt.condition.String(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}
