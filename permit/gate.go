package permit

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/headroom-rpc/headroom/internal/mistake"
)

// Gate is a worker's own account of one resource: whether one more piece of work may start. [Gate.TryAcquire]
// and [Gate.Release] are safe for concurrent use, do not block and do not allocate; the other methods that
// change it belong to its [Lessee]. A Gate is made by [Lessee.Gate] only.
type Gate struct {
	// state packs held and turn, which every start advances, so that it is never the same again while it is looked
	// at: what was looked at after it, the limit and the fences, is still in force if it has not changed.
	state atomic.Uint64

	// limit is the limit, or its complement, which is negative, while others wait. Who lowers it and then says what
	// is held advances the turn in between.
	limit atomic.Int64

	// fences is the block that starts take from.
	fences atomic.Pointer[fenceBlock]

	lease *lease

	// keep is never yielded.
	keep atomic.Int64

	// offline is how many may run without a lease.
	offline atomic.Int64

	// told is whether a change waits for the Lessee to report it.
	told atomic.Bool
}

// lease is what all gates of a Lessee share.
type lease struct {
	// deadline is in nanoseconds of the worker's clock, noLease when there is none.
	deadline atomic.Int64

	// shut is whether nothing may start, not even offline.
	shut atomic.Bool
}

const noLease = math.MinInt64

// fenceBlock has the fence of the start at the turn from, and of the ones after it.
type fenceBlock struct {
	epoch, base int64
	from        uint32

	// spent is whether a start found no more in it, as turns begin anew after 1<<32 of them.
	spent atomic.Bool
}

// counter returns the fence of the start at that turn.
func (b *fenceBlock) counter(turn uint32) int64 {
	n := turn - b.from
	if n < FenceBlock-1 && !b.spent.Load() {
		return b.base + int64(n)
	}
	b.spent.Store(true)
	return b.base + FenceBlock - 1
}

// The state holds what is held in its lower half, and the turn above.
const (
	turnShift = 32
	nextTurn  = 1 << turnShift
)

func stateHeld(s uint64) int64  { return int64(uint32(s)) }
func stateTurn(s uint64) uint32 { return uint32(s >> turnShift) }

func packLimit(limit int64, contended bool) int64 {
	if contended {
		return ^limit
	}
	return limit
}

func unpackLimit(l int64) (limit int64, contended bool) {
	if l < 0 {
		return ^l, true
	}
	return l, false
}

func newGate(l *lease) *Gate {
	g := &Gate{lease: l}
	g.fences.Store(&fenceBlock{})
	return g
}

// TryAcquire takes n permits, all or none, if the target, the ceiling and the lease allow it at the time now of
// the worker's clock, and returns the fence of them all. n under 1 takes nothing. Without a lease it takes what
// [Gate.SetOffline] allows, and the fence is zero.
func (g *Gate) TryAcquire(now time.Duration, n int64) (Fence, bool) {
	if n < 1 {
		return Fence{}, false
	}
	if int64(now) >= g.lease.deadline.Load() && !mistake.Planted(mistake.IgnoreDeadline) {
		return Fence{}, g.tryOffline(n)
	}
	for {
		s := g.state.Load()
		limit := g.Limit()
		b := g.fences.Load() // after the limit, to be of its target or a newer one
		if n > limit-stateHeld(s) {
			return Fence{}, false
		}
		if g.state.CompareAndSwap(s, s+uint64(n)+nextTurn) {
			return Fence{Epoch: b.epoch, Counter: b.counter(stateTurn(s))}, true
		}
	}
}

func (g *Gate) tryOffline(n int64) bool {
	for {
		s := g.state.Load()
		if g.lease.shut.Load() || n > g.offline.Load()-stateHeld(s) {
			return false
		}
		if g.state.CompareAndSwap(s, s+uint64(n)+nextTurn) {
			return true
		}
	}
}

// Release gives n permits back and reports whether a frame is to be sent at once, by [Lessee.Frame]: it is when
// more were held than the target allows, or when others wait. In the second case the permits can not be taken
// here again, until a newer target allows it. Giving back more than is held gives all back.
func (g *Gate) Release(n int64) (tell bool) {
	if n < 1 {
		return false
	}
	s := g.state.Load()
	if held := stateHeld(s); n <= held && held <= g.limit.Load() && g.state.CompareAndSwap(s, s-uint64(n)) {
		return false
	}
	return g.releaseYielding(n)
}

// releaseYielding is Release where more is held than the limit, or others wait.
func (g *Gate) releaseYielding(n int64) (tell bool) {
	for {
		s := g.state.Load()
		l := g.limit.Load()
		limit, contended := unpackLimit(l)
		held := stateHeld(s)
		left := max(held-n, 0)
		tell = tell || held > limit
		if lower := max(left, g.keep.Load()); contended && lower < limit {
			tell = true
			// Before the state, so that nobody takes here what is given back.
			if !mistake.Planted(mistake.IgnoreCeiling) && !g.limit.CompareAndSwap(l, packLimit(lower, true)) {
				continue
			}
		}
		if g.state.CompareAndSwap(s, s-uint64(held-left)) {
			return tell && !g.told.Swap(true)
		}
	}
}

// yield lowers the limit to what is used or guaranteed, for others to have the rest.
func (g *Gate) yield() { g.yieldTo(g.keep.Load()) }

// yieldTo lowers the limit to what is used, but not under keep.
func (g *Gate) yieldTo(keep int64) {
	for {
		l := g.limit.Load()
		limit, contended := unpackLimit(l)
		lower := min(limit, max(g.Held(), keep))
		if lower == limit || g.limit.CompareAndSwap(l, packLimit(lower, contended)) {
			return
		}
	}
}

// snapshot returns what is held and the limit: from its return on no start brings what is held above both.
func (g *Gate) snapshot() (held, limit int64) {
	limit = g.Limit()
	return stateHeld(g.state.Add(nextTurn)), limit
}

// apply takes a newer target, whose ceiling is open again.
func (g *Gate) apply(epoch int64, t Target) {
	if b := g.fences.Load(); b.epoch != epoch || b.base != t.Fence {
		g.fences.Store(&fenceBlock{epoch: epoch, base: t.Fence, from: stateTurn(g.state.Load())})
	}
	g.keep.Store(t.Guarantee)
	g.set(t.Target, t.Contended)
}

// set puts a limit in force: from its return on no start takes place within the one before.
func (g *Gate) set(limit int64, contended bool) {
	g.limit.Store(packLimit(limit, contended))
	g.state.Add(nextTurn)
}

// SetOffline sets how many permits may be held while there is no lease, from 0 to MaxLimit; a value outside is
// taken for the nearest. It counts what was taken under a lease too. It has no effect after [Lessee.Goodbye],
// and none after the session was ended by somebody else until there is a new one. The default is 0.
func (g *Gate) SetOffline(n int64) { g.offline.Store(min(max(n, 0), MaxLimit)) }

// Held returns how many permits are taken.
func (g *Gate) Held() int64 { return stateHeld(g.state.Load()) }

// Limit returns how many may be taken now: the target or the ceiling, without regard to the lease.
func (g *Gate) Limit() int64 {
	limit, _ := unpackLimit(g.limit.Load())
	return limit
}
