package snapshot

import (
	"context"
	"slices"
	"sync"
	"time"
)

// promptly is how long a source may take that is read together with others. One that took longer is read on a
// goroutine of its own, until it is prompt again.
const promptly = time.Millisecond

// rota takes the snapshots of all signals during one Run. At each tick one goroutine reads what is due, one source
// after the other, so that the machine wakes once and not for each of them. Two goroutines take turns: when one is
// still in a source at the next tick, the other goes on with the rest, and a new one takes turns with it. So a source
// that begins to hang delays the others of its tick by one tick, once.
type rota struct {
	s       *Snapshotter
	ctx     context.Context
	readers *sync.WaitGroup
	signals []*signal     // the event loop first, so that no source counts as its delay
	kept    chan struct{} // holds one token, for each keepInterval

	// Guarded by the mutex of s.
	ticks  Ticks
	period time.Duration // of the ticks
	tick   time.Time     // one of them, past or to come
	keep   time.Time     // when kept is due
	round  int           // grows with each round that began while another went on
}

func newRota(ctx context.Context, s *Snapshotter, readers *sync.WaitGroup, signals []*signal, begun time.Time) *rota {
	r := &rota{
		s: s, ctx: ctx, readers: readers, signals: slices.Clone(signals), kept: make(chan struct{}, 1),
		period: keepInterval, tick: begun, keep: begun.Add(keepInterval),
	}
	slices.SortStableFunc(r.signals, func(a, b *signal) int {
		switch {
		case a.loop() != nil:
			return -1
		case b.loop() != nil:
			return 1
		default:
			return 0
		}
	})
	for _, sig := range r.signals {
		r.period = min(r.period, sig.interval)
	}
	r.ticks = newTicks(ctx, r.period, s.cfg.Ticks)
	return r
}

// start takes the first snapshots and begins to take turns.
func (r *rota) start() {
	first := r.tick // the other goroutine may have planned the next by the time this one runs
	r.readers.Go(func() {
		if r.take(0, first) {
			r.takeTurns(0)
		}
	})
	r.readers.Go(func() { r.takeTurns(1) })
}

// takeTurns makes a round at every other tick, until ctx is done or another goroutine took its place.
func (r *rota) takeTurns(turn int) {
	for r.ticks.Wait(turn) && r.take(turn, time.Now()) {
	}
}

// take takes the snapshots that are due. It reports false if another round began meanwhile.
func (r *rota) take(turn int, now time.Time) bool {
	s := r.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.round { // the other goroutine is in a source that hangs
		r.round++
		r.readers.Go(func() { r.takeTurns(1 - turn) })
	}
	s.round = true
	round := r.round
	for _, sig := range r.signals {
		if sig.reading || sig.due.After(now) {
			continue
		}
		if sig.reading = true; sig.apart {
			r.readers.Go(func() { r.takeApart(sig) })
			continue
		}
		r.takeLocked(sig)
		if r.round != round {
			r.planLocked(time.Now())
			return false
		}
	}
	s.round = false
	end := time.Now()
	s.tellTogetherLocked(end)
	r.planLocked(end)
	return true
}

// takeApart takes a snapshot of one signal, however long that takes.
func (r *rota) takeApart(sig *signal) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.takeLocked(sig)
	r.planLocked(time.Now())
}

// takeLocked takes a snapshot of one signal and notes when the next one is due. Meanwhile it gives up the mutex. A
// source that ends its goroutine is not read again; that is as if it hung for ever.
func (r *rota) takeLocked(sig *signal) {
	due, begun := sig.due, time.Now()
	func() {
		r.s.mu.Unlock()
		defer r.s.mu.Lock()
		r.s.take(r.ctx, sig)
	}()
	end := time.Now()
	sig.due, sig.reading, sig.apart = sig.next(due, end), false, end.Sub(begun) > promptly
}

// planLocked lets a tick come when the next snapshot is due. Where the intervals are multiples of the least, as they are
// by default, one does anyway: to set a timer anew costs a wakeup of another thread.
func (r *rota) planLocked(now time.Time) {
	if !r.keep.After(now) {
		select {
		case r.kept <- struct{}{}:
		default:
		}
		r.keep = nextTick(r.keep, now, keepInterval)
	}
	next := r.keep
	for _, sig := range r.signals {
		if !sig.reading && sig.due.Before(next) {
			next = sig.due
		}
	}
	if !r.tick.After(now) {
		r.tick = nextTick(r.tick, now, r.period)
	}
	if !next.After(now) || next.Equal(r.tick) {
		return
	}
	r.ticks.Reset(max(next.Sub(now), time.Millisecond), r.period)
	r.tick = next
}
