package server

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
)

// call is what is known of one RPC before any interceptor runs. It is the context of the RPC below all that others wrap
// around it, because gRPC, which waits for the request before any interceptor runs, looks at nothing else.
type call struct {
	context.Context

	identity Identity
	hint     string // how to get a greater role
	err      error  // why the call is refused whatever it calls; or nil
	conn     *guardedConn
	begun    time.Time
	deadline time.Time         // the caller's; zero where there is none
	stream   grpc.ServerStream // below all interceptors; nil of a unary call

	cancel      context.CancelFunc // nil where nothing bounds the call but its deadline
	unrequested *time.Timer        // runs until the first request came; nil where the deadline of the call bounds that
	late        atomic.Bool        // the request did not come in time
}

type callKey struct{}

// callOf returns the call of ctx, or nil outside of one.
func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// connOf returns the connection of the call of ctx, or nil outside of one.
func connOf(ctx context.Context) *guardedConn {
	if c := callOf(ctx); c != nil {
		return c.conn
	}
	return nil
}

// transportStream returns the stream below all interceptors of stream: what these do for each message would cost more
// than sending it.
func transportStream(stream grpc.ServerStream) grpc.ServerStream {
	if c := callOf(stream.Context()); c != nil && c.stream != nil {
		return c.stream
	}
	return stream
}

// Value finds c itself below what others wrapped around it.
func (c *call) Value(key any) any {
	if key == (callKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// Err tells a request that did not come from a call that the client cancelled.
func (c *call) Err() error {
	err := c.Context.Err()
	if err != nil && c.late.Load() {
		return context.DeadlineExceeded
	}
	return err
}

// begin counts the call.
func (c *call) begin() { c.conn.guard.calls.Add(1) }

// requested ends the wait for the request.
func (c *call) requested() {
	if c.unrequested != nil {
		c.unrequested.Stop()
	}
}

// end counts a call whose handler has returned, and whether the client reset it. Until then gRPC cancels the context
// for that, for a deadline, and at the end of the connection, after which counting no longer matters.
func (c *call) end() {
	c.requested() // one that was refused unread
	g, now := c.conn.guard, time.Now()
	g.calls.Add(-1)
	lived := now.Sub(c.begun)
	// The client's timer and the server's run out together, and either may win.
	expired := !c.deadline.IsZero() && lived >= c.deadline.Sub(c.begun)/2
	if c.conn.resets.ended(now, lived, c.Err() == context.Canceled && !expired) {
		g.cut(c, c, &g.cutForResets, "it resets most of the streams that it opens")
	}
}

// observed registers services whose unary calls count from before their request came: no interceptor sees those of
// which none comes.
type observed struct{ grpc.ServiceRegistrar }

func (o observed) RegisterService(desc *grpc.ServiceDesc, impl any) {
	own := *desc
	own.Methods = slices.Clone(desc.Methods)
	for i := range own.Methods {
		own.Methods[i].Handler = observeUnary(own.Methods[i].Handler)
	}
	o.ServiceRegistrar.RegisterService(&own, impl)
}

func observeUnary(next grpc.MethodHandler) grpc.MethodHandler {
	return func(srv any, ctx context.Context, receive func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
		c := callOf(ctx)
		if c == nil {
			return next(srv, ctx, receive, interceptor)
		}
		c.begin()
		defer c.end()
		if c.unrequested == nil {
			return next(srv, ctx, receive, interceptor)
		}
		return next(srv, ctx, func(m any) error {
			err := receive(m)
			c.requested()
			return err
		}, interceptor)
	}
}

// observeStream is the outermost interceptor of streams.
func observeStream(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	c := callOf(stream.Context())
	if c == nil {
		return handler(srv, stream)
	}
	c.stream = stream
	c.begin()
	defer c.end()
	return handler(srv, &observedStream{stream, c})
}

// observedStream sees the first request of a stream.
type observedStream struct {
	grpc.ServerStream
	call *call
}

func (s *observedStream) RecvMsg(m any) error {
	err := s.ServerStream.RecvMsg(m)
	s.call.requested()
	return err
}

// A connection is abusive once, within resetWindow, more than half of its streams that lived for less than
// shortLife were reset by the client, and there were at least resetLeast of them. A client that cancels
// every call stays under it at 20 calls a second.
const (
	shortLife   = time.Second
	resetWindow = 10 * time.Second
	resetLeast  = 200
)

// resetCounter counts the short-lived streams of one connection.
type resetCounter struct {
	mu           sync.Mutex
	since        time.Time // begin of the window
	short, reset int       // ended within it; of these, reset by the client
}

// ended counts a stream that ended at now and reports whether the connection is abusive.
func (r *resetCounter) ended(now time.Time, lived time.Duration, reset bool) bool {
	if lived >= shortLife {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.since) >= resetWindow {
		r.since, r.short, r.reset = now, 0, 0
	}
	r.short++
	if reset {
		r.reset++
	}
	return r.short >= resetLeast && 2*r.reset > r.short
}
