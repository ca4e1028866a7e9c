package pool

import (
	"time"

	"github.com/headroom-rpc/headroom/limit"
	"github.com/headroom-rpc/headroom/permit"
)

// reading returns u as a meter takes it.
func (u Usage) reading() limit.PoolReading {
	return limit.PoolReading{
		CPU: u.CPU, CPUKnown: u.CPU >= 0, Runnable: u.Runnable, RunnableKnown: u.Runnable >= 0,
		Memory: u.Memory, MemoryKnown: u.Memory >= 0, Age: u.Age,
	}
}

// reading returns h as a meter takes it.
func (h Host) reading() limit.HostReading {
	return limit.HostReading{
		Cores: h.Cores, CPU: h.Busy, CPUKnown: h.Busy >= 0, RunQueue: h.RunQueue, RunQueueKnown: h.RunQueue >= 0,
		MemoryUsed: max(0, h.MemoryUsed), MemoryTotal: max(0, h.MemoryTotal),
		Stalled: h.Stalled, StalledKnown: h.Stalled >= 0, Kills: h.Kills,
	}
}

// sums add windows up to what a server is told.
type sums struct {
	usage             permit.Usage
	runnable, permits float64 // seconds
	cpu               float64
}

// add takes the next window of so long.
func (s *sums) add(span time.Duration, p *limit.Pool) {
	seconds := span.Seconds()
	s.permits += p.InUse * seconds
	s.cpu += p.CPU * seconds
	s.runnable += min(p.Runnable, p.InUse) * seconds
	u := &s.usage
	u.Uptime += span
	u.Permits, u.CPU, u.Runnable = ofSeconds(s.permits), ofSeconds(s.cpu), ofSeconds(s.runnable)
	u.Starts += p.Started
	u.Completions += p.Completed
	u.Failures += p.Failed
	u.Calls += p.Calls
	u.Throttled += p.Throttled
	u.Grown, u.Duration, u.Memory = p.Grown, p.Duration, p.Memory
	if !p.MemoryKnown {
		u.Memory = -1
	}
	if u.Duration == 0 {
		u.Duration = -1
	}
	// What was not known in this window is not in the sum, so it is not to be compared with the one before.
	if !p.CPUKnown && span > 0 {
		u.CPU = -1
	}
	if !p.RunnableKnown && span > 0 {
		u.Runnable = -1
	}
}

func ofSeconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
