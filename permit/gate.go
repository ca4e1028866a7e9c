package permit

import "time"

// Gate is a worker's own account of one resource: whether one more piece of work may start. [Gate.TryAcquire]
// and [Gate.Release] are safe for concurrent use, do not block and do not allocate; the other methods that
// change it belong to its [Lessee].
type Gate struct{}

// TryAcquire takes n permits if the target, the ceiling and the lease allow, and returns the fence of the first.
func (g *Gate) TryAcquire(now time.Duration, n int64) (Fence, bool) { return Fence{}, false }

// Release gives n permits back and reports whether the server is to be told at once.
func (g *Gate) Release(n int64) (tell bool) { return false }

// Held returns how many permits are taken.
func (g *Gate) Held() int64 { return 0 }

// Limit returns how many may be taken now: the target or the ceiling, without regard to the lease.
func (g *Gate) Limit() int64 { return 0 }
