package expr

import (
	"math"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/headroom-rpc/headroom/severity"
	"github.com/headroom-rpc/headroom/snapshot"
)

// A Symbol is one name of the language.
type Symbol struct {
	// Name is how it is written, with the arguments of a function.
	Name string

	// Type is its type, that of the result for a function.
	Type string

	// Unit is the unit of a number: "bytes", "ratio" or "bytes per second", or empty.
	Unit string

	// Help says what it is, in one line.
	Help string
}

// Symbols returns the variables, the functions and the constants of the language, each in the order in which
// they are to be shown. The caller owns them.
func Symbols() (variables, functions, constants []Symbol) {
	for _, v := range variableTable {
		variables = append(variables, Symbol{v.name, v.kind.String(), v.unit, v.help})
	}
	variables = append(variables,
		Symbol{`signals["NAME"]`, "double", "", "newest value of a signal, built-in or custom, in its unit"},
		Symbol{`rates["NAME"]`, "double", "", "change of a signal a second, over 30 s; compare it with a constant: " +
			"> one of at least 0, or < one of at most 0"})
	for _, f := range functionTable {
		functions = append(functions, f.Symbol)
	}
	for _, c := range constantTable {
		constants = append(constants, c.Symbol)
	}
	return variables, functions, constants
}

// A reading is what a variable or a term says of one input.
type reading struct {
	value  ref.Val // nil while unknown
	reason string  // why it is unknown
	signal string
	age    time.Duration
	rest   float64 // the value without any pressure
}

// A source reads one thing.
type source func(in *severity.Input) reading

// A variable is a name with a reading of its own.
type variable struct {
	name string
	kind *cel.Type
	unit string
	help string
	read source
}

var variableTable = []variable{
	{"memory.available", cel.IntType, "bytes", "memory that can be had without pushing others out",
		through(severity.GlobalAbsolute(1), whole)},
	{"memory.available_ratio", cel.DoubleType, "ratio", "the same as a share of the total",
		through(severity.GlobalRelative(100), fractional)},
	{"memory.used", cel.IntType, "bytes", "memory in use",
		memory(func(m *severity.Memory) ref.Val { return types.Int(m.Used) })},
	{"memory.used_ratio", cel.DoubleType, "ratio", "the same as a share of the total",
		memory(func(m *severity.Memory) ref.Val { return types.Double(float64(m.Used) / float64(m.Total)) })},
	{"memory.total", cel.IntType, "bytes", "memory of the machine, or what a limit leaves of it",
		memory(func(m *severity.Memory) ref.Val { return types.Int(m.Total) })},
	{"memory.change", cel.DoubleType, "bytes per second", "how fast the available memory grows; negative while it falls",
		through(severity.Recovering(), fractional)},
	{"memory.exhaustion", cel.DurationType, "", "time until the memory will have run out; 1 h where that is further away or out of sight",
		through(severity.ExhaustionWithin(severity.ExhaustionHorizon), untilExhaustion)},
	{"process.used", cel.IntType, "bytes", "memory that the process uses",
		process(func(p *severity.Process) ref.Val { return types.Int(p.Used) })},
	{"process.max", cel.IntType, "bytes", "memory that the process may use",
		process(func(p *severity.Process) ref.Val { return types.Int(p.Max) })},
	{"process.left", cel.IntType, "bytes", "what is left of it; negative when the process uses more",
		through(severity.LocalAbsolute(1), whole)},
	{"process.left_ratio", cel.DoubleType, "ratio", "the same as a share of the maximum",
		through(severity.LocalRelative(100), fractional)},
	{"psi.cpu.some", cel.DoubleType, "ratio", "share of the time in which some task waits for the CPU",
		through(severity.PressureSome(snapshot.CPU, 0), fractional)},
	{"psi.cpu.full", cel.DoubleType, "ratio", "share of the time in which all tasks wait for the CPU",
		through(severity.PressureFull(snapshot.CPU, 0), fractional)},
	{"psi.memory.some", cel.DoubleType, "ratio", "share of the time in which some task waits for memory",
		through(severity.PressureSome(snapshot.Memory, 0), fractional)},
	{"psi.memory.full", cel.DoubleType, "ratio", "share of the time in which all tasks wait for memory",
		through(severity.PressureFull(snapshot.Memory, 0), fractional)},
	{"psi.io.some", cel.DoubleType, "ratio", "share of the time in which some task waits for I/O",
		through(severity.PressureSome(0, 0), fractional)},
	{"psi.io.full", cel.DoubleType, "ratio", "share of the time in which all tasks wait for I/O",
		through(severity.PressureFull(0, 0), fractional)},
}

func findVariable(name string) (variable, bool) {
	for _, v := range variableTable {
		if v.name == name {
			return v, true
		}
	}
	return variable{}, false
}

// through reads what a term compares, so that what is unknown, and how old, has one definition.
func through(term severity.Condition, value func(severity.Finding) ref.Val) source {
	return func(in *severity.Input) reading {
		f := term.Judge(in)
		r := reading{reason: f.Reason, signal: f.Signal, age: f.Age, rest: f.Zero}
		if f.Truth != severity.Unknown {
			r.value = value(f)
		}
		return r
	}
}

func whole(f severity.Finding) ref.Val      { return types.Int(f.Value) }
func fractional(f severity.Finding) ref.Val { return types.Double(f.Value) }

func untilExhaustion(f severity.Finding) ref.Val {
	if !f.HasValue {
		return types.Duration{Duration: severity.ExhaustionHorizon}
	}
	return types.Duration{Duration: time.Duration(f.Value * float64(time.Second))}
}

// memory reads a figure that is known whenever the available memory is.
func memory(value func(*severity.Memory) ref.Val) source {
	known := through(severity.GlobalAbsolute(1), whole)
	return func(in *severity.Input) reading {
		r := known(in)
		if r.value != nil {
			r.value, r.rest = value(&in.Memory), math.Inf(1)
		}
		return r
	}
}

// process reads a figure that is known whenever what is left to the process is.
func process(value func(*severity.Process) ref.Val) source {
	known := through(severity.LocalAbsolute(1), whole)
	return func(in *severity.Input) reading {
		r := known(in)
		if r.value != nil {
			r.value, r.rest = value(&in.Process), math.Inf(1)
		}
		return r
	}
}

// verdict reads whether a term holds.
func verdict(term severity.Condition) source {
	return func(in *severity.Input) reading {
		f := term.Judge(in)
		r := reading{reason: f.Reason, signal: f.Signal, age: f.Age}
		if f.Truth != severity.Unknown {
			r.value = types.Bool(f.Truth == severity.True)
		}
		return r
	}
}

// A function is one that becomes a term of severity, or that CEL calls where term is nil.
type function struct {
	Symbol
	name      string
	arguments [][]*cel.Type
	term      func(arguments []ref.Val) severity.Condition
}

var functionTable = []function{
	{Symbol{"global_absolute(BYTES)", "bool", "", "less than the bytes of memory are available"},
		"global_absolute", [][]*cel.Type{{cel.IntType}},
		func(a []ref.Val) severity.Condition { return severity.GlobalAbsolute(int64(a[0].(types.Int))) }},
	{Symbol{"global_relative(PERCENT)", "bool", "", "less than the percentage of memory is available"},
		"global_relative", [][]*cel.Type{{cel.IntType}, {cel.DoubleType}},
		func(a []ref.Val) severity.Condition { return severity.GlobalRelative(toFloat(a[0])) }},
	{Symbol{"local_absolute(BYTES)", "bool", "", "the process has less than the bytes left of its maximum"},
		"local_absolute", [][]*cel.Type{{cel.IntType}},
		func(a []ref.Val) severity.Condition { return severity.LocalAbsolute(int64(a[0].(types.Int))) }},
	{Symbol{"local_relative(PERCENT)", "bool", "", "the process has less than the percentage left of its maximum"},
		"local_relative", [][]*cel.Type{{cel.IntType}, {cel.DoubleType}},
		func(a []ref.Val) severity.Condition { return severity.LocalRelative(toFloat(a[0])) }},
	{Symbol{"any_overloaded(WINDOW)", "bool", "", "any signal is overloaded over the window: current or historical; " +
		"any_overloaded() is that of the current one"},
		"any_overloaded", [][]*cel.Type{{}, {windowType}},
		func(a []ref.Val) severity.Condition { return severity.AnyOverloaded(windowOf(a)) }},
	{Symbol{`overloaded("NAME", WINDOW)`, "bool", "", "the signal is overloaded over the window; likewise"},
		"overloaded", [][]*cel.Type{{cel.StringType}, {cel.StringType, windowType}},
		func(a []ref.Val) severity.Condition {
			return severity.Overloaded(string(a[0].(types.String)), windowOf(a[1:]))
		}},
	{Symbol{"recovering()", "bool", "", "the available memory grows; for unless"},
		"recovering", [][]*cel.Type{{}},
		func([]ref.Val) severity.Condition { return severity.Recovering() }},
	{Symbol{"where_known(CONDITION)", "bool", "", "the condition holds; false, not unknown, while that is unknown"},
		whereKnown, [][]*cel.Type{{cel.BoolType}}, nil},
	{Symbol{`duration("TEXT")`, "duration", "", "a duration such as 90s, 1m30s or 1.5h"}, "duration", nil, nil},
	{Symbol{"double(NUMBER), int(NUMBER)", "double, int", "", "the number as one of the other kind"}, "double", nil, nil},
}

func findFunction(name string) *function {
	for i := range functionTable {
		if f := &functionTable[i]; f.name == name && f.term != nil {
			return f
		}
	}
	return nil
}

// A constant is a name for one value.
type constant struct {
	Symbol
	value ref.Val
}

var constantTable = []constant{
	size("KiB", 1<<10), size("MiB", 1<<20), size("GiB", 1<<30), size("TiB", 1<<40),
	size("kB", 1e3), size("MB", 1e6), size("GB", 1e9), size("TB", 1e12),
	{Symbol{"second", "duration", "", "1 s"}, types.Duration{Duration: time.Second}},
	{Symbol{"minute", "duration", "", "60 s"}, types.Duration{Duration: time.Minute}},
	{Symbol{"hour", "duration", "", "3600 s"}, types.Duration{Duration: time.Hour}},
	{Symbol{"current", "window", "", "the last seconds (setting current-window)"}, window(severity.Current)},
	{Symbol{"historical", "window", "", "the whole history (setting history)"}, window(severity.Historical)},
}
