package snapshot

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"
)

// memoryRules are the limits on memory of one profile.
type memoryRules struct {
	profile      Profile
	maxMemory    int64   // the budget in bytes; 0 means available
	available    float64 // of the total
	maxRatio     float64 // of the budget
	maxHostRatio float64 // of the host
	reserve      float64 // of the budget above maxRatio
}

// budget returns the bytes that use is judged against. crawlee-js keeps the fraction of a byte. In the crawlee
// profiles a fixed budget stands for the total, even if it is more.
func (m *memoryRules) budget(total int64) float64 {
	switch {
	case m.maxMemory > 0 && m.profile == ProfileHeadroom && total > 0:
		return float64(min(m.maxMemory, total))
	case m.maxMemory > 0:
		return float64(m.maxMemory)
	}
	b := float64(total) * m.available
	if m.profile == ProfileCrawleeJS {
		return b
	}
	return math.Trunc(b)
}

// hostOverloaded reports whether the host is over its share, and the share that is in use.
func (m *memoryRules) hostOverloaded(r *MemoryReading) (used float64, over bool) {
	if m.profile == ProfileCrawleeJS || !r.HostKnown || r.HostTotal <= 0 {
		return 0, false
	}
	used = float64(r.HostUsed) / float64(r.HostTotal)
	return used, used > m.maxHostRatio
}

// critical returns the use in bytes over which a warning is due: the overload limit and a share of the
// reserve above it. crawlee-python truncates to whole bytes after every multiplication, which moves the
// result by a byte or two; the conversions keep the compiler from fusing them away in the others.
func (m *memoryRules) critical(budget float64) float64 {
	limit := float64(budget * m.maxRatio)
	reserve := float64(budget * (1 - m.maxRatio))
	if m.profile == ProfileCrawleePython {
		return math.Trunc(limit) + math.Trunc(math.Trunc(reserve)*m.reserve)
	}
	return limit + float64(reserve*m.reserve)
}

// percent returns used of budget in whole percent; Python rounds a half to even.
func (m *memoryRules) percent(used int64, budget float64) int {
	p := float64(used) / budget * 100
	if m.profile == ProfileCrawleePython {
		return int(math.RoundToEven(p))
	}
	return int(math.Floor(p + 0.5))
}

// memorySampler judges memory in use against its budget.
type memorySampler struct {
	read  func(context.Context) (MemoryReading, error)
	rules memoryRules
}

func (m *memorySampler) fetch(ctx context.Context, snap *Snapshot) (err error) {
	snap.Memory, err = m.read(ctx)
	return err
}

var errNoTotal = errors.New("the total memory is unknown, so there is no budget; set MaxMemory")

func (m *memorySampler) judge(snap *Snapshot) error {
	r := &snap.Memory
	if r.Used < 0 {
		return fmt.Errorf("%s gave %d bytes in use", sourceName(r.Source), r.Used)
	}
	budget := m.rules.budget(r.Total)
	if budget < 1 {
		return errNoTotal
	}
	r.Max = int64(budget)
	snap.Value, snap.Limit = float64(r.Used)/budget, m.rules.maxRatio
	snap.Overloaded = snap.Value > snap.Limit
	if host, over := m.rules.hostOverloaded(r); over && !snap.Overloaded {
		snap.Value, snap.Limit, snap.Overloaded = host, m.rules.maxHostRatio, true
	}
	snap.Source = r.Source
	return nil
}

// memoryWarning tells when a critical-memory warning is due: at most once in a cooldown, by the time of the
// snapshots.
type memoryWarning struct {
	cooldown time.Duration
	last     time.Duration
	warned   bool
}

// due reports whether to warn of a snapshot made at the time, with used bytes against the critical ones. A
// warning that is due counts as given.
func (w *memoryWarning) due(at time.Duration, used int64, critical float64) bool {
	if w.warned && at < w.last+w.cooldown || float64(used) <= critical {
		return false
	}
	w.last, w.warned = at, true
	return true
}
