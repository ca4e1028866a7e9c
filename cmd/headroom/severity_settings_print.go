package main

import (
	"fmt"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// A section is the severity levels in effect of the machine or of processes.
type section struct {
	name   string
	levels []levelText
	from   string
}

// sections returns the levels that hold. Those of processes follow from those of the machine unless they were
// given, and are left out then.
func (s *severitySettings) sections() []section {
	machine := section{levelsSection, s.levels, s.from[levelsSection]}
	if s.levels == nil {
		machine.levels, machine.from = builtinLevels, "default"
	}
	all := []section{machine}
	if s.processLevels != nil {
		all = append(all, section{processLevelsSection, s.processLevels, s.from[processLevelsSection]})
	}
	return all
}

// A part is one line of a level.
type part struct{ key, value string }

func (l *levelText) parts() []part {
	duration := func(d time.Duration) string {
		if d == 0 {
			return ""
		}
		return formatDuration(d)
	}
	var all []part
	for _, p := range []part{
		{"name", l.name}, {"when", l.when}, {"leave", l.leave}, {"unless", l.unless},
		{"hold", duration(l.hold)}, {"dwell", duration(l.dwell)},
	} {
		if p.value != "" {
			all = append(all, p)
		}
	}
	return all
}

// rows returns the levels as rows of the table of settings.
func (s *severitySettings) rows() [][]cell {
	var rows [][]cell
	for _, sec := range s.sections() {
		if len(sec.levels) == 0 {
			rows = append(rows, []cell{{text: sec.name}, {text: "none"}, {text: clean(sec.from)}})
		}
		for i, l := range sec.levels {
			from := l.where
			if from == "" {
				from = sec.from
			}
			for _, p := range l.parts() {
				rows = append(rows, []cell{
					{text: fmt.Sprintf("%s %d %s", sec.name, i+1, p.key)},
					{text: clean(strings.Join(strings.Fields(p.value), " "))},
					{text: clean(from)},
				})
			}
		}
	}
	return rows
}

// nodes returns the levels as keys and values of the file of settings.
func (s *severitySettings) nodes() []*yaml.Node {
	var all []*yaml.Node
	for i, sec := range s.sections() {
		key := &yaml.Node{Kind: yaml.ScalarNode, Value: sec.name}
		if i == 0 {
			key.HeadComment = "Severity"
		}
		list := &yaml.Node{Kind: yaml.SequenceNode}
		if len(sec.levels) == 0 {
			list.Style, list.LineComment = yaml.FlowStyle, clean(sec.from)
		} else {
			key.LineComment = clean(sec.from)
		}
		for _, l := range sec.levels {
			level := &yaml.Node{Kind: yaml.MappingNode}
			for _, p := range l.parts() {
				value := &yaml.Node{}
				value.SetString(p.value)
				level.Content = append(level.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: p.key}, value)
			}
			list.Content = append(list.Content, level)
		}
		all = append(all, key, list)
	}
	return all
}
