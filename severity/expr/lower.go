package expr

import (
	"errors"
	"fmt"
	"math"
	"strconv"
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

// constant reports whether an expression looks at nothing.
func (l *lowering) constant(e ast.Expr) bool {
	switch e.Kind() {
	case ast.LiteralKind:
		return true
	case ast.IdentKind, ast.SelectKind:
		r := l.ast.ReferenceMap()[e.ID()]
		return r != nil && r.Value != nil
	case ast.CallKind:
		call := e.AsCall()
		if findFunction(call.FunctionName()) != nil {
			return false
		}
		for _, a := range call.Args() {
			if !l.constant(a) {
				return false
			}
		}
		return !call.IsMemberFunction() || l.constant(call.Target())
	default:
		return false
	}
}

// evaluate returns the value of a constant expression. It reports false where it reported a fault.
func (l *lowering) evaluate(e ast.Expr) (ref.Val, bool) {
	program, err := l.program(e)
	if err == nil {
		var v ref.Val
		if v, _, err = program.Eval(cel.NoVars()); err == nil {
			return v, true
		}
	}
	l.wrong(e, "%s", plain(err.Error()))
	return nil, false
}

func (l *lowering) program(e ast.Expr) (cel.Program, error) {
	part := ast.NewCheckedAST(ast.NewAST(e, l.ast.SourceInfo()), l.ast.TypeMap(), l.ast.ReferenceMap())
	return l.env.PlanProgram(part, cel.CostLimit(MaxCost))
}

// operand plans an expression and finds what it reads. It reports false where it reported a fault.
func (l *lowering) operand(e ast.Expr) (operand, bool) {
	o := operand{}
	if l.constant(e) {
		v, ok := l.evaluate(e)
		o.fixed = v
		return o, ok
	}
	before := len(l.faults)
	single := l.variableName(e) != ""
	if _, _, ok := l.indexed(e); ok {
		single = true
	}
	o.unit = l.unit(e)
	l.read(e, &o)
	if len(l.faults) > before {
		return o, false
	}
	if single {
		return o, true
	}
	program, err := l.program(e)
	if err != nil {
		l.wrong(e, "%s", plain(err.Error()))
		return o, false
	}
	o.program = program
	return o, true
}

func (l *lowering) unit(e ast.Expr) string {
	if l.ast.GetType(e.ID()).IsExactType(cel.DurationType) {
		return "seconds"
	}
	v, _ := findVariable(l.variableName(e))
	return v.unit
}

// read gives each thing that an expression looks at a slot of the operand, and puts the name of the slot in
// the place of what is no variable to CEL.
func (l *lowering) read(e ast.Expr, o *operand) {
	switch e.Kind() {
	case ast.LiteralKind:
	case ast.IdentKind, ast.SelectKind:
		if l.constant(e) {
			return
		}
		name := l.variableName(e)
		v, ok := findVariable(name)
		if !ok {
			l.wrong(e, `want the name of a signal, as in %s["cpu"]`, name)
			return
		}
		o.add(name, v.read)
	case ast.CallKind:
		l.readCall(e, o)
	default:
		l.wrong(e, "lists, maps and messages are not part of the language")
	}
}

func (l *lowering) readCall(e ast.Expr, o *operand) {
	call := e.AsCall()
	if f := findFunction(call.FunctionName()); f != nil {
		if term := l.term(e, f); term != nil {
			l.replace(e, o, verdict(term))
		}
		return
	}
	if table, name, ok := l.indexed(e); ok {
		if table == rates {
			l.wrong(e, "%s", wantRate)
			return
		}
		if term := l.checked(e, severity.Above(name, 0)); term != nil {
			l.replace(e, o, through(term, fractional))
		}
		return
	}
	if call.FunctionName() == operators.Index {
		l.wrong(e, `want the name of a signal in quotes, as in signals["cpu"]`)
		return
	}
	for _, a := range call.Args() {
		l.read(a, o)
	}
}

// replace makes an expression the name of a slot, which no text can spell.
func (l *lowering) replace(e ast.Expr, o *operand, read source) {
	name := "@" + strconv.Itoa(len(o.slots))
	o.add(name, read)
	e.SetKindCase(ast.NewExprFactory().NewIdent(e.ID(), name))
	l.ast.SetReference(e.ID(), ast.NewIdentReference(name, nil))
}
