package expr

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
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
	found := reading{value: value, signal: a.signal, limit: a.limit, age: a.age, rest: math.Inf(1)}
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
	limit  limit
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
		a.limit = cmp.Or(r.limit, a.limit)
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
