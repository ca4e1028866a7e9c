package expr

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/headroom-rpc/headroom/severity"
)

// lowering makes conditions of one checked expression. The logic goes to the combinators of severity, so that
// the Engine sees each leaf.
type lowering struct {
	env    *cel.Env
	ast    *ast.AST
	host   bool // what looks at a process is a fault
	leaves int
	faults Faults
}

func (l *lowering) fault(e ast.Expr, text string) Fault {
	back := 0
	for e.Kind() == ast.CallKind {
		name := e.AsCall().FunctionName()
		if !strings.HasPrefix(name, "_") {
			break
		}
		e = e.AsCall().Args()[0]
	}
	// CEL's place for a call is its bracket, and that for a name with dots the last dot.
	switch e.Kind() {
	case ast.CallKind:
		if name := e.AsCall().FunctionName(); name != operators.LogicalNot && name != operators.Negate {
			back = len(name)
		}
	case ast.IdentKind:
		back = max(strings.LastIndexByte(e.AsIdent(), '.'), 0)
	}
	at := l.ast.SourceInfo().GetStartLocation(e.ID())
	return Fault{Line: max(at.Line(), 1), Column: max(at.Column()-back, 0) + 1, Text: text}
}

func (l *lowering) wrong(e ast.Expr, format string, arguments ...any) {
	l.faults = append(l.faults, l.fault(e, fmt.Sprintf(format, arguments...)))
}

// text returns an expression as CEL writes it. It must be taken before the expression is changed.
func (l *lowering) text(e ast.Expr) string {
	s, err := cel.ExprToString(e, l.ast.SourceInfo())
	if err != nil {
		return "expression"
	}
	return strings.Join(strings.Fields(s), " ")
}

// condition lowers an expression that is true or false. It returns nil where it reported a fault.
func (l *lowering) condition(e ast.Expr, depth int) severity.Condition {
	if depth > maxNesting {
		l.wrong(e, "nested deeper than %d", maxNesting)
		return nil
	}
	if e.Kind() == ast.CallKind {
		call := e.AsCall()
		switch name := call.FunctionName(); name {
		case operators.LogicalAnd:
			return severity.All(l.conditions(name, e, depth)...)
		case operators.LogicalOr:
			return severity.Any(l.conditions(name, e, depth)...)
		case operators.LogicalNot:
			return severity.Not(l.condition(call.Args()[0], depth+1))
		case whereKnown:
			return severity.WhereKnown(l.condition(call.Args()[0], depth+1))
		}
	}
	l.leaves++
	if l.leaves > maxLeaves {
		return nil
	}
	return l.leaf(e)
}

// conditions lowers the terms of a chain of && or ||, however it is bracketed.
func (l *lowering) conditions(name string, e ast.Expr, depth int) []severity.Condition {
	if e.Kind() != ast.CallKind || e.AsCall().FunctionName() != name {
		return []severity.Condition{l.condition(e, depth+1)}
	}
	var all []severity.Condition
	for _, term := range e.AsCall().Args() {
		all = append(all, l.conditions(name, term, depth)...)
	}
	return all
}

func (l *lowering) leaf(e ast.Expr) severity.Condition {
	if l.constant(e) {
		if v, ok := l.evaluate(e); ok {
			l.wrong(e, "is always %v: it looks at nothing", v)
		}
		return nil
	}
	if e.Kind() != ast.CallKind {
		return l.predicate(e)
	}
	call := e.AsCall()
	if f := findFunction(call.FunctionName()); f != nil {
		return l.term(e, f)
	}
	if c := comparatorOf(call.FunctionName()); c != 0 && !l.ast.GetType(call.Args()[0].ID()).IsExactType(cel.BoolType) {
		return l.comparison(e, c)
	}
	return l.predicate(e)
}

// term makes the condition that a call stands for.
func (l *lowering) term(e ast.Expr, f *function) severity.Condition {
	if l.host && strings.HasPrefix(f.name, "local_") {
		l.wrong(e, wantHost)
		return nil
	}
	var arguments []ref.Val
	for _, a := range e.AsCall().Args() {
		if !l.constant(a) {
			l.wrong(a, "want a constant as argument of %s", f.name)
			return nil
		}
		v, ok := l.evaluate(a)
		if !ok {
			return nil
		}
		arguments = append(arguments, v)
	}
	return l.checked(e, f.term(arguments))
}

// checked returns the term, or reports what severity finds wrong with it.
func (l *lowering) checked(e ast.Expr, term severity.Condition) severity.Condition {
	_, err := severity.New(severity.Config{Levels: []severity.Level{{Enter: term}}, ProcessMax: 1})
	if err == nil {
		return term
	}
	// The faults are joined, each behind the path to the condition, which says nothing here.
	joined, ok := errors.Unwrap(err).(interface{ Unwrap() []error })
	if !ok {
		l.wrong(e, "%v", err)
		return nil
	}
	for _, err := range joined.Unwrap() {
		if inner := errors.Unwrap(err); inner != nil {
			err = inner
		}
		l.wrong(e, "%v", err)
	}
	return nil
}

func (l *lowering) predicate(e ast.Expr) severity.Condition {
	text := l.text(e)
	o, ok := l.operand(e)
	if !ok {
		return nil
	}
	return &predicate{text: text, of: o}
}

// comparison makes the leaf of two numbers or durations that are compared, a constant one as the bound.
func (l *lowering) comparison(e ast.Expr, c comparator) severity.Condition {
	text, left, right := l.text(e), e.AsCall().Args()[0], e.AsCall().Args()[1]
	if l.constant(left) {
		left, right, c = right, left, c.flipped()
	}
	if l.constant(right) {
		bound, ok := l.evaluate(right)
		if !ok {
			return nil
		}
		term, ok := l.known(e, left, c, bound)
		if term != nil || !ok {
			return term
		}
	}
	a, ok := l.operand(left)
	b, ok2 := l.operand(right)
	if !ok || !ok2 {
		return nil
	}
	return &comparison{text: text, is: c, left: a, right: b}
}

// known returns the term of severity that compares a variable with a bound in the same way, or nil if there is
// none. It reports false where it reported a fault.
func (l *lowering) known(e, left ast.Expr, c comparator, bound ref.Val) (term severity.Condition, ok bool) {
	if table, name, found := l.indexed(left); found {
		return l.knownSignal(e, table, name, c, bound)
	}
	v, found := findVariable(l.variableName(left))
	if !found {
		return nil, true
	}
	if l.host && v.ofProcess() {
		l.wrong(left, wantHost)
		return nil, false
	}
	number := toFloat(bound)
	if v.unit == "ratio" && number > 1 {
		l.wrong(e, "%v is more than 1, which is everything; %[1]v percent is %v", number, number/100)
		return nil, false
	}
	switch {
	case v.name == "memory.exhaustion":
		d, ok := bound.(types.Duration)
		if !ok {
			return nil, true
		}
		within := d.Duration
		if within <= 0 || within > severity.ExhaustionHorizon {
			l.wrong(e, "%v is outside (0, %v]", within, severity.ExhaustionHorizon)
			return nil, false
		}
		if c == less {
			term = severity.ExhaustionWithin(within)
		}
	case v.pressure != nil && c == greater:
		term = v.pressure(number)
	case v.below != nil && c == less:
		term = v.below(bound)
	}
	if term != nil {
		term = l.checked(e, term)
		return term, term != nil
	}
	return nil, true
}

// knownSignal makes the term for a signal or for its rate. A rate must be one: only for terms does the Engine
// have it followed.
func (l *lowering) knownSignal(e ast.Expr, table, name string, c comparator, bound ref.Val) (severity.Condition, bool) {
	number := toFloat(bound)
	var term severity.Condition
	switch {
	case table == signals && c == greater:
		term = severity.Above(name, number)
	case table == signals && c == less:
		term = severity.Below(name, number)
	case table == signals:
		return nil, true
	case c == greater && number >= 0:
		term = severity.Rising(name, number)
	case c == less && number <= 0:
		term = severity.Falling(name, math.Abs(number))
	default:
		l.wrong(e, "%s", wantRate)
		return nil, false
	}
	term = l.checked(e, term)
	return term, term != nil
}

const wantRate = `want rates["NAME"] > a constant of at least 0, or < one of at most 0`

const wantHost = "looks at a process, and there is none"

// variableName returns the name of the variable that an expression is, or "".
func (l *lowering) variableName(e ast.Expr) string {
	if kind := e.Kind(); kind != ast.IdentKind && kind != ast.SelectKind {
		return ""
	}
	r := l.ast.ReferenceMap()[e.ID()]
	if r == nil || r.Value != nil {
		return ""
	}
	return strings.TrimPrefix(r.Name, ".")
}

// indexed returns what an expression such as signals["cpu"] names.
func (l *lowering) indexed(e ast.Expr) (table, name string, ok bool) {
	if e.Kind() != ast.CallKind || e.AsCall().FunctionName() != operators.Index {
		return "", "", false
	}
	args := e.AsCall().Args()
	if table = l.variableName(args[0]); table != signals && table != rates || args[1].Kind() != ast.LiteralKind {
		return "", "", false
	}
	key, ok := args[1].AsLiteral().(types.String)
	return table, string(key), ok
}
