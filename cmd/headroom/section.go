package main

import (
	"fmt"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"
)

// A sectionParser reads one section of the file of settings, and gathers its faults.
type sectionParser struct {
	file  string
	wrong faults
}

func (p *sectionParser) at(line int) string { return p.file + ":" + strconv.Itoa(line) }

func (p *sectionParser) fault(line int, name, text, want string) {
	p.wrong = append(p.wrong, fault{p.at(line), line, name, text, want})
}

// entries calls read for each key of a mapping, and reports one that is there twice. It returns the line of each.
func (p *sectionParser) entries(name string, node *yaml.Node, read func(field string, key, value *yaml.Node)) map[string]int {
	first := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		field := name + ": " + quoteOdd(key.Value)
		if line, ok := first[key.Value]; ok {
			p.fault(key.Line, field, "", fmt.Sprintf("set before, on line %d", line))
			continue
		}
		first[key.Value] = key.Line
		read(field, key, value)
	}
	return first
}

// unknownPart reports a key that is none of keys, the parts of what.
func (p *sectionParser) unknownPart(field string, key *yaml.Node, what string, keys []string) {
	want := "want " + orList(keys)
	if near := nearest(key.Value, keys); near != "" {
		want = "no such part of " + what + "; did you mean " + near + "?"
	}
	p.fault(key.Line, field, "", want)
}

// text returns a value that is one text, or reports that it is not.
func (p *sectionParser) text(name string, value *yaml.Node) string {
	text, shape := valueOf(value)
	switch {
	case value.Kind == yaml.AliasNode:
	case value.Style&yaml.TaggedStyle != 0:
		p.fault(value.Line, name, value.Tag, "want the text in quotes: an exclamation mark begins a tag of YAML")
	case shape != "":
		p.fault(value.Line, name, shape, "want a text")
	default:
		return text
	}
	return ""
}

// set stores a single value by the rules of s, or reports why they do not accept it.
func (p *sectionParser) set(name string, value *yaml.Node, s setting) bool {
	text, shape := valueOf(value)
	if value.Kind == yaml.AliasNode {
		return false // reported already
	}
	if shape != "" {
		p.fault(value.Line, name, shape, want(s.accepts, nil))
		return false
	}
	if err := s.value.Set(text); err != nil {
		p.fault(value.Line, name, quoteOdd(text), want(s.accepts, err))
		return false
	}
	return true
}

// duration returns a duration up to most, or 0 and a report.
func (p *sectionParser) duration(name string, value *yaml.Node, most time.Duration) (d time.Duration) {
	p.set(name, value, durationSetting("", &d, 0, most, ""))
	return d
}
