package severity

import "fmt"

// A node is one combinator or leaf of a compiled condition. Nothing about it changes, so it evaluates without
// allocating, over findings that were made once.
type node struct {
	kind nodeKind
	of   []node
	leaf int // its place among all leaves
}

type nodeKind uint8

const (
	leafNode nodeKind = iota
	allNode
	anyNode
	notNode
	knownNode
)

// leaf is one leaf with what never changes about it.
type leaf struct {
	condition Condition
	level     int
	text      string
	foreign   bool // it may panic
	below     int  // the leaf of the level below that measures the same, or -1
}

// program is the compiled conditions of all levels and what their leaves found in the present Step.
type program struct {
	leaves   []leaf
	findings []Finding
}

func (p *program) compile(c Condition, level int) node {
	kind, of := leafNode, []Condition(nil)
	switch c := c.(type) {
	case *allOf:
		kind, of = allNode, c.of
	case *anyOf:
		kind, of = anyNode, c.of
	case *notOf:
		kind, of = notNode, []Condition{c.of}
	case *whereKnown:
		kind, of = knownNode, []Condition{c.of}
	default:
		_, ours := c.(checked)
		p.leaves = append(p.leaves, leaf{condition: c, level: level, text: c.String(), foreign: !ours, below: -1})
		p.findings = append(p.findings, Finding{})
		return node{kind: leafNode, leaf: len(p.leaves) - 1}
	}
	n := node{kind: kind}
	for _, child := range of {
		n.of = append(n.of, p.compile(child, level))
	}
	return n
}

// pair makes every leaf from the one at begin on find the leaf of the level below that measures the same.
func (p *program) pair(begin, belowBegin, belowEnd int) {
	for i := begin; i < len(p.leaves); i++ {
		m, ok := p.leaves[i].condition.(measured)
		if !ok {
			continue
		}
		for j := belowBegin; j < belowEnd; j++ {
			if other, ok := p.leaves[j].condition.(measured); ok && other.measure() == m.measure() {
				p.leaves[i].below = j
			}
		}
	}
}

// judge asks every leaf.
func (p *program) judge(in *Input) {
	for i := range p.leaves {
		if l := &p.leaves[i]; l.foreign {
			p.findings[i] = judgeForeign(l.condition, in)
		} else {
			p.findings[i] = l.condition.Judge(in)
		}
	}
}

func judgeForeign(c Condition, in *Input) (f Finding) {
	defer func() {
		if v := recover(); v != nil {
			f = unknown("", fmt.Sprintf("panic: %v", v), 0)
		}
	}()
	f = c.Judge(in)
	if f.Truth > True {
		f = unknown(f.Signal, fmt.Sprintf("%d is not a truth value", f.Truth), f.Age)
	}
	return f
}

func (p *program) truth(n *node) Truth {
	switch n.kind {
	case allNode:
		t := True
		for i := range n.of {
			t = t.And(p.truth(&n.of[i]))
		}
		return t
	case anyNode:
		t := False
		for i := range n.of {
			t = t.Or(p.truth(&n.of[i]))
		}
		return t
	case notNode:
		return p.truth(&n.of[0]).Not()
	case knownNode:
		return TruthOf(p.truth(&n.of[0]) == True)
	default:
		return p.findings[n.leaf].Truth
	}
}

// explain appends the leaves that make the node what it is, want.
func (p *program) explain(dst []Evidence, n *node, want Truth) []Evidence {
	switch n.kind {
	case leafNode:
		return append(dst, p.evidence(n.leaf))
	case notNode:
		return p.explain(dst, &n.of[0], want.Not())
	case knownNode:
		return p.explain(dst, &n.of[0], p.truth(&n.of[0]))
	default:
		for i := range n.of {
			if p.truth(&n.of[i]) == want {
				dst = p.explain(dst, &n.of[i], want)
			}
		}
		return dst
	}
}

func (p *program) evidence(i int) Evidence {
	return Evidence{Level: p.leaves[i].level, Text: p.leaves[i].text, Finding: p.findings[i]}
}

// reach returns how far the way to the node's being true is gone, in [0, 1].
func (p *program) reach(n *node) float64 {
	switch n.kind {
	case allNode:
		r := 1.0
		for i := range n.of {
			r = min(r, p.reach(&n.of[i]))
		}
		return r
	case anyNode:
		r := 0.0
		for i := range n.of {
			r = max(r, p.reach(&n.of[i]))
		}
		return r
	case notNode:
		switch p.truth(&n.of[0]) {
		case Unknown:
			return 0
		case False: // however near it was to holding
			return 1
		default:
			return 1 - p.reach(&n.of[0])
		}
	case knownNode:
		return p.reach(&n.of[0])
	default:
		return p.reachLeaf(n.leaf)
	}
}

func (p *program) reachLeaf(i int) float64 {
	f := &p.findings[i]
	switch {
	case f.Truth == True:
		return 1
	case f.Truth == Unknown || !f.HasValue:
		return 0
	}
	start := f.Zero
	if below := p.leaves[i].below; below >= 0 && p.findings[below].HasValue {
		start = p.findings[below].Bound
	}
	r := (f.Value - start) / (f.Bound - start)
	if !(r > 0) { // also NaN, where nothing lies between
		return 0
	}
	return min(r, 1)
}
