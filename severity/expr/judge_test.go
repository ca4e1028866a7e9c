package expr_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/severity"
	"github.com/headroom-rpc/headroom/severity/expr"
	"github.com/headroom-rpc/headroom/snapshot"
)

func compile(t testing.TB, text string) severity.Condition {
	t.Helper()
	c, err := expr.Compile(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return c
}

const gib = 1 << 30

// known is an input of which everything is known: 2 of 8 GiB available, at 10 s.
func known() severity.Input {
	return severity.Input{
		At:      10 * time.Second,
		Memory:  severity.Memory{Available: 2 * gib, Total: 8 * gib, Used: 6 * gib, At: 9 * time.Second, Known: true},
		Process: severity.Process{Used: 3 * gib, Max: 4 * gib, At: 8 * time.Second, Known: true},
		Exhaustion: severity.Exhaustion{
			Known: true, InSight: true, In: 40 * time.Second, PerSecond: -50e6, Fit: 1, At: 9 * time.Second,
		},
		Newest: []snapshot.Snapshot{
			{Signal: "psi", Resource: snapshot.Pressure, At: 9 * time.Second,
				Pressure: snapshot.PressureReading{Stalled: snapshot.Memory, Some: 0.3, Full: 0.1, FullKnown: true}},
			{Signal: "queue", Value: 50, At: 7 * time.Second},
			{Signal: "lag", Value: 2, At: 6 * time.Second},
			{Signal: "broken", Unknown: "no answer"},
		},
		Rates: []severity.Rate{{Signal: "queue", PerSecond: -3, Known: true}},
		Current: snapshot.Status{State: snapshot.StateIdle, Signals: []snapshot.SignalStatus{
			{Signal: "cpu", State: snapshot.StateOverloaded, Actual: 0.5, Limit: 0.4},
			{Signal: "lag", State: snapshot.StateIdle, Limit: 0.4},
		}},
	}
}

func TestJudge(t *testing.T) {
	const T, F, U = severity.True, severity.False, severity.Unknown
	for text, want := range map[string]severity.Truth{
		"memory.available == 2 * GiB":                      T,
		"memory.available >= 2 * GiB":                      T,
		"memory.available < 2 * GiB":                       F,
		"memory.available <= 2.0 * GiB":                    T,
		"memory.available != 2 * GiB":                      F,
		"memory.available_ratio <= 0.25":                   T,
		"memory.used + memory.available == 8 * GiB":        T,
		"memory.used_ratio > 0.74":                         T,
		"memory.total - memory.used > 1.9 * GiB":           T,
		"memory.change < -49 * MB":                         T,
		"memory.exhaustion > 39 * second":                  T,
		"memory.exhaustion < 40 * second":                  F,
		"memory.exhaustion / minute > 0.6":                 T,
		"memory.exhaustion + second == duration(\"41s\")":  T,
		"-memory.used < 0":                                 T,
		"process.used > process.max / 2":                   T,
		"process.left_ratio >= 0.25":                       T,
		"process.left == GiB":                              T,
		"double(process.used) / double(process.max) > 0.7": T,
		"psi.memory.some > 0.2":                            T,
		"psi.memory.full > 0.2":                            F,
		"psi.memory.some + psi.memory.full >= 0.4":         T,
		`signals["queue"] > 49`:                            T,
		`signals["queue"] / signals["lag"] == 25.0`:        T,
		`rates["queue"] < -2`:                              T,
		`overloaded("cpu")`:                                T,
		`overloaded("lag") == overloaded("cpu")`:           F,
		`overloaded("lag") ? true : memory.used > 1`:       T,
		`int(signals["queue"]) == 50`:                      T,

		// What is unknown is neither false nor 0, and decides nothing where the other side does.
		"psi.cpu.some > 0.2":                                 U,
		"psi.cpu.some < 0.2":                                 U,
		"!(psi.cpu.some < 0.2)":                              U,
		"psi.cpu.some == 0.0":                                U,
		"psi.cpu.some != 0.0":                                U,
		"psi.cpu.some + psi.memory.some > 0.2":               U,
		`signals["broken"] > 1`:                              U,
		`signals["broken"] * 0 < 1`:                          U,
		`signals["absent"] == signals["absent"]`:             U,
		`rates["lag"] > 1`:                                   U,
		`overloaded("absent") == true`:                       U,
		`overloaded("absent") ? recovering() : recovering()`: U,
		"psi.cpu.some > 0.2 || memory.used > 1":              T,
		"psi.cpu.some > 0.2 && memory.used < 1":              F,
		"psi.cpu.some > 0.2 && memory.used > 1":              U,
		"where_known(psi.cpu.some > 0.2)":                    F,
		"where_known(psi.memory.some > 0.2)":                 T,
		"!where_known(psi.cpu.some > 0.2)":                   T,

		// The same inside of what CEL judges alone.
		"(psi.cpu.some > 0.2 || memory.used > 1) == true":                    T,
		"(psi.cpu.some > 0.2 && memory.used < 1) == false":                   T,
		"where_known(psi.cpu.some > 0.2) == false":                           T,
		"(where_known(recovering()) ? psi.cpu.some : psi.memory.some) > 0.2": T,

		// So does what cannot be calculated.
		"memory.used / (memory.total - 8 * GiB) > 1":          U,
		"memory.change / (memory.change - memory.change) > 1": U,
		"memory.used * memory.used > 1":                       U,
		"memory.used / 0 > 1 || memory.used > 1":              T,
	} {
		in := known()
		got := compile(t, text).Judge(&in)
		if got.Truth != want {
			t.Errorf("%s: %v (%+v), want %v", text, got.Truth, got, want)
		}
		leaf := !strings.ContainsAny(text, "|&!") && !strings.HasPrefix(text, "where_known(")
		if leaf && (got.Truth == U) != (got.Reason != "") {
			t.Errorf("%s: %v with reason %q", text, got.Truth, got.Reason)
		}
	}
}

// Of nothing is anything known in an input that is empty.
func TestJudgeNothing(t *testing.T) {
	variables, _, _ := expr.Symbols()
	for _, v := range variables {
		bound := map[string]string{"int": "0", "double": "0.0", "duration": "second"}[v.Type]
		for _, is := range []string{">", "<", "=="} {
			if strings.HasPrefix(v.Name, "rates") && is == "==" {
				continue
			}
			var in severity.Input
			text := v.Name + is + bound
			if f := compile(t, text).Judge(&in); f.Truth != severity.Unknown || f.Reason == "" {
				t.Errorf("%s: %v, reason %q, want unknown and why", text, f.Truth, f.Reason)
			}
		}
	}
}

func TestFindings(t *testing.T) {
	for text, want := range map[string]severity.Finding{
		"memory.used > 5 * GiB": {Truth: severity.True, Value: 6 * gib, Bound: 5 * gib, HasValue: true, Unit: "bytes",
			Signal: "memory", Age: time.Second},
		"5 * GiB <= memory.used": {Truth: severity.True, Value: 6 * gib, Bound: 5 * gib, HasValue: true, Unit: "bytes",
			Signal: "memory", Age: time.Second},
		"memory.available <= GiB": {Truth: severity.False, Value: 2 * gib, Bound: gib, HasValue: true, Unit: "bytes",
			Zero: 8 * gib, Signal: "memory", Age: time.Second},
		"memory.exhaustion >= minute": {Truth: severity.False, Value: 40, Bound: 60, HasValue: true, Unit: "seconds",
			Signal: "memory", Age: time.Second},
		`signals["lag"] >= 0.5 * signals["queue"]`: {Truth: severity.False, Value: 2, Bound: 25, HasValue: true,
			Signal: "lag, queue", Age: 4 * time.Second},
		`signals["lag"] + signals["queue"] >= 1`: {Truth: severity.True, Value: 52, Bound: 1, HasValue: true,
			Signal: "lag, queue", Age: 4 * time.Second},
		`signals["broken"] >= 1`: {Signal: "broken", Reason: "no answer"},
		`signals["broken"] + signals["absent"] >= 1`: {Reason: "broken: no answer; absent: not read",
			Signal: "broken, absent"},
		`memory.used / (memory.used - 6 * GiB) >= 1`: {Reason: "division by zero", Signal: "memory", Age: time.Second},
	} {
		in := known()
		if got := compile(t, text).Judge(&in); got != want {
			t.Errorf("%s:\n%+v\nwant:\n%+v", text, got, want)
		}
	}
}

// An Engine sees into a text: each comparison is a leaf of its own.
func TestEvidence(t *testing.T) {
	e, err := severity.New(severity.Config{Levels: []severity.Level{{
		Enter: compile(t, `(memory.used >= 5 * GiB && signals["queue"] > 49) || psi.cpu.some > 0.9`),
	}}})
	if err != nil {
		t.Fatal(err)
	}
	out := e.Step(known())
	if out.Level != 1 || len(out.Events) != 1 {
		t.Fatalf("level %d with %d events, want 1 with 1", out.Level, len(out.Events))
	}
	var got []string
	for _, ev := range out.Events[0].Transition.Evidence {
		got = append(got, ev.Text)
	}
	if want := `memory.used >= 5 * GiB, above("queue", 49)`; strings.Join(got, ", ") != want {
		t.Errorf("evidence %q, want %s", got, want)
	}
	if len(out.Unknown) != 1 || out.Unknown[0].Text != "pressure_some(cpu, 0.9)" {
		t.Errorf("unknown: %v, want pressure_some(cpu, 0.9)", out.Unknown)
	}
}

// A comparison that became a term says what CEL says of the same comparison.
func TestTermsAreTheirText(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, text := range []string{
		"memory.available < 2 * GiB", "memory.available_ratio < 0.07", "process.left < GiB",
		"process.left_ratio < 0.25", "psi.memory.some > 0.3", "memory.exhaustion < 40 * second",
		`signals["queue"] > 50`, `signals["queue"] < 50`,
	} {
		term := compile(t, text)
		// A sum is no variable, so it stays with CEL.
		plus := " + 0"
		if strings.Contains(text, "second") {
			plus = " + duration(\"0s\")"
		}
		variable, rest, _ := strings.Cut(text, " ")
		calculated := compile(t, variable+plus+" "+rest)
		if term.String() == text || calculated.String() == term.String() {
			t.Fatalf("%s: %s and %s, want a term and a calculation", text, term, calculated)
		}
		for range 2000 {
			in := known()
			in.Memory.Known, in.Process.Known = rng.IntN(5) > 0, rng.IntN(5) > 0
			in.Memory.Total = 100 * gib
			in.Memory.Available = int64(rng.IntN(9)) * gib
			in.Process.Used = int64(rng.IntN(9)) * gib / 2
			in.Exhaustion.Known, in.Exhaustion.InSight = rng.IntN(5) > 0, rng.IntN(3) > 0
			in.Exhaustion.In = time.Duration(39+rng.IntN(3)) * time.Second
			in.Newest[0].Pressure.Some = float64(rng.IntN(5)) / 10
			in.Newest[1].Value = float64(49 + rng.IntN(3))
			if a, b := term.Judge(&in), calculated.Judge(&in); a.Truth != b.Truth {
				t.Fatalf("%s is %v (%+v), %s is %v (%+v)", term, a.Truth, a, calculated, b.Truth, b)
			}
		}
	}
}
