package pool

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/headroom-rpc/headroom/limit"
	"github.com/headroom-rpc/headroom/snapshot"
)

// BudgetOptions says what a [Budget] goes by. The zero value of every field is its default.
type BudgetOptions struct {
	// Law decides how many permits there are. The default is twostation. A Law belongs to one Budget.
	Law limit.Law

	// Snapshotter, Status, Host and Memory are those of [Options]. Nothing is shed by a Budget. What its pools have as
	// Host is not asked, and their Usage together with this Host.
	Snapshotter *snapshot.Snapshotter
	Status      func() (current, historical snapshot.Status)
	Host        func() Host
	Memory      Memory

	// Clock is the time that decides. The default is Go's monotonic clock.
	Clock func() time.Duration
}

// Budget is a limit that several pools of one process share, fairly by weight: whoever has the least by weight of those
// who wait gets what becomes free, and what one does not use others may. Who waits and has nothing comes before those
// who took permits since it did, so that nobody starves, however heavy its tasks. Its methods are safe for concurrent
// use and do not block. It has no goroutine: the pools that run keep it going.
type Budget struct {
	opts    BudgetOptions
	machine machine  // belongs to who reads
	runs    []readOf // likewise: the pools that run

	mu       sync.Mutex
	reading  bool        // somebody reads
	judged   limit.Input // what else than numbers was last known of the machine
	shares   []*Share
	held     int64
	hosts    limit.HostMeter
	process  limit.PoolMeter // of the whole process
	window   limit.Pool      // the last one of it
	gate     limit.Gate      // on memory
	used     int64           // memory
	growth   int64           // of memory that is still expected: that of the shares
	freer    freer
	lowest   lowest // by permits
	decision limit.Decision
	newPart  int64         // of a share that the decision does not know, where it divides
	at       time.Duration // of the decision
	begun    bool
	readAt   time.Duration
	rests    bool // nothing was held at the last reading
	rested   bool // and for a while before the newest one
	stepAt   time.Duration
	made     int   // shares
	turn     int64 // counts who took permits, for ties
}

// NewBudget returns a Budget. It reports every fault of o at once.
func NewBudget(o BudgetOptions) (*Budget, error) {
	o.Memory = o.Memory.withDefaults()
	err := o.Memory.validate()
	if o.Snapshotter != nil && o.Status != nil {
		err = errors.Join(err, errStatusTwice)
	}
	if err != nil {
		return nil, fmt.Errorf("pool: budget: %w", err)
	}
	if o.Law == nil {
		if o.Law, err = limit.NewTwoStation(limit.TwoStation{}); err != nil {
			return nil, err
		}
	}
	if o.Clock == nil {
		o.Clock = newClock()
	}
	b := &Budget{opts: o, machine: newMachine(o.Clock, o.Host, o.Snapshotter, o.Status)}
	b.read()
	return b, nil
}

// fitsLocked reports whether the limit, the law and the memory let a share have n more.
func (b *Budget) fitsLocked(s *Share, n int64) bool {
	elapsed := b.opts.Clock() - b.at
	switch {
	case b.held > 0 && b.held+n > b.decision.After(elapsed):
		return false
	case s.held > 0 && s.held+n > b.partLocked(s, elapsed):
		return false
	case s.held > 0 && !b.gate.Open(b.used, b.growth):
		return false
	}
	return true
}

// partLocked is what the law gives a share; of one that it has not seen, the cores that would be its own.
func (b *Budget) partLocked(s *Share, elapsed time.Duration) int64 {
	switch {
	case s.part >= 0:
		return b.decision.ShareAfter(s.part, elapsed)
	case len(b.decision.Shares) > 0:
		return b.newPart
	}
	return unlimited
}

// claimTime is how long what is free is kept for who was told of it. Who asks a slow function whether there is work has
// no use for it meanwhile.
const claimTime = 10 * time.Millisecond

// firstLocked returns who comes first of those who wait for what they could have, or for what others hold while they
// themselves have nothing; or nil.
func (b *Budget) firstLocked() (first *Share) {
	now := b.opts.Clock()
	for _, s := range b.shares {
		if n := s.next(); n > 0 && now < s.claimUntil && (first == nil || before(s, n, first, first.next())) &&
			(s.held == 0 || b.fitsLocked(s, n)) {
			first = s
		}
	}
	return first
}

// notifyLocked lets all who wait look again.
func (b *Budget) notifyLocked() {
	for _, s := range b.shares {
		if s.next() > 0 {
			s.tell()
		}
	}
}

// read takes a reading of the machine and of the pools, without the lock, and has the law take a step where one is due.
func (b *Budget) read() {
	own, host := b.machine.read(b.opts.Clock(), nil)
	in := limit.Input{Newest: b.machine.view.Newest}
	in.Current, in.Historical, _ = b.machine.judge()
	end := b.takeIn(own, host, &in)
	for i := range b.runs {
		r := &b.runs[i]
		r.sensed = r.run.sense(in, host.MemoryUsed, end)
	}
	b.act(in, end)
}

// readOf is what was read of a pool.
type readOf struct {
	run    *run
	sensed sensed
}

// takeIn takes a reading of the machine in, and reports whether a window ends; what was seen in it goes into in.
func (b *Budget) takeIn(own Usage, host Host, in *limit.Input) (end bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.judged = *in
	now := b.opts.Clock()
	b.process.Read(now, own.reading())
	b.hosts.Read(now, host.reading())
	b.used = host.MemoryUsed
	b.lowest.see(own.Memory, float64(b.held))
	// What was while nothing ran says nothing of what runs.
	b.rested = b.rests && now > b.readAt+readInterval
	b.rests, b.readAt = b.held == 0, now+readInterval
	if end = b.begun && (b.rested || now >= b.stepAt); end {
		in.Host, in.Window = b.hosts.Window()
		b.window = b.process.Window(now)
		b.lowest.clean(&b.window, float64(b.held), &in.Host)
	}
	b.runs = b.runs[:0]
	for _, s := range b.shares {
		if s.run != nil {
			b.runs = append(b.runs, readOf{run: s.run})
		}
	}
	return end
}

// act takes in what was read of the pools, and has the law take a step where their windows have ended.
func (b *Budget) act(in limit.Input, end bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.shares {
		s.sensed = sensed{}
		for i := range b.runs {
			if b.runs[i].run == s.run {
				s.sensed = b.runs[i].sensed
			}
		}
	}
	now := b.opts.Clock()
	if end {
		b.stepLocked(now, in)
	}
	b.growth = 0
	for _, s := range b.shares {
		s.unseen = 0
		b.growth += s.growth()
	}
	if !b.gate.Open(b.used, b.growth) {
		b.freer.free(now, b.opts.Clock)
	}
	b.notifyLocked() // a rise is made in parts
}

// beginLocked lets the law take its first step, before anything runs.
func (b *Budget) beginLocked() {
	in := b.judged
	in.Host, _ = b.hosts.Window()
	b.stepLocked(b.opts.Clock(), in)
}

// stepLocked lets the law take a step by what was seen in a window.
func (b *Budget) stepLocked(now time.Duration, in limit.Input) {
	if b.rested {
		in.Window = 0
	}
	in.At = now
	for _, s := range b.shares {
		as := s.sensed.window
		if s.run == nil || in.Window == 0 {
			as = limit.Pool{InUse: float64(s.held)}
		}
		as.ID, as.Weight, as.Leased, as.Waiting = s.name, int(s.weight), s.held, max(s.waiting, s.wants)
		if as.Min == 1 {
			as.Min = 0 // it is the default: pools of less than one permit take turns
		}
		in.Pools = append(in.Pools, as)
		in.Charge += s.held
		in.Want += s.held + as.Waiting
	}
	divide(b.window, in.Pools)
	b.decision, b.at, b.stepAt, b.begun = b.opts.Law.Step(in), now, now+stepInterval, true
	if next := b.decision.Next; next > 0 {
		b.stepAt = now + max(next, readInterval)
	}
	for i, s := range b.shares {
		s.part, s.grant = -1, limit.Share{}
		if i < len(b.decision.Shares) {
			s.part, s.grant = i, b.decision.Shares[i]
			if s.grant.ByMemory {
				b.freer.spare(now, b.opts.Clock)
			}
		}
	}
	b.newPart = max(1, int64(math.Ceil(in.Host.Cores/float64(len(b.shares)+1))))
	b.gate = b.opts.Memory.line(b.decision.Gate, in.Host.MemoryTotal)
}

// divide divides what a process uses among its pools of which that is not known, by their permits: nobody knows which
// goroutine uses what.
func divide(process limit.Pool, pools []limit.Pool) {
	inUse := 0.0
	for i := range pools {
		if p := &pools[i]; !p.CPUKnown && !p.MemoryKnown {
			inUse += p.InUse
		}
	}
	if inUse == 0 {
		return
	}
	for i := range pools {
		p := &pools[i]
		if p.CPUKnown || p.MemoryKnown {
			continue
		}
		part := p.InUse / inUse
		p.CPU, p.CPUKnown = process.CPU*part, process.CPUKnown
		p.Runnable, p.RunnableKnown = min(process.Runnable*part, p.InUse), process.RunnableKnown
		p.Memory, p.MemoryKnown = int64(float64(process.Memory)*part), process.MemoryKnown
	}
}
