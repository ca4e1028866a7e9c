package snapshot

import (
	"log/slog"
	"slices"
	"time"
)

// WithDefaults returns c with every zero field at its default for the profile and the scope. MaxMemory
// stays 0, which is a default of its own, and a missing source stays missing. It checks nothing.
func (c Config) WithDefaults() Config {
	setDefault(&c.CPUInterval, DefaultCPUInterval)
	setDefault(&c.MemoryInterval, DefaultMemoryInterval)
	setDefault(&c.EventLoopInterval, DefaultEventLoopInterval)
	setDefault(&c.ClientInterval, DefaultClientInterval)
	setDefault(&c.PressureInterval, DefaultPressureInterval)
	setDefault(&c.MaxCPURatio, DefaultMaxCPURatio)
	if c.Profile.crawlee() || c.Scope == ScopeProcess {
		setDefault(&c.AvailableMemoryRatio, DefaultAvailableMemoryRatio)
	}
	setDefault(&c.AvailableMemoryRatio, 1)
	setDefault(&c.MaxMemoryRatio, DefaultMaxMemoryRatio)
	setDefault(&c.MaxHostMemoryRatio, DefaultMaxHostMemoryRatio)
	setDefault(&c.ReserveMemoryRatio, DefaultReserveMemoryRatio)
	setDefault(&c.MemoryWarningCooldown, DefaultMemoryWarningCooldown)
	setDefault(&c.MaxCPUPressure, DefaultMaxCPUPressure)
	setDefault(&c.MaxMemoryPressure, DefaultMaxMemoryPressure)
	setDefault(&c.MaxIOPressure, DefaultMaxIOPressure)
	setDefault(&c.MaxEventLoopDelay, DefaultMaxEventLoopDelay)
	if c.Profile == ProfileCrawleeJS {
		setDefault(&c.MaxClientErrors, DefaultMaxClientErrorsJS)
	}
	setDefault(&c.MaxClientErrors, DefaultMaxClientErrors)
	setDefault(&c.ClientRetryIndex, DefaultClientRetryIndex)
	setDefault(&c.History, DefaultHistory)
	setDefault(&c.CurrentWindow, DefaultCurrentWindow)
	setDefault(&c.CPUOverloadRatio, DefaultCPUOverloadRatio)
	setDefault(&c.MemoryOverloadRatio, DefaultMemoryOverloadRatio)
	setDefault(&c.EventLoopOverloadRatio, DefaultLoopOverloadRatio)
	setDefault(&c.ClientOverloadRatio, DefaultClientOverloadRatio)
	setDefault(&c.PressureOverloadRatio, DefaultPressureOverloadRatio)

	c.Signals = slices.Clone(c.Signals)
	for i := range c.Signals {
		sig := &c.Signals[i]
		setDefault(&sig.Interval, defaultSignalInterval)
		setDefault(&sig.OverloadRatio, c.overloadRatio(sig.Name))
	}
	if c.Clock == nil {
		start := time.Now()
		c.Clock = func() time.Duration { return time.Since(start) }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// overloadRatio returns the threshold of a built-in signal, or that of custom ones.
func (c *Config) overloadRatio(signal string) float64 {
	switch signal {
	case SignalCPU:
		return c.CPUOverloadRatio
	case SignalMemory:
		return c.MemoryOverloadRatio
	case SignalEventLoop:
		return c.EventLoopOverloadRatio
	case SignalClient:
		return c.ClientOverloadRatio
	case SignalPressureCPU, SignalPressureMemory, SignalPressureIO:
		return c.PressureOverloadRatio
	default:
		return DefaultCustomOverloadRatio
	}
}

// crawlee reports whether the rules are those of one of the Crawlees.
func (p Profile) crawlee() bool { return p == ProfileCrawleePython || p == ProfileCrawleeJS }

// String returns the name of the profile as configuration spells it: "headroom", "crawlee-python" or
// "crawlee-js".
func (p Profile) String() string {
	switch p {
	case ProfileHeadroom:
		return "headroom"
	case ProfileCrawleePython:
		return "crawlee-python"
	case ProfileCrawleeJS:
		return "crawlee-js"
	default:
		return "unknown"
	}
}
