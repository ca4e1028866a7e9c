package main

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/headroom-rpc/headroom/severity"
	"github.com/headroom-rpc/headroom/severity/expr"
)

// The sections of the file that say what the severity levels are.
const (
	levelsSection        = "levels"         // of the machine
	processLevelsSection = "process-levels" // of a process that somebody watches
)

var severitySections = []string{levelsSection, processLevelsSection}

// severitySettings are the severity levels that were given. A nil list is the default.
type severitySettings struct {
	levels, processLevels []levelText
	from                  map[string]string // where each section begins; none for a default
}

// A levelText is one severity level as it was written.
type levelText struct {
	name, when, leave, unless string
	hold, dwell               time.Duration
	where                     string // "FILE:LINE"; empty for a default
	compiled                  severity.Level
}

// builtinLevels are [severity.BuiltinLevels] as one would write them.
var builtinLevels = []levelText{{
	name:  "low",
	when:  "global_relative(25) || any_overloaded()",
	leave: "!global_relative(30) && !any_overloaded()",
	hold:  2 * time.Second,
	dwell: 10 * time.Second,
}, {
	name:  "high",
	when:  "global_relative(15) || where_known(psi.memory.some > 0.2)",
	leave: "!global_relative(20) && !where_known(psi.memory.some > 0.1)",
	hold:  2 * time.Second,
	dwell: 10 * time.Second,
}, {
	name:  "critical",
	when:  "global_relative(5) || where_known(memory.exhaustion < 30 * second)",
	leave: "!global_relative(8) && !where_known(memory.exhaustion < 60 * second)",
	hold:  time.Second,
	dwell: 10 * time.Second,
}}

// take stores the sections of severity levels among what a file gives, and returns the rest with every fault
// of the sections.
func (s *severitySettings) take(fromFile []given) ([]given, faults) {
	var rest []given
	var wrong faults
	for _, g := range fromFile {
		p := levelParser{sectionParser{file: g.file}, expr.CompileHost}
		var into *[]levelText
		switch g.name {
		case levelsSection:
			into = &s.levels
		case processLevelsSection:
			into, p.compile = &s.processLevels, expr.Compile
		default:
			rest = append(rest, g)
			continue
		}
		if s.from == nil {
			s.from = map[string]string{}
		}
		s.from[g.name] = g.where
		*into = p.section(g)
		wrong = append(wrong, p.wrong...)
	}
	return rest, wrong
}

// conditions returns what a server takes for the levels: nil for the default, an empty list for none.
func conditions(levels []levelText) []severity.Level {
	if levels == nil {
		return nil
	}
	all := make([]severity.Level, len(levels))
	for i, l := range levels {
		all[i] = l.compiled
	}
	return all
}

// A levelParser reads one section of severity levels.
type levelParser struct {
	sectionParser
	compile func(string) (severity.Condition, error)
}

func (p *levelParser) section(g given) []levelText {
	if g.node.Kind != yaml.SequenceNode {
		p.fault(g.line, g.name, g.shape, "want a list of levels; [] for none")
		return nil
	}
	if n := len(g.node.Content); n > severity.MaxLevels {
		p.fault(g.line, g.name, strconv.Itoa(n)+" levels", fmt.Sprintf("want at most %d", severity.MaxLevels))
		return nil
	}
	all := []levelText{} // not nil: none is not the default
	for i, item := range g.node.Content {
		all = append(all, p.level(fmt.Sprintf("%s: level %d", g.name, i+1), item))
	}
	return all
}

// level reads one level; name says which.
func (p *levelParser) level(name string, node *yaml.Node) levelText {
	l := levelText{where: p.at(node.Line)}
	if node.Kind != yaml.MappingNode {
		if node.Kind != yaml.AliasNode { // which is a fault already
			p.fault(node.Line, name, "", "want lines of the form when: condition")
		}
		return l
	}
	read := map[string]func(name string, value *yaml.Node){
		"name":   func(name string, v *yaml.Node) { l.name, l.compiled.Name = p.text(name, v), v.Value },
		"when":   func(name string, v *yaml.Node) { l.when, l.compiled.Enter = p.condition(name, v) },
		"unless": func(name string, v *yaml.Node) { l.unless, l.compiled.Unless = p.condition(name, v) },
		"leave": func(name string, v *yaml.Node) {
			var leave severity.Condition
			if l.leave, leave = p.condition(name, v); leave != nil {
				l.compiled.Stay = severity.Not(leave)
			}
		},
		"hold": func(name string, v *yaml.Node) {
			l.hold = p.duration(name, v, time.Hour)
			l.compiled.HoldFor = l.hold
		},
		"dwell": func(name string, v *yaml.Node) {
			l.dwell = p.duration(name, v, 24*time.Hour)
			l.compiled.Dwell = l.dwell
		},
	}
	first := p.entries(name, node, func(field string, key, value *yaml.Node) {
		if f := read[key.Value]; f != nil && key.Kind == yaml.ScalarNode {
			f(field, value)
			return
		}
		p.unknownPart(field, key, "a level", levelKeys)
	})
	if _, ok := first["when"]; !ok {
		p.fault(node.Line, name, "", "want a condition under when")
	}
	return l
}

var levelKeys = []string{"when", "leave", "unless", "hold", "dwell", "name"}

func (p *levelParser) condition(name string, value *yaml.Node) (string, severity.Condition) {
	before := len(p.wrong)
	text := p.text(name, value)
	if len(p.wrong) > before || value.Kind == yaml.AliasNode {
		return "", nil
	}
	c, err := p.compile(text)
	var inText expr.Faults
	if errors.As(err, &inText) {
		for _, f := range inText {
			p.fault(lineOf(value, f.Line), name, place(text, f), f.Text)
		}
		return "", nil
	}
	return text, c
}

// lineOf returns the line of the file on which a line of a text stands. Only a literal block has its own.
func lineOf(value *yaml.Node, line int) int {
	if value.Style&yaml.LiteralStyle != 0 {
		return value.Line + line
	}
	return value.Line
}

// place says where in a text a fault is.
func place(text string, f expr.Fault) string {
	if f.Line == 1 && f.Column == 1 && text == "" {
		return ""
	}
	if f.Line == 1 {
		return fmt.Sprintf("column %d", f.Column)
	}
	return fmt.Sprintf("line %d, column %d", f.Line, f.Column)
}
