package server

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/headroom-rpc/headroom/internal/wire"
	"github.com/headroom-rpc/headroom/permit"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

// waitError reports a permit that cannot be had in the time that the caller has.
type waitError struct {
	resource string
	count    int64
	limit    int64         // if the count is over it; else 0
	wait     time.Duration // as estimated; 0 when it is not known
	unknown  bool          // the wait is for what an earlier life of the server may have granted
}

func (e *waitError) Error() string {
	if e.limit > 0 {
		return fmt.Sprintf("%d permits of %q are more than its limit, %d", e.count, e.resource, e.limit)
	}
	if e.unknown {
		return fmt.Sprintf("%d of %q could not be had in time: for %v yet the server charges for what it may have granted "+
			"before it was started", e.count, e.resource, e.wait.Round(leastRetry))
	}
	if e.wait > 0 {
		return fmt.Sprintf("%d of %q cannot be had in time: the wait is about %v", e.count, e.resource, max(e.wait.Round(leastRetry), leastRetry))
	}
	return fmt.Sprintf("%d of %q could not be had in time", e.count, e.resource)
}

// The least and the most that a caller is told to wait before it tries again.
const (
	leastRetry    = 100 * time.Millisecond
	standardRetry = time.Second
	mostRetry     = time.Minute
)

func (e *waitError) retry() time.Duration {
	if e.wait == 0 {
		return standardRetry
	}
	return min(max(e.wait, leastRetry), mostRetry)
}

// quotaError reports more permits than the identity may ever have.
type quotaError struct {
	resource, identity string
	count, most        int64
}

func (e *quotaError) Error() string {
	return fmt.Sprintf("%s may hold at most %d permits of %q, not %d", e.identity, e.most, e.resource, e.count)
}

// waitersError reports Limits.MaxWaitersPerConnection.
type waitersError struct{ limit int }

func (e *waitersError) Error() string {
	return fmt.Sprintf("%d calls of this connection wait for permits, which is the most (MaxWaitersPerConnection)", e.limit)
}

// answerTime is how much of a caller's time is left for the answer on its way.
func answerTime(left time.Duration) time.Duration { return min(left/10, 20*time.Millisecond) }

// ask is what one call wants.
type ask struct {
	who      permit.Party
	resource string
	count    int64
	priority int
	request  string // empty for HoldPermit
	client   string
	ttl      time.Duration
	wait     time.Duration // the longest; negative is as long as the call lives
	joined   time.Duration // when it began to wait: as early as anything is counted for it
}

// AcquirePermit implements headroom.v1.PermitService.
func (s *permitService) AcquirePermit(
	ctx context.Context, req *headroomv1.AcquirePermitRequest,
) (resp *headroomv1.AcquirePermitResponse, err error) {
	a, err := s.arbiter()
	if err != nil {
		return nil, err
	}
	w := ask{
		resource: req.GetResource(), count: req.GetCount(), priority: int(req.GetPriority()),
		request: req.GetRequestId(), client: req.GetClient(), ttl: req.GetTtl().AsDuration(), wait: -1,
	}
	if w.ttl == 0 {
		w.ttl = defaultLeaseTTL
	}
	if w.client == "" {
		w.client = innerClient
	}
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline)
		w.wait = max(0, left-answerTime(left))
	}
	c, err := s.acquire(ctx, a, &w, nil)
	if err != nil {
		return nil, err
	}
	if err := a.enterTimeless(); err != nil {
		return nil, err
	}
	defer a.leave(&err)
	c.joined--
	c.taken = true
	if a.queues.leases[c.lease.id] != c.lease {
		return nil, &lostError{hex.EncodeToString(c.lease.id[:])}
	}
	return &headroomv1.AcquirePermitResponse{Permit: permitMessage(a.now, w.joined, c.lease)}, nil
}

// permitMessage returns the permit as it is now. Its time is counted from when the request came.
func permitMessage(now, received time.Duration, h *held) *headroomv1.Permit {
	return &headroomv1.Permit{
		PermitId:   hex.EncodeToString(h.id[:]),
		Resource:   h.resource,
		Count:      h.count,
		Ttl:        durationpb.New(max(0, h.until-received)),
		ExpireTime: timestamppb.New(time.Now().Add(h.until - now)),
		Fence:      wire.Fence(h.fence),
	}
}

// acquire waits for what the call wants. progress is called, if it is not nil, at least once a heartbeat while
// it waits. The caller has joined the claim that it returns.
func (s *permitService) acquire(ctx context.Context, a *arbiter, w *ask, progress func(*claim) error) (*claim, error) {
	who, err := party(ctx)
	if err != nil {
		return nil, err
	}
	w.who, w.count = permit.Party{Identity: who.Identity, Unbounded: who.Unbounded}, max(w.count, 1)
	grant, err := s.allowed(w.resource, who)
	if err != nil {
		return nil, err
	}
	if grant.Max > 0 && w.count > grant.Max && !who.Unbounded {
		return nil, &quotaError{w.resource, who.Identity, w.count, grant.Max}
	}
	c, decided, err := a.queues.join(w)
	if err != nil {
		return nil, err
	}
	if err := s.await(ctx, a, w, c, decided, progress); err != nil {
		a.queues.part(c)
		return nil, err
	}
	return c, nil
}

// await waits until the claim is served or refused, or the call's time is over.
func (s *permitService) await(
	ctx context.Context, a *arbiter, w *ask, c *claim, decided <-chan struct{}, progress func(*claim) error,
) error {
	select { // what can be had at once is not waited for
	case <-c.done:
		return c.err
	default:
	}
	select {
	case <-c.done:
		return c.err
	case <-decided:
	case <-a.queues.over:
		return errDraining
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case <-c.done:
		return c.err
	default:
	}
	if err := a.queues.hopeless(w, c); err != nil {
		return err
	}
	if conn := connOf(ctx); conn != nil {
		defer conn.waiters.Add(-1)
		if most := s.limits.MaxWaitersPerConnection; conn.waiters.Add(1) > int32(most) {
			return &waitersError{most}
		}
	}
	var late, tick <-chan time.Time
	if w.wait >= 0 {
		timer := time.NewTimer(w.wait)
		defer timer.Stop()
		late = timer.C
	}
	if progress != nil {
		ticker := time.NewTicker(s.config.Heartbeat)
		defer ticker.Stop()
		tick = ticker.C
		if err := progress(c); err != nil {
			return err
		}
	}
	for {
		select {
		case <-c.done:
			return c.err
		case <-tick:
			if err := progress(c); err != nil {
				return err
			}
		case <-late:
			return a.queues.late(c)
		case <-a.queues.draining:
			return errDraining
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// join makes a claim of what the call wants, or joins that of an earlier call with its request_id. decided is
// closed once the ledger has decided on it at least once; it is nil for one that is served already, and done with once
// that is written down.
func (q *queues) join(w *ask) (c *claim, decided <-chan struct{}, err error) {
	a := q.arbiter
	now, err := a.enter()
	if err != nil {
		return nil, nil, err
	}
	defer a.leaveWriting(&err)
	w.joined = now
	if a.frozen {
		return nil, nil, errDraining
	}
	if o := q.owners[w.who.Identity]; o != nil && w.request != "" {
		if until, ok := o.ended[w.request]; ok && until > now {
			return nil, nil, &lostError{w.request}
		}
		if c := o.requests[w.request]; c != nil {
			if c.line.resource != w.resource || c.count != w.count {
				invalid := &invalidError{}
				invalid.add("request_id", "%q is that of a request for %d of %q", w.request, c.count, c.line.resource)
				return nil, nil, invalid
			}
			c.joined++
			return c, q.mark(), nil
		}
	}
	if limit := q.limits[w.resource]; limit > 0 && w.count > limit {
		return nil, nil, &waitError{resource: w.resource, count: w.count, limit: limit}
	}
	one, err := q.queue(now, queueKey{w.who.Identity, w.who.Unbounded, w.priority})
	if err != nil {
		return nil, nil, err
	}
	o, err := q.admit(w.who.Identity)
	if err != nil {
		return nil, nil, err
	}
	c = &claim{
		owner: w.who, count: w.count, request: w.request, client: w.client, ttl: w.ttl,
		since: now, joined: 1, done: make(chan struct{}),
	}
	if c.request != "" {
		o.requests[c.request] = c
	}
	l := one.line(w.resource)
	l.add(c)
	q.waiting++
	one.used = now
	q.serve(now, l)
	q.report(now, one, l)
	if c.lease != nil {
		return c, nil, nil
	}
	return c, q.mark(), nil
}

// mark returns a channel that is closed once all that was changed until now was decided on.
func (q *queues) mark() <-chan struct{} {
	done := make(chan struct{})
	q.marks = append(q.marks, mark{q.arbiter.passes, done})
	q.arbiter.change()
	return done
}

// part ends the wait of a call. A claim that no call is left of ends with it.
func (q *queues) part(c *claim) {
	now, err := q.arbiter.enter()
	if err != nil {
		return
	}
	defer q.arbiter.leave(nil)
	c.joined--
	switch {
	case c.joined > 0 || c.taken:
	case c.lease != nil:
		q.drop(now, c.lease)
	case c.element != nil:
		l := c.line
		q.fail(c, context.Canceled)
		q.serve(now, l) // it may have stood in the way of others
		q.report(now, l.queue, l)
	}
}

// hopeless returns why the claim cannot be served in the time of the call, as far as that can be told.
func (q *queues) hopeless(w *ask, c *claim) (err error) {
	if w.wait < 0 {
		return nil
	}
	now, err := q.arbiter.enter()
	if err != nil {
		return err
	}
	defer q.arbiter.leave(&err)
	if wait, ok := c.line.estimate(c.line.ahead(c), c.count); w.wait > 0 && (!ok || wait <= w.wait) {
		return nil // workers may come back before the server would have to assume that they do not
	}
	return q.tooLong(now, c)
}

// late returns why the claim was not served.
func (q *queues) late(c *claim) (err error) {
	now, err := q.arbiter.enter()
	if err != nil {
		return err
	}
	defer q.arbiter.leave(&err)
	return q.tooLong(now, c)
}

func (q *queues) tooLong(now time.Duration, c *claim) error {
	wait, unknown, _ := q.estimate(now, c)
	return &waitError{resource: c.line.resource, count: c.count, wait: wait, unknown: unknown}
}

// estimate is how long the claim waits yet, if that can be told. Where it is for what an earlier life of the
// server may have granted, that is the longest.
func (q *queues) estimate(now time.Duration, c *claim) (wait time.Duration, unknown, ok bool) {
	l := c.line
	wait, ok = l.estimate(l.ahead(c), c.count)
	rest := q.arbiter.ledger.Recovery(now)
	if rest <= wait {
		return wait, false, ok
	}
	account, err := q.arbiter.ledger.Account(now, l.resource)
	if err != nil || account.Charge+account.Unknown+c.count <= account.Limit || account.Charge+c.count > account.Limit {
		return wait, false, ok
	}
	return rest, true, true
}

// RenewPermit implements headroom.v1.PermitService.
func (s *permitService) RenewPermit(
	ctx context.Context, req *headroomv1.RenewPermitRequest,
) (*headroomv1.RenewPermitResponse, error) {
	a, err := s.arbiter()
	if err != nil {
		return nil, err
	}
	received := a.clock()
	who, err := party(ctx)
	if err != nil {
		return nil, err
	}
	h, written, err := a.queues.renewed(who, req)
	if err != nil {
		return nil, err
	}
	select {
	case <-written:
		return a.queues.kept(h, received)
	case <-a.queues.over:
		return nil, errDraining
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (q *queues) renewed(
	who permit.Party, req *headroomv1.RenewPermitRequest,
) (h *held, written <-chan struct{}, err error) {
	a := q.arbiter
	now, err := a.enter()
	if err != nil {
		return nil, nil, err
	}
	defer a.leaveWriting(&err)
	if h, err = q.find(who, req.GetPermitId()); err != nil {
		return nil, nil, err
	}
	if h.line.queue.kicked != "" || h.request == "" {
		return nil, nil, &lostError{req.GetPermitId()}
	}
	ttl := h.ttl
	if req.GetTtl() != nil {
		ttl = req.GetTtl().AsDuration()
	}
	q.renew(now, h, ttl)
	a.entries = append(a.entries, journalEntry{kind: entryLease, lease: h.lease})
	return h, q.mark(), nil
}

// kept says how long a permit is leased that was renewed by a call received then.
func (q *queues) kept(h *held, received time.Duration) (resp *headroomv1.RenewPermitResponse, err error) {
	a := q.arbiter
	now, err := a.enter()
	if err != nil {
		return nil, err
	}
	defer a.leave(&err)
	if q.leases[h.id] != h {
		return nil, &lostError{hex.EncodeToString(h.id[:])}
	}
	q.shorten(h)
	return &headroomv1.RenewPermitResponse{
		Permit: permitMessage(now, received, h), Contended: h.line.contended, Mode: wire.Mode(h.line.mode),
	}, nil
}

// ReleasePermit implements headroom.v1.PermitService.
func (s *permitService) ReleasePermit(
	ctx context.Context, req *headroomv1.ReleasePermitRequest,
) (resp *headroomv1.ReleasePermitResponse, err error) {
	a, err := s.arbiter()
	if err != nil {
		return nil, err
	}
	who, err := party(ctx)
	if err != nil {
		return nil, err
	}
	now, err := a.enter()
	if err != nil {
		return nil, err
	}
	defer a.leave(&err)
	h, gone := a.queues.find(who, req.GetPermitId())
	if gone != nil {
		return &headroomv1.ReleasePermitResponse{}, nil
	}
	a.queues.drop(now, h)
	return &headroomv1.ReleasePermitResponse{Released: true}, nil
}
