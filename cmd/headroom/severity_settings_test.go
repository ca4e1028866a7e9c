package main

import (
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/headroom-rpc/headroom/severity"
	"github.com/headroom-rpc/headroom/snapshot"
)

// takeLevels reads the levels of a file.
func takeLevels(text string) (*severitySettings, []given, faults) {
	fromFile, wrong := parseFile("f.yaml", []byte(text))
	s := new(severitySettings)
	rest, more := s.take(fromFile)
	return s, rest, append(wrong, more...)
}

func TestLevelsFaults(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"good", "levels: [{when: recovering()}]", ""},
		{"none", "levels: []\nprocess-levels: []", ""},
		{"nothing", "levels:", "f.yaml:1: levels: nothing: want a list of levels; [] for none"},
		{"a word", "levels: none", "f.yaml:1: levels: want a list of levels; [] for none"},
		{"a mapping", "levels: {when: recovering()}", "f.yaml:1: levels: a mapping: want a list of levels; [] for none"},
		{"twice", "levels: []\nlevels: []", "f.yaml:2: levels: set before, on line 1"},
		{"too many", "levels: [" + strings.Repeat("{when: recovering()},", 65) + "]", "f.yaml:1: levels: 65 levels: want at most 64"},
		{"a level that is a word", "levels: [5]", "f.yaml:1: levels: level 1: want lines of the form when: condition"},
		{"no condition", "levels:\n  - name: x", "f.yaml:2: levels: level 1: want a condition under when"},
		{"empty condition", "levels: [{when: ''}]", "f.yaml:1: levels: level 1: when: no condition"},
		{"null condition", "levels: [{when: }]", "f.yaml:1: levels: level 1: when: nothing: want a text"},
		{"unknown part", "levels:\n- when: recovering()\n  dwel: 5s\n  colour: red",
			"f.yaml:3: levels: level 1: dwel: no such part of a level; did you mean dwell?\n" +
				"f.yaml:4: levels: level 1: colour: want when, leave, unless, hold, dwell or name"},
		{"part that is a list", "levels: [{when: recovering(), [hold]: 5s}]",
			`f.yaml:1: levels: level 1: "": want when, leave, unless, hold, dwell or name`},
		{"part given twice", "levels:\n- when: recovering()\n  when: recovering()",
			"f.yaml:3: levels: level 1: when: set before, on line 2"},
		{"durations", "levels:\n- when: recovering()\n  hold: 61m\n  dwell: 5\n- when: recovering()\n  hold: -1s\n  dwell: [1s]",
			"f.yaml:3: levels: level 1: hold: 61m: want a duration from 0s to 1h\n" +
				"f.yaml:4: levels: level 1: dwell: 5: want a duration from 0s to 24h (with a unit, as in 5s)\n" +
				"f.yaml:6: levels: level 2: hold: -1s: want a duration from 0s to 1h\n" +
				"f.yaml:7: levels: level 2: dwell: a list: want a duration from 0s to 24h"},
		{"a tag", "levels:\n- when: !recovering()",
			"f.yaml:2: levels: level 1: when: !recovering(): want the text in quotes: an exclamation mark begins a tag of YAML"},
		{"aliases", "levels:\n- &a {when: recovering()}\n- *a\n- when: *a\n  hold: *a",
			"f.yaml:2: anchors and aliases are not allowed\nf.yaml:3: anchors and aliases are not allowed\n" +
				"f.yaml:4: anchors and aliases are not allowed\nf.yaml:5: anchors and aliases are not allowed"},
		{"column", "levels:\n- when: recovering() || memry.used > 5",
			"f.yaml:2: levels: level 1: when: column 17: no such variable, function or constant: 'memry'"},
		{"line of a block", "levels:\n- when: |\n    recovering()\n    || foo",
			"f.yaml:4: levels: level 1: when: line 2, column 4: no such variable, function or constant: 'foo'"},
		{"folded", "levels:\n- when: >\n    recovering()\n    || foo",
			"f.yaml:2: levels: level 1: when: column 17: no such variable, function or constant: 'foo'"},
		{"all of one text", "levels:\n- when: foo || bar\n  leave: global_relative(0)\n  unless: 5 > 3",
			"f.yaml:2: levels: level 1: when: column 1: no such variable, function or constant: 'foo'\n" +
				"f.yaml:2: levels: level 1: when: column 8: no such variable, function or constant: 'bar'\n" +
				"f.yaml:3: levels: level 1: leave: column 1: 0 percent is outside (0, 100]\n" +
				"f.yaml:4: levels: level 1: unless: column 1: is always true: it looks at nothing"},
		{"a process", "levels: [{when: local_relative(5)}]\nprocess-levels: [{when: local_relative(5)}]",
			"f.yaml:1: levels: level 1: when: column 1: looks at a process, and there is none"},
		{"control characters", "levels:\n- when: \"\\e[2Jx\"\n  \"\\e[2J\": 5",
			"f.yaml:2: levels: level 1: when: column 1: token recognition error at: '\ufffd'\n" +
				"f.yaml:2: levels: level 1: when: column 4: unexpected 'Jx'\n" +
				"f.yaml:3: levels: level 1: \"\\x1b[2J\": want when, leave, unless, hold, dwell or name"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, wrong := takeLevels(tt.text)
			if got := wrong.Error(); got != tt.want {
				t.Errorf("faults:\n%s\nwant:\n%s", got, tt.want)
			}
		})
	}
}

func TestLevels(t *testing.T) {
	s, rest, wrong := takeLevels(`history: 9s
levels:
- name: one
  when: memory.available < GiB
  leave: memory.available > 2 * GiB
  unless: recovering()
  hold: 1s
  dwell: 1m
- when: any_overloaded()
process-levels:
- when: local_relative(5)
`)
	if len(wrong) > 0 || len(rest) != 1 || rest[0].name != "history" {
		t.Fatalf("rest %v, faults %v, want history and none", rest, wrong)
	}
	got := conditions(s.levels)
	if len(got) != 2 {
		t.Fatalf("%d levels, want 2", len(got))
	}
	one := got[0]
	if one.Name != "one" || one.HoldFor != time.Second || one.Dwell != time.Minute ||
		one.Enter.String() != "global_absolute(1073741824)" || one.Unless.String() != "recovering()" ||
		one.Stay.String() != "not(memory.available > 2 * GiB)" {
		t.Errorf("level 1: %+v", one)
	}
	if two := got[1]; two.Enter.String() != "any_overloaded(current)" || two.Stay != nil || two.Unless != nil {
		t.Errorf("level 2: %+v", two)
	}
	if got := conditions(s.processLevels); len(got) != 1 || got[0].Enter.String() != "local_relative(5)" {
		t.Errorf("process levels: %+v", got)
	}
}

// Nothing given is the default, and an empty list is none.
func TestNoLevels(t *testing.T) {
	s, _, _ := takeLevels("history: 9s")
	if got := conditions(s.levels); got != nil {
		t.Errorf("levels that were not given: %v, want nil", got)
	}
	s, _, _ = takeLevels("levels: []")
	if got := conditions(s.levels); got == nil || len(got) != 0 {
		t.Errorf("no levels: %v, want an empty list", got)
	}
}

// The levels that are printed as the default decide as the ones that are.
func TestBuiltinLevelsAreTheirText(t *testing.T) {
	text, err := yaml.Marshal(&yaml.Node{Kind: yaml.MappingNode, Content: new(severitySettings).nodes()})
	if err != nil {
		t.Fatal(err)
	}
	s, _, wrong := takeLevels(string(text))
	if len(wrong) > 0 {
		t.Fatalf("%s\n%v", text, wrong)
	}
	newEngine := func(levels []severity.Level) *severity.Engine {
		e, err := severity.New(severity.Config{Levels: levels, CheckInterval: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	built, written := newEngine(severity.BuiltinLevels()), newEngine(conditions(s.levels))
	rng := rand.New(rand.NewPCG(3, 4))
	transitions := 0
	in := severity.Input{Memory: severity.Memory{Total: 100}, Newest: []snapshot.Snapshot{{Signal: "psi", Resource: snapshot.Pressure}}}
	for range 20_000 {
		in.At += time.Duration(rng.IntN(3000)) * time.Millisecond
		if rng.IntN(5) == 0 {
			in.Memory.Known, in.Memory.Available = rng.IntN(10) > 0, int64(rng.IntN(40))
			in.Exhaustion.Known, in.Exhaustion.InSight = rng.IntN(2) > 0, rng.IntN(2) > 0
			in.Exhaustion.In = time.Duration(rng.IntN(90)) * time.Second
			in.Current.State = snapshot.State(rng.IntN(5))
			in.Newest[0].Unknown = []string{"", "not read"}[rng.IntN(2)]
			in.Newest[0].Pressure = snapshot.PressureReading{Stalled: snapshot.Memory, Some: float64(rng.IntN(4)) / 10}
		}
		a, b := built.Step(in), written.Step(in)
		transitions = int(a.Sequence)
		if !reflect.DeepEqual(a, b) {
			t.Fatalf("at %+v:\n%+v\nwant:\n%+v", in, b, a)
		}
	}
	if transitions < 100 {
		t.Errorf("%d transitions, want at least 100", transitions)
	}
	for i, level := range conditions(s.levels) {
		if want := severity.BuiltinLevels()[i]; level.Name != want.Name {
			t.Errorf("level %d is named %q, want %q", i+1, level.Name, want.Name)
		}
	}
}

// What is printed as a file gives the same levels, however they were written.
func TestLevelsSurvivePrinting(t *testing.T) {
	first, _, wrong := takeLevels("levels:\n- when: |\n    recovering()\n    || memory.used > 5\n  leave: '!recovering()'\n" +
		"- when: \"recovering() ? any_overloaded() : memory.used > 3\"\n  name: 'yes'\n  dwell: 90m\nprocess-levels: []\n")
	if len(wrong) > 0 {
		t.Fatal(wrong)
	}
	text, err := yaml.Marshal(&yaml.Node{Kind: yaml.MappingNode, Content: first.nodes()})
	if err != nil {
		t.Fatal(err)
	}
	second, _, wrong := takeLevels(string(text))
	if len(wrong) > 0 {
		t.Fatalf("%s\n%v", text, wrong)
	}
	for i := range first.levels {
		if got, want := second.levels[i].parts(), first.levels[i].parts(); !reflect.DeepEqual(got, want) {
			t.Errorf("level %d: %q, want %q", i+1, got, want)
		}
	}
	if second.processLevels == nil || len(second.processLevels) != 0 {
		t.Errorf("process levels: %v, want an empty list", second.processLevels)
	}
}

// Levels without a fault are printed so that they are read as the same, and no fault is outside of the file.
func FuzzLevels(f *testing.F) {
	for _, text := range []string{
		"levels:\n- when: recovering()\n  leave: '!recovering()'\n  hold: 1s\n",
		"levels:\n- when: |\n    recovering() ||\n\n    foo\n  name: \"a\\nb\"\nprocess-levels: []",
		"levels: [{when: !x y}, {unless: &a recovering()}, {leave: *a}]",
		"levels:\n- when: >-\n   memory.used >\n   5\n  dwell: 1h0m1s\n  name: '- x'",
		"process-levels:\n- {when: \"local_relative(5)\\t|| process.used > 3\", name: 5}",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		first, _, wrong := takeLevels(text)
		lines := strings.Count(text, "\n") + strings.Count(text, "\r") + strings.Count(text, "\u0085") +
			strings.Count(text, "\u2028") + strings.Count(text, "\u2029") + 1
		for _, f := range wrong {
			if f.line < 0 || f.line > lines {
				t.Fatalf("%q of %d lines: fault on line %d", text, lines, f.line)
			}
		}
		if len(wrong) > 0 {
			return
		}
		printed, err := yaml.Marshal(&yaml.Node{Kind: yaml.MappingNode, Content: first.nodes()})
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		second, _, wrong := takeLevels(string(printed))
		if len(wrong) > 0 {
			t.Fatalf("%q is printed as %q: %v", text, printed, wrong)
		}
		if first.levels != nil && len(first.levels) != len(second.levels) ||
			len(first.processLevels) != len(second.processLevels) {
			t.Fatalf("%q is printed as %q", text, printed)
		}
		for i := range first.levels {
			if got, want := second.levels[i].parts(), first.levels[i].parts(); !reflect.DeepEqual(got, want) {
				t.Fatalf("%q is printed as %q: %q, want %q", text, printed, got, want)
			}
		}
	})
}
