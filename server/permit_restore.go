package server

import (
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

// restore takes up the permits that calls of the server's earlier life leased and that may still be held.
func (a *arbiter) restore(now time.Duration, r *recovered) (err error) {
	if _, err := a.enter(); err != nil {
		return err
	}
	defer a.leave(&err)
	byInstance := make(map[permit.InstanceID][]lease)
	for _, l := range r.leases {
		switch {
		case l.request == "": // of HoldPermit: its holder heard of it at the end of that life at the latest
			l.until = now + l.ttl
		case !r.sameBoot: // the clock began anew
			l.until = now + l.ttl
		}
		if _, ok := a.queues.service.grant(l.resource, l.owner.Identity); !ok || l.until+a.queues.caution(l.ttl) <= now {
			a.entries = append(a.entries, journalEntry{kind: entryEnd, end: l.id})
			continue
		}
		byInstance[l.instance] = append(byInstance[l.instance], l)
	}
	a.change()
	for instance, leases := range byInstance {
		if err := a.queues.restore(now, instance, leases, r.ceilings); err != nil {
			return err
		}
	}
	return nil
}

// restore makes the inner session anew that had the leases.
func (q *queues) restore(
	now time.Duration, instance permit.InstanceID, leases []lease, ceilings []permit.Record,
) error {
	hello := permit.Hello{Client: innerClient, Instance: instance, Resume: true, Epoch: leases[0].fence.Epoch}
	for _, c := range ceilings {
		if c.Instance == instance {
			hello.Session, hello.Epoch = c.Session, c.Epoch
		}
	}
	sums := make(map[string]int64)
	for _, l := range leases {
		sums[l.resource] += l.count
	}
	for resource, held := range sums {
		hello.Held = append(hello.Held, permit.Holding{Resource: resource, Held: held, Target: held})
	}
	first := &leases[0].owner
	key := queueKey{first.Identity, first.Unbounded, leases[0].priority}
	one, err := q.begin(now, key, hello)
	if err != nil {
		return err
	}
	for _, l := range leases {
		h := &held{lease: l, line: one.line(l.resource), begun: now}
		h.line.held += l.count
		q.keep(h)
		o := q.owner(l.owner.Identity)
		o.count++
		if l.request != "" {
			done := make(chan struct{})
			close(done)
			o.requests[l.request] = &claim{
				line: h.line, owner: l.owner, count: l.count, request: l.request, lease: h, done: done,
			}
		}
	}
	lines := make([]*line, 0, len(one.lines))
	for _, l := range one.lines {
		lines = append(lines, l)
	}
	q.report(now, one, lines...)
	return nil
}
