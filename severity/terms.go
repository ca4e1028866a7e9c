package severity

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

// Window selects one of the two judgements of a signal.
type Window uint8

// The windows.
const (
	Current    Window = iota // the last seconds
	Historical               // the whole history
)

// String returns "current" or "historical".
func (w Window) String() string {
	if w == Historical {
		return "historical"
	}
	return "current"
}

type (
	anyOverloaded struct{ window Window }
	overloaded    struct {
		signal string
		window Window
	}
	compared struct {
		signal string
		bound  float64
		below  bool
	}
	pressure struct {
		stalled snapshot.Resource
		full    bool
		ratio   float64
	}
	changing struct {
		signal    string
		perSecond float64
		falling   bool
	}
	exhaustionWithin struct{ within time.Duration }
	recovering       struct{}
)

// AnyOverloaded holds while any signal is overloaded over the window. It is Unknown while the whole is,
// as [snapshot.Status] says.
func AnyOverloaded(w Window) Condition { return &anyOverloaded{w} }

// Overloaded holds while the named signal is overloaded over the window.
func Overloaded(signal string, w Window) Condition { return &overloaded{signal, w} }

// Above holds while the newest value of the named signal is strictly over the bound, in the signal's unit.
func Above(signal string, bound float64) Condition { return &compared{signal, bound, false} }

// Below holds while the newest value of the named signal is strictly under the bound, in the signal's unit.
func Below(signal string, bound float64) Condition { return &compared{signal, bound, true} }

// PressureSome holds while some task waits for the resource for strictly more than ratio of the time (PSI),
// in [0, 1]. The resource is CPU, Memory, or 0 for I/O.
func PressureSome(stalled snapshot.Resource, ratio float64) Condition {
	return &pressure{stalled, false, ratio}
}

// PressureFull holds while all tasks wait for the resource for strictly more than ratio of the time (PSI), in
// [0, 1]. The resource is CPU, Memory, or 0 for I/O.
func PressureFull(stalled snapshot.Resource, ratio float64) Condition {
	return &pressure{stalled, true, ratio}
}

// Rising holds while the named signal rises by strictly more than the bound in a second, over [TrendWindow].
// It is Unknown while no straight line fits.
func Rising(signal string, perSecond float64) Condition { return &changing{signal, perSecond, false} }

// Falling holds while the named signal falls by strictly more than the bound in a second, over [TrendWindow].
// It is Unknown while no straight line fits.
func Falling(signal string, perSecond float64) Condition { return &changing{signal, perSecond, true} }

// ExhaustionWithin holds while the memory will have run out in strictly less than the time, at most
// [ExhaustionHorizon]. It is Unknown while no trend fits.
func ExhaustionWithin(within time.Duration) Condition { return &exhaustionWithin{within} }

// Recovering holds while the available memory grows. It is Unknown while no trend fits. It is meant for
// [Level.Unless].
func Recovering() Condition { return recovering{} }

// Judge implements Condition.
func (a *anyOverloaded) Judge(in *Input) Finding {
	st := in.status(a.window)
	if st.State != snapshot.StateOverloaded && st.State != snapshot.StateIdle {
		return unknownStatus(st)
	}
	worst := -1
	for i := range st.Signals {
		if s := &st.Signals[i]; s.State != snapshot.StateOverloaded && s.State != snapshot.StateIdle {
			continue
		}
		if worst < 0 || furtherOver(&st.Signals[i], &st.Signals[worst]) {
			worst = i
		}
	}
	f := Finding{Truth: TruthOf(st.State == snapshot.StateOverloaded), Unit: "ratio"}
	if worst >= 0 {
		f.setShare(&st.Signals[worst])
	}
	return f
}

// unknownStatus names the first signal that is unknown where others are known. It may be one that is ignored, which
// a status does not tell.
func unknownStatus(st *snapshot.Status) Finding {
	var first *snapshot.SignalStatus
	known := false
	for i := range st.Signals {
		switch s := &st.Signals[i]; {
		case s.State == snapshot.StateIdle:
			known = true
		case s.State == snapshot.StateUnknown && first == nil:
			first = s
		}
	}
	if !known || first == nil {
		return unknown("", "no signal is known", 0)
	}
	return unknown(first.Signal, orNotRead(first.Reason), first.Age)
}

// furtherOver orders overloaded signals before the others, and then by the share of their threshold.
func furtherOver(a, b *snapshot.SignalStatus) bool {
	if a.State != b.State {
		return a.State == snapshot.StateOverloaded
	}
	return a.Actual*b.Limit > b.Actual*a.Limit
}

// setShare makes a finding rest on the share of the window in which a signal was overloaded.
func (f *Finding) setShare(s *snapshot.SignalStatus) {
	f.Signal, f.Value, f.Bound, f.HasValue, f.Age = s.Signal, s.Actual, s.Limit, true, s.Age
}

// Judge implements Condition.
func (o *overloaded) Judge(in *Input) Finding {
	st := in.status(o.window)
	for i := range st.Signals {
		s := &st.Signals[i]
		switch {
		case s.Signal != o.signal:
			continue
		case s.State == snapshot.StateDisabled:
			return unknown(o.signal, "disabled", 0)
		case s.State != snapshot.StateOverloaded && s.State != snapshot.StateIdle:
			return unknown(o.signal, orNotRead(s.Reason), s.Age)
		}
		f := Finding{Truth: TruthOf(s.State == snapshot.StateOverloaded), Unit: "ratio"}
		f.setShare(s)
		return f
	}
	return unknown(o.signal, notRead, 0)
}

func (in *Input) status(w Window) *snapshot.Status {
	if w == Historical {
		return &in.Historical
	}
	return &in.Current
}

// Judge implements Condition.
func (c *compared) Judge(in *Input) Finding {
	snap := in.signal(c.signal)
	if reason := unusable(in, snap, c.signal); reason != "" {
		return unusableFinding(in, snap, c.signal, reason)
	}
	f := Finding{
		Truth: TruthOf(snap.Value > c.bound), Value: snap.Value, Bound: c.bound, HasValue: true,
		Unit: snap.Resource.Unit(), Signal: c.signal, Age: in.age(snap.At),
	}
	if c.below {
		f.Truth, f.Zero = TruthOf(snap.Value < c.bound), math.Inf(1)
	}
	return f
}

func unusableFinding(in *Input, snap *snapshot.Snapshot, signal, reason string) Finding {
	f := unknown(signal, reason, 0)
	switch {
	case snap == nil:
	case snap.Known():
		f.Age = in.age(snap.At)
	case snap.HasLastGood:
		f.Age = in.age(snap.LastGood)
	}
	return f
}

// Judge implements Condition.
func (p *pressure) Judge(in *Input) Finding {
	for i := range in.Newest {
		snap := &in.Newest[i]
		if snap.Resource != snapshot.Pressure || !p.isAbout(snap) {
			continue
		}
		if reason := unusable(in, snap, snap.Signal); reason != "" {
			return unusableFinding(in, snap, snap.Signal, reason)
		}
		value := snap.Pressure.Some
		if p.full {
			if !snap.Pressure.FullKnown {
				return unknown(snap.Signal, "full pressure is not known", in.age(snap.At))
			}
			value = snap.Pressure.Full
		}
		return Finding{
			Truth: TruthOf(value > p.ratio), Value: value, Bound: p.ratio, HasValue: true,
			Unit: "ratio", Signal: snap.Signal, Age: in.age(snap.At),
		}
	}
	return unknown(snapshot.Pressure.String(), notRead, 0)
}

// isAbout reports whether a snapshot of pressure is about the resource. One that could not be made says so by its
// name only.
func (p *pressure) isAbout(snap *snapshot.Snapshot) bool {
	if snap.Known() {
		return snap.Pressure.Stalled == p.stalled
	}
	switch p.stalled {
	case snapshot.CPU:
		return snap.Signal == snapshot.SignalPressureCPU
	case snapshot.Memory:
		return snap.Signal == snapshot.SignalPressureMemory
	default:
		return snap.Signal == snapshot.SignalPressureIO
	}
}

// Judge implements Condition.
func (c *changing) Judge(in *Input) Finding {
	for i := range in.Rates {
		r := &in.Rates[i]
		if r.Signal != c.signal {
			continue
		}
		if !r.Known {
			return unknown(c.signal, orNotRead(r.Reason), in.age(r.At))
		}
		value := r.PerSecond
		if c.falling {
			value = -value
		}
		return Finding{
			Truth: TruthOf(value > c.perSecond), Value: value, Bound: c.perSecond, HasValue: true,
			Unit: "per second", Signal: c.signal, Age: in.age(r.At),
		}
	}
	return unknown(c.signal, notRead, 0)
}

// Judge implements Condition.
func (e *exhaustionWithin) Judge(in *Input) Finding {
	x := &in.Exhaustion
	if !x.Known {
		return unknown(signalMemory, orNotRead(x.Reason), 0)
	}
	f := Finding{
		Truth: False, Bound: e.within.Seconds(), Zero: ExhaustionHorizon.Seconds(),
		Unit: "seconds", Signal: signalMemory, Limit: in.Memory.Limit, LimitBytes: in.Memory.limitBytes(),
		Age: in.age(x.At),
	}
	if x.InSight {
		f.Truth, f.Value, f.HasValue = TruthOf(x.In < e.within), x.In.Seconds(), true
	}
	return f
}

// Judge implements Condition.
func (recovering) Judge(in *Input) Finding {
	x := &in.Exhaustion
	if !x.Known {
		return unknown(signalMemory, orNotRead(x.Reason), 0)
	}
	return Finding{
		Truth: TruthOf(x.PerSecond > 0), Value: x.PerSecond, HasValue: true,
		Unit: "bytes per second", Signal: signalMemory, Age: in.age(x.At),
	}
}

// String implements Condition.
func (a *anyOverloaded) String() string { return fmt.Sprintf("any_overloaded(%s)", a.window) }

// String implements Condition.
func (o *overloaded) String() string { return fmt.Sprintf("overloaded(%q, %s)", o.signal, o.window) }

// String implements Condition.
func (c *compared) String() string {
	if c.below {
		return fmt.Sprintf("below(%q, %s)", c.signal, number(c.bound))
	}
	return fmt.Sprintf("above(%q, %s)", c.signal, number(c.bound))
}

// String implements Condition.
func (p *pressure) String() string {
	kind, stalled := "some", "io"
	if p.full {
		kind = "full"
	}
	if p.stalled != 0 {
		stalled = p.stalled.String()
	}
	return fmt.Sprintf("pressure_%s(%s, %s)", kind, stalled, number(p.ratio))
}

// String implements Condition.
func (c *changing) String() string {
	if c.falling {
		return fmt.Sprintf("falling(%q, %s)", c.signal, number(c.perSecond))
	}
	return fmt.Sprintf("rising(%q, %s)", c.signal, number(c.perSecond))
}

// String implements Condition.
func (e *exhaustionWithin) String() string { return fmt.Sprintf("exhaustion_within(%v)", e.within) }

// String implements Condition.
func (recovering) String() string { return "recovering()" }

var errNoSignal = errors.New("no name of a signal")

func (a *anyOverloaded) check(*Config) error { return checkWindow(a.window) }

func (o *overloaded) check(*Config) error {
	return errors.Join(checkSignal(o.signal), checkWindow(o.window))
}

func (c *compared) check(*Config) error {
	return errors.Join(checkSignal(c.signal), checkFinite(c.bound))
}

func (p *pressure) check(*Config) error {
	var err error
	if p.stalled != 0 && p.stalled != snapshot.CPU && p.stalled != snapshot.Memory {
		err = fmt.Errorf("pressure on %v is not measured; it is cpu, memory or 0 for I/O", p.stalled)
	}
	if !(p.ratio >= 0 && p.ratio <= 1) { // also refuses NaN
		err = errors.Join(err, fmt.Errorf("%v is outside [0, 1]", p.ratio))
	}
	return err
}

func (c *changing) check(*Config) error {
	err := errors.Join(checkSignal(c.signal), checkFinite(c.perSecond))
	if c.perSecond < 0 {
		err = errors.Join(err, fmt.Errorf("%v per second is negative", c.perSecond))
	}
	return err
}

func (e *exhaustionWithin) check(*Config) error {
	if e.within <= 0 || e.within > ExhaustionHorizon {
		return fmt.Errorf("%v is outside (0, %v]", e.within, ExhaustionHorizon)
	}
	return nil
}

func checkWindow(w Window) error {
	if w > Historical {
		return fmt.Errorf("%d is not a window", w)
	}
	return nil
}

func checkSignal(name string) error {
	if name == "" {
		return errNoSignal
	}
	return nil
}

func checkFinite(f float64) error {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return fmt.Errorf("%v is not a finite number", f)
	}
	return nil
}

func (a *anyOverloaded) measure() string  { return "any overloaded " + a.window.String() }
func (o *overloaded) measure() string     { return "overloaded " + o.window.String() + " " + o.signal }
func (*exhaustionWithin) measure() string { return "exhaustion" }
func (c *compared) measure() string {
	if c.below {
		return "below " + c.signal
	}
	return "above " + c.signal
}

func (p *pressure) measure() string {
	if p.full {
		return "pressure full " + p.stalled.String()
	}
	return "pressure some " + p.stalled.String()
}

func (c *changing) measure() string {
	if c.falling {
		return "falling " + c.signal
	}
	return "rising " + c.signal
}
