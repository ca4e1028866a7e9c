package pool

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/headroom-rpc/headroom/limit"
	"github.com/headroom-rpc/headroom/permit"
)

// Share is what one pool has of a Budget. It is that pool's [Options.Permits].
type Share struct {
	budget *Budget
	name   string
	weight int64

	// The rest is guarded by the mutex of the budget.
	closed  bool
	held    int64
	unseen  int64 // of these, the starts over the ends since the memory was read
	wants   int64 // permits that a TryAcquire failed to get, until one succeeds or the demand ends
	waiting int64
	turn    int64       // when it took permits last
	run     *run        // of its pool; nil while that does not run
	sensed  sensed      // of the same
	part    int         // of the decision of the law; negative where it has none
	grant   limit.Share // the same
	changed chan struct{}

	// Until when others leave to it what it waits for: forever until it is told, then for claimTime.
	claimUntil time.Duration

	// When to try again though nothing happens, after others came first who may not take what is free; else 0.
	patience time.Duration
	awaited  chan struct{} // what Changed returned when TryAcquire failed last
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

// Close gives the share up. What is held is still to be released. Its pool, where it runs, ends as after an error.
func (s *Share) Close() {
	b := s.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	s.closed, s.wants, s.waiting = true, 0, 0
	if s.held == 0 {
		b.removeLocked(s)
	}
	s.tell()
	b.notifyLocked()
}

func (b *Budget) removeLocked(s *Share) {
	b.shares = slices.DeleteFunc(b.shares, func(o *Share) bool { return o == s })
}

// TryAcquire takes n permits, all or none, if there are so many and nobody who waits has less by weight. One that is
// heavier than the limit gets it where nothing else runs. n below 1 fails.
func (s *Share) TryAcquire(n int64) (Permit, bool) {
	b := s.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.closed || n < 1 {
		return nil, false
	}
	if !b.begun {
		b.beginLocked()
	}
	o := b.firstLocked()
	if o == s {
		o = nil
	}
	if !b.fitsLocked(s, n) || o != nil && before(o, o.next(), s, n) {
		s.wants, s.claimUntil, s.patience, s.awaited = n, forever, 0, s.changed
		switch {
		case o == nil:
		case b.fitsLocked(o, o.next()):
			o.tell()
			s.patience = claimTime
		default: // it waits for what others hold
			s.patience = readInterval
		}
		return nil, false
	}
	b.turn++
	s.turn, s.wants = b.turn, 0
	s.claimUntil = b.opts.Clock() + claimTime
	s.start(n)
	return &budgetPermit{s, n}, true
}

// start takes note of n permits that are held from now on.
func (s *Share) start(n int64) {
	b, before := s.budget, s.growth()
	s.held += n
	b.held += n
	s.unseen += n
	b.growth += s.growth() - before
}

// end takes note of n permits that are held no more: of what started since the memory was read, as far as there is such,
// since it is in the place of these.
func (s *Share) end(n int64) {
	b, before := s.budget, s.growth()
	unseen := min(s.unseen, n)
	if seen := s.held - s.unseen; seen > 0 {
		s.sensed.grown *= max(0, float64(seen-(n-unseen))) / float64(seen)
	}
	s.held -= n
	b.held -= n
	s.unseen -= unseen
	b.growth += s.growth() - before
}

// growth returns how much more memory is expected to be used than was, in bytes. What started since that was read counts
// in full: there is nothing of it yet in what was used.
func (s *Share) growth() int64 {
	return s.grant.Growth(s.unseen, 0) + s.grant.Growth(s.held-s.unseen, s.sensed.grown)
}

// awaits returns what is closed when TryAcquire that failed may succeed, and when that may be although it is not closed.
func (s *Share) awaits(now time.Duration) (changed <-chan struct{}, again time.Duration) {
	s.budget.mu.Lock()
	defer s.budget.mu.Unlock()
	if s.patience == 0 {
		return s.awaited, forever
	}
	return s.awaited, now + s.patience
}

// before reports whether a that wants n comes before b that wants m.
func before(a *Share, n int64, b *Share, m int64) bool {
	if a.turn != b.turn && (a.held == 0 && a.turn < b.turn || b.held == 0 && b.turn < a.turn) {
		return a.turn < b.turn
	}
	return cmp.Or(cmp.Compare((a.held+n)*b.weight, (b.held+m)*a.weight), cmp.Compare(a.turn, b.turn)) < 0
}

// next returns how many permits the share would take next; 0 if it waits for none. Between two tasks that it starts
// it has failed to get none, and yet it waits for more.
func (s *Share) next() int64 { return max(s.wants, min(s.waiting, 1)) }

// tell lets the pool of the share look again.
func (s *Share) tell() {
	if s.claimUntil == forever {
		s.claimUntil = s.budget.opts.Clock() + claimTime
	}
	close(s.changed)
	s.changed = make(chan struct{})
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
	others := b.held - s.held
	switch part := b.partLocked(s, elapsed); {
	case part < n-others:
		return part, "the law has not seen this pool yet"
	case others > 0:
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
	if s.closed {
		return
	}
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

// use tells whose share it is; nil while it is nobody's.
func (s *Share) use(r *run) {
	b := s.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	s.run, s.sensed = r, sensed{}
}

// look keeps the Budget going.
func (s *Share) look() {
	b := s.budget
	b.mu.Lock()
	due := b.opts.Clock() >= b.readAt && !b.reading
	b.reading = b.reading || due
	b.mu.Unlock()
	if due {
		defer func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.reading = false
		}()
		b.read()
	}
}

// Err returns nil until Close: a Budget never ends.
func (s *Share) Err() error {
	s.budget.mu.Lock()
	defer s.budget.mu.Unlock()
	if s.closed {
		return errShareClosed
	}
	return nil
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
	s.end(p.n)
	if s.claimUntil != forever {
		s.claimUntil = b.opts.Clock() + claimTime // its pool looks for the next task now
	}
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
