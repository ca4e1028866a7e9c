package server

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/tap"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

// A callLimitError reports a call that is one too many for the server.
type callLimitError struct{ limit int }

func (e *callLimitError) Error() string {
	return fmt.Sprintf("all connections together have %d calls in flight, which is the most (MaxStreams)", e.limit)
}

// reserved are the methods that pass when the others are refused for Limits.MaxStreams, up to a reservedShare more
// calls: what gives back is never what is too much.
var reserved = map[string]bool{
	headroomv1.PermitService_ReleasePermit_FullMethodName: true,
	headroomv1.PermitService_RenewPermit_FullMethodName:   true,
}

const reservedShare = 8

// most returns how many calls there may be for one of the method to begin.
func (g *guard) most(method string) int {
	most := g.limits.MaxStreams
	if reserved[method] {
		most += max(1, most/reservedShare)
	}
	return most
}

// begin sees each call when its headers are there, before anything is done for it. It refuses one that is over
// Limits.MaxStreams, and gives the others Limits.UnaryTimeout to send a request. Calls that begin at the same
// instant on several connections may together pass the limit by as many as there are connections.
func (g *guard) begin(ctx context.Context, info *tap.Info) (context.Context, error) {
	if most := g.most(info.FullMethodName); g.calls.Load() >= int64(most) {
		err := &callLimitError{limit: most}
		if left, due := g.lines.due(time.Now(), "calls"); due {
			g.log.LogAttrs(ctx, slog.LevelWarn, "refused a call",
				slog.String("reason", err.Error()),
				slog.Int("unlogged", left))
		}
		return ctx, toStatus(ctx, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	c := &unrequested{Context: ctx, headers: info.Header}
	c.timer = time.AfterFunc(g.limits.UnaryTimeout, func() {
		c.late.Store(true)
		cancel()
	})
	return c, nil
}

// unrequested is the context of a call until its first request came, and of what becomes of it then. It is a
// context because gRPC, which waits for the request before any interceptor runs, looks at nothing else.
type unrequested struct {
	context.Context

	headers metadata.MD // as they came, to be read only
	timer   *time.Timer
	late    atomic.Bool
}

type unrequestedKey struct{}

// Err tells a request that did not come from a call that the client cancelled.
func (c *unrequested) Err() error {
	err := c.Context.Err()
	if err != nil && c.late.Load() {
		return context.DeadlineExceeded
	}
	return err
}

// Value finds c itself below what others wrapped around it.
func (c *unrequested) Value(key any) any {
	if key == (unrequestedKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// headersOf returns the headers of the call of ctx, which are not to be changed: a copy of them, which is what gRPC gives,
// costs a call as much as all else that is known of it.
func headersOf(ctx context.Context) metadata.MD {
	if c, ok := ctx.Value(unrequestedKey{}).(*unrequested); ok {
		return c.headers
	}
	return nil
}

// requested ends the wait for the request of the call of ctx.
func requested(ctx context.Context) {
	if c, ok := ctx.Value(unrequestedKey{}).(*unrequested); ok {
		c.timer.Stop()
	}
}
