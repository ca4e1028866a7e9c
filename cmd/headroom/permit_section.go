package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/headroom-rpc/headroom/permit"
	"github.com/headroom-rpc/headroom/server"
	"github.com/headroom-rpc/headroom/severity"
)

// permitsSection is the section of the file that says which permits are leased.
const permitsSection = "permits"

// defaultGrant stands among grants for every identity that is not named.
const defaultGrant = "default"

// maxGrants bounds the grants of one resource.
const maxGrants = 1024

var (
	permitsKeys  = []string{"resources", server.HostResource}
	resourceKeys = []string{"limit", "floor", "grants"}
	hostKeys     = []string{"law", "limit", "shadow", "floor", "grants", "severity"}
	grantKeys    = []string{"denied", "max", "weight", "max-priority", "max-guarantee"}
)

// take stores the section of permits among what a file gives, and returns the rest with every fault of the section.
func (p *permitSettings) take(fromFile []given) ([]given, faults) {
	var rest []given
	var wrong faults
	for _, g := range fromFile {
		if g.name != permitsSection {
			rest = append(rest, g)
			continue
		}
		p.where = g.where
		parser := permitParser{sectionParser{file: g.file}}
		parser.section(g, p)
		wrong = append(wrong, parser.wrong...)
	}
	return rest, wrong
}

// A permitParser reads the section of permits.
type permitParser struct{ sectionParser }

// isMapping reports whether node is one, and otherwise that it is not; want says what it holds.
func (p *permitParser) isMapping(name string, node *yaml.Node, want string) bool {
	if node.Kind == yaml.MappingNode {
		return true
	}
	if node.Kind != yaml.AliasNode { // which is a fault already
		_, shape := valueOf(node)
		p.fault(node.Line, name, shape, "want lines of the form "+want)
	}
	return false
}

func (p *permitParser) section(g given, into *permitSettings) {
	if !p.isMapping(g.name, g.node, "resources: or host:") {
		return
	}
	p.entries(g.name, g.node, func(field string, key, value *yaml.Node) {
		switch key.Value {
		case "resources":
			into.resources = p.resources(field, value)
		case server.HostResource:
			into.host = p.host(field, key, value)
		default:
			p.unknownPart(field, key, "permits", permitsKeys)
		}
	})
}

func (p *permitParser) resources(name string, node *yaml.Node) []resourceText {
	if !p.isMapping(name, node, "name: limit") {
		return nil
	}
	if n := len(node.Content) / 2; n > maxResources {
		p.fault(node.Line, name, fmt.Sprintf("%d resources", n), fmt.Sprintf("want at most %d", maxResources))
		return nil
	}
	var all []resourceText
	p.entries(name, node, func(field string, key, value *yaml.Node) {
		switch {
		case !resourceName.MatchString(key.Value):
			p.fault(key.Line, field, "", "want "+acceptsResource)
		case key.Value == server.HostResource:
			p.fault(key.Line, field, "", "want it beside resources: it is there by itself")
		default:
			all = append(all, p.resource(field, key, value))
		}
	})
	return all
}

// resource reads a resource: its limit alone, or its parts.
func (p *permitParser) resource(name string, key, node *yaml.Node) resourceText {
	r := resourceText{Resource: permit.Resource{Name: key.Value}, where: p.at(key.Line)}
	if node.Kind == yaml.ScalarNode && node.Tag != "!!null" {
		p.limit(name, node, &r, 0)
		return r
	}
	if !p.isMapping(name, node, "limit: N") {
		return r
	}
	lines := p.entries(name, node, func(field string, key, value *yaml.Node) {
		if key.Value == "limit" {
			p.limit(field, value, &r, 0)
			return
		}
		if !p.common(field, key, value, &r) {
			p.unknownPart(field, key, "a resource", resourceKeys)
		}
	})
	if _, ok := lines["limit"]; !ok {
		p.fault(node.Line, name, "", "want a limit")
	}
	return r
}

func (p *permitParser) host(name string, key, node *yaml.Node) hostText {
	h := hostText{resourceText: resourceText{where: p.at(key.Line)}}
	if !p.isMapping(name, node, "law: twostation") {
		return h
	}
	lines := p.entries(name, node, func(field string, key, value *yaml.Node) {
		switch key.Value {
		case "law":
			p.set(field, value, lawSetting(&h.Law, checkHostLaw))
		case "shadow":
			h.shadows = p.shadows(field, value)
		case "limit":
			p.limit(field, value, &h.resourceText, 1)
		case "severity":
			h.severity = p.severity(field, value)
		default:
			if !p.common(field, key, value, &h.resourceText) {
				p.unknownPart(field, key, "host", hostKeys)
			}
		}
	})
	switch line, ok := lines["limit"]; {
	case ok && h.Law != lawFixed:
		p.fault(line, name+": limit", "", "want law: fixed with it")
	case !ok && h.Law == lawFixed:
		p.fault(lines["law"], name+": law", lawFixed, "want a limit with it")
	}
	return h
}

func (p *permitParser) limit(name string, value *yaml.Node, into *resourceText, least int64) {
	p.set(name, value, countSetting("", &into.Limit, least, permit.MaxLimit, ""))
}

// common reads a part that every resource may have, and reports whether key is one.
func (p *permitParser) common(field string, key, value *yaml.Node, into *resourceText) bool {
	switch key.Value {
	case "floor":
		p.set(field, value, floorSetting(&into.FloorRatio))
	case "grants":
		p.grants(field, value, into)
	default:
		return false
	}
	return true
}

// floorSetting is a ratio up to a half.
func floorSetting(into *float64) setting {
	parse := func(text string) (float64, error) {
		v, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsNaN(v) || v <= 0 || v > 0.5 {
			return 0, errNotAccepted
		}
		return v, nil
	}
	return setting{
		value:   typed[float64]{into, "ratio", parse, func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }},
		accepts: "a ratio over 0 and up to 0.5",
	}
}

func (p *permitParser) grants(name string, node *yaml.Node, into *resourceText) {
	if !p.isMapping(name, node, "uid:1000: {max: 4}") {
		return
	}
	if n := len(node.Content) / 2; n > maxGrants {
		p.fault(node.Line, name, fmt.Sprintf("%d identities", n), fmt.Sprintf("want at most %d", maxGrants))
		return
	}
	into.Grants = map[string]permit.Grant{}
	p.entries(name, node, func(field string, key, value *yaml.Node) {
		if err := checkIdentity(key.Value); err != nil {
			p.fault(key.Line, field, "", want("default, uid:N, token:NAME, cert:NAME or loopback", err))
			return
		}
		g := p.grant(field, value)
		into.grants = append(into.grants, grantText{key.Value, p.at(key.Line)})
		if key.Value == defaultGrant {
			into.Default = g
			return
		}
		into.Grants[key.Value] = g
	})
}

// grant reads what an identity may do.
func (p *permitParser) grant(name string, node *yaml.Node) (g permit.Grant) {
	if !p.isMapping(name, node, "max: N") {
		return g
	}
	p.entries(name, node, func(field string, key, value *yaml.Node) {
		for _, s := range grantSettings(&g) {
			if s.name == key.Value {
				p.set(field, value, s)
				return
			}
		}
		p.unknownPart(field, key, "a grant", grantKeys)
	})
	return g
}

// grantSettings are the parts of a grant, in the order of grantKeys.
func grantSettings(g *permit.Grant) []setting {
	return []setting{
		switchSetting("denied", &g.Denied, ""),
		countSetting("max", &g.Max, 1, permit.MaxLimit, ""),
		countSetting("weight", &g.Weight, 1, permit.MaxWeight, ""),
		countSetting("max-priority", &g.MaxPriority, permit.MinPriority, permit.MaxPriority, ""),
		countSetting("max-guarantee", &g.MaxGuarantee, 1, permit.MaxLimit, ""),
	}
}

func (p *permitParser) severity(name string, node *yaml.Node) []severityRuleText {
	if !p.isMapping(name, node, "LEVEL: drain") {
		return nil
	}
	var all []severityRuleText
	p.entries(name, node, func(field string, key, value *yaml.Node) {
		level, err := strconv.Atoi(key.Value)
		if err != nil || level < 1 || level > severity.MaxLevels {
			p.fault(key.Line, field, "", fmt.Sprintf("want a level from 1 to %d", severity.MaxLevels))
			return
		}
		rule := severityRuleText{where: p.at(key.Line)}
		ok := p.set(field, value, setting{
			value:   typed[server.SeverityRule]{&rule.SeverityRule, "rule", parseSeverityRule, formatSeverityRule},
			accepts: acceptsRule,
		})
		if ok {
			rule.Level = level
			all = append(all, rule)
		}
	})
	return all
}

// grantParts returns the parts of a grant that were given.
func grantParts(g permit.Grant) []part {
	var all []part
	for _, s := range grantSettings(&g) {
		if text := s.value.String(); text != "0" && text != "false" {
			all = append(all, part{s.name, text})
		}
	}
	return all
}

// grantLine returns a grant on one line.
func grantLine(g permit.Grant) string {
	var words []string
	for _, p := range grantParts(g) {
		if p.value == "true" {
			words = append(words, p.key)
			continue
		}
		words = append(words, p.key+" "+p.value)
	}
	if len(words) == 0 {
		return "no bound"
	}
	return strings.Join(words, ", ")
}
