package severity

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

type (
	globalAbsolute struct{ bytes int64 }
	globalRelative struct{ percent float64 }
	localAbsolute  struct{ bytes int64 }
	localRelative  struct{ percent float64 }
)

// GlobalAbsolute holds while less than the bytes of memory are available: strictly less, as in the other
// three. At least 1.
func GlobalAbsolute(bytes int64) Condition { return &globalAbsolute{bytes} }

// GlobalRelative holds while less than percent of the memory is available, in (0, 100].
func GlobalRelative(percent float64) Condition { return &globalRelative{percent} }

// LocalAbsolute holds while the process has less than the bytes left of its maximum. At least 1. It needs
// [Config.ProcessMax].
func LocalAbsolute(bytes int64) Condition { return &localAbsolute{bytes} }

// LocalRelative holds while the process has less than percent left of its maximum, in (0, 100]; above its
// maximum it has less than nothing. It needs [Config.ProcessMax].
func LocalRelative(percent float64) Condition { return &localRelative{percent} }

const (
	signalMemory  = "memory"
	signalProcess = "process"
)

// Judge implements Condition.
func (g *globalAbsolute) Judge(in *Input) Finding {
	m := &in.Memory
	if reason := m.unknown(); reason != "" {
		return unknown(signalMemory, reason, in.age(m.At))
	}
	return Finding{
		Truth: TruthOf(m.Available < g.bytes), Value: float64(m.Available), Bound: float64(g.bytes), HasValue: true,
		Zero: float64(m.Total), Unit: "bytes", Signal: signalMemory, Limit: m.Limit, LimitBytes: m.limitBytes(),
		Age: in.age(m.At),
	}
}

// Judge implements Condition.
func (g *globalRelative) Judge(in *Input) Finding {
	m := &in.Memory
	if reason := m.unknown(); reason != "" {
		return unknown(signalMemory, reason, in.age(m.At))
	}
	f := relative(signalMemory, m.Available, m.Total, g.percent, in.age(m.At))
	f.Limit, f.LimitBytes = m.Limit, m.limitBytes()
	return f
}

// Judge implements Condition.
func (l *localAbsolute) Judge(in *Input) Finding {
	p := &in.Process
	if reason := p.unknown(); reason != "" {
		return unknown(signalProcess, reason, in.age(p.At))
	}
	left := p.Max - p.Used
	return Finding{
		Truth: TruthOf(left < l.bytes), Value: float64(left), Bound: float64(l.bytes), HasValue: true,
		Zero: float64(p.Max), Unit: "bytes", Signal: signalProcess, Limit: p.Limit, LimitBytes: p.limitBytes(),
		Age: in.age(p.At),
	}
}

// Judge implements Condition.
func (l *localRelative) Judge(in *Input) Finding {
	p := &in.Process
	if reason := p.unknown(); reason != "" {
		return unknown(signalProcess, reason, in.age(p.At))
	}
	f := relative(signalProcess, p.Max-p.Used, p.Max, l.percent, in.age(p.At))
	f.Limit, f.LimitBytes = p.Limit, p.limitBytes()
	return f
}

// limitBytes returns the limit, where it is known which one that is.
func (m *Memory) limitBytes() int64 {
	if m.Limit == "" {
		return 0
	}
	return m.Total
}

// limitBytes returns the maximum, where it is known whose it is.
func (p *Process) limitBytes() int64 {
	if p.Limit == "" {
		return 0
	}
	return p.Max
}

// relative compares the share that is left with a percentage. One division of whole bytes and no other
// rounding: 1 - percent/100 is misrounded for 40 of the 99 whole percentages.
func relative(signal string, left, total int64, percent float64, age time.Duration) Finding {
	value, bound := float64(left)/float64(total), percent/100
	return Finding{
		Truth: TruthOf(value < bound), Value: value, Bound: bound, HasValue: true,
		Zero: 1, Unit: "ratio", Signal: signal, Age: age,
	}
}

// String implements Condition.
func (g *globalAbsolute) String() string { return fmt.Sprintf("global_absolute(%d)", g.bytes) }

// String implements Condition.
func (g *globalRelative) String() string { return "global_relative(" + number(g.percent) + ")" }

// String implements Condition.
func (l *localAbsolute) String() string { return fmt.Sprintf("local_absolute(%d)", l.bytes) }

// String implements Condition.
func (l *localRelative) String() string { return "local_relative(" + number(l.percent) + ")" }

func number(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

func (g *globalAbsolute) check(*Config) error { return checkBytes(g.bytes) }
func (g *globalRelative) check(*Config) error { return checkPercent(g.percent) }
func (l *localAbsolute) check(c *Config) error {
	return errors.Join(checkBytes(l.bytes), checkProcessMax("local_absolute", c))
}
func (l *localRelative) check(c *Config) error {
	return errors.Join(checkPercent(l.percent), checkProcessMax("local_relative", c))
}

func checkBytes(bytes int64) error {
	if bytes < 1 {
		return fmt.Errorf("%d bytes is less than 1", bytes)
	}
	return nil
}

func checkPercent(percent float64) error {
	if !(percent > 0 && percent <= 100) { // also refuses NaN
		return fmt.Errorf("%v percent is outside (0, 100]", percent)
	}
	return nil
}

func checkProcessMax(name string, c *Config) error {
	if c.ProcessMax < 1 {
		return fmt.Errorf("%s needs ProcessMax, the maximum of the process", name)
	}
	return nil
}

func (*globalAbsolute) measure() string { return "memory bytes" }
func (*globalRelative) measure() string { return "memory ratio" }
func (*localAbsolute) measure() string  { return "process bytes" }
func (*localRelative) measure() string  { return "process ratio" }
