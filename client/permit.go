package client

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
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

// Error names the resource and the reason.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("client: resource %q is refused: %s", e.Resource, e.Refusal)
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
type Permits struct {
	share    *share
	closed   atomic.Bool
	explicit bool // whether it chose the options

	// What [Permits.Demand] stated. Guarded by the mutex of share.
	waiting int64
	since   time.Duration // of the oldest, by the clock of the attachment

	// What [Permits.Report] stated. Guarded by the same.
	usage    permit.Usage
	hasUsage bool
}

// Permits returns a handle on a resource, and attaches to the server with the first one. It does not wait for
// the server. Handles of the same resource share what is leased, the queue of [Permits.Acquire] and the options:
// other options than those of an open handle are an error, as are faults of the options, all at once, and so is
// [OfflineLocal] without [WithLocal]. When the server refused to attach this Client, or it was closed, that is
// the error.
func (c *Client) Permits(resource string, opts ...PermitOption) (*Permits, error) {
	config := permitConfig{weight: 1}
	for _, o := range opts {
		o(&config)
	}
	if err := config.validate(resource, c.local != nil); err != nil {
		return nil, fmt.Errorf("client: permits: %w", err)
	}
	a, err := c.attach()
	if err != nil {
		return nil, err
	}
	return a.open(resource, &config)
}

// Resource returns the name of the resource.
func (h *Permits) Resource() string { return h.share.name }

// Limit returns how many permits may be held now: what the server says or, while there is no lease, the offline
// policy. What is held may be over it after it fell.
func (h *Permits) Limit() int64 {
	if h.share.attach.leased.Load() {
		return h.share.gate.Limit()
	}
	return h.share.offlineOpen.Load()
}

// Held returns how many permits are held, over all handles of the resource.
func (h *Permits) Held() int64 { return h.share.gate.Held() }

// Target returns the newest target that the server sent, which says why the limit is not higher. Its Version is
// 0 before the first.
func (h *Permits) Target() permit.Target {
	h.share.mu.Lock()
	defer h.share.mu.Unlock()
	return h.share.target
}

// Changed returns a channel that is closed when a new target came, a lease began or ended, the offline policy
// allows another number, or the error changed. To miss nothing, get the channel before looking.
func (h *Permits) Changed() <-chan struct{} {
	h.share.mu.Lock()
	defer h.share.mu.Unlock()
	if h.share.changed == nil {
		h.share.changed = make(chan struct{})
	}
	return h.share.changed
}

// Err returns why nothing can be had, or nil: a [*RefusedError], [ErrClosed], or the error of the server by which
// it ended the attachment for good.
func (h *Permits) Err() error {
	h.share.mu.Lock()
	defer h.share.mu.Unlock()
	return h.share.errLocked(h)
}

// Demand states that work waits for so many permits beside those that are held and those that calls of Acquire
// wait for, and for how long the oldest of it has waited by now. It is for programs that queue themselves, and
// holds until the next call. It does not block.
func (h *Permits) Demand(waiting int64, oldest time.Duration) {
	s := h.share
	s.mu.Lock()
	before := h.waiting
	h.waiting, h.since = max(0, min(waiting, permit.MaxLimit)), s.attach.now()-max(oldest, 0)
	changed := h.waiting != before
	s.mu.Unlock()
	if changed {
		s.demandChanged()
	}
}

// TryAcquire takes n permits, all or none, if it can do so without waiting and without overtaking a waiting
// Acquire. It asks no server and does not allocate. One that failed counts as a demand for n permits for the next
// second. n below 1 fails.
func (h *Permits) TryAcquire(n int64) (Permit, bool) {
	s := h.share
	if s.slow.Load() || h.closed.Load() {
		return h.tryAcquireSlow(n)
	}
	p, ok := s.pass(n)
	if !ok {
		s.miss(n)
	}
	return p, ok
}

// tryAcquireSlow is TryAcquire where more than the gate decides.
func (h *Permits) tryAcquireSlow(n int64) (Permit, bool) {
	if h.closed.Load() {
		return Permit{}, false
	}
	p, ok := h.share.takeNext(n)
	if !ok {
		h.share.miss(n)
	}
	return p, ok
}

// Acquire takes n permits, from 1 to [permit.MaxLimit], all or none, first come first served. It blocks until it
// has them, ctx is done, the handle is closed, or [Permits.Err] is not nil; the error then names that, and why
// the Client is not attached where ctx was done meanwhile. More than can be had at once unless an operator changes
// something is a [*TooManyError], as soon as the server says so. More than a limit that follows the load, or than a
// limit of 0, waits until that rises; the error then names why, as [Permits.Target] does. It needs no goroutine but
// that of its caller.
func (h *Permits) Acquire(ctx context.Context, n int64) (Permit, error) {
	s := h.share
	switch {
	case n < 1 || n > permit.MaxLimit:
		return Permit{}, fmt.Errorf("client: acquire %q: %d permits: want 1 to %d", s.name, n, permit.MaxLimit)
	case ctx.Err() != nil:
		return Permit{}, &callError{op: s.acquireOp(), err: context.Cause(ctx)}
	case !s.slow.Load() && !h.closed.Load():
		if p, ok := s.pass(n); ok {
			return p, nil
		}
	}
	w, e, urgent, err := s.await(h, n)
	if err != nil {
		return Permit{}, err
	}
	if urgent {
		s.attach.tell()
	}
	select {
	case <-w.ready:
		return w.permit, w.err
	case <-ctx.Done():
	}
	s.abandon(w, e)
	if failure := s.attach.why(); failure != nil {
		return Permit{}, &callError{op: s.acquireOp(), cause: context.Cause(ctx), err: failure}
	}
	return Permit{}, s.gaveUp(s.acquireOp(), context.Cause(ctx))
}

// acquireOp is what a call of Acquire is called in errors.
func (s *share) acquireOp() string { return fmt.Sprintf("acquire %q", s.name) }

// Close withdraws the demand of the handle and ends its waiting calls with [ErrClosed]. Permits that it took
// are to be released all the same. It does not block; a second call does nothing.
func (h *Permits) Close() {
	h.closed.Store(true)
	h.share.remove(h)
}

// Permit is the right to run something. It is a small value that must not be copied before [Permit.Release].
type Permit struct {
	// Four words are passed in registers; with more, a copy through memory takes as long as all the rest.
	lease   *lease
	counter int64         // of the fence
	count   int64         // negative once it was released
	taken   time.Duration // by the clock of the attachment
}

// Release gives the permit back; the zero Permit and one that was released have nothing to give. It must be
// called also when the permit was lost. It does not block.
func (p *Permit) Release() {
	if p.count <= 0 {
		return
	}
	p.count = -p.count
	p.lease.share.release(-p.count, p.taken)
}

// Count returns how many permits it is.
func (p *Permit) Count() int64 { return max(p.count, -p.count) }

// Fence returns a number for a store that refuses a stale writer: it is greater than that of every permit that was
// taken under an earlier grant of the server. With a limit of 1 that is every permit before it; with a higher one
// several grants are in use side by side, and of two workers the one that was granted earlier has the smaller
// fence however late it starts. It is zero for a permit that the offline policy gave. Permits that were taken by one
// call have one fence.
func (p *Permit) Fence() permit.Fence {
	if p.lease == nil {
		return permit.Fence{}
	}
	return permit.Fence{Epoch: p.lease.epoch, Counter: p.counter}
}

// Context returns a context that is done when the permit is lost, with cause [ErrLeaseLost], [ErrCancelled],
// [ErrKicked] or [ErrClosed]. Release does not end it. That of the zero Permit is never done.
func (p *Permit) Context() context.Context {
	if p.lease == nil {
		return context.Background()
	}
	return p.lease.ctx
}

// LeaseLeft returns for how long the permit is leased if the server is not heard of from now on, so that another
// process can end the work in time where this one cannot. It is 0 for a permit that was lost, and for one that the
// offline policy gave. It does not block.
func (p *Permit) LeaseLeft() time.Duration {
	if p.lease == nil || p.lease.ctx.Err() != nil {
		return 0
	}
	return p.lease.share.attach.leaseLeft()
}

// Guard returns a copy of ctx that is done also when the permit is lost, with the cause of [Permit.Context].
// Call cancel when the work is done.
func (p *Permit) Guard(ctx context.Context) (_ context.Context, cancel context.CancelFunc) {
	guarded, end := context.WithCancelCause(ctx)
	lost := p.Context()
	stop := context.AfterFunc(lost, func() { end(context.Cause(lost)) })
	return guarded, func() {
		stop()
		end(nil)
	}
}

// permitConfig is what the options of a handle say.
type permitConfig struct {
	offline   Offline
	weight    int
	priority  int
	guarantee int64
}

func (c *permitConfig) validate(resource string, local bool) error {
	var errs []error
	if !resourceName.MatchString(resource) {
		errs = append(errs, fmt.Errorf(
			"resource %q: want 1 to 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter or a digit", resource))
	}
	if c.weight < 1 || c.weight > permit.MaxWeight {
		errs = append(errs, fmt.Errorf("WithWeight: %d: want 1 to %d", c.weight, permit.MaxWeight))
	}
	if c.priority < permit.MinPriority || c.priority > permit.MaxPriority {
		errs = append(errs, fmt.Errorf("WithPriority: %d: want %d to %d", c.priority, permit.MinPriority, permit.MaxPriority))
	}
	if c.guarantee < 0 || c.guarantee > permit.MaxLimit {
		errs = append(errs, fmt.Errorf("WithGuarantee: %d: want 0 to %d", c.guarantee, permit.MaxLimit))
	}
	if c.offline < OfflineUnlimited || c.offline > permit.MaxLimit {
		errs = append(errs, fmt.Errorf("WithOffline: %d is no policy", c.offline))
	}
	if c.offline == OfflineLocal && !local {
		errs = append(errs, errors.New("WithOffline: OfflineLocal needs this option of Dial: "+
			"client.WithLocal(func() snapshot.Sources { return host.NewSources(snapshot.ScopeHost) })"))
	}
	return errors.Join(errs...)
}
