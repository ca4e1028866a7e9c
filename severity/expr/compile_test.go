package expr_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/headroom-rpc/headroom/severity/expr"
)

// The logic and what severity has a term for become conditions of severity; what remains keeps its text.
func TestCompile(t *testing.T) {
	for text, want := range map[string]string{
		`global_absolute(2 * GiB)`:                           "global_absolute(2147483648)",
		`global_relative(12.5)`:                              "global_relative(12.5)",
		`local_absolute(64 * MB)`:                            "local_absolute(64000000)",
		`local_relative(5)`:                                  "local_relative(5)",
		`any_overloaded()`:                                   "any_overloaded(current)",
		`any_overloaded(historical)`:                         "any_overloaded(historical)",
		`overloaded("cpu", historical)`:                      `overloaded("cpu", historical)`,
		`overloaded("cpu")`:                                  `overloaded("cpu", current)`,
		`recovering()`:                                       "recovering()",
		`memory.available < 2 * GiB`:                         "global_absolute(2147483648)",
		`2 * GiB > memory.available`:                         "global_absolute(2147483648)",
		`memory.available_ratio < 0.07`:                      "global_relative(7)",
		`process.left < 1 * MiB`:                             "local_absolute(1048576)",
		`process.left_ratio < 0.1`:                           "local_relative(10)",
		`psi.memory.some > 0.2`:                              "pressure_some(memory, 0.2)",
		`psi.cpu.full > 0.1`:                                 "pressure_full(cpu, 0.1)",
		`0.1 < psi.io.some`:                                  "pressure_some(io, 0.1)",
		`memory.exhaustion < duration("30s")`:                "exhaustion_within(30s)",
		`memory.exhaustion < 1.5 * minute`:                   "exhaustion_within(1m30s)",
		`signals["queue"] > 100`:                             `above("queue", 100)`,
		`signals["queue"] < -1.5`:                            `below("queue", -1.5)`,
		`rates["queue"] > 5`:                                 `rising("queue", 5)`,
		`rates["queue"] < -5`:                                `falling("queue", 5)`,
		`!recovering()`:                                      "not(recovering())",
		`where_known(recovering())`:                          "where_known(recovering())",
		`recovering() || (any_overloaded() || recovering())`: "any(recovering(), any_overloaded(current), recovering())",
		`recovering() && any_overloaded() || recovering()`:   "any(all(recovering(), any_overloaded(current)), recovering())",

		`memory.available <= 2 * GiB`:                      "memory.available <= 2 * GiB",
		`memory.available_ratio < 1.0 / 3.0`:               "memory.available_ratio < 1.0 / 3.0",
		`1.5 * GiB >= memory.used`:                         "1.5 * GiB >= memory.used",
		`memory.used > 0.5 * process.max`:                  "memory.used > 0.5 * process.max",
		`signals["a"] > 2 * signals["b"]`:                  `signals["a"] > 2 * signals["b"]`,
		`memory.exhaustion / minute > 2`:                   "memory.exhaustion / minute > 2",
		`recovering() == overloaded("cpu")`:                `recovering() == overloaded("cpu")`,
		`overloaded("cpu") ? recovering() : !recovering()`: `overloaded("cpu") ? recovering() : !recovering()`,
		"memory.used\n  > memory.available":                "memory.used > memory.available",
	} {
		c, err := expr.Compile(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got := c.String(); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestCompileReportsFaults(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", "1:1: no condition"},
		{" \n", "1:1: no condition"},
		{"a\xffb", "1:1: is not UTF-8"},
		{strings.Repeat("a", 4097), "1:1: 4097 bytes are more than 4096"},
		{"memory.available <", "1:19: unexpected end"},
		{"recovering() &&\n  (memory.used << 3)", "2:17: unexpected '<'"},
		{"memry.used > 5", "1:1: no such variable, function or constant: 'memry'"},
		{"recovering() && memory.usd > 5 || foo()",
			"1:17: no such variable, function or constant: 'memory'\n1:38: no such variable, function or constant: 'foo'"},
		{`memory.used > "5"`, "1:13: no > of (int, string)"},
		{`any_overloaded("historical")`, "1:15: no any_overloaded of (string)"},
		{"memory.used", "1:1: is int, not true or false"},
		{"true", "1:1: is always true: it looks at nothing"},
		{"recovering() || !true", "1:18: is always true: it looks at nothing"},
		{"recovering() || -1 > 2", "1:17: is always false: it looks at nothing"},
		{"25 < 50 || recovering()", "1:1: is always true: it looks at nothing"},
		{"memory.used > 1/0", "1:15: division by zero"},
		{"memory.used > 9223372036854775807 + 1", "1:15: integer overflow"},
		{`memory.exhaustion < duration("30")`, `1:21: no duration; want one such as "30s"`},
		{"memory.exhaustion < 2 * hour", "1:1: 2h0m0s is outside (0, 1h0m0s]"},
		{"memory.exhaustion < 9223372036854775807 * hour", "1:21: the duration is too long"},
		{"global_relative(250)", "1:1: 250 percent is outside (0, 100]"},
		{"recovering() || global_absolute(0) || local_relative(0.0)",
			"1:17: 0 bytes is less than 1\n1:39: 0 percent is outside (0, 100]"},
		{"global_absolute(memory.used)", "1:17: want a constant as argument of global_absolute"},
		{"psi.memory.some > 20", "1:1: 20 is more than 1, which is everything; 20 percent is 0.2"},
		{"psi.memory.some > -0.1", "1:1: -0.1 is outside [0, 1]"},
		{"memory.available_ratio <= 25", "1:1: 25 is more than 1, which is everything; 25 percent is 0.25"},
		{`overloaded("")`, "1:1: no name of a signal"},
		{`signals[""] > 5`, "1:1: no name of a signal"},
		{`signals["a"] > 2 * signals[""]`, "1:20: no name of a signal"},
		{"signals.cpu > 0.5", `1:8: want the name of a signal, as in signals["cpu"]`},
		{`signals[recovering() ? "a" : "b"] > 5`, `1:1: want the name of a signal in quotes, as in signals["cpu"]`},
		{`rates["a"] < 5`, `1:1: want rates["NAME"] > a constant of at least 0, or < one of at most 0`},
		{`rates["a"] > signals["b"]`, `1:1: want rates["NAME"] > a constant of at least 0, or < one of at most 0`},
		{"signals == signals", "1:1: may cost more than 10000 operations"},
		{"[1] == [memory.used]", "1:1: lists, maps and messages are not part of the language\n" +
			"1:8: lists, maps and messages are not part of the language"},
		{`memory.used in [5]`, "1:13: no such variable, function or constant: '@in'"},
		{`"a".matches("a")`, "1:12: no such variable, function or constant: 'matches'"},
		{"[1, 2].all(x, x > memory.used)", "1:11: no such variable, function or constant: 'all'\n" +
			"1:12: no such variable, function or constant: 'x'\n1:15: no such variable, function or constant: 'x'"},
		{strings.Repeat("recovering() || recovering() && (", 16) + "recovering()" + strings.Repeat(")", 16),
			"1:512: nested deeper than 32\n1:529: nested deeper than 32"},
		{strings.Repeat("recovering() || ", 64) + "recovering()", "1:1: 65 comparisons are more than 64"},
	} {
		_, err := expr.Compile(tt.text)
		if err == nil {
			t.Errorf("%s: no fault, want %s", tt.text, tt.want)
			continue
		}
		if got := err.Error(); got != tt.want {
			t.Errorf("%s:\n%s\nwant:\n%s", tt.text, got, tt.want)
		}
		var faults expr.Faults
		if !errors.As(err, &faults) || len(faults) == 0 {
			t.Errorf("%s: %T, want Faults", tt.text, err)
		}
	}
}

func TestCompileHost(t *testing.T) {
	for text, want := range map[string]string{
		"memory.available < GiB || psi.cpu.some >= 0.5":       "",
		"recovering() || local_relative(5)":                   "1:17: looks at a process, and there is none",
		"process.left < GiB":                                  "1:1: looks at a process, and there is none",
		"GiB <= process.left":                                 "1:8: looks at a process, and there is none",
		"memory.used > process.used":                          "1:15: looks at a process, and there is none",
		"(local_absolute(5) ? memory.used : process.max) > 5": "1:2: looks at a process, and there is none\n1:36: looks at a process, and there is none",
	} {
		got := ""
		if _, err := expr.CompileHost(text); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
		if _, err := expr.Compile(text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// What documentation shows is what compiles.
func TestSymbols(t *testing.T) {
	variables, functions, constants := expr.Symbols()
	if len(variables) < 10 || len(functions) < 8 || len(constants) < 10 {
		t.Fatalf("%d variables, %d functions, %d constants", len(variables), len(functions), len(constants))
	}
	for _, v := range variables {
		text := v.Name + " > 0"
		if v.Type == "duration" {
			text = v.Name + " > second"
		}
		if _, err := expr.Compile(text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	arguments := strings.NewReplacer("BYTES", "5", "PERCENT", "5", "WINDOW", "current", "CONDITION", "recovering()",
		"TEXT", "5s", "NUMBER", "memory.used")
	for _, f := range functions {
		for text := range strings.SplitSeq(arguments.Replace(f.Name), "), ") {
			if !strings.HasSuffix(text, ")") {
				text += ")"
			}
			switch {
			case strings.HasPrefix(text, "duration"):
				text += " < memory.exhaustion"
			case f.Type != "bool":
				text += " > 5"
			}
			if _, err := expr.Compile(text); err != nil {
				t.Errorf("%s: %v", text, err)
			}
		}
	}
	for _, c := range constants {
		text := "any_overloaded(" + c.Name + ")"
		switch c.Type {
		case "int":
			text = "memory.used > " + c.Name
		case "duration":
			text = "memory.exhaustion < " + c.Name
		}
		if _, err := expr.Compile(text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}
