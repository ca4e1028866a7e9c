package wire_test

import (
	"math/rand/v2"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

// randomSnapshot returns any snapshot that a Snapshotter could make.
func randomSnapshot(r *rand.Rand) snapshot.Snapshot {
	s := snapshot.Snapshot{
		Signal:        randomText(r),
		Resource:      snapshot.Resource(r.IntN(int(snapshot.Custom) + 1)),
		Time:          randomTime(r),
		At:            time.Duration(r.Int64N(int64(now))),
		Source:        randomText(r),
		Discontinuity: flip(r),
	}
	if flip(r) {
		s.Unknown = "reason " + randomText(r)
		if flip(r) {
			s.LastGood, s.HasLastGood = time.Duration(r.Int64N(int64(now))), true
		}
		return s
	}
	s.Overloaded, s.Value, s.Limit = flip(r), r.NormFloat64(), r.NormFloat64()
	replaced := r.IntN(4) == 0 // a program's own signal under a built-in name has no raw numbers
	switch {
	case s.Resource == snapshot.Pressure:
		s.Pressure.Some, s.Pressure.Source = r.Float64(), s.Source
		s.Pressure.Stalled = []snapshot.Resource{0, snapshot.CPU, snapshot.Memory}[r.IntN(3)]
		if s.Pressure.FullKnown = flip(r); s.Pressure.FullKnown {
			s.Pressure.Full = r.Float64()
		}
	case s.Resource == snapshot.Custom:
		s.Custom.Reporters = r.IntN(3)
	case replaced:
	case s.Resource == snapshot.CPU:
		s.CPU = randomCPU(r)
		s.CPU.Source = s.Source
	case s.Resource == snapshot.Memory:
		s.Memory = randomMemory(r)
		s.Memory.Source = s.Source
	case s.Resource == snapshot.EventLoop:
		s.EventLoop = randomLoop(r)
	case s.Resource == snapshot.Client:
		s.Client = snapshot.ClientReading{New: r.Int64N(9) - 4, Total: r.Int64(), RetryIndex: r.IntN(3), Reporters: r.IntN(3)}
	}
	return s
}

func randomCPU(r *rand.Rand) snapshot.CPUReading {
	c := snapshot.CPUReading{Used: r.Float64(), Cores: float64(r.IntN(3)), Limit: randomText(r)}
	if c.HostKnown = flip(r); c.HostKnown {
		c.HostUsed, c.HostCores, c.Hottest = r.Float64(), float64(r.IntN(3)), r.Float64()
		c.IOWait, c.Steal = float64(r.IntN(2)), float64(r.IntN(2))
	}
	if c.ThrottledKnown = flip(r); c.ThrottledKnown {
		c.Throttled = float64(r.IntN(2))
	}
	if c.LoadKnown = flip(r); c.LoadKnown {
		c.Runnable, c.Load = r.Int64N(3), float64(r.IntN(3))
	}
	return c
}

func randomMemory(r *rand.Rand) snapshot.MemoryReading {
	m := snapshot.MemoryReading{
		Used: r.Int64(), Total: r.Int64N(3), Max: r.Int64N(3), Definition: randomText(r), Limit: randomText(r),
	}
	if m.HostKnown = flip(r); m.HostKnown {
		m.HostUsed, m.HostTotal = r.Int64N(3), r.Int64()
	}
	if flip(r) {
		m.Tightest = snapshot.MemoryLevel{Used: r.Int64N(3), Total: r.Int64N(3), Limit: "memory.max of " + randomText(r)}
	}
	if m.SwapKnown = flip(r); m.SwapKnown {
		m.SwapUsed, m.SwapTotal = r.Int64N(3), r.Int64N(3)
	}
	return m
}

func randomLoop(r *rand.Rand) snapshot.EventLoopReading {
	l := snapshot.EventLoopReading{
		Delay:     randomDuration(r),
		Judged:    snapshot.LoopSource(r.IntN(int(snapshot.LoopReported) + 1)),
		TimerLag:  randomDuration(r),
		Reporters: r.IntN(3),
	}
	if l.SchedulerKnown = flip(r); l.SchedulerKnown {
		l.SchedulerP99 = randomDuration(r)
	}
	if l.ProbeKnown = flip(r); l.ProbeKnown {
		l.ProbeMax = randomDuration(r)
	}
	if l.Reporters > 0 {
		l.Reported = randomDuration(r)
	}
	return l
}

func randomStatus(r *rand.Rand) snapshot.Status {
	s := snapshot.Status{Window: randomDuration(r), State: snapshot.State(1 + r.IntN(4))}
	for range r.IntN(5) {
		sig := snapshot.SignalStatus{
			Signal:   randomText(r),
			Resource: snapshot.Resource(r.IntN(int(snapshot.Custom) + 1)),
			State:    snapshot.State(1 + r.IntN(4)),
			Limit:    r.Float64(),
			Reason:   randomText(r),
			Count:    r.IntN(600),
		}
		if sig.State == snapshot.StateIdle || sig.State == snapshot.StateOverloaded {
			sig.Actual = float64(r.IntN(3)) / 2
		}
		if sig.HasValue = flip(r); sig.HasValue {
			sig.Value, sig.Bound, sig.Age = r.NormFloat64(), r.NormFloat64(), time.Duration(r.Int64N(int64(now)))
		}
		s.Signals = append(s.Signals, sig)
	}
	return s
}

func randomReport(r *rand.Rand) snapshot.Report {
	var p snapshot.Report
	if p.HasEventLoop = flip(r); p.HasEventLoop {
		p.EventLoopDelay = randomDuration(r)
	}
	if flip(r) {
		p.TTL = randomDuration(r)
	}
	if p.HasMemory = flip(r); p.HasMemory {
		p.Memory = snapshot.ReportedMemory{Used: r.Int64N(3), Max: r.Int64()}
	}
	for range r.IntN(4) {
		if p.ClientErrors == nil {
			p.ClientErrors = make(map[int]int64)
		}
		p.ClientErrors[r.IntN(1000)] = r.Int64()
	}
	for range r.IntN(4) {
		if p.Signals == nil {
			p.Signals = make(map[string]snapshot.ReportedSignal)
		}
		p.Signals[randomText(r)] = snapshot.ReportedSignal{Value: r.NormFloat64(), Limit: r.NormFloat64()}
	}
	return p
}

func randomTime(r *rand.Rand) time.Time {
	if r.IntN(4) == 0 {
		return time.Time{}
	}
	return time.Unix(r.Int64N(1<<35), r.Int64N(1e9)).UTC()
}

func randomDuration(r *rand.Rand) time.Duration { return time.Duration(r.Int64() - r.Int64()) }

func randomText(r *rand.Rand) string {
	return []string{"", "cpu", "queue.depth", "gopsutil host", "größer"}[r.IntN(5)]
}

func flip(r *rand.Rand) bool { return r.IntN(2) == 0 }
