package severity

import (
	"errors"
	"fmt"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

// Level is one severity level. HoldFor and Unless are about the level that is the target; one that is passed
// on the way to it waits for nothing.
type Level struct {
	// Name is for people. Optional.
	Name string

	// Enter is the condition under which the level is entered. Required.
	Enter Condition

	// Stay is the condition under which it stays in effect, with the bounds at which it is left. Enter keeps
	// it in effect too, so Stay need only be wider. nil means Enter.
	Stay Condition

	// Unless keeps the level from being entered, and the level below it from being left, while it holds: do
	// not escalate what is recovering already. Unknown does not. nil means never.
	Unless Condition

	// HoldFor is how long Enter must hold, in every Step, before the level is entered, from 0 to 1 h. A Step
	// in which it is Unknown does not count against it, but the level is not entered then. It is measured
	// from the first Step that saw it, and again after a gap of more than three check intervals.
	HoldFor time.Duration

	// Dwell is how long the level stays in effect at least, from 0 to 24 h.
	Dwell time.Duration
}

// DefaultCheckInterval is the default of [Config.CheckInterval], that of satella.
const DefaultCheckInterval = 10 * time.Second

// MaxLevels is the greatest number of levels.
const MaxLevels = 64

// Config says what an [Engine] decides. The zero value has no levels: its level is always 0.
type Config struct {
	// Levels are the levels, from 1 on, at most 64.
	Levels []Level

	// CheckInterval is the time between two Steps, from 50 ms to 1 day. The default is 10 s. The Engine only
	// uses it to tell a gap.
	CheckInterval time.Duration

	// ProcessMax is the memory in bytes that the process may use. The Local conditions need it.
	ProcessMax int64

	// RemainingAll tells Remaining of every level in effect, the highest first; by default only of the
	// highest.
	RemainingAll bool
}

func (c Config) withDefaults() Config {
	if c.CheckInterval == 0 {
		c.CheckInterval = DefaultCheckInterval
	}
	return c
}

// validate returns every fault of a config that has its defaults.
func (c *Config) validate() error {
	var faults []error
	duration := func(field string, d, lo, hi time.Duration) {
		if d < lo || d > hi {
			faults = append(faults, fmt.Errorf("%s: %v is outside %v to %v", field, d, lo, hi))
		}
	}
	duration("CheckInterval", c.CheckInterval, 50*time.Millisecond, 24*time.Hour)
	if c.ProcessMax < 0 {
		faults = append(faults, fmt.Errorf("ProcessMax: %d bytes is negative", c.ProcessMax))
	}
	if len(c.Levels) > MaxLevels {
		faults = append(faults, fmt.Errorf("Levels: %d are more than %d", len(c.Levels), MaxLevels))
	}
	for i, level := range c.Levels {
		field := fmt.Sprintf("Levels[%d]", i)
		duration(field+".HoldFor", level.HoldFor, 0, time.Hour)
		duration(field+".Dwell", level.Dwell, 0, 24*time.Hour)
		check := func(name string, condition Condition) {
			leaves, more := checkCondition(field+"."+name, condition, c, 0)
			if leaves > maxLeaves {
				more = append(more, fmt.Errorf("%s.%s: %d leaves are more than %d", field, name, leaves, maxLeaves))
			}
			faults = append(faults, more...)
		}
		check("Enter", level.Enter)
		if level.Stay != nil {
			check("Stay", level.Stay)
		}
		if level.Unless != nil {
			check("Unless", level.Unless)
		}
	}
	return errors.Join(faults...)
}

// BuiltinLevels returns the levels of a server without a configuration of its own:
//
//	1 "low":      less than 25 % of the memory available, or any signal overloaded now; until 30 %
//	2 "high":     less than 15 %, or pressure on memory over 20 %; until 20 % and 10 %
//	3 "critical": less than  5 %, or exhausted in less than 30 s; until 8 % and 60 s
//
// The first two must hold for 2 s, the third for 1 s, before they are entered; each then stays for 10 s.
// Pressure and exhaustion count only where they are known.
func BuiltinLevels() []Level {
	return []Level{{
		Name:    "low",
		Enter:   Any(GlobalRelative(25), AnyOverloaded(Current)),
		Stay:    Any(GlobalRelative(30), AnyOverloaded(Current)),
		HoldFor: 2 * time.Second,
		Dwell:   10 * time.Second,
	}, {
		Name:    "high",
		Enter:   Any(GlobalRelative(15), WhereKnown(PressureSome(snapshot.Memory, 0.20))),
		Stay:    Any(GlobalRelative(20), WhereKnown(PressureSome(snapshot.Memory, 0.10))),
		HoldFor: 2 * time.Second,
		Dwell:   10 * time.Second,
	}, {
		Name:    "critical",
		Enter:   Any(GlobalRelative(5), WhereKnown(ExhaustionWithin(30*time.Second))),
		Stay:    Any(GlobalRelative(8), WhereKnown(ExhaustionWithin(time.Minute))),
		HoldFor: time.Second,
		Dwell:   10 * time.Second,
	}}
}
