package expr_test

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/severity"
	"github.com/headroom-rpc/headroom/severity/expr"
)

func bombs() map[string]string {
	r := strings.Repeat
	return map[string]string{
		"100 MiB":           r("recovering() || ", 100<<20/16),
		"100 MiB of spaces": r(" ", 100<<20),
		"100000 brackets":   r("(", 1e5) + "recovering()" + r(")", 1e5),
		"2000 brackets":     r("(", 2000) + "recovering()" + r(")", 2000),
		"open brackets":     r("(", 4096),
		"open indexes":      r("signals[", 512),
		"negations":         r("!", 4000) + "recovering()",
		"negated brackets":  r("!!((", 600) + "recovering()" + r("))", 600),
		"minus signs":       "memory.used > " + r("-", 4000) + "1",
		"sum":               "memory.used > 1" + r("+1", 2000),
		"chain":             r("recovering()||", 290) + "recovering()",
		"alternating":       r("recovering()||(recovering()&&(", 120) + "recovering()" + r("))", 120),
		"conditionals":      r("recovering()?recovering():", 150) + "recovering()",
		"selections":        "a" + r(".a", 2000) + " > 1",
		"nested map":        r("[1,2,3].map(x, ", 100) + "x" + r(")", 100) + " == []",
		"nested exists":     r("[1,2,3].exists(x, ", 50) + "true" + r(")", 50),
		"list":              "[" + r("1,", 2000) + "1] == []",
		"lists":             r("[", 2000) + r("]", 2000),
		"maps":              r("{1:", 1000) + "1" + r("}", 1000),
		"equal maps":        r("signals==signals||", 220) + "true",
		"regular":           `"` + r("a", 2000) + `".matches("` + r("(a+)+", 300) + `")`,
		"string":            `overloaded("` + r("a", 4000) + `")`,
		"escapes":           `overloaded("` + r(`\U0001F600`, 400) + `")`,
		"quotes":            r(`"`, 4001),
		"raw quotes":        r(`r"""`, 1000),
		"digits":            "memory.used > " + r("9", 4000),
		"exponent":          "memory.change > 1e" + r("9", 4000),
		"product":           "memory.used > " + r("9223372036854775807 * ", 25) + "9223372036854775807",
		"NUL":               r("\x00", 4096),
		"comment":           "recovering() // " + r("x", 4000),
		"lines":             r("\n", 4000) + "recovering()",
		"operators":         r("recovering()==", 290) + "true",
	}
}

// Whatever is thrown at it, Compile answers at once and takes little memory, and so does what it returns.
func TestBombs(t *testing.T) {
	if _, err := expr.Compile("recovering()"); err != nil { // makes the environment
		t.Fatal(err)
	}
	for name, text := range bombs() {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		begin := time.Now()
		c, err := expr.Compile(text)
		if err == nil {
			in := known()
			c.Judge(&in)
		}
		took := time.Since(begin)
		runtime.ReadMemStats(&after)
		// Far over what is measured; still far under what an unbounded text takes. A stalled machine is asked again.
		for again := 0; took > time.Second && again < 5; again++ {
			begin = time.Now()
			if c, err := expr.Compile(text); err == nil {
				in := known()
				c.Judge(&in)
			}
			took = time.Since(begin)
		}
		if took > time.Second {
			t.Errorf("%s: took %v", name, took)
		}
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 10<<20 {
			t.Errorf("%s: allocated %d MiB, want less than 10", name, grown>>20)
		}
		t.Logf("%-18s %8v %6d KiB %.80v", name, took.Round(time.Microsecond), (after.TotalAlloc-before.TotalAlloc)>>10, err)
	}
}

func FuzzCompile(f *testing.F) {
	for _, text := range bombs() {
		if len(text) <= expr.MaxText {
			f.Add(text)
		}
	}
	for _, text := range []string{
		`memory.available < 2 * GiB && !(psi.memory.some > 0.2)`, `rates["a"] > 5 || signals["b"] < -1.5`,
		`overloaded("cpu", historical) ? memory.exhaustion < 30 * second : local_relative(5)`,
		`where_known(process.left_ratio < 0.1) == any_overloaded()`, `1/0 > memory.used`, `[1] == [2]`,
		`int(memory.change) / int(psi.cpu.some) > 5`, "a\n.b\t<c",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := expr.Compile(text)
		if err != nil {
			if strings.Contains(err.Error(), "panic") || strings.Contains(err.Error(), "internal error") {
				t.Fatalf("%q: %v", text, err)
			}
			lines := strings.Count(text, "\n") + 1
			for _, fault := range err.(expr.Faults) {
				if fault.Line < 1 || fault.Line > lines || fault.Column < 1 || fault.Column > len(text)+1 || fault.Text == "" {
					t.Fatalf("%q of %d lines: fault at %d:%d: %q", text, lines, fault.Line, fault.Column, fault.Text)
				}
			}
			return
		}
		// What compiles is a condition that an Engine takes and that knows nothing of nothing.
		e, err := severity.New(severity.Config{Levels: []severity.Level{{Enter: c}}, ProcessMax: 1})
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		for _, in := range []severity.Input{{}, known()} {
			for _, u := range e.Step(in).Unknown {
				if strings.Contains(u.Reason, "panic") || strings.Contains(u.Reason, "internal error") || u.Reason == "" {
					t.Fatalf("%q: %q: %s", text, u.Text, u.Reason)
				}
			}
		}
	})
}
