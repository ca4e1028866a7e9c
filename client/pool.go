package client

import (
	"container/list"
	"fmt"
	"sync"
	"time"

	"github.com/headroom-rpc/headroom/permit"
	"github.com/headroom-rpc/headroom/pool"
)

// NewPool returns a pool that runs as many tasks as the server leases permits of the resource for: [pool.New] with
// [pool.Options.Permits] of a handle that it opens with opts, and no law of its own. What its tasks use is told to the
// server. The handle is open until the Client is closed.
//
// When a permit is lost the context of its task ends with the cause of [Permit.Context]. A task that fails for that
// reason is no failure of the pool: it runs again where the pool was given it.
func NewPool(c *Client, resource string, o pool.Options, opts ...PermitOption) (*pool.Pool, error) {
	h, err := c.Permits(resource, opts...)
	if err != nil {
		return nil, err
	}
	o.Permits = h.Pool()
	p, err := pool.New(o)
	if err != nil {
		h.Close()
		return nil, fmt.Errorf("client: %w", err)
	}
	return p, nil
}

// Pool returns the permits as those of a pool, for [pool.Options.Permits]: of a [pool.Group], or of [pool.ForEach].
// One pool may use it, until the handle is closed.
func (h *Permits) Pool() pool.Permits { return &poolPermits{handle: h} }

// LeaseLeft returns for how long the permits that are held are leased if the server is not heard of from now on, as
// [Permit.LeaseLeft] does for one: for programs that hold many. It is 0 while nothing is leased. It does not block.
func (h *Permits) LeaseLeft() time.Duration { return h.share.attach.leaseLeft() }

// poolPermits lets a pool take permits without waiting: where there are none it queues for them as a call of
// [Permits.Acquire] does.
type poolPermits struct {
	handle *Permits

	mu      sync.Mutex
	waiter  *waiter // nil while none is queued
	element *list.Element
	err     error // of the last try
	count   int64 // of the last try: what is queued, if something is
}

// TryAcquire takes n permits, all or none.
func (p *poolPermits) TryAcquire(n int64) (pool.Permit, bool) {
	h, s := p.handle, p.handle.share
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count = n
	if p.waiter != nil && p.waiter.count != n {
		p.abandonLocked()
	}
	if p.waiter == nil {
		if !s.slow.Load() && !h.closed.Load() {
			if taken, ok := s.pass(n); ok {
				return &taken, true
			}
		}
		w, e, err := s.enqueue(h, n)
		if err != nil {
			p.err = err
			return nil, false
		}
		p.waiter, p.element = w, e
	}
	select {
	case <-p.waiter.ready:
	default:
		return nil, false
	}
	w := p.waiter
	p.waiter, p.element = nil, nil
	p.err = w.err
	return &w.permit, w.err == nil
}

// abandonLocked takes what is queued out of the queue.
func (p *poolPermits) abandonLocked() {
	if p.waiter != nil {
		p.handle.share.abandon(p.waiter, p.element)
		p.waiter, p.element = nil, nil
	}
}

// Limit returns how many may be held now, and why not more.
func (p *poolPermits) Limit() (n int64, binding string) {
	return p.handle.Limit(), p.handle.Target().Binding
}

// Changed returns a channel that is closed when what is queued was served or the limit changed.
func (p *poolPermits) Changed() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiter != nil {
		return p.waiter.ready
	}
	return p.handle.Changed()
}

// Demand states what waits, of which what is queued is a part. Where nothing does, it leaves the queue.
func (p *poolPermits) Demand(waiting int64, oldest time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if waiting == 0 {
		p.abandonLocked()
	}
	p.handle.Demand(max(0, waiting-p.count), oldest)
}

// Report states what the tasks use.
func (p *poolPermits) Report(u permit.Usage) { p.handle.Report(u) }

// Err returns why nothing can be had.
func (p *poolPermits) Err() error {
	if err := p.handle.Err(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}
