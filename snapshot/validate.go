package snapshot

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

const (
	defaultSignalInterval = time.Second
	minInterval           = 50 * time.Millisecond
	maxInterval           = time.Minute
	minHistory            = 5 * time.Second
	maxHistory            = time.Hour
	mostSignals           = 256

	// maxSnapshots bounds what one signal keeps, and with it the memory and the time that a judgement
	// takes.
	maxSnapshots = 4096
)

// reservedName is what all signals of pressure are called together; nobody may take it.
const reservedName = "pressure"

// builtinSignals are the names of the built-in signals, in the order of Status.Signals.
var builtinSignals = []string{
	SignalCPU, SignalMemory, SignalEventLoop, SignalClient,
	SignalPressureCPU, SignalPressureMemory, SignalPressureIO,
}

// faults gathers every fault of one value, each with the name of its field.
type faults []error

func (f *faults) add(format string, args ...any) { *f = append(*f, fmt.Errorf(format, args...)) }

func (f *faults) duration(field string, d, lo, hi time.Duration) {
	if d < lo || d > hi {
		f.add("%s: %v is outside %v to %v", field, d, lo, hi)
	}
}

func (f *faults) integer(field string, n, lo, hi int64) {
	if n < lo || n > hi {
		f.add("%s: %d is outside %d to %d", field, n, lo, hi)
	}
}

func (f *faults) ratio(field string, r float64) {
	if !(r > 0 && r <= 1) { // also refuses NaN
		f.add("%s: %v is outside (0, 1]", field, r)
	}
}

// validate reports every fault of a config that has its defaults.
func (c *Config) validate() error {
	var f faults
	if c.Profile > ProfileCrawleeJS {
		f.add("Profile: %d is not a profile", c.Profile)
	}
	if c.Scope > ScopeHost {
		f.add("Scope: %d is not a scope", c.Scope)
	}
	if c.Stale > StaleOverloaded {
		f.add("Stale: %d is not a policy", c.Stale)
	}
	f.ratio("MaxCPURatio", c.MaxCPURatio)
	f.integer("MaxMemory", c.MaxMemory, 0, math.MaxInt64)
	f.ratio("AvailableMemoryRatio", c.AvailableMemoryRatio)
	f.ratio("MaxMemoryRatio", c.MaxMemoryRatio)
	f.ratio("MaxHostMemoryRatio", c.MaxHostMemoryRatio)
	f.ratio("ReserveMemoryRatio", c.ReserveMemoryRatio)
	f.duration("MemoryWarningCooldown", c.MemoryWarningCooldown, time.Second, time.Hour)
	f.ratio("MaxCPUPressure", c.MaxCPUPressure)
	f.ratio("MaxMemoryPressure", c.MaxMemoryPressure)
	f.ratio("MaxIOPressure", c.MaxIOPressure)
	f.duration("MaxEventLoopDelay", c.MaxEventLoopDelay, time.Millisecond, time.Minute)
	f.integer("MaxClientErrors", c.MaxClientErrors, 1, math.MaxInt64)
	f.integer("ClientRetryIndex", int64(c.ClientRetryIndex), 1, maxRetryIndex)
	f.duration("History", c.History, minHistory, maxHistory)
	f.duration("CurrentWindow", c.CurrentWindow, time.Second, max(c.History, time.Second))
	f.ratio("CPUOverloadRatio", c.CPUOverloadRatio)
	f.ratio("MemoryOverloadRatio", c.MemoryOverloadRatio)
	f.ratio("EventLoopOverloadRatio", c.EventLoopOverloadRatio)
	f.ratio("ClientOverloadRatio", c.ClientOverloadRatio)
	f.ratio("PressureOverloadRatio", c.PressureOverloadRatio)

	c.validateInterval(&f, "CPUInterval", c.CPUInterval)
	c.validateInterval(&f, "MemoryInterval", c.MemoryInterval)
	c.validateInterval(&f, "EventLoopInterval", c.EventLoopInterval)
	c.validateInterval(&f, "ClientInterval", c.ClientInterval)
	c.validateInterval(&f, "PressureInterval", c.PressureInterval)
	c.validateSignals(&f)
	return errors.Join(f...)
}

func (c *Config) validateInterval(f *faults, field string, d time.Duration) {
	f.duration(field, d, minInterval, maxInterval)
	if d > 0 && c.History/d > maxSnapshots {
		f.add("History and %s: %v at every %v is more than %d snapshots", field, c.History, d, maxSnapshots)
	}
}

func (c *Config) validateSignals(f *faults) {
	disabled := map[string]bool{}
	for i, name := range c.Disabled {
		field := fmt.Sprintf("Disabled[%d]", i)
		switch {
		case !slices.Contains(builtinSignals, name):
			f.add("%s: %q is not a built-in signal, which are %q", field, name, builtinSignals)
		case disabled[name]:
			f.add("%s: %q is named twice", field, name)
		}
		disabled[name] = true
	}
	if len(c.Signals) > mostSignals {
		f.add("Signals: %d are more than %d", len(c.Signals), mostSignals)
	}
	taken := map[string]bool{}
	for i, sig := range c.Signals {
		field := fmt.Sprintf("Signals[%d]", i)
		switch {
		case !validSignalName(sig.Name):
			f.add("%s.Name: %q is not 1 to 64 of a-z, 0-9, '_', '.' and '-', beginning with a letter", field, sig.Name)
		case sig.Name == reservedName:
			f.add("%s.Name: %q is reserved", field, sig.Name)
		case taken[sig.Name]:
			f.add("%s.Name: %q is taken by another signal", field, sig.Name)
		case disabled[sig.Name]:
			f.add("%s.Name: %q is disabled, so it cannot be replaced", field, sig.Name)
		}
		taken[sig.Name] = true
		c.validateInterval(f, field+".Interval", sig.Interval)
		f.ratio(field+".OverloadRatio", sig.OverloadRatio)
		if sig.Stale > StaleOverloaded {
			f.add("%s.Stale: %d is not a policy", field, sig.Stale)
		}
		if sig.Read == nil {
			f.add("%s.Read: required", field)
		}
	}
	if c.Sources.CPU == nil && !disabled[SignalCPU] && !taken[SignalCPU] {
		f.add("Sources.CPU: required, unless the signal %q is disabled or replaced", SignalCPU)
	}
	if c.Sources.Memory == nil && !disabled[SignalMemory] && !taken[SignalMemory] {
		f.add("Sources.Memory: required, unless the signal %q is disabled or replaced", SignalMemory)
	}
}

// validSignalName reports whether name is 1 to 64 of a-z, 0-9, '_', '.' and '-', beginning with a letter.
func validSignalName(name string) bool {
	if len(name) == 0 || len(name) > 64 || name[0] < 'a' || name[0] > 'z' {
		return false
	}
	for i := range len(name) {
		switch b := name[i]; {
		case b >= 'a' && b <= 'z', b >= '0' && b <= '9', b == '_', b == '.', b == '-':
		default:
			return false
		}
	}
	return true
}
