package expr

import (
	"math"
	"strconv"
	"strings"
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
		variables = append(variables, Symbol{v.name, plain(v.kind.String()), v.unit, v.help})
	}
	variables = append(variables,
		Symbol{`signals["NAME"]`, "double", "", "newest value of a signal: cpu and memory as ratios, event_loop in seconds, " +
			"client in errors, others in their own unit"},
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
	limit  limit
	age    time.Duration
	rest   float64 // the value without any pressure
}

// A limit is one that was looked at, if any: which one and how much, as in [severity.Finding].
type limit struct {
	source string
	bytes  int64
}

func limitOf(f severity.Finding) limit { return limit{f.Limit, f.LimitBytes} }

// A source reads one thing.
type source func(in *severity.Input) reading

// A variable is a name with a reading of its own.
type variable struct {
	name string
	kind *cel.Type
	unit string
	help string
	read source

	// below and pressure make the term that holds while the variable is below or above a bound; nil for none.
	below    func(bound ref.Val) severity.Condition
	pressure func(ratio float64) severity.Condition
}

var variableTable = []variable{
	{name: "memory.available", kind: cel.IntType, unit: "bytes",
		help: "memory that can be had without pushing others out",
		read: through(severity.GlobalAbsolute(1), whole), below: bytesBelow(severity.GlobalAbsolute)},
	{name: "memory.available_ratio", kind: cel.DoubleType, unit: "ratio",
		help: "the same as a share of the total",
		read: through(severity.GlobalRelative(100), fractional), below: shareBelow(severity.GlobalRelative)},
	{name: "memory.used", kind: cel.IntType, unit: "bytes", help: "memory in use",
		read: memory(func(m *severity.Memory) ref.Val { return types.Int(m.Used) })},
	{name: "memory.used_ratio", kind: cel.DoubleType, unit: "ratio", help: "the same as a share of the total",
		read: memory(func(m *severity.Memory) ref.Val { return types.Double(float64(m.Used) / float64(m.Total)) })},
	{name: "memory.total", kind: cel.IntType, unit: "bytes", help: "memory of the machine, or what a limit leaves of it",
		read: memory(func(m *severity.Memory) ref.Val { return types.Int(m.Total) })},
	{name: "memory.change", kind: cel.DoubleType, unit: "bytes per second",
		help: "how fast the available memory grows; negative while it falls",
		read: through(severity.Recovering(), fractional)},
	{name: "memory.exhaustion", kind: cel.DurationType,
		help: "time until the memory will have run out; 1 h where that is further away or out of sight",
		read: through(severity.ExhaustionWithin(severity.ExhaustionHorizon), untilExhaustion)},
	{name: "process.used", kind: cel.IntType, unit: "bytes", help: "memory that the process uses",
		read: process(func(p *severity.Process) ref.Val { return types.Int(p.Used) })},
	{name: "process.max", kind: cel.IntType, unit: "bytes", help: "memory that the process may use",
		read: process(func(p *severity.Process) ref.Val { return types.Int(p.Max) })},
	{name: "process.left", kind: cel.IntType, unit: "bytes",
		help: "what is left of it; negative when the process uses more",
		read: through(severity.LocalAbsolute(1), whole), below: bytesBelow(severity.LocalAbsolute)},
	{name: "process.left_ratio", kind: cel.DoubleType, unit: "ratio", help: "the same as a share of the maximum",
		read: through(severity.LocalRelative(100), fractional), below: shareBelow(severity.LocalRelative)},
	pressure("psi.cpu.some", snapshot.CPU, severity.PressureSome, "some task waits for the CPU"),
	pressure("psi.cpu.full", snapshot.CPU, severity.PressureFull, "all tasks wait for the CPU"),
	pressure("psi.memory.some", snapshot.Memory, severity.PressureSome, "some task waits for memory"),
	pressure("psi.memory.full", snapshot.Memory, severity.PressureFull, "all tasks wait for memory"),
	pressure("psi.io.some", 0, severity.PressureSome, "some task waits for I/O"),
	pressure("psi.io.full", 0, severity.PressureFull, "all tasks wait for I/O"),
}

func pressure(name string, of snapshot.Resource, term func(snapshot.Resource, float64) severity.Condition,
	help string) variable {
	return variable{
		name: name, kind: cel.DoubleType, unit: "ratio", help: "share of the time in which " + help,
		read:     through(term(of, 0), fractional),
		pressure: func(ratio float64) severity.Condition { return term(of, ratio) },
	}
}

// bytesBelow is for the terms with a bound in whole bytes, of at least 1.
func bytesBelow(term func(int64) severity.Condition) func(ref.Val) severity.Condition {
	return func(bound ref.Val) severity.Condition {
		if n, ok := bound.(types.Int); ok && n >= 1 {
			return term(int64(n))
		}
		return nil
	}
}

// shareBelow is for the terms with a bound in percent, where that is the same bound to the last bit.
func shareBelow(term func(float64) severity.Condition) func(ref.Val) severity.Condition {
	return func(bound ref.Val) severity.Condition {
		share := toFloat(bound)
		percent, err := strconv.ParseFloat(strconv.FormatFloat(share*100, 'g', 12, 64), 64)
		if err == nil && percent > 0 && percent <= 100 && percent/100 == share {
			return term(percent)
		}
		return nil
	}
}

func (v *variable) ofProcess() bool { return strings.HasPrefix(v.name, "process.") }

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
		r := reading{reason: f.Reason, signal: f.Signal, limit: limitOf(f), age: f.Age, rest: f.Zero}
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
		r := reading{reason: f.Reason, signal: f.Signal, limit: limitOf(f), age: f.Age}
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

// whereKnown is the one function that takes a condition.
const whereKnown = "where_known"

// windowType is the type of the two windows; nothing can be calculated with it.
var windowType = cel.OpaqueType("window")

func windowOf(arguments []ref.Val) severity.Window {
	if len(arguments) == 0 {
		return severity.Current
	}
	return severity.Window(arguments[0].(types.Int))
}

// A constant is a name for one value.
type constant struct {
	Symbol
	kind  *cel.Type
	value ref.Val
}

func size(name string, bytes int64) constant {
	help := strconv.FormatInt(bytes, 10) + " bytes"
	return constant{Symbol{name, "int", "bytes", help}, cel.IntType, types.Int(bytes)}
}

func span(name string, d time.Duration) constant {
	return constant{Symbol{name, "duration", "", d.String()}, cel.DurationType, types.Duration{Duration: d}}
}

func window(w severity.Window, help string) constant {
	return constant{Symbol{w.String(), "window", "", help}, windowType, types.Int(w)}
}

var constantTable = []constant{
	size("KiB", 1<<10), size("MiB", 1<<20), size("GiB", 1<<30), size("TiB", 1<<40),
	size("kB", 1e3), size("MB", 1e6), size("GB", 1e9), size("TB", 1e12),
	span("second", time.Second), span("minute", time.Minute), span("hour", time.Hour),
	window(severity.Current, "the last seconds (setting current-window)"),
	window(severity.Historical, "the whole history (setting history)"),
}
