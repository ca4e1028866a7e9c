package main

import (
	"strconv"

	"go.yaml.in/yaml/v3"

	"github.com/headroom-rpc/headroom/permit"
	"github.com/headroom-rpc/headroom/server"
)

// A permitLine is one thing that holds of a resource, for people.
type permitLine struct {
	name string
	part
	where string
}

// lines returns what is said of a resource beside its limit.
func (r *resourceText) lines(name string) []permitLine {
	var all []permitLine
	if r.FloorRatio != 0 {
		all = append(all, permitLine{name, part{"floor", strconv.FormatFloat(r.FloorRatio, 'g', -1, 64)}, r.where})
	}
	for _, g := range r.grants {
		all = append(all, permitLine{name, part{g.identity, grantLine(r.grant(g.identity))}, g.where})
	}
	return all
}

func (r *resourceText) grant(identity string) permit.Grant {
	if identity == defaultGrant {
		return r.Default
	}
	return r.Grants[identity]
}

// rows returns the resources as rows of the table of settings; limits is where the stronger limits came from.
func (p *permitSettings) rows(limits string) [][]cell {
	resources, host := p.effective(limits)
	var lines []permitLine
	lines = append(lines, permitLine{server.HostResource, part{"law", host.Law}, host.where})
	if host.Law == lawFixed {
		lines = append(lines, permitLine{server.HostResource, part{"limit", strconv.FormatInt(host.Limit, 10)}, host.where})
	}
	for _, text := range host.shadows {
		lines = append(lines, permitLine{server.HostResource, part{"shadow", text}, host.where})
	}
	lines = append(lines, host.lines(server.HostResource)...)
	for _, rule := range host.severity {
		level := "severity " + strconv.Itoa(rule.Level)
		lines = append(lines, permitLine{server.HostResource, part{level, formatSeverityRule(rule.SeverityRule)}, rule.where})
	}
	for _, r := range resources {
		lines = append(lines, permitLine{r.Name, part{"limit", strconv.FormatInt(r.Limit, 10)}, r.where})
		lines = append(lines, r.lines(r.Name)...)
	}
	rows := make([][]cell, len(lines))
	for i, l := range lines {
		if l.where == "" {
			l.where = "default"
		}
		rows[i] = []cell{{text: clean(l.name + " " + l.key)}, {text: l.value}, {text: clean(l.where)}}
	}
	return rows
}

// nodes returns the section of permits as a file gives it: the stronger limits are a setting of their own.
func (p *permitSettings) nodes() []*yaml.Node {
	host, resources := mapping(), mapping()
	law := p.host.Law
	if law == "" {
		law = lawDefault
	}
	add(host, "law", scalar(law))
	if p.host.Law == lawFixed {
		add(host, "limit", scalar(strconv.FormatInt(p.host.Limit, 10)))
	}
	if len(p.host.shadows) > 0 {
		laws := &yaml.Node{Kind: yaml.SequenceNode}
		for _, text := range p.host.shadows {
			laws.Content = append(laws.Content, scalar(text))
		}
		add(host, "shadow", laws)
	}
	p.host.addTo(host)
	if len(p.host.severity) > 0 {
		rules := mapping()
		for _, r := range p.host.severity {
			add(rules, strconv.Itoa(r.Level), scalar(formatSeverityRule(r.SeverityRule)))
		}
		add(host, "severity", rules)
	}
	for _, r := range p.resources {
		node := mapping()
		add(node, "limit", scalar(strconv.FormatInt(r.Limit, 10)))
		r.addTo(node)
		add(resources, r.Name, node)
	}
	section := mapping()
	add(section, server.HostResource, host)
	if len(resources.Content) > 0 {
		add(section, "resources", resources)
	}
	key := scalar(permitsSection)
	key.HeadComment, key.LineComment = "Permits", clean(p.where)
	if p.where == "" {
		key.LineComment = "default"
	}
	return []*yaml.Node{key, section}
}

// addTo adds what every resource may have.
func (r *resourceText) addTo(node *yaml.Node) {
	if r.FloorRatio != 0 {
		add(node, "floor", scalar(strconv.FormatFloat(r.FloorRatio, 'g', -1, 64)))
	}
	if len(r.grants) == 0 {
		return
	}
	grants := mapping()
	for _, g := range r.grants {
		grant := mapping()
		grant.Style = yaml.FlowStyle
		for _, p := range grantParts(r.grant(g.identity)) {
			add(grant, p.key, scalar(p.value))
		}
		add(grants, g.identity, grant)
	}
	add(node, "grants", grants)
}

func mapping() *yaml.Node { return &yaml.Node{Kind: yaml.MappingNode} }

// scalar returns a value of one line. It needs no quotes: nothing that is printed by it is null to YAML.
func scalar(text string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: text} }

func add(node *yaml.Node, key string, value *yaml.Node) {
	node.Content = append(node.Content, scalar(key), value)
}
