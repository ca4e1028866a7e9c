package expr

import (
	"fmt"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/checker"
	celenv "cel.dev/cel-go/common/env"
	"cel.dev/cel-go/common/functions"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// The bounds of a text.
const (
	// MaxText is the greatest length of a text in bytes.
	MaxText = 4 << 10

	// MaxDepth is how deep expressions may nest.
	MaxDepth = 32

	// MaxCost is the most that one evaluation may cost, in CEL's units: about one for each operation.
	MaxCost = 10_000
)

// The variables that are looked up by the name of a signal.
const (
	signals = "signals"
	rates   = "rates"
)

// environment returns the language. It is made once, for that takes milliseconds.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	byName := cel.MapType(cel.StringType, cel.DoubleType)
	options := []cel.EnvOption{
		cel.StdLib(cel.StdLibSubset(celenv.NewLibrarySubset().SetDisableMacros(true).AddIncludedFunctions(standard()...))),
		cel.ClearMacros(),
		cel.CrossTypeNumericComparisons(true),
		cel.ParserExpressionSizeLimit(MaxText),
		cel.ParserRecursionLimit(MaxDepth),
		cel.ExpressionNodeLimit(MaxText),
		cel.ParserErrorRecoveryLimit(4),
		cel.Variable(signals, byName),
		cel.Variable(rates, byName),
		cel.Function(whereKnown, cel.Overload("where_known_bool", []*cel.Type{cel.BoolType}, cel.BoolType,
			cel.OverloadIsNonStrict(),
			cel.UnaryBinding(func(v ref.Val) ref.Val { return types.Bool(v == types.True) }))),
	}
	for _, v := range variableTable {
		options = append(options, cel.Variable(v.name, v.kind))
	}
	for _, c := range constantTable {
		options = append(options, cel.Constant(c.Name, c.kind, c.value))
	}
	for _, f := range functionTable {
		if f.term == nil {
			continue
		}
		var all []cel.FunctionOpt
		for i, arguments := range f.arguments {
			// Never called: lowering puts a term in the place of every call.
			all = append(all, cel.Overload(fmt.Sprintf("%s_%d", f.name, i), arguments, cel.BoolType))
		}
		options = append(options, cel.Function(f.name, append(all, cel.SingletonFunctionBinding(notCalled))...))
	}
	return cel.NewCustomEnv(append(options, arithmetic()...)...)
})

var notCalled functions.FunctionOp = func(...ref.Val) ref.Val { return types.NewErr("not called") }

// standard returns what is taken from the standard library.
func standard() []*celenv.Function {
	only := func(name string, ids ...string) *celenv.Function {
		f := &celenv.Function{Name: name}
		for _, id := range ids {
			f.Overloads = append(f.Overloads, &celenv.Overload{ID: id})
		}
		return f
	}
	return []*celenv.Function{
		only(operators.LogicalAnd), only(operators.LogicalOr), only(operators.LogicalNot), only(operators.Conditional),
		only(operators.Equals), only(operators.NotEquals), only(operators.Negate),
		only(operators.Index, overloads.IndexMap),
		only(operators.Less, overloads.LessInt64, overloads.LessDouble, overloads.LessInt64Double,
			overloads.LessDoubleInt64, overloads.LessDuration),
		only(operators.LessEquals, overloads.LessEqualsInt64, overloads.LessEqualsDouble,
			overloads.LessEqualsInt64Double, overloads.LessEqualsDoubleInt64, overloads.LessEqualsDuration),
		only(operators.Greater, overloads.GreaterInt64, overloads.GreaterDouble, overloads.GreaterInt64Double,
			overloads.GreaterDoubleInt64, overloads.GreaterDuration),
		only(operators.GreaterEquals, overloads.GreaterEqualsInt64, overloads.GreaterEqualsDouble,
			overloads.GreaterEqualsInt64Double, overloads.GreaterEqualsDoubleInt64, overloads.GreaterEqualsDuration),
		only(overloads.TypeConvertDouble, overloads.DoubleToDouble, overloads.IntToDouble),
		only(overloads.TypeConvertInt, overloads.IntToInt, overloads.DoubleToInt),
		only(overloads.TypeConvertDuration, overloads.StringToDuration),
	}
}

// unsized tells CEL nothing of sizes: whatever depends on one is as dear as can be.
type unsized struct{}

func (unsized) EstimateSize(checker.AstNode) *checker.SizeEstimate { return nil }

func (unsized) EstimateCallCost(string, string, *checker.AstNode, []checker.AstNode) *checker.CallEstimate {
	return nil
}
