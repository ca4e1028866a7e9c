package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

// The causes with which the context of a [Permit] ends while it is held; see [context.Cause].
var (
	// ErrLeaseLost reports that the server was not heard of for so long that it may have leased the permits to
	// somebody else.
	ErrLeaseLost = errors.New("client: the lease of the permits is lost")

	// ErrCancelled reports that the severity on the machine says stop at once.
	ErrCancelled = errors.New("client: the server cancels the work under the permits")

	// ErrKicked reports that an operator ended the session. The client attaches anew after a while.
	ErrKicked = errors.New("client: an operator ended the session")
)

// RefusedError reports that the server refuses a resource to this program. The server may think otherwise
// later, and the handle then works.
type RefusedError struct {
	Resource string
	Refusal  permit.Refusal
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("client: the server refuses resource %q: %s", e.Resource, e.Refusal)
}

// PermitOption changes what [Client.Permits] asks for.
type PermitOption func(*permitConfig)

// WithOffline says what may run while there is no lease. The default is [OfflineNone].
func WithOffline(o Offline) PermitOption { return func(c *permitConfig) { c.offline = o } }

// WithWeight sets the share against other programs of the same identity, from 1 to [permit.MaxWeight]. The
// default is 1.
func WithWeight(weight int) PermitOption { return func(c *permitConfig) { c.weight = weight } }

// WithPriority sets the band in which the program waits, from [permit.MinPriority] to [permit.MaxPriority]. A
// higher one is served first; the server may hold it down. The default is 0.
func WithPriority(priority int) PermitOption { return func(c *permitConfig) { c.priority = priority } }

// WithGuarantee asks for n permits that are never given to others while the program wants them.
// [Permits.Target] says how many the server gives. The default is 0.
func WithGuarantee(n int64) PermitOption { return func(c *permitConfig) { c.guarantee = n } }

// Permits is a handle on the permits of one resource that the server leases to this program. Its methods are
// safe for concurrent use. All handles of a Client share one stream and one session.
type Permits struct{ share *share }

// Permits returns a handle on a resource, and attaches to the server with the first one. It does not wait for
// the server. Handles of the same resource share what is leased, the queue of [Permits.Acquire] and the options:
// other options than those of an open handle are an error, as are faults of the options, all at once, and so is
// [OfflineLocal] without [WithLocal]. When the server refused to attach this Client, or it was closed, that is
// the error.
func (c *Client) Permits(resource string, opts ...PermitOption) (*Permits, error) {
	return nil, errors.ErrUnsupported
}

// Resource returns the name of the resource.
func (h *Permits) Resource() string { return "" }

// Limit returns how many permits may be held now: what the server says or, while there is no lease, the offline
// policy. What is held may be over it after it fell.
func (h *Permits) Limit() int64 { return 0 }

// Held returns how many permits are held, over all handles of the resource.
func (h *Permits) Held() int64 { return 0 }

// Target returns the newest target that the server sent, which says why the limit is not higher. Its Version is
// 0 before the first.
func (h *Permits) Target() permit.Target { return permit.Target{} }

// Changed returns a channel that is closed when the limit, the target or the error changes. To miss nothing, get
// the channel before looking at them.
func (h *Permits) Changed() <-chan struct{} { return nil }

// Err returns why nothing can be had, or nil: a [*RefusedError], [ErrClosed], or an error of the server by which
// it ended the attachment for good.
func (h *Permits) Err() error { return nil }

// Demand states that work waits for so many permits beside those that are held and those that calls of Acquire
// wait for, and for how long the oldest of it has waited by now. It is for programs that queue themselves, and
// holds until the next call. It does not block.
func (h *Permits) Demand(waiting int64, oldest time.Duration) {}

// TryAcquire takes n permits, all or none, if it can do so without waiting and without overtaking a waiting
// Acquire. It does not block, asks no server and does not allocate. One that failed counts as a demand for n
// permits for the next second. n below 1 fails.
func (h *Permits) TryAcquire(n int64) (Permit, bool) { return Permit{}, false }

// Acquire takes n permits, from 1 to [permit.MaxLimit], all or none, first come first served. It blocks until it
// has them, ctx is done, the handle is closed, or [Permits.Err] is not nil; the error then names that, and the
// state of the attachment where ctx ended first. It holds a goroutine of its caller only.
func (h *Permits) Acquire(ctx context.Context, n int64) (Permit, error) {
	return Permit{}, errors.ErrUnsupported
}

// Close withdraws the demand of the handle and ends its waiting calls with [ErrClosed]. Permits that it took
// are to be released all the same. It does not block; a second call does nothing.
func (h *Permits) Close() {}

// Permit is the right to run something. It is a small value that must not be copied before [Permit.Release].
type Permit struct {
	share *share
	lease *lease
	fence permit.Fence
	count int64
	taken time.Duration
}

// Release gives the permit back; the zero Permit and one that was released have nothing to give. It must be
// called also when the permit was lost. It does not block.
func (p *Permit) Release() {}

// Count returns how many permits it is.
func (p *Permit) Count() int64 { return p.count }

// Fence returns a number that is greater than that of every permit of the resource that was granted before, for
// a store that refuses a stale writer. It is zero for a permit that the offline policy gave. Of n permits it is
// the first of n.
func (p *Permit) Fence() permit.Fence { return p.fence }

// Context returns a context that is done when the permit is lost while it is held, with cause [ErrLeaseLost],
// [ErrCancelled], [ErrKicked] or [ErrClosed]. It is not done by Release.
func (p *Permit) Context() context.Context { return context.Background() }

// Guard returns a copy of ctx that is done also when the permit is lost, with the cause that [Permit.Context]
// has. Call cancel when the work is done.
func (p *Permit) Guard(ctx context.Context) (_ context.Context, cancel context.CancelFunc) {
	return context.WithCancel(ctx)
}

type permitConfig struct {
	offline   Offline
	weight    int
	priority  int
	guarantee int64
}

type share struct{}

type lease struct{}
