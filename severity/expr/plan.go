package expr

import (
	"strconv"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types/ref"

	"github.com/headroom-rpc/headroom/severity"
)

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
			if e.Kind() == ast.SelectKind {
				name = l.variableName(e.AsSelect().Operand())
			}
			l.wrong(e, `want the name of a signal, as in %s["cpu"]`, name)
			return
		}
		if l.host && v.ofProcess() {
			l.wrong(e, wantHost)
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
