package pool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/headroom-rpc/headroom/limit"
	"github.com/headroom-rpc/headroom/permit"
	"github.com/headroom-rpc/headroom/snapshot"
)

// BudgetOptions says what a [Budget] goes by. The zero value of every field is its default.
type BudgetOptions struct {
	// Law decides how many permits there are. The default is twostation. A Law belongs to one Budget.
	Law limit.Law

	// Snapshotter, Status, Host and Memory are those of [Options]. Nothing is shed by a Budget.
	Snapshotter *snapshot.Snapshotter
	Status      func() (current, historical snapshot.Status)
	Host        func() Host
	Memory      Memory

	// Clock is the time that decides. The default is Go's monotonic clock.
	Clock func() time.Duration
}

// Budget is a limit that several pools of one process share, fairly by weight: whoever has the least by weight of those
// who wait gets what becomes free, and what one does not use others may. Its methods are safe for concurrent use and do
// not block. It has no goroutine: the pools that run keep it going.
type Budget struct {
	opts    BudgetOptions
	machine machine

	mu       sync.Mutex
	shares   []*Share
	held     int64
	hosts    limit.HostMeter
	process  limit.PoolMeter // of the whole process
	gate     limit.Gate      // on memory
	used     int64           // memory
	growth   int64           // of memory that is still expected
	freer    freer
	decision limit.Decision
	at       time.Duration // of the decision
	begun    bool
	readAt   time.Duration
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
	return &Budget{opts: o, machine: newMachine(o.Host, o.Snapshotter)}, nil
}

// Share is what one pool has of a Budget. It is that pool's [Options.Permits].
type Share struct {
	budget *Budget
	name   string
	weight int64

	// The rest is guarded by the mutex of the budget.
	closed  bool
	held    int64
	wants   int64 // permits that a TryAcquire failed to get, until one succeeds or the demand ends
	waiting int64
	turn    int64       // when it took permits last
	grown   float64     // of [limit.Pool]
	last    limit.Pool  // window of its pool
	part    int         // of the decision of the law; negative where it has none
	grant   limit.Share // the same
	changed chan struct{}
}

// Share returns a share with a name, for people, and a weight from 1 to [permit.MaxWeight] against the others.
func (b *Budget) Share(name string, weight int) (*Share, error) {
	if weight < 1 || weight > permit.MaxWeight {
		return nil, fmt.Errorf("pool: budget: weight: %d: want 1 to %d", weight, permit.MaxWeight)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.made++
	s := &Share{
		budget: b, name: fmt.Sprintf("%s#%d", name, b.made), weight: int64(weight), part: -1,
		changed: make(chan struct{}),
	}
	b.shares = append(b.shares, s)
	return s, nil
}

// Close gives the share up. What is held is still to be released.
func (s *Share) Close() {
	b := s.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	s.closed, s.wants, s.waiting = true, 0, 0
	if s.held == 0 {
		b.removeLocked(s)
	}
	b.notifyLocked()
}

func (b *Budget) removeLocked(s *Share) {
	b.shares = slices.DeleteFunc(b.shares, func(o *Share) bool { return o == s })
}

// TryAcquire takes n permits, all or none, if there are so many and nobody who waits has less by weight. One that is
// heavier than the limit gets it where nothing else runs.
func (s *Share) TryAcquire(n int64) (Permit, bool) {
	b := s.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.closed {
		return nil, false
	}
	if now := b.opts.Clock(); !b.begun {
		b.readLocked(now)
		b.stepLocked(now)
	}
	o := b.firstLocked()
	if o == s {
		o = nil
	}
	if !b.fitsLocked(s, n) || o != nil && before(o, o.next(), s, n) {
		s.wants = n
		if o != nil {
			o.tell()
		}
		return nil, false
	}
	b.turn++
	s.turn, s.wants = b.turn, 0
	s.held += n
	b.held += n
	b.growth += s.grant.Growth(n, float64(n)*limit.Growth(0, 0))
	return &budgetPermit{s, n}, true
}

// fitsLocked reports whether the limit, the law and the memory let a share have n more.
func (b *Budget) fitsLocked(s *Share, n int64) bool {
	elapsed := b.opts.Clock() - b.at
	switch {
	case b.held > 0 && b.held+n > b.decision.After(elapsed):
		return false
	case s.held > 0 && s.part >= 0 && s.held+n > b.decision.ShareAfter(s.part, elapsed):
		return false
	case s.held > 0 && !b.gate.Open(b.used, b.growth):
		return false
	}
	return true
}

// before reports whether a that wants n comes before b that wants m.
func before(a *Share, n int64, b *Share, m int64) bool {
	return cmp.Or(cmp.Compare((a.held+n)*b.weight, (b.held+m)*a.weight), cmp.Compare(a.turn, b.turn)) < 0
}

// next returns how many permits the share would take next; 0 if it waits for none. Between two tasks that it starts
// it has failed to get none, and yet it waits for more.
func (s *Share) next() int64 { return max(s.wants, min(s.waiting, 1)) }

// firstLocked returns who comes first of those who wait for what they could have, or nil.
func (b *Budget) firstLocked() (first *Share) {
	for _, s := range b.shares {
		if n := s.next(); n > 0 && (first == nil || before(s, n, first, first.next())) && b.fitsLocked(s, n) {
			first = s
		}
	}
	return first
}

// tell lets the pool of the share look again.
func (s *Share) tell() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// notifyLocked lets all who wait look again.
func (b *Budget) notifyLocked() {
	for _, s := range b.shares {
		if s.next() > 0 {
			s.tell()
		}
	}
}

// Limit returns how many permits the share may hold now, and why no more. What others hold it may have when they give
// it back.
func (s *Share) Limit() (n int64, binding string) {
	b := s.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	elapsed := b.opts.Clock() - b.at
	if s.part >= 0 {
		return b.decision.ShareAfter(s.part, elapsed), s.grant.Binding
	}
	n = b.decision.After(elapsed)
	if others := b.held - s.held; others > 0 {
		return max(0, n-others), fmt.Sprintf("others hold %d of %d: %s", others, n, b.decision.Binding)
	}
	return n, b.decision.Binding
}

// Changed returns a channel that is closed when TryAcquire may succeed that failed before.
func (s *Share) Changed() <-chan struct{} {
	s.budget.mu.Lock()
	defer s.budget.mu.Unlock()
	return s.changed
}

// Demand states how many permits could be used beside those that are held.
func (s *Share) Demand(waiting int64, _ time.Duration) {
	b := s.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	waited := s.next() > 0
	s.waiting = waiting
	if waiting > 0 || !waited {
		return
	}
	s.wants = 0
	if o := b.firstLocked(); o != nil {
		o.tell()
	}
}

// Report is not used: what a pool knows it tells a Budget of the same process in full.
func (s *Share) Report(permit.Usage) {}

// window takes what the pool did in its last window.
func (s *Share) window(as limit.Pool) {
	b := s.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	s.last = as
}

// look takes how far the tasks of the pool have grown, and keeps the Budget going.
func (s *Share) look(grown float64) {
	b := s.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	s.grown = grown
	now := b.opts.Clock()
	if now < b.readAt {
		return
	}
	b.readLocked(now)
	if now >= b.stepAt {
		b.stepLocked(now)
	}
	if !b.gate.Open(b.used, b.growth) {
		b.freer.free(now)
	}
	b.notifyLocked() // a rise is made in parts
}

// Err returns nil: a Budget never ends.
func (s *Share) Err() error { return nil }

// readLocked takes a reading of the machine.
func (b *Budget) readLocked(now time.Duration) {
	own, host := b.machine.read(now, nil)
	b.process.Read(now, own.reading())
	b.hosts.Read(now, host.reading())
	b.used, b.readAt = host.MemoryUsed, now+readInterval
	b.growth = 0
	for _, s := range b.shares {
		b.growth += s.grant.Growth(s.held, s.grown)
	}
}

// stepLocked lets the law take a step.
func (b *Budget) stepLocked(now time.Duration) {
	in := limit.Input{At: now, Newest: b.machine.newest}
	in.Host, in.Window = b.hosts.Window()
	in.Current, in.Historical, _ = judgement(b.opts.Status, b.opts.Snapshotter)
	for _, s := range b.shares {
		as := s.last
		as.ID, as.Weight, as.Leased, as.Waiting = s.name, int(s.weight), s.held, max(s.waiting, s.wants)
		if as.Started == 0 && s.held == 0 {
			as.InUse = 0
		}
		in.Pools = append(in.Pools, as)
		in.Charge += s.held
		in.Want += s.held + as.Waiting
		s.last.Started, s.last.Completed, s.last.Failed = 0, 0, 0 // counted
		s.last.Calls, s.last.Throttled = 0, 0
	}
	divide(b.process.Window(now), in.Pools)
	b.decision, b.at, b.stepAt, b.begun = b.opts.Law.Step(in), now, now+stepInterval, true
	if next := b.decision.Next; next > 0 {
		b.stepAt = now + max(next, readInterval)
	}
	for i, s := range b.shares {
		s.part, s.grant = -1, limit.Share{}
		if i < len(b.decision.Shares) {
			s.part, s.grant = i, b.decision.Shares[i]
		}
	}
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

// budgetPermit is a permit of a Budget.
type budgetPermit struct {
	share *Share
	n     int64
}

// Release gives it back.
func (p *budgetPermit) Release() {
	s, b := p.share, p.share.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	s.held -= p.n
	b.held -= p.n
	if s.closed && s.held == 0 {
		b.removeLocked(s)
	}
	if o := b.firstLocked(); o != nil && o != s {
		o.tell()
	}
}

// Fence returns the zero fence: a Budget is in one process.
func (p *budgetPermit) Fence() permit.Fence { return permit.Fence{} }

// Guard returns ctx: a permit of a Budget is never lost.
func (p *budgetPermit) Guard(ctx context.Context) (context.Context, context.CancelFunc) {
	return ctx, func() {}
}
