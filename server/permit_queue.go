package server

import (
	"container/list"
	"crypto/rand"
	"slices"
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

// queueKey is whose calls one inner session serves.
type queueKey struct {
	identity  string
	unbounded bool
	priority  int
}

// queue is an inner session: the ledger takes it for a worker like any other, and it takes up its targets at
// once. Calls wait in it, first come first served for each resource.
type queue struct {
	key      queueKey
	id       permit.SessionID
	instance permit.InstanceID
	sequence int64
	beaten   time.Duration // when the ledger last heard of it
	used     time.Duration // when it last had a call or a permit
	lines    map[string]*line
	leases   int    // how many it has
	kicked   string // why it was ended; it stays until its permits have ended
}

// longestEstimate keeps the arithmetic within its range.
const longestEstimate = 24 * time.Hour

// queues are the inner sessions and what they have leased. All of it belongs to whoever holds the arbiter.
type queues struct {
	arbiter *arbiter
	service *permitService

	byKey     map[queueKey]*queue
	bySession map[permit.SessionID]*queue
	owners    map[string]*owner
	leases    map[leaseID]*held
	expiry    leaseHeap
	granted   []*claim        // to be told once what was granted is written down
	reports   []permit.Report // of the frame that the ledger reads
	marks     []mark
	waiting   int // claims
	limits    map[string]int64
	beaten    time.Duration // when beat last looked at all
	draining  chan struct{} // closed when nothing is granted any more
	over      chan struct{} // closed when every stream, and all that still waits, is to end
}

func newQueues(a *arbiter, s *permitService) *queues {
	q := &queues{
		arbiter: a, service: s,
		byKey:     make(map[queueKey]*queue),
		bySession: make(map[permit.SessionID]*queue),
		owners:    make(map[string]*owner),
		leases:    make(map[leaseID]*held),
		limits:    make(map[string]int64),
		draining:  make(chan struct{}),
		over:      make(chan struct{}),
	}
	for _, r := range s.config.Resources {
		q.limits[r.Name] = r.Limit
	}
	return q
}

// queue returns the queue of the key, which it begins if there is none.
func (q *queues) queue(now time.Duration, key queueKey) (*queue, error) {
	if one := q.byKey[key]; one != nil {
		return one, nil
	}
	var instance permit.InstanceID
	_, _ = rand.Read(instance[:]) // never fails; it ends the program instead
	return q.begin(now, key, permit.Hello{Client: innerClient, Instance: instance})
}

// innerClient is what an inner session is called.
const innerClient = "unary"

func (q *queues) begin(now time.Duration, key queueKey, hello permit.Hello) (*queue, error) {
	who := permit.Party{Identity: key.identity, Unbounded: key.unbounded, Resident: true}
	welcome, err := q.arbiter.ledger.Attach(now, who, hello)
	if err != nil {
		return nil, err
	}
	one := &queue{
		key: key, id: welcome.Session, instance: hello.Instance, beaten: now, used: now, lines: make(map[string]*line),
	}
	q.byKey[key], q.bySession[one.id] = one, one
	q.arbiter.change()
	q.arbiter.poke() // it is to be heard of from now on
	return one, nil
}

// line returns the queue's line of the resource.
func (q *queue) line(resource string) *line {
	l := q.lines[resource]
	if l == nil {
		l = &line{queue: q, resource: resource, mode: permit.ModeNormal}
		q.lines[resource] = l
	}
	return l
}

// report tells the ledger what the lines have and want.
func (q *queues) report(now time.Duration, one *queue, lines ...*line) {
	one.sequence++
	q.reports = q.reports[:0]
	for _, l := range lines {
		q.reports = append(q.reports, l.report(now))
	}
	f := permit.WorkerFrame{Sequence: one.sequence, Sent: now, Reports: q.reports}
	one.beaten = now
	if err := q.arbiter.ledger.Receive(now, one.id, f); err != nil {
		q.lose(one, err)
		return
	}
	if len(lines) > 0 {
		q.arbiter.change()
	}
}

// apply puts the new targets of an inner session in force and grants what they have room for.
func (q *queues) apply(now time.Duration, id permit.SessionID) {
	one := q.bySession[id]
	if one == nil {
		return
	}
	var buf [4]permit.Target
	targets := q.arbiter.ledger.TakeTargets(id, buf[:0])
	frees := false
	var lines []*line
	for i := range targets {
		t := &targets[i]
		l := one.line(t.Resource)
		if t.Refused != "" {
			q.refuse(l, t.Refused)
			continue
		}
		frees = l.take(t) || frees
		q.serve(now, l)
		lines = append(lines, l)
	}
	if len(lines) == 0 {
		return
	}
	changed := q.arbiter.changed
	q.report(now, one, lines...)
	// To hear of a target that rose changes nothing for others.
	q.arbiter.changed = changed || frees
}

// serve grants to the claims of the line, in their order, what there is room for.
func (q *queues) serve(now time.Duration, l *line) {
	if q.arbiter.frozen || l.queue.kicked != "" {
		return
	}
	for front := l.waiting.Front(); front != nil; front = l.waiting.Front() {
		c := front.Value.(*claim)
		if l.room() < c.count {
			return
		}
		l.remove(c)
		q.waiting--
		q.grant(now, c)
		q.granted = append(q.granted, c)
	}
}

// tell tells the calls whose grant is written down.
func (q *queues) tell() {
	for i, c := range q.granted {
		if h := c.lease; q.leases[h.id] == h {
			q.shorten(h)
		}
		close(c.done)
		q.granted[i] = nil
	}
	q.granted = q.granted[:0]
	// What others free for it takes the ledger another pass, and an endless stream of changes many.
	const enough = 8
	passes, settled := q.arbiter.passes, !q.arbiter.changed
	q.marks = slices.DeleteFunc(q.marks, func(m mark) bool {
		if since := passes - m.passes; since < 1 || !settled && since < enough {
			return false
		}
		close(m.done)
		return true
	})
}

// mark is closed when all that was changed before it is decided on and written down.
type mark struct {
	passes int // begun before it
	done   chan struct{}
}

// setLimit notes the limit of a resource, and refuses the claims that it can never serve, so that they do not
// gather what others wait for.
func (q *queues) setLimit(resource string, limit int64) {
	if q.limits[resource] == limit {
		return
	}
	q.limits[resource] = limit
	q.tooLarge(resource, limit)
}

// drain refuses every claim that waits.
func (q *queues) drain() {
	select {
	case <-q.draining:
	default:
		close(q.draining)
	}
}

// end ends every call of HoldPermit.
func (q *queues) end() {
	q.drain()
	select {
	case <-q.over:
	default:
		close(q.over)
	}
}

// fail refuses a claim that waits.
func (q *queues) fail(c *claim, err error) {
	if c.element == nil {
		return
	}
	c.line.remove(c)
	q.waiting--
	c.err = err
	q.owners[c.owner.Identity].forget(c)
	q.release(c.owner.Identity)
	close(c.done)
}

// refuse refuses all claims of a line whose resource cannot be had.
func (q *queues) refuse(l *line, why permit.Refusal) {
	err := &resourceError{name: l.resource}
	if why != permit.RefusedNoResource {
		err.identity = l.queue.key.identity
	}
	q.refuseAll(l, err)
}

func (q *queues) refuseAll(l *line, err error) {
	for front := l.waiting.Front(); front != nil; front = l.waiting.Front() {
		q.fail(front.Value.(*claim), err)
	}
}

func (q *queues) tooLarge(resource string, limit int64) {
	for _, one := range q.bySession {
		l := one.lines[resource]
		if l == nil || limit < 1 {
			continue
		}
		var next *list.Element
		for e := l.waiting.Front(); e != nil; e = next {
			next = e.Next()
			if c := e.Value.(*claim); c.count > limit {
				q.fail(c, &waitError{resource: resource, count: c.count, limit: limit})
			}
		}
	}
}

// beat lets the ledger hear of every queue in time, and ends those that are not used.
func (q *queues) beat(now time.Duration) {
	if now-q.beaten < q.service.config.Heartbeat/4 {
		return
	}
	q.beaten = now
	for _, one := range q.bySession {
		if now-one.beaten < q.service.config.Heartbeat {
			continue
		}
		if one.leases == 0 && !one.waits() && now-one.used > q.service.config.TTL {
			q.endOne(now, one)
			continue
		}
		q.report(now, one)
	}
}

// waits reports whether a claim waits in the queue.
func (q *queue) waits() bool {
	for _, l := range q.lines {
		if l.waiting.Len() > 0 {
			return true
		}
	}
	return false
}

// endOne ends a queue that has nothing.
func (q *queues) endOne(now time.Duration, one *queue) {
	q.arbiter.ledger.End(now, one.id)
	q.arbiter.change()
	q.remove(one)
}

// remove forgets a queue.
func (q *queues) remove(one *queue) {
	delete(q.bySession, one.id)
	if q.byKey[one.key] == one {
		delete(q.byKey, one.key)
	}
}

// lose ends what a queue has whose session the ledger no longer knows.
func (q *queues) lose(one *queue, err error) {
	for _, l := range one.lines {
		q.refuseAll(l, err)
	}
	for _, h := range q.leases {
		if h.line.queue == one {
			q.forgetLease(h)
		}
	}
	q.remove(one)
}

// kick ends a queue that an operator ended: what waits is refused, and what is held is lost to its holders; its
// charge stays until they said so or their lease is over.
func (q *queues) kick(id permit.SessionID, reason string) {
	one := q.bySession[id]
	if one == nil {
		return
	}
	one.kicked = reason
	if q.byKey[one.key] == one {
		delete(q.byKey, one.key)
	}
	for _, l := range one.lines {
		q.refuseAll(l, &kickedError{reason})
	}
	for _, h := range q.leases {
		if h.line.queue == one && h.kicked != nil {
			close(h.kicked)
			h.kicked = nil
		}
	}
}
