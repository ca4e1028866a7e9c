package pool

import (
	"fmt"
	"strings"
	"time"

	"github.com/headroom-rpc/headroom/limit"
)

// Stats are the figures of a pool at one instant.
type Stats struct {
	// Tasks is how many run, and Current how many permits they hold, of Desired.
	Tasks, Current, Desired int64

	// Min and Max are the bounds in force; Max is [permit.MaxLimit] where there is none.
	Min, Max int64

	// Waiting is how many permits could be used beside those that are held, as far as that is known.
	Waiting int64

	// Block is why no task starts now, Until how long that lasts if nothing happens, where that is known, and Binding
	// the same for people, with the figures.
	Block   Block
	Until   time.Duration
	Binding string

	// Started and Completed count the tasks of this Run, or of the last, that started and that ended in any way. Of the
	// latter Failed counts those with an error of their own, and the others those that were started again later, which
	// started and completed each time: Throttled, those that their target refused, Shed, those that were cancelled for
	// want of memory, and Lost, those whose permit was lost. What was cancelled with the Run is in none of them.
	Started, Completed, Failed, Throttled, Shed, Lost int64

	// Duration is how long a task is expected to take; 0 before that is known.
	Duration time.Duration

	// MemoryUsed and MemoryLine are the memory in use and the line over which nothing starts, with the growth that is
	// still expected, in bytes. They are 0 where that is not known or the gate is off.
	MemoryUsed, MemoryLine, MemoryGrowth int64

	// Law is the name of the law, empty where none decides, and Decision is what it decided last.
	Law      string
	Decision limit.Decision

	// Shadow are the last decisions of [Options.Shadow], in their order; none before the first.
	Shadow []limit.ShadowDecision
}

// Stats returns the figures of now.
func (p *Pool) Stats() Stats {
	overload := p.overload()
	p.mu.Lock()
	defer p.mu.Unlock()
	c, now := &p.core, p.opts.Clock()
	s := Stats{
		Tasks: c.tasks, Current: c.held, Desired: p.desiredLocked(), Min: c.floor(), Max: c.max, Block: BlockStopped,
	}
	if p.law != nil {
		s.Law = p.law.Name()
	}
	r := p.last
	if r == nil {
		s.Binding = "the pool has not run yet"
		return s
	}
	n := &r.counts
	s.Started, s.Completed, s.Failed, s.Throttled, s.Shed, s.Lost = n.started, n.completed, n.failed, n.throttled, n.shed, n.lost
	s.Duration = r.meter.Duration()
	s.Decision = r.governor.decision
	s.Shadow = append(s.Shadow, r.governor.shadow...)
	if c.gate.Line > 0 {
		s.MemoryUsed, s.MemoryLine, s.MemoryGrowth = c.used, c.gate.Line, c.growth()
	}
	if p.run != nil {
		s.Waiting = r.waitingLocked()
		s.Block = r.block
		if b, until := c.block(now, p.opts.Weight); b != BlockNone {
			s.Block, s.Until = b, max(0, until-now)
		} else if r.block == BlockKey {
			s.Until = max(0, r.until-now)
		}
	}
	s.Binding = p.bindingLocked(&s, overload)
	return s
}

// Explain says what keeps more tasks from running now, with the figures, for people.
func (p *Pool) Explain() string {
	s := p.Stats()
	return fmt.Sprintf("%d of %d in use: %s", s.Current, s.Desired, s.Binding)
}

// bindingLocked says why nothing starts.
func (p *Pool) bindingLocked(s *Stats, overload string) string {
	c := &p.core
	switch s.Block {
	case BlockNone:
		return "nothing keeps tasks from starting"
	case BlockStopped:
		return "the pool starts nothing more"
	case BlockPaused:
		return "the pool is paused"
	case BlockReady:
		return "there is no work"
	case BlockKey:
		return fmt.Sprintf("all that waits is throttled, the first for %v more", s.Until.Round(time.Millisecond))
	case BlockOverload:
		return fmt.Sprintf("the machine is overloaded, and the minimum, %d, runs%s", c.floor(), overload)
	case BlockMemory:
		return fmt.Sprintf("memory: %s used and %s to come, over %s",
			bytesText(s.MemoryUsed), bytesText(s.MemoryGrowth), bytesText(s.MemoryLine))
	case BlockMinute:
		return fmt.Sprintf("%v a minute may start, the next in %v", p.opts.MaxTasksPerMinute, s.Until.Round(time.Millisecond))
	case BlockRate:
		return fmt.Sprintf("%v a second may start, the next in %v", p.opts.Starts.PerSecond, s.Until.Round(time.Millisecond))
	case BlockPermits:
		n, binding := p.opts.Permits.Limit()
		return strings.TrimSuffix(fmt.Sprintf("no more permits than %d: %s", n, binding), ": ")
	}
	switch {
	case c.held >= c.max:
		return fmt.Sprintf("the maximum is %d", c.max)
	case c.chosen:
		return fmt.Sprintf("the desired concurrency was set to %d", c.desired)
	case len(s.Decision.Shares) > 0:
		return s.Decision.Shares[0].Binding
	case c.scaling != "":
		return c.scaling
	case s.Decision.Binding != "":
		return s.Decision.Binding
	}
	return fmt.Sprintf("the desired concurrency is %d", c.desired)
}

// overload says which signals are over their limits, after a colon.
func (p *Pool) overload() string {
	if !p.opts.Profile.crawlee() {
		return ""
	}
	defer func() { _ = recover() }() // a Status that panics ends Run; here it only names no signals
	m := machine{clock: p.opts.Clock, snapshotter: p.opts.Snapshotter, status: p.opts.Status}
	current, _, _ := m.judge()
	var names []string
	for _, s := range current.Binding() {
		names = append(names, fmt.Sprintf("%s for %.0f %% of %v", s.Signal, 100*s.Actual, current.Window))
	}
	if len(names) == 0 { // a Status of the user may name none
		return ""
	}
	return ": " + strings.Join(names, ", ")
}

func bytesText(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }
