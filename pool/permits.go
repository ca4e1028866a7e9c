package pool

import (
	"context"
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

// Permits is where the right to run comes from: a share of a [Budget], or what a server leases, by client.NewPool.
// Its methods are safe for concurrent use and do not block. One Permits belongs to one pool.
type Permits interface {
	// TryAcquire takes n permits, all or none.
	TryAcquire(n int64) (Permit, bool)

	// Limit returns how many may be held now, and what keeps it from being higher, for people.
	Limit() (n int64, binding string)

	// Changed returns a channel that is closed when TryAcquire may succeed that failed before, or Err changed. To
	// miss nothing, get the channel before trying.
	Changed() <-chan struct{}

	// Demand states that work waits for so many permits beside those that are held, and for how long the oldest of
	// it has waited.
	Demand(waiting int64, oldest time.Duration)

	// Report states what the tasks use.
	Report(u permit.Usage)

	// Err returns why nothing will be had any more, or nil.
	Err() error
}

// Permit is the right to run one task.
type Permit interface {
	// Release gives it back. It is called once.
	Release()

	// Fence orders the permits; see [permit.Fence]. It is zero where there is no order.
	Fence() permit.Fence

	// Guard returns a copy of ctx that is done also when the permit is lost, with the reason as its cause, and what
	// to call when the task is done.
	Guard(ctx context.Context) (_ context.Context, cancel context.CancelFunc)
}
