package severity

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Condition judges an [Input]. A program may implement it; one that combines others is a single leaf to the
// Engine, which looks into [All], [Any], [Not] and [WhereKnown] only.
type Condition interface {
	// Judge returns the verdict on the input, which it must not change or keep. It is called on the goroutine
	// that steps the Engine, so it must neither block nor panic; a panic is Unknown. What may block belongs
	// into [Custom].
	Judge(in *Input) Finding

	// String returns the condition as text. It never changes.
	String() string
}

// Finding is the verdict of a condition and what it rests on.
type Finding struct {
	// Truth is the verdict.
	Truth Truth

	// Value was compared with Bound, where HasValue is true. Both are in Unit.
	Value, Bound float64
	HasValue     bool

	// Zero is the value at which there is no pressure at all. Between it and Bound runs the fraction; see
	// [Outcome].
	Zero float64

	// Unit is the unit of the numbers: "bytes", "ratio", "seconds", or another of the program's own.
	Unit string

	// Signal names what was looked at.
	Signal string

	// Limit says which limit was looked at, such as "memory.max of /kubepods/pod1", and LimitBytes is that limit.
	// Empty and 0 where there is none, or where it is not known.
	Limit      string
	LimitBytes int64

	// Age is how old the reading is.
	Age time.Duration

	// Reason says why Truth is Unknown. Empty otherwise.
	Reason string
}

// unknown returns the finding that nothing is known of a signal.
func unknown(signal, reason string, age time.Duration) Finding {
	return Finding{Signal: signal, Reason: reason, Age: age}
}

// checked is a condition of this package that may have been given wrong arguments.
type checked interface {
	// check returns what is wrong, or nil.
	check(c *Config) error
}

// measured is a leaf that names what it compares. The fraction between two levels runs from the bound of the
// lower to that of the higher where both compare the same.
type measured interface {
	measure() string
}

type (
	allOf      struct{ of []Condition }
	anyOf      struct{ of []Condition }
	notOf      struct{ of Condition }
	whereKnown struct{ of Condition }
)

// All holds while every condition holds. It needs at least one.
func All(conditions ...Condition) Condition { return &allOf{conditions} }

// Any holds while at least one condition holds. It needs at least one.
func Any(conditions ...Condition) Condition { return &anyOf{conditions} }

// Not holds while the condition is known not to hold.
func Not(condition Condition) Condition { return &notOf{condition} }

// WhereKnown holds while the condition holds and is False, not Unknown, while that is unknown. It is for
// signals that not every host has, which would else hold the level for ever.
func WhereKnown(condition Condition) Condition { return &whereKnown{condition} }

// Judge implements Condition.
func (a *allOf) Judge(in *Input) Finding {
	t := True
	for _, c := range a.of {
		t = t.And(c.Judge(in).Truth)
	}
	return Finding{Truth: t}
}

// Judge implements Condition.
func (a *anyOf) Judge(in *Input) Finding {
	t := False
	for _, c := range a.of {
		t = t.Or(c.Judge(in).Truth)
	}
	return Finding{Truth: t}
}

// Judge implements Condition.
func (n *notOf) Judge(in *Input) Finding { return Finding{Truth: n.of.Judge(in).Truth.Not()} }

// Judge implements Condition.
func (w *whereKnown) Judge(in *Input) Finding {
	return Finding{Truth: TruthOf(w.of.Judge(in).Truth == True)}
}

// String implements Condition.
func (a *allOf) String() string { return "all(" + join(a.of) + ")" }

// String implements Condition.
func (a *anyOf) String() string { return "any(" + join(a.of) + ")" }

// String implements Condition.
func (n *notOf) String() string { return "not(" + join([]Condition{n.of}) + ")" }

// String implements Condition.
func (w *whereKnown) String() string { return "where_known(" + join([]Condition{w.of}) + ")" }

func join(conditions []Condition) string {
	texts := make([]string, len(conditions))
	for i, c := range conditions {
		texts[i] = "nil"
		if c != nil {
			texts[i] = c.String()
		}
	}
	return strings.Join(texts, ", ")
}

// The caps on one condition: they bound what an evaluation costs and what a transition holds. They are those of
// package expr and what a server makes of its text: a negation, joined with one more leaf.
const (
	maxLeaves = 64 + 1
	maxDepth  = 32 + 2
)

var errEmpty = errors.New("no conditions; at least one is required")

// inner returns the conditions that a combinator combines and how it prints, or "" for a leaf.
func inner(c Condition) (name string, of []Condition) {
	switch c := c.(type) {
	case *allOf:
		return "all", c.of
	case *anyOf:
		return "any", c.of
	case *notOf:
		return "not", []Condition{c.of}
	case *whereKnown:
		return "where_known", []Condition{c.of}
	default:
		return "", nil
	}
}

// checkCondition returns everything that is wrong with a condition, each fault with its place.
func checkCondition(place string, c Condition, cfg *Config, depth int) (leaves int, faults []error) {
	if c == nil {
		return 0, []error{fmt.Errorf("%s: required", place)}
	}
	name, of := inner(c)
	if name == "" {
		if c, ok := c.(checked); ok {
			if err := c.check(cfg); err != nil {
				faults = append(faults, fmt.Errorf("%s: %w", place, err))
			}
		}
		return 1, faults
	}
	place += "." + name
	if depth >= maxDepth {
		return 0, []error{fmt.Errorf("%s: nested deeper than %d", place, maxDepth)}
	}
	if len(of) == 0 {
		return 0, []error{fmt.Errorf("%s: %w", place, errEmpty)}
	}
	for i, child := range of {
		n, more := checkCondition(fmt.Sprintf("%s[%d]", place, i), child, cfg, depth+1)
		leaves += n
		faults = append(faults, more...)
	}
	return leaves, faults
}
