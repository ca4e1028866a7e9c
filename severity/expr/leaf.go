package expr

import (
	"cmp"
	"math"

	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/traits"

	"github.com/headroom-rpc/headroom/severity"
)

// A predicate is a leaf that CEL finds true or false.
type predicate struct {
	text string
	of   operand
}

// Judge implements [severity.Condition].
func (p *predicate) Judge(in *severity.Input) severity.Finding {
	r := p.of.look(in)
	f := severity.Finding{Signal: r.signal, Limit: r.limit.source, LimitBytes: r.limit.bytes, Age: r.age}
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
	limit := cmp.Or(left.limit, right.limit)
	f.Limit, f.LimitBytes = limit.source, limit.bytes
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
