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
	// state packs held, limit and contended, so that no start slips in between a report of what is held and
	// the ceiling in it.
	state atomic.Uint64

	// starts counts all that were ever taken. It stands beside state, to be on the same cache line.
	starts atomic.Int64

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

// fenceBlock has the fence of the start that found starts at from, and of the ones after it.
type fenceBlock struct {
	epoch, base, from int64
}

// The state holds what is held in its lowest 31 bits, the limit in the next 31, and contended above.
const (
	stateBits      = 31
	stateMask      = 1<<stateBits - 1
	stateContended = 1 << (2 * stateBits)
)

func packState(held, limit int64, contended bool) uint64 {
	s := uint64(held) | uint64(limit)<<stateBits
	if contended {
		s |= stateContended
	}
	return s
}

func stateHeld(s uint64) int64  { return int64(s & stateMask) }
func stateLimit(s uint64) int64 { return int64(s >> stateBits & stateMask) }

func newGate(l *lease) *Gate {
	g := &Gate{lease: l}
	g.fences.Store(&fenceBlock{})
	return g
}

// TryAcquire takes n permits, all or none, if the target, the ceiling and the lease allow it at the time now of
// the worker's clock, and returns the fence of the first; the others have the ones after it. n under 1 takes
// nothing. Without a lease it takes what [Gate.SetOffline] allows, and the fence is zero.
func (g *Gate) TryAcquire(now time.Duration, n int64) (Fence, bool) {
	if n < 1 {
		return Fence{}, false
	}
	if int64(now) >= g.lease.deadline.Load() && !mistake.Planted(mistake.IgnoreDeadline) {
		return Fence{}, g.tryOffline(n)
	}
	for {
		s := g.state.Load()
		if n > stateLimit(s)-stateHeld(s) {
			return Fence{}, false
		}
		if g.state.CompareAndSwap(s, s+uint64(n)) {
			return g.fence(n), true
		}
	}
}

func (g *Gate) tryOffline(n int64) bool {
	for {
		s := g.state.Load()
		if g.lease.shut.Load() || n > g.offline.Load()-stateHeld(s) {
			return false
		}
		if g.state.CompareAndSwap(s, s+uint64(n)) {
			return true
		}
	}
}

// fence takes the fences of n starts. The block may be newer than the target under which they were allowed,
// never older, as a Lessee sets it before the target.
func (g *Gate) fence(n int64) Fence {
	for b := g.fences.Load(); ; {
		first := g.starts.Add(n) - n - b.from
		now := g.fences.Load()
		if now == b {
			return Fence{Epoch: b.epoch, Counter: b.base + min(first, FenceBlock-1)}
		}
		b = now
	}
}

// Release gives n permits back and reports whether a frame is to be sent at once, by [Lessee.Frame]: it is when
// more were held than the target allows, or when others wait. In the second case the permits can not be taken
// here again, until a newer target allows it. Giving back more than is held gives all back.
func (g *Gate) Release(n int64) (tell bool) {
	if n < 1 {
		return false
	}
	for {
		s := g.state.Load()
		before, limit := stateHeld(s), stateLimit(s)
		held := max(before-n, 0)
		tell = before > limit
		contended := s&stateContended != 0
		lower := limit
		if contended {
			lower = min(limit, max(held, g.keep.Load()))
			tell = tell || lower < limit
			if mistake.Planted(mistake.IgnoreCeiling) {
				lower = limit
			}
		}
		if g.state.CompareAndSwap(s, packState(held, lower, contended)) {
			return tell && !g.told.Swap(true)
		}
	}
}

// yield lowers the limit to what is used or guaranteed, for others to have the rest.
func (g *Gate) yield() { g.yieldTo(g.keep.Load()) }

// yieldTo lowers the limit to what is used, but not under keep.
func (g *Gate) yieldTo(keep int64) {
	for {
		s := g.state.Load()
		held, limit := stateHeld(s), stateLimit(s)
		lower := min(limit, max(held, keep))
		if lower == limit || g.state.CompareAndSwap(s, packState(held, lower, s&stateContended != 0)) {
			return
		}
	}
}

// apply takes a newer target, whose ceiling is open again.
func (g *Gate) apply(epoch int64, t Target) {
	if b := g.fences.Load(); b.epoch != epoch || b.base != t.Fence {
		g.fences.Store(&fenceBlock{epoch: epoch, base: t.Fence, from: g.starts.Load()})
	}
	g.keep.Store(t.Guarantee)
	g.set(t.Target, t.Contended)
}

func (g *Gate) set(limit int64, contended bool) {
	for {
		s := g.state.Load()
		if g.state.CompareAndSwap(s, packState(stateHeld(s), limit, contended)) {
			return
		}
	}
}

// SetOffline sets how many permits may be held while there is no lease, from 0 to MaxLimit; a value outside is
// taken for the nearest. It counts what was taken under a lease too. It has no effect after [Lessee.Goodbye],
// and none after the session was ended by somebody else until there is a new one. The default is 0.
func (g *Gate) SetOffline(n int64) { g.offline.Store(min(max(n, 0), MaxLimit)) }

// Held returns how many permits are taken.
func (g *Gate) Held() int64 { return stateHeld(g.state.Load()) }

// Limit returns how many may be taken now: the target or the ceiling, without regard to the lease.
func (g *Gate) Limit() int64 { return stateLimit(g.state.Load()) }
