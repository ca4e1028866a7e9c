package severity_test

import (
	"math"
	"testing"

	"github.com/headroom-rpc/headroom/severity"
	"github.com/headroom-rpc/headroom/snapshot"
)

// fifteenLeaves are three levels of five leaves.
func fifteenLeaves() severity.Config {
	var levels []severity.Level
	for _, p := range []float64{25, 15, 5} {
		levels = append(levels, severity.Level{Enter: severity.Any(
			severity.GlobalRelative(p),
			severity.All(severity.LocalRelative(p), severity.AnyOverloaded(severity.Current)),
			severity.WhereKnown(severity.PressureSome(snapshot.Memory, 1-p/100)),
			severity.Not(severity.Above("queue", p)),
		)})
	}
	return severity.Config{Levels: levels, ProcessMax: 1000}
}

func fullInput() severity.Input {
	in := memory(0, 10, 100)
	in.Process = severity.Process{Used: 100, Known: true}
	in.Newest = []snapshot.Snapshot{
		{Signal: "cpu"}, {Signal: "memory"}, {Signal: "event_loop"}, {Signal: "client"},
		{Signal: "psi", Resource: snapshot.Pressure, Pressure: snapshot.PressureReading{Stalled: snapshot.Memory, Some: 0.1}},
		{Signal: "queue", Value: 50},
	}
	for _, snap := range in.Newest {
		in.Current.Signals = append(in.Current.Signals,
			snapshot.SignalStatus{Signal: snap.Signal, State: snapshot.StateIdle, Actual: 0.1, Limit: 0.4})
	}
	in.Current.State = snapshot.StateIdle
	return in
}

func TestStepDoesNotAllocate(t *testing.T) {
	e := engine(t, fifteenLeaves())
	for name, in := range map[string]severity.Input{"known": fullInput(), "unknown": {}} {
		e.Step(in)
		if got := testing.AllocsPerRun(100, func() { e.Step(in) }); got != 0 {
			t.Errorf("%s: %v allocations, want 0", name, got)
		}
	}
}

func BenchmarkStep(b *testing.B) {
	b.Run("levels=3/leaves=15", func(b *testing.B) {
		e, in := engine(b, fifteenLeaves()), fullInput()
		b.ReportAllocs()
		for b.Loop() {
			e.Step(in)
		}
	})
}

func BenchmarkTrend(b *testing.B) {
	var trend severity.Trend
	at := trendStart
	b.ReportAllocs()
	for b.Loop() {
		at += s
		trend.Add(at, -at.Seconds()+40*math.Sin(at.Seconds()*at.Seconds())) // memory that falls is not smooth either
		trend.Line()
	}
}

const trendStart = 0 * s
