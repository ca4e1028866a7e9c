package expr

import (
	"math"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// arithmetic declares the four operators for whole numbers, numbers with a fraction, both together, and
// durations. Two whole numbers stay whole, as in CEL; an overflow is an error.
func arithmetic() []cel.EnvOption {
	number := func(name string) []cel.FunctionOpt {
		i, d := cel.IntType, cel.DoubleType
		return []cel.FunctionOpt{
			cel.Overload(name+"_int64", []*cel.Type{i, i}, i),
			cel.Overload(name+"_double", []*cel.Type{d, d}, d),
			cel.Overload(name+"_int64_double", []*cel.Type{i, d}, d),
			cel.Overload(name+"_double_int64", []*cel.Type{d, i}, d),
		}
	}
	duration := func(name string, left, right, result *cel.Type) cel.FunctionOpt {
		return cel.Overload(name+"_"+left.String()+"_"+right.String(), []*cel.Type{left, right}, result)
	}
	i, d, t := cel.IntType, cel.DoubleType, cel.DurationType
	return []cel.EnvOption{
		cel.Function(operators.Add, append(number("add"), duration("add", t, t, t),
			cel.SingletonBinaryBinding(func(a, b ref.Val) ref.Val {
				a, b = alike(a, b)
				return a.(traits.Adder).Add(b)
			}))...),
		cel.Function(operators.Subtract, append(number("subtract"), duration("subtract", t, t, t),
			cel.SingletonBinaryBinding(func(a, b ref.Val) ref.Val {
				a, b = alike(a, b)
				return a.(traits.Subtractor).Subtract(b)
			}))...),
		cel.Function(operators.Multiply, append(number("multiply"),
			duration("multiply", t, i, t), duration("multiply", i, t, t),
			duration("multiply", t, d, t), duration("multiply", d, t, t),
			cel.SingletonBinaryBinding(multiply))...),
		cel.Function(operators.Divide, append(number("divide"), duration("divide", t, t, d),
			cel.SingletonBinaryBinding(divide))...),
	}
}

// alike makes a whole number that meets one with a fraction one of that kind.
func alike(a, b ref.Val) (ref.Val, ref.Val) {
	switch x := a.(type) {
	case types.Int:
		if _, ok := b.(types.Double); ok {
			return types.Double(x), b
		}
	case types.Double:
		if y, ok := b.(types.Int); ok {
			return a, types.Double(y)
		}
	}
	return a, b
}

func multiply(a, b ref.Val) ref.Val {
	if t, ok := a.(types.Duration); ok {
		return scale(t, b)
	}
	if t, ok := b.(types.Duration); ok {
		return scale(t, a)
	}
	a, b = alike(a, b)
	return a.(traits.Multiplier).Multiply(b)
}

func scale(t types.Duration, by ref.Val) ref.Val {
	product := float64(t.Duration) * toFloat(by)
	if !(math.Abs(product) < math.MaxInt64) {
		return types.NewErr("the duration is too long")
	}
	if n, ok := by.(types.Int); ok {
		return types.Duration{Duration: t.Duration * time.Duration(n)}
	}
	return types.Duration{Duration: time.Duration(product)}
}

func divide(a, b ref.Val) ref.Val {
	if t, ok := a.(types.Duration); ok {
		by := b.(types.Duration)
		if by.Duration == 0 {
			return types.NewErr("division by zero")
		}
		return types.Double(float64(t.Duration) / float64(by.Duration))
	}
	a, b = alike(a, b)
	if d, ok := b.(types.Double); ok && d == 0 {
		return types.NewErr("division by zero") // an infinity would pass for a figure
	}
	return a.(traits.Divider).Divide(b)
}

// toFloat returns a number, or a duration in seconds, as a float.
func toFloat(v ref.Val) float64 {
	switch v := v.(type) {
	case types.Int:
		return float64(v)
	case types.Double:
		return float64(v)
	case types.Duration:
		return v.Seconds()
	default:
		return math.NaN()
	}
}
