package snapshot

import (
	"cmp"
	"slices"
	"time"
)

// newSignals returns the signals of the Config in order, the disabled ones among them.
func (s *Snapshotter) newSignals() []*signal {
	c := &s.cfg
	signals := []*signal{
		c.newBuiltin(SignalCPU, CPU, c.CPUInterval),
		c.newBuiltin(SignalMemory, Memory, c.MemoryInterval),
		c.newBuiltin(SignalEventLoop, EventLoop, c.EventLoopInterval),
		c.newBuiltin(SignalClient, Client, c.ClientInterval),
	}
	if c.Sources.Pressure != nil && !c.Profile.crawlee() {
		for _, name := range builtinSignals {
			if isPressure(name) {
				signals = append(signals, c.newBuiltin(name, Pressure, c.PressureInterval))
			}
		}
	}
	for _, own := range c.Signals {
		i := slices.IndexFunc(signals, func(sig *signal) bool { return sig.name == own.Name })
		if i < 0 {
			i = len(signals)
			signals = append(signals, &signal{name: own.Name, resource: Custom})
			if isPressure(own.Name) {
				signals[i].resource = Pressure
			}
		}
		sig := signals[i]
		sig.interval, sig.limit, sig.stale = own.Interval, own.OverloadRatio, own.Stale
	}
	for _, sig := range signals {
		if !sig.disabled {
			sig.history = newHistory(c.History, sig.interval)
		}
	}
	orderSignals(signals)
	return signals
}

func (c *Config) newBuiltin(name string, resource Resource, interval time.Duration) *signal {
	sig := &signal{
		name: name, resource: resource, disabled: slices.Contains(c.Disabled, name),
		evidence: evidence{interval: interval, limit: c.overloadRatio(name), stale: c.Stale},
	}
	if resource == Pressure && sig.stale == StaleHold {
		sig.stale = StaleIgnore // a kernel that does not measure it must not make the whole unknown
	}
	return sig
}

// newReportedSignal returns a signal that only workers report. It keeps its snapshots in h, that of another
// such signal which is gone, or in a new history where h is nil.
func (s *Snapshotter) newReportedSignal(name string, h *history) *signal {
	if h == nil {
		h = newHistory(s.cfg.History, keepInterval)
	}
	return &signal{
		name: name, resource: Custom, reported: true, sampler: &reportedSampler{s.cfg.Reports},
		evidence: evidence{history: h, interval: keepInterval, limit: DefaultCustomOverloadRatio, stale: StaleIgnore},
	}
}

// newSampler returns what samples an enabled signal of the Config from now on, with no past. For the event
// loop of the default profile it makes the prober too.
func (s *Snapshotter) newSampler(sig *signal) sampler {
	c := &s.cfg
	if i := slices.IndexFunc(c.Signals, func(own Signal) bool { return own.Name == sig.name }); i >= 0 {
		own := &c.Signals[i]
		return &customSampler{read: own.Read, source: cmp.Or(own.Source, own.Name), reports: c.Reports}
	}
	last := previous{profile: c.Profile, history: c.History}
	switch sig.resource {
	case CPU:
		return &cpuSampler{read: c.Sources.CPU, limit: c.MaxCPURatio}
	case Memory:
		return &memorySampler{read: c.Sources.Memory, rules: c.memoryRules()}
	case EventLoop:
		loop := &loopSampler{
			profile: c.Profile, wait: sig.interval, limit: c.MaxEventLoopDelay, reports: c.Reports, last: last,
		}
		if !c.Profile.crawlee() {
			s.prober = newProber(c.Clock, c.AlwaysProbe)
			loop.prober = s.prober
			loop.scheduler = newSchedulerLatency(sig.interval, s.scheduler())
		}
		return loop
	case Pressure:
		stalled := stalledResource(sig.name)
		return &pressureSampler{read: c.Sources.Pressure, stalled: stalled, limit: c.maxPressure(stalled)}
	default:
		return &clientSampler{
			read: c.ClientErrors, reports: c.Reports, limit: c.MaxClientErrors, retryIndex: c.ClientRetryIndex,
			last: last,
		}
	}
}

func (c *Config) memoryRules() memoryRules {
	return memoryRules{
		profile:      c.Profile,
		maxMemory:    c.MaxMemory,
		available:    c.AvailableMemoryRatio,
		maxRatio:     c.MaxMemoryRatio,
		maxHostRatio: c.MaxHostMemoryRatio,
		reserve:      c.ReserveMemoryRatio,
	}
}
