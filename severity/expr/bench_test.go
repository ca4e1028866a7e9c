package expr_test

import (
	"fmt"
	"testing"

	"github.com/headroom-rpc/headroom/severity"
)

// BenchmarkStep is one evaluation of three levels of five leaves. Of "terms" CEL has nothing left to do; of
// "calculated" every leaf is its.
func BenchmarkStep(b *testing.B) {
	for _, bb := range []struct{ name, text string }{
		{"terms", `memory.available_ratio < %[1]v || (process.left_ratio < %[1]v && any_overloaded()) || ` +
			`where_known(psi.memory.some > %[1]v) || signals["queue"] > 100`},
		{"compared", `memory.available_ratio <= %[1]v || memory.used >= 7 * GiB || psi.memory.some >= 0.9 || ` +
			`signals["queue"] >= 100 || memory.exhaustion <= 9 * second`},
		{"calculated", `memory.available <= %[1]v * memory.total || process.left <= %[1]v * process.max || ` +
			`psi.memory.some + psi.memory.full > 0.9 || signals["queue"] >= 100 * signals["lag"] || ` +
			`(any_overloaded() ? psi.memory.some > 0.5 : psi.memory.some > 0.9)`},
	} {
		b.Run(bb.name+"/levels=3/leaves=15", func(b *testing.B) {
			var levels []severity.Level
			for _, bound := range []float64{0.24, 0.15, 0.05} {
				levels = append(levels, severity.Level{Enter: compile(b, fmt.Sprintf(bb.text, bound))})
			}
			e, err := severity.New(severity.Config{Levels: levels, ProcessMax: 4 * gib})
			if err != nil {
				b.Fatal(err)
			}
			in := known()
			b.ReportAllocs()
			for b.Loop() {
				e.Step(in)
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	for b.Loop() {
		compile(b, "memory.available_ratio < 0.15 || where_known(psi.memory.some > 0.2)")
	}
}
