package server

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/stats"
)

// call is what is known of one RPC before any interceptor runs.
type call struct {
	identity Identity
	hint     string // how to get a greater role
	err      error  // why the call is refused whatever it calls; or nil
	conn     *guardedConn

	answered bool // the server ended the stream, and not the client
}

type callKey struct{}

// connOf returns the connection of the call of ctx, or nil outside of one.
func connOf(ctx context.Context) *guardedConn {
	c, ok := ctx.Value(callKey{}).(*call)
	if !ok {
		return nil
	}
	return c.conn
}

// callObserver gives each call its identity and sees how it ends.
type callObserver struct {
	guard  *guard
	access *accessTable
}

func (o *callObserver) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

func (o *callObserver) HandleConn(context.Context, stats.ConnStats) {}

// TagRPC puts the call into the context, and takes the token out of it: no handler and no log can show what
// they do not have.
func (o *callObserver) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context {
	p, _ := peer.FromContext(ctx)
	if p == nil {
		return ctx
	}
	info, ok := p.AuthInfo.(*authInfo)
	if !ok {
		return ctx
	}
	headers := headersOf(ctx)
	c := &call{conn: info.conn}
	c.identity, c.hint, c.err = o.access.identify(info, headers)
	if info.conn.refusal != nil {
		c.err = info.conn.refusal
	}
	if _, ok := headers[authorization]; ok && !info.fixed {
		rest := headers.Copy()
		delete(rest, authorization)
		ctx = metadata.NewIncomingContext(ctx, rest)
	}
	o.guard.calls.Add(1)
	return context.WithValue(ctx, callKey{}, c)
}

// HandleRPC ends the wait for a request, and counts the streams that the client reset. The status that grpc-go reports at the end does not
// tell: it is also that of handlers that were quicker than the reset. But trailers are sent, and reported,
// only on streams that nobody else has ended; one without is the client's reset, a deadline, or the end of
// the connection, after which counting no longer matters.
func (o *callObserver) HandleRPC(ctx context.Context, s stats.RPCStats) {
	switch s := s.(type) {
	case *stats.InPayload:
		requested(ctx)
	case *stats.OutTrailer:
		if c, ok := ctx.Value(callKey{}).(*call); ok {
			c.answered = true // by the goroutine that will report the end
		}
	case *stats.End:
		requested(ctx) // one that was refused unread
		c, ok := ctx.Value(callKey{}).(*call)
		if !ok {
			return
		}
		o.guard.calls.Add(-1)
		lived := s.EndTime.Sub(s.BeginTime)
		deadline, timed := ctx.Deadline()
		// The client's timer and the server's run out together, and either may win.
		expired := timed && lived >= deadline.Sub(s.BeginTime)/2
		if c.conn.resets.ended(s.EndTime, lived, !c.answered && !expired) {
			o.guard.cut(ctx, c, &o.guard.cutForResets, "it resets most of the streams that it opens")
		}
	}
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
