package server

import (
	"container/heap"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

const (
	// defaultLeaseTTL is that of a caller who states none, and maxLeaseTTL the longest that one may state.
	defaultLeaseTTL = 30 * time.Second
	maxLeaseTTL     = time.Hour

	// maxEnded bounds the requests of one identity whose permit has ended and that are still known.
	maxEnded = 1024
)

// held is a permit that a unary call or HoldPermit has leased.
type held struct {
	lease
	line    *line
	begun   time.Duration
	expires time.Duration // when the server takes it for ended
	index   int           // in the heap
	kicked  chan struct{} // of HoldPermit: closed when an operator ended the session; nil after it
}

// owner is what one identity has of such permits.
type owner struct {
	count    int               // of claims that wait, and of permits
	requests map[string]*claim // by request_id, until the permit has ended
	ended    map[string]time.Duration
	order    []string // of ended, the oldest first
}

// lostError reports a permit that is not, or no longer, held.
type lostError struct{ id string }

func (e *lostError) Error() string { return fmt.Sprintf("server: no permit %q", e.id) }

// permitLimitError reports Limits.MaxPermits or MaxPermitsPerIdentity.
type permitLimitError struct {
	limit int
	field string
}

func (e *permitLimitError) Error() string {
	return fmt.Sprintf("%d permits are leased or waited for, which is the most (%s)", e.limit, e.field)
}

// owner returns what the identity has, which it counts one more of.
func (q *queues) admit(identity string) (*owner, error) {
	limits := &q.service.limits
	if n := len(q.leases) + q.waiting; n >= limits.MaxPermits {
		return nil, &permitLimitError{limits.MaxPermits, "MaxPermits"}
	}
	o := q.owner(identity)
	if o.count >= limits.MaxPermitsPerIdentity {
		return nil, &permitLimitError{limits.MaxPermitsPerIdentity, "MaxPermitsPerIdentity"}
	}
	o.count++
	return o, nil
}

func (q *queues) owner(identity string) *owner {
	o := q.owners[identity]
	if o == nil {
		o = &owner{requests: make(map[string]*claim), ended: make(map[string]time.Duration)}
		q.owners[identity] = o
	}
	return o
}

// release undoes admit.
func (q *queues) release(identity string) {
	o := q.owners[identity]
	o.count--
	if o.count == 0 && len(o.ended) == 0 {
		delete(q.owners, identity)
	}
}

// forget forgets the request of a claim.
func (o *owner) forget(c *claim) {
	if c.request != "" && o.requests[c.request] == c {
		delete(o.requests, c.request)
	}
}

// end remembers, until then, that the permit of a request has ended.
func (o *owner) end(request string, until time.Duration) {
	delete(o.requests, request)
	if len(o.order) >= maxEnded {
		delete(o.ended, o.order[0])
		o.order = o.order[1:]
	}
	o.ended[request] = until
	o.order = append(o.order, request)
}

// sweep forgets what nobody asks for any more.
func (q *queues) sweep(now time.Duration) {
	for identity, o := range q.owners {
		for len(o.order) > 0 && o.ended[o.order[0]] <= now {
			delete(o.ended, o.order[0])
			o.order = o.order[1:]
		}
		if o.count == 0 && len(o.order) == 0 {
			delete(q.owners, identity)
		}
	}
}

// grant gives the claim its permit.
func (q *queues) grant(now time.Duration, c *claim) {
	l := c.line
	h := &held{
		lease: lease{
			instance: l.queue.instance, owner: c.owner, priority: l.queue.key.priority,
			resource: l.resource, count: c.count, request: c.request, client: c.client,
			fence: permit.Fence{Epoch: q.service.epoch, Counter: l.next(c.count)},
			ttl:   c.ttl, until: now + c.ttl,
		},
		line: l, begun: now,
	}
	if c.request == "" {
		h.kicked = make(chan struct{})
	}
	_, _ = rand.Read(h.id[:]) // never fails; it ends the program instead
	c.lease = h
	l.held += c.count
	q.keep(h)
	q.arbiter.counters.grants++
	q.arbiter.entries = append(q.arbiter.entries, journalEntry{kind: entryLease, lease: h.lease})
	q.log(slog.LevelDebug, "granted a permit", h)
}

// keep keeps a permit until it is given back or its lease is over.
func (q *queues) keep(h *held) {
	h.line.queue.leases++
	q.leases[h.id] = h
	h.expires = h.until + q.caution(h.ttl)
	heap.Push(&q.expiry, h)
	q.expect(h)
}

// expect makes sure that the end of a lease is noticed in time.
func (q *queues) expect(h *held) {
	if h.expires < q.arbiter.due {
		q.arbiter.poke()
	}
}

// caution is how much longer than its holder the server takes a permit for held: the grace, and more where the
// clocks have the time to drift.
func (q *queues) caution(ttl time.Duration) time.Duration { return q.service.config.Grace + ttl/100 }

// renew leases the permit anew from now on.
func (q *queues) renew(now time.Duration, h *held, ttl time.Duration) {
	h.ttl, h.until = ttl, now+ttl
	h.expires = h.until + q.caution(ttl)
	heap.Fix(&q.expiry, h.index)
	q.expect(h)
}

// shorten bounds a lease that is not written down: the next life of the server knows nothing of it, and charges in
// full for no longer than that.
func (q *queues) shorten(h *held) {
	if ttl := q.service.config.TTL; !q.arbiter.keepsLocked() && h.ttl > ttl {
		q.renew(q.arbiter.now, h, ttl)
	}
}

// find returns the permit of the party by its id as told.
func (q *queues) find(who permit.Party, text string) (*held, error) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != len(leaseID{}) {
		return nil, &lostError{text}
	}
	h := q.leases[leaseID(raw)]
	if h == nil || h.owner.Identity != who.Identity {
		return nil, &lostError{text}
	}
	return h, nil
}

// drop takes a permit for ended.
func (q *queues) drop(now time.Duration, h *held) {
	if q.leases[h.id] != h {
		return
	}
	q.forgetLease(h)
	l := h.line
	l.ended(h.count, now-h.begun)
	l.queue.used = now
	if !l.yielded {
		q.serve(now, l)
	}
	q.report(now, l.queue, l)
}

// forgetLease removes a permit from all tables but its line.
func (q *queues) forgetLease(h *held) {
	delete(q.leases, h.id)
	heap.Remove(&q.expiry, h.index)
	h.line.queue.leases--
	if h.request != "" {
		q.owner(h.owner.Identity).end(h.request, h.until)
	}
	q.release(h.owner.Identity)
	q.arbiter.ended(q.arbiter.now, h.id)
}

// advance ends the permits whose lease is over, and returns when to look again, or never.
func (q *queues) advance(now time.Duration) (next time.Duration) {
	for len(q.expiry) > 0 && q.expiry[0].expires <= now {
		h := q.expiry[0]
		q.arbiter.counters.expiries++
		q.log(slog.LevelInfo, "a lease of a permit is over", h)
		q.drop(now, h)
	}
	q.sweep(now)
	q.beat(now)
	next = never
	if len(q.owners) > 0 { // there is something to forget
		next = now + longestWait
	}
	if len(q.expiry) > 0 {
		next = min(next, q.expiry[0].expires)
	}
	if len(q.bySession) > 0 {
		next = min(next, now+q.service.config.Heartbeat)
	}
	return next
}

func (q *queues) log(level slog.Level, text string, h *held) {
	if !q.arbiter.log.Enabled(context.Background(), level) {
		return
	}
	q.arbiter.log.LogAttrs(context.Background(), level, text,
		slog.String("identity", h.owner.Identity),
		slog.String("client", h.client),
		slog.String("resource", h.resource),
		slog.Int64("count", h.count),
		slog.String("fence", h.fence.String()))
}

// leaseHeap has the permit that expires first at its front.
type leaseHeap []*held

func (h leaseHeap) Len() int           { return len(h) }
func (h leaseHeap) Less(i, j int) bool { return h[i].expires < h[j].expires }
func (h leaseHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *leaseHeap) Push(x any) {
	one := x.(*held)
	one.index = len(*h)
	*h = append(*h, one)
}

// Pop implements heap.Interface.
func (h *leaseHeap) Pop() any {
	last := len(*h) - 1
	one := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return one
}
