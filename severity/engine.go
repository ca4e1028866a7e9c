package severity

import (
	"fmt"
	"slices"
	"time"
)

// Engine keeps the severity level. Its methods but Ask are not safe for concurrent use; [Runner] is.
type Engine struct {
	cfg     Config
	program program
	levels  []levelState // levels[n-1] is level n
	calls   []*call

	level    int
	sequence uint64
	stopped  bool
	stepped  bool          // there was a Step, since the start or since Resume
	now      time.Duration // of the last Step
	in       Input

	events  []Event
	firing  []Evidence
	unknown []Evidence
}

// levelState is one level, compiled, and its past.
type levelState struct {
	enter, stay, unless          node
	hasStay, hasUnless           bool
	enterTruth, stayTruth, gated Truth

	since   time.Duration // when enter was first seen to hold, where pending is true
	pending bool
	entered time.Duration // while in effect
}

// New returns an Engine at level 0. It reports every fault of c at once and starts nothing.
func New(c Config) (*Engine, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("severity: config: %w", err)
	}
	c.Levels = slices.Clone(c.Levels)
	e := &Engine{cfg: c, levels: make([]levelState, len(c.Levels))}
	belowBegin, belowEnd := 0, 0
	for i, level := range c.Levels {
		s := &e.levels[i]
		begin := len(e.program.leaves)
		s.enter = e.program.compile(level.Enter, i+1)
		e.program.pair(begin, belowBegin, belowEnd)
		belowBegin, belowEnd = begin, len(e.program.leaves)
		if s.hasStay = level.Stay != nil; s.hasStay {
			s.stay = e.program.compile(level.Stay, i+1)
		}
		if s.hasUnless = level.Unless != nil; s.hasUnless {
			s.unless = e.program.compile(level.Unless, i+1)
		}
	}
	for _, l := range e.program.leaves {
		if c, ok := l.condition.(*custom); ok &&
			!slices.ContainsFunc(e.calls, func(other *call) bool { return other.of == c }) {
			e.calls = append(e.calls, &call{of: c})
		}
	}
	return e, nil
}

// Config returns the config, with its defaults.
func (e *Engine) Config() Config {
	c := e.cfg
	c.Levels = slices.Clone(c.Levels)
	return c
}

// Level returns the level.
func (e *Engine) Level() int { return e.level }

// RateSignals returns the signals whose rate the conditions look at, sorted.
func (e *Engine) RateSignals() []string {
	var names []string
	for _, l := range e.program.leaves {
		if c, ok := l.condition.(*changing); ok {
			names = append(names, c.signal)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Stop freezes the level: until Resume, a Step changes nothing and tells nothing.
func (e *Engine) Stop() { e.stopped = true }

// Resume ends Stop. Nothing is made up for; how long a condition holds counts anew.
func (e *Engine) Resume() {
	if e.stopped {
		e.stopped, e.stepped = false, false
	}
}

// Step judges the input at its instant and moves the level. An instant before that of the last Step counts as
// that. Without a transition it does not allocate, as far as the conditions do not.
func (e *Engine) Step(in Input) Outcome {
	e.events, e.firing, e.unknown = e.events[:0], e.firing[:0], e.unknown[:0]
	if e.stopped {
		return Outcome{Level: e.level, Held: HeldStopped, Sequence: e.sequence}
	}
	e.judge(&in)
	target, held := e.target()
	before := e.sequence
	if e.level < target {
		e.rise(target)
	} else if e.level > target && !e.fall(target) {
		held = HeldDwell
	}
	if e.sequence == before {
		e.remain()
	}
	out := Outcome{Level: e.level, Held: held, Events: e.events, Sequence: e.sequence}
	e.describe(&out)
	return out
}

// judge asks the leaves and keeps how long each level's condition has been holding.
func (e *Engine) judge(in *Input) {
	gap := !e.stepped || in.At-e.now > 3*e.cfg.CheckInterval
	e.now = max(e.now, in.At)
	e.stepped = true
	e.in = *in
	e.in.At = e.now
	if e.cfg.ProcessMax > 0 {
		e.in.Process.Max = e.cfg.ProcessMax
	}
	e.program.judge(&e.in)
	for i := range e.levels {
		s := &e.levels[i]
		s.enterTruth = e.program.truth(&s.enter)
		s.stayTruth = s.enterTruth
		if s.hasStay {
			s.stayTruth = s.enterTruth.Or(e.program.truth(&s.stay))
		}
		s.gated = False
		if s.hasUnless {
			s.gated = e.program.truth(&s.unless)
		}
		if gap || s.enterTruth == False {
			s.pending = false
		}
		if s.enterTruth == True && !s.pending {
			s.pending, s.since = true, e.now
		}
	}
}

// target returns the level to move to, and what keeps it from being another.
func (e *Engine) target() (target int, held Hold) {
	for n := len(e.levels); n > e.level; n-- {
		switch s := &e.levels[n-1]; {
		case s.enterTruth == Unknown:
			held = max(held, HeldUnknown)
		case s.enterTruth == False:
		case e.now-s.since < e.cfg.Levels[n-1].HoldFor:
			held = max(held, HeldEnter)
		case s.gated == True:
			held = max(held, HeldTrend)
		default:
			return n, held
		}
	}
	if held != NotHeld {
		return e.level, held
	}
	for n := e.level; n > 0; n-- {
		switch e.levels[n-1].stayTruth {
		case Unknown:
			return n, HeldUnknown
		case True:
			return n, NotHeld
		}
	}
	return 0, NotHeld
}

func (e *Engine) rise(target int) {
	for e.level < target {
		n := e.level + 1
		s := &e.levels[n-1]
		cause := s
		if s.enterTruth != True {
			cause = &e.levels[target-1]
		}
		s.entered = e.now
		t := e.transition(n, e.program.explain(nil, &cause.enter, True))
		e.events = append(e.events, Event{Kind: Entered, Level: n, Transition: t})
	}
}

// fall moves down to the target and reports whether it got there.
func (e *Engine) fall(target int) bool {
	for e.level > target {
		n := e.level
		s := &e.levels[n-1]
		if e.now-s.entered < e.cfg.Levels[n-1].Dwell {
			return false
		}
		let := &s.enter
		if s.hasStay {
			let = &s.stay
		}
		t := e.transition(n-1, e.program.explain(nil, let, False))
		e.events = append(e.events, Event{Kind: Left, Level: n, Transition: t})
		if e.level == 0 {
			e.events = append(e.events, Event{Kind: Normal, Transition: t})
		}
	}
	return true
}

func (e *Engine) transition(to int, evidence []Evidence) Transition {
	e.sequence++
	t := Transition{
		From: e.level, To: to, Sequence: e.sequence, At: e.now, Time: e.in.Time, Evidence: evidence,
	}
	e.level = to
	return t
}

func (e *Engine) remain() {
	e.events = append(e.events, Event{Kind: Remaining, Level: e.level})
	if e.cfg.RemainingAll {
		for n := e.level - 1; n > 0; n-- {
			e.events = append(e.events, Event{Kind: Remaining, Level: n})
		}
	}
}

// describe completes an outcome by what explains it.
func (e *Engine) describe(out *Outcome) {
	if e.level < len(e.levels) {
		out.Fraction = e.program.reach(&e.levels[e.level].enter)
	}
	if e.level > 0 {
		switch s := &e.levels[e.level-1]; {
		case s.enterTruth == True:
			e.firing = e.program.explain(e.firing, &s.enter, True)
		case s.stayTruth == True:
			e.firing = e.program.explain(e.firing, &s.stay, True)
		}
	}
	for i := range e.program.findings {
		if e.program.findings[i].Truth == Unknown {
			e.unknown = append(e.unknown, e.program.evidence(i))
		}
	}
	out.Firing, out.Unknown = e.firing, e.unknown
}
