package main

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/headroom-rpc/headroom/limit"
)

// maxShadows bounds the laws that are tried, as the server does.
const maxShadows = 8

const acceptsLaw = "a law and its settings, as in twostation objective=latency"

// lawSetting is a law and its settings, that check accepts.
func lawSetting(into *string, check func(string) error) setting {
	parse := func(text string) (string, error) {
		text = strings.Join(strings.Fields(text), " ")
		return text, check(text)
	}
	return setting{
		value:   typed[string]{into, "law", parse, func(s string) string { return s }},
		accepts: acceptsLaw,
	}
}

// checkHostLaw accepts every law, but "fixed" only without its limit, which stands beside it.
func checkHostLaw(text string) error {
	switch {
	case text == lawFixed:
		return nil
	case strings.HasPrefix(text, lawFixed+" "):
		return hint("the limit of the law fixed is a line of its own")
	}
	return checkLaw(text)
}

// checkLaw says in one line what is wrong with the text of a law.
func checkLaw(text string) error {
	_, err := limit.Parse(text)
	if err == nil {
		return nil
	}
	return hint(strings.ReplaceAll(strings.ReplaceAll(err.Error(), "limit: ", ""), "\n", "; "))
}

// shadows reads the laws that are tried beside the one that is followed.
func (p *permitParser) shadows(name string, node *yaml.Node) []string {
	if node.Kind != yaml.SequenceNode {
		if node.Kind != yaml.AliasNode { // which is a fault already
			_, shape := valueOf(node)
			p.fault(node.Line, name, shape, "want a list of laws, as in [crawlee, fixed limit=8]")
		}
		return nil
	}
	if n := len(node.Content); n > maxShadows {
		p.fault(node.Line, name, fmt.Sprintf("%d laws", n), fmt.Sprintf("want at most %d", maxShadows))
		return nil
	}
	laws := make([]string, len(node.Content))
	for i, value := range node.Content {
		p.set(fmt.Sprintf("%s[%d]", name, i), value, lawSetting(&laws[i], checkLaw))
	}
	return laws
}
