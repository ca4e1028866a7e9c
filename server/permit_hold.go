package server

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/headroom-rpc/headroom/internal/wire"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

// holdClient is what a caller of HoldPermit is called that does not name itself.
const holdClient = "hold"

// holder is one call of HoldPermit.
type holder struct {
	service *permitService
	arbiter *arbiter
	stream  grpc.ServerStream
	alone   bool        // the caller made the connection, which no other process has
	sent    chan error  // of capacity 1: how the Send in flight went
	timer   *time.Timer // of the Send in flight
}

// HoldPermit implements headroom.v1.PermitService.
func (s *permitService) HoldPermit(
	req *headroomv1.HoldPermitRequest, stream grpc.ServerStreamingServer[headroomv1.HoldPermitResponse],
) error {
	a, err := s.arbiter()
	if err != nil {
		return err
	}
	w := ask{
		resource: req.GetResource(), count: req.GetCount(), priority: int(req.GetPriority()),
		client: req.GetClient(), ttl: s.config.TTL, wait: -1,
	}
	if w.client == "" {
		w.client = holdClient
	}
	if req.GetWait() != nil {
		w.wait = req.GetWait().AsDuration()
	}
	h := &holder{
		service: s, arbiter: a, stream: transportStream(stream),
		alone: s.deaths.made(stream.Context(), wire.ProcessFrom(req.GetProcess())),
		sent:  make(chan error, 1), timer: time.NewTimer(time.Hour),
	}
	defer h.timer.Stop()
	c, err := s.acquire(stream.Context(), a, &w, h.progress)
	if err != nil {
		return err
	}
	err = h.hold(c)
	h.release(c.lease)
	if errors.Is(err, errEnded) {
		return nil
	}
	return err
}

// progress tells how the wait goes.
func (h *holder) progress(c *claim) error {
	resp, err := h.waits(c)
	if err != nil {
		return err
	}
	return h.send(resp)
}

func (h *holder) waits(c *claim) (resp *headroomv1.HoldPermitResponse, err error) {
	now, err := h.arbiter.enter()
	if err != nil {
		return nil, err
	}
	defer h.arbiter.leave(&err)
	resp = &headroomv1.HoldPermitResponse{
		Ttl: durationpb.New(h.service.config.TTL), Contended: true, Mode: wire.Mode(c.line.mode),
		QueueAhead: proto.Int64(c.line.ahead(c)),
	}
	if wait, _, ok := h.arbiter.queues.estimate(now, c); ok {
		resp.EstimatedWait = durationpb.New(wait)
	}
	return resp, nil
}

// hold says that the permit is held for as long as it is and the call lives.
func (h *holder) hold(c *claim) error {
	kicked := c.lease.kicked
	ticker := time.NewTicker(h.service.config.Heartbeat)
	defer ticker.Stop()
	for first := true; ; first = false {
		resp, err := h.renewed(c, first)
		if err != nil {
			return err
		}
		if err := h.send(resp); err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-kicked:
			return h.kickedError(c)
		case <-h.arbiter.queues.over:
			return errEnded
		case <-h.stream.Context().Done():
			return context.Cause(h.stream.Context())
		}
	}
}

// renewed leases the permit for a while from now on, and returns the message that says so.
func (h *holder) renewed(c *claim, first bool) (resp *headroomv1.HoldPermitResponse, err error) {
	a := h.arbiter
	now, err := a.enter()
	if err != nil {
		return nil, err
	}
	defer a.leave(&err)
	ttl := h.service.config.TTL
	if a.queues.leases[c.lease.id] != c.lease {
		return nil, &lostError{c.line.resource}
	}
	a.queues.renew(now, c.lease, ttl)
	resp = &headroomv1.HoldPermitResponse{
		Ttl: durationpb.New(ttl), Contended: c.line.contended, Mode: wire.Mode(c.line.mode),
	}
	if first {
		c.joined--
		c.taken = true
		resp.Permit = permitMessage(now, now, c.lease)
	}
	return resp, nil
}

func (h *holder) kickedError(c *claim) (err error) {
	if _, err := h.arbiter.enter(); err != nil {
		return err
	}
	defer h.arbiter.leave(&err)
	return &kickedError{c.line.queue.kicked}
}

// release ends the permit with the call if the caller ended that, or is dead. Otherwise the caller may not know
// yet that the call is over, and the permit ends by itself.
func (h *holder) release(l *held) {
	ctx := h.stream.Context()
	drop := func() {
		now, err := h.arbiter.enter()
		if err != nil {
			return
		}
		defer h.arbiter.leave(nil)
		h.arbiter.queues.drop(now, l)
	}
	conn := connOf(ctx)
	switch {
	case ctx.Err() == nil:
	case conn != nil && conn.closed.Load():
		if h.alone {
			h.service.deaths.watch(ctx, l.id, drop)
			time.AfterFunc(h.service.config.TTL+h.service.config.Grace, func() { h.service.deaths.forget(l.id) })
		}
	default:
		drop()
	}
}

// send sends a message on a goroutine of its own, as the handler of a reader that does not read must return.
func (h *holder) send(resp *headroomv1.HoldPermitResponse) error {
	go func() { h.sent <- h.stream.SendMsg(resp) }()
	h.timer.Reset(h.service.limits.SendTimeout)
	select {
	case err := <-h.sent:
		return err
	case <-h.timer.C:
		h.service.stalled(h.stream.Context())
		return &slowReaderError{timeout: h.service.limits.SendTimeout}
	case <-h.stream.Context().Done():
		return context.Cause(h.stream.Context())
	}
}
