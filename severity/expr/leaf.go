package expr

import (
	"math"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/interpreter"

	"github.com/headroom-rpc/headroom/severity"
)

// An operand is one side of a comparison or the whole of a predicate.
type operand struct {
	fixed   ref.Val     // of a constant
	program cel.Program // nil for a constant and where the only slot is all of it
	slots   []slot
	unit    string
}

// A slot is one thing that an operand reads, under the name that the program has for it.
type slot struct {
	name    string
	read    source
	unknown *types.Unknown // its id is the number of the slot
}

func (o *operand) add(name string, read source) {
	if slices.ContainsFunc(o.slots, func(s slot) bool { return s.name == name }) {
		return
	}
	unknown := types.NewUnknown(int64(len(o.slots)), types.NewAttributeTrail(name))
	o.slots = append(o.slots, slot{name, read, unknown})
}

// look returns what the operand is in one input. The age is that of the oldest reading.
func (o *operand) look(in *severity.Input) reading {
	switch {
	case o.fixed != nil:
		return reading{value: o.fixed}
	case o.program == nil:
		return o.slots[0].read(in)
	}
	a := &activation{in: in, of: o}
	value, _, err := o.program.Eval(a)
	found := reading{value: value, signal: a.signal, age: a.age, rest: math.Inf(1)}
	switch v := value.(type) {
	case *types.Unknown:
		found.value, found.reason = nil, o.reasons(in, v)
	case types.Int, types.Double, types.Duration, types.Bool:
	default:
		found.value, found.reason = nil, "no value"
	}
	if err != nil {
		found.value, found.reason = nil, plain(err.Error())
	}
	return found
}

// reasons says why each slot that made a result unknown is.
func (o *operand) reasons(in *severity.Input, u *types.Unknown) string {
	var all []string
	for _, id := range u.IDs() {
		if id < 0 || int(id) >= len(o.slots) {
			continue
		}
		r := o.slots[id].read(in)
		why := r.reason
		if r.signal != "" {
			why = r.signal + ": " + why
		}
		if !slices.Contains(all, why) {
			all = append(all, why)
		}
	}
	return strings.Join(all, "; ")
}

// An activation gives a program its slots and notes what was read.
type activation struct {
	in     *severity.Input
	of     *operand
	signal string
	age    time.Duration
}

// ResolveName implements [interpreter.Activation].
func (a *activation) ResolveName(name string) (any, bool) {
	for i := range a.of.slots {
		s := &a.of.slots[i]
		if s.name != name {
			continue
		}
		r := s.read(a.in)
		a.age = max(a.age, r.age)
		a.signal = joined(a.signal, r.signal)
		if r.value == nil {
			return s.unknown, true
		}
		return r.value, true
	}
	return nil, false
}

// Parent implements [interpreter.Activation].
func (*activation) Parent() interpreter.Activation { return nil }

// joined lists the names of signals, each once.
func joined(list, name string) string {
	switch {
	case list == "" || list == name:
		return name
	case name == "" || slices.Contains(strings.Split(list, ", "), name):
		return list
	default:
		return list + ", " + name
	}
}

// A predicate is a leaf that CEL finds true or false.
type predicate struct {
	text string
	of   operand
}

// Judge implements [severity.Condition].
func (p *predicate) Judge(in *severity.Input) severity.Finding {
	r := p.of.look(in)
	f := severity.Finding{Signal: r.signal, Age: r.age}
	if b, ok := r.value.(types.Bool); ok {
		f.Truth = severity.TruthOf(bool(b))
	} else {
		f.Reason = r.reason
	}
	return f
}

// String implements [severity.Condition].
func (p *predicate) String() string { return p.text }

// A comparator is one of the six ways to compare.
type comparator uint8

const (
	less comparator = iota + 1
	lessOrEqual
	greater
	greaterOrEqual
	equal
	notEqual
)

func comparatorOf(function string) comparator {
	switch function {
	case operators.Less:
		return less
	case operators.LessEquals:
		return lessOrEqual
	case operators.Greater:
		return greater
	case operators.GreaterEquals:
		return greaterOrEqual
	case operators.Equals:
		return equal
	case operators.NotEquals:
		return notEqual
	default:
		return 0
	}
}

// flipped is the comparator with its sides exchanged.
func (c comparator) flipped() comparator {
	switch c {
	case less:
		return greater
	case lessOrEqual:
		return greaterOrEqual
	case greater:
		return less
	case greaterOrEqual:
		return lessOrEqual
	default:
		return c
	}
}

// A comparison is a leaf that compares two numbers, or two durations.
type comparison struct {
	text        string
	is          comparator
	left, right operand
}

// Judge implements [severity.Condition].
func (c *comparison) Judge(in *severity.Input) severity.Finding {
	left, right := c.left.look(in), c.right.look(in)
	f := severity.Finding{
		Unit: c.left.unit, Signal: joined(left.signal, right.signal), Age: max(left.age, right.age),
	}
	if left.value == nil || right.value == nil {
		f.Reason = left.reason
		if left.value != nil || left.reason == "" {
			f.Reason = right.reason
		}
		return f
	}
	f.Value, f.Bound, f.HasValue = toFloat(left.value), toFloat(right.value), true
	switch c.is {
	case equal, notEqual:
		f.Truth, f.Zero = severity.TruthOf((left.value.Equal(right.value) == types.True) == (c.is == equal)), math.Inf(1)
		return f
	case less, lessOrEqual:
		f.Zero = left.rest
	}
	// Compare is of CEL's own numbers, which do not lose what a whole number has beyond 53 bits.
	order, ok := left.value.(traits.Comparer).Compare(right.value).(types.Int)
	if !ok {
		f.HasValue, f.Reason = false, "not a number"
		return f
	}
	switch c.is {
	case less:
		f.Truth = severity.TruthOf(order < 0)
	case lessOrEqual:
		f.Truth = severity.TruthOf(order <= 0)
	case greater:
		f.Truth = severity.TruthOf(order > 0)
	case greaterOrEqual:
		f.Truth = severity.TruthOf(order >= 0)
	}
	return f
}

// String implements [severity.Condition].
func (c *comparison) String() string { return c.text }
