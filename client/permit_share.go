package client

import (
	"container/list"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

const (
	// A failed TryAcquire counts as a demand for missedFor, and is told to the attachment at most once in
	// missedEvery.
	missedFor   = time.Second
	missedEvery = 100 * time.Millisecond

	// What is held for less than shortHold on average is measured one time in holdSample only, a power of two,
	// which keeps the clock out of most releases.
	shortHold  = 100 * time.Microsecond
	holdSample = 64
)

// sampled reports whether a permit taken at that time is one of those by which the mean hold time is measured. It
// mixes the bits of the time, as a clock may count in large or round steps.
func sampled(taken time.Duration) bool {
	const golden = 0x9e3779b97f4a7c15 // 2^64 over the golden ratio: multiples of it are spread evenly
	return uint64(taken)*golden < (1<<64-1)/holdSample
}

// share is what the Client has of one resource, for all its handles.
type share struct {
	name   string
	attach *attachment
	gate   *permit.Gate

	lease atomic.Pointer[lease] // of the permits that are taken now; it has not ended

	// slow is whether more decides than the gate alone: somebody waits, the stream is stale, or there is an
	// error. Whoever sets it looks at the gate again afterwards, and whoever releases looks at it afterwards.
	slow atomic.Bool

	dirty       atomic.Bool  // whether the demand is to be stated
	meanHold    atomic.Int64 // in nanoseconds; 0 while unknown
	missed      atomic.Int64 // what the last TryAcquire that failed asked for
	missedAt    atomic.Int64 // when, by attachment.now
	offlineOpen atomic.Int64 // what the offline policy allows now

	touched bool          // guarded by the mutex of the attachment, as is the next
	stated  time.Duration // when the demand was last stated

	mu       sync.Mutex
	state    shareState
	config   permitConfig
	handles  map[*Permits]struct{} // those that are open
	explicit int                   // how many of them chose the options
	queue    list.List             // of *waiter, in the order of their calls
	waiting  int64                 // the sum of what they wait for
	asked    bool                  // whether the server was told that some wait
	target   permit.Target
	cap      int64         // what may be held while the stream is stale
	changed  chan struct{} // nil while nobody waits for it

	cancelling bool // whether the server asked to cancel what is above the target
	cancelled  bool // whether that was done
	cancelAt   time.Duration
}

// shareState is what holds for the shares of all resources.
type shareState struct {
	leased  bool
	stale   bool // nothing came for two heartbeats: no more is started than runs
	offline bool // there is no lease, and the offline policy counts
	final   error
}

func newShare(a *attachment, name string, gate *permit.Gate) *share {
	s := &share{
		name: name, attach: a, gate: gate, handles: make(map[*Permits]struct{}),
	}
	s.missedAt.Store(int64(-missedFor))
	s.lease.Store(newLease(s))
	s.dirty.Store(true)
	return s
}

// add opens a handle. A nil config is that of the other handles.
func (s *share) add(h *Permits, config *permitConfig) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if config != nil {
		if s.explicit > 0 && *config != s.config {
			return fmt.Errorf("client: permits of %q: an open handle has other options: %+v", s.name, s.config)
		}
		s.explicit++
		h.explicit = true
		s.config = *config
	}
	s.handles[h] = struct{}{}
	s.allowLocked(0)
	s.dirty.Store(true)
	return nil
}

// remove closes a handle.
func (s *share) remove(h *Permits) {
	s.mu.Lock()
	if _, open := s.handles[h]; !open {
		s.mu.Unlock()
		return
	}
	delete(s.handles, h)
	if h.explicit {
		s.explicit--
	}
	for e := s.queue.Front(); e != nil; {
		next := e.Next()
		if w := e.Value.(*waiter); w.handle == h {
			s.failLocked(e, ErrClosed)
		}
		e = next
	}
	s.serveLocked()
	s.notifyLocked()
	s.mu.Unlock()
	s.demandChanged()
}

// errLocked returns why nothing can be had, by any handle where h is nil.
func (s *share) errLocked(h *Permits) error {
	switch {
	case s.state.final != nil:
		return s.state.final
	case h != nil && h.closed.Load():
		return ErrClosed
	case s.target.Refused != "":
		return &RefusedError{Resource: s.name, Refusal: s.target.Refused}
	default:
		return nil
	}
}

// takeNext takes n permits if nobody waits.
func (s *share) takeNext(n int64) (Permit, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queue.Len() > 0 {
		return Permit{}, false
	}
	return s.takeLocked(n)
}

// pass takes n permits if the gate lets them.
func (s *share) pass(n int64) (Permit, bool) {
	for {
		l := s.lease.Load()
		now := s.attach.now()
		fence, ok := s.gate.TryAcquire(now, n)
		if !ok {
			return Permit{}, false
		}
		if l.epoch != fence.Epoch {
			l = s.reissue(l, fence.Epoch)
		}
		if s.lease.Load() == l {
			return Permit{lease: l, counter: fence.Counter, count: n, taken: now}, true
		}
		s.giveBack(n) // it may have been taken under the lease that was lost meanwhile
	}
}

// takeLocked takes n permits for whoever is next.
func (s *share) takeLocked(n int64) (Permit, bool) {
	if s.errLocked(nil) != nil || s.state.stale && s.gate.Held()+n > s.cap {
		return Permit{}, false
	}
	return s.pass(n)
}

// release takes note of permits that are no longer used.
func (s *share) release(count int64, taken time.Duration) {
	if mean := s.meanHold.Load(); mean == 0 || mean > int64(shortHold) || sampled(taken) {
		s.measure(mean, taken)
	}
	s.giveBack(count)
	if s.slow.Load() {
		s.releasedSlow()
	}
}

// measure takes note that permits are released that were taken at that time.
func (s *share) measure(mean int64, taken time.Duration) {
	held := max(int64(s.attach.now()-taken), 1)
	if mean != 0 {
		held = max(mean+(held-mean)/8, 1)
	}
	s.meanHold.Store(held)
}

// releasedSlow lets others have what was released, where more than the gate decides.
func (s *share) releasedSlow() {
	s.mu.Lock()
	s.serveLocked()
	closing := errors.Is(s.state.final, ErrClosed)
	s.mu.Unlock()
	if closing {
		signal(s.attach.idle)
	}
}

func (s *share) giveBack(n int64) {
	if s.gate.Release(n) {
		signal(s.attach.wake)
	}
}

// miss takes note of a TryAcquire for n that failed.
func (s *share) miss(n int64) {
	if n = min(n, permit.MaxLimit); n < 1 {
		return
	}
	now := int64(s.attach.now())
	if now-s.missedAt.Load() < int64(missedEvery) && s.missed.Load() >= n {
		return
	}
	s.missed.Store(n)
	s.missedAt.Store(now)
	s.demandChanged()
}

// demandChanged has the demand stated.
func (s *share) demandChanged() {
	s.dirty.Store(true)
	signal(s.attach.wake)
}

// setState takes note of what holds for all resources.
func (s *share) setState(state shareState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if state == s.state {
		return
	}
	if state.stale && !s.state.stale {
		s.cap = max(s.gate.Held(), 1)
	}
	began := state.offline && !s.state.offline
	s.state = state
	if began {
		s.offlineOpen.Store(max(s.gate.Held(), 1)) // where OfflineLocal begins
	}
	s.allowLocked(s.offlineOpen.Load())
	s.serveLocked()
	s.notifyLocked()
}

// allowLocked tells the gate what the offline policy allows, where local is what OfflineLocal does.
func (s *share) allowLocked(local int64) {
	allowed := int64(0)
	switch o := s.config.offline; {
	case !s.state.leased && !s.state.offline:
	case o == OfflineUnlimited:
		allowed = permit.MaxLimit
	case o != OfflineLocal:
		allowed = int64(o)
	case s.state.offline:
		allowed = max(local, 1)
	}
	s.offlineOpen.Store(allowed)
	s.gate.SetOffline(allowed)
}

// retarget takes note of a target.
func (s *share) retarget(now time.Duration, t permit.Target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.target = t
	asked := t.Mode == permit.ModeCancel
	if asked && !s.cancelling {
		s.cancelAt = now + t.CancelAfter
		signal(s.attach.look)
	}
	s.cancelling, s.cancelled = asked, asked && s.cancelled
	s.serveLocked()
	s.notifyLocked()
}

// notifyLocked lets go who waits for a change.
func (s *share) notifyLocked() {
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// demand returns what the server is to be told, and takes it for told.
func (s *share) demand(now time.Duration) permit.Demand {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := permit.Demand{
		Waiting: s.waiting, Weight: s.config.weight, Priority: s.config.priority, Guarantee: s.config.guarantee,
		MeanHold: time.Duration(s.meanHold.Load()),
	}
	oldest := now
	if e := s.queue.Front(); e != nil {
		w := e.Value.(*waiter)
		oldest, d.Need = w.since, w.count
	}
	for h := range s.handles {
		if h.waiting > 0 {
			d.Waiting += h.waiting
			oldest = min(oldest, h.since)
		}
		if h.hasUsage {
			d.Usage, d.HasUsage = addUsage(d.Usage, d.HasUsage, h.usage), true
		}
	}
	if at := time.Duration(s.missedAt.Load()); now-at < missedFor && len(s.handles) > 0 {
		d.Waiting += s.missed.Load()
		oldest = min(oldest, at)
		d.Need = max(d.Need, s.missed.Load())
	}
	d.Waiting = min(d.Waiting, permit.MaxLimit)
	d.OldestWait = now - oldest
	if s.state.final != nil {
		d.Waiting = 0
	}
	s.asked = d.Waiting > 0
	return d
}
