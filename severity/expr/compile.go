package expr

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/cel"

	"github.com/headroom-rpc/headroom/severity"
)

// Compile returns the condition that the text says. Its error is of type [Faults] and holds everything that is
// wrong with the text, each fault with its place; only a fault of syntax hides those of types, and these those
// of values. It does not block, and no text makes it panic or take long. The condition starts no goroutine and
// is safe for concurrent use.
func Compile(text string) (severity.Condition, error) { return compile(text, false) }

// CompileHost is [Compile] for the levels of a machine, where nothing is ever known of a process: to look at
// one is a fault.
func CompileHost(text string) (severity.Condition, error) { return compile(text, true) }

func compile(text string, host bool) (severity.Condition, error) {
	if fault := measure(text); fault != "" {
		return nil, Faults{{1, 1, fault}}
	}
	env, err := environment()
	if err != nil {
		return nil, Faults{{1, 1, err.Error()}}
	}
	parsed, issues := env.Parse(text)
	if issues.Err() != nil {
		return nil, faultsOf(issues)
	}
	checked, issues := env.Check(parsed)
	if issues.Err() != nil {
		return nil, faultsOf(issues)
	}
	l := &lowering{env: env, ast: checked.NativeRep(), host: host}
	root := l.ast.Expr()
	if kind := checked.OutputType(); !kind.IsExactType(cel.BoolType) {
		return nil, Faults{l.fault(root, plain(fmt.Sprintf("is %s, not true or false", kind)))}
	}
	cost, err := env.EstimateCost(checked, unsized{})
	if err != nil {
		return nil, Faults{{1, 1, plain(err.Error())}}
	}
	if cost.Max > MaxCost {
		return nil, Faults{{1, 1, fmt.Sprintf("may cost more than %d operations", MaxCost)}}
	}
	condition := l.condition(root, 1)
	if l.leaves > maxLeaves {
		l.faults = append(l.faults, l.fault(root, fmt.Sprintf("%d comparisons are more than %d", l.leaves, maxLeaves)))
	}
	if len(l.faults) > 0 {
		return nil, l.faults.sorted()
	}
	return condition, nil
}

// maxLeaves is the cap on the comparisons of one text and maxNesting that on its depth. Those of package severity
// leave room for what is made of it.
const (
	maxLeaves  = 64
	maxNesting = 32
)

// measure says what is wrong with a text before it is read, or returns "".
func measure(text string) string {
	switch {
	case len(text) > MaxText:
		return fmt.Sprintf("%d bytes are more than %d", len(text), MaxText)
	case strings.TrimSpace(text) == "":
		return "no condition"
	case !utf8.ValidString(text):
		return "is not UTF-8"
	default:
		return ""
	}
}
