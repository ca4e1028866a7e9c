package server

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/grpc"
	channelzpb "google.golang.org/grpc/channelz/grpc_channelz_v1"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
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

// unary are the methods that are no streams.
var unary = unaryMethods(
	&headroomv1.StatusService_ServiceDesc, &headroomv1.SeverityService_ServiceDesc, &headroomv1.PermitService_ServiceDesc,
	&headroomv1.TaskService_ServiceDesc, &headroomv1.DiagnosticsService_ServiceDesc,
	&healthpb.Health_ServiceDesc, &channelzpb.Channelz_ServiceDesc,
)

func unaryMethods(services ...*grpc.ServiceDesc) map[string]bool {
	methods := make(map[string]bool)
	for _, service := range services {
		for i := range service.Methods {
			methods["/"+service.ServiceName+"/"+service.Methods[i].MethodName] = true
		}
	}
	return methods
}

// entrance is where the calls of one listener come in.
type entrance struct {
	guard  *guard
	access *accessTable
}

// begin sees each call when its headers are there, before anything is done for it. It refuses one that is over
// Limits.MaxStreams. The others it gives their identity, and Limits.UnaryTimeout: for the whole of a unary call that has
// no deadline, and else to send the first request. It takes the token out of the call: no handler and no log can show
// what they do not have. Calls that begin at the same instant on several connections may together pass the limit by as
// many as there are connections.
func (e *entrance) begin(ctx context.Context, info *tap.Info) (context.Context, error) {
	g := e.guard
	if most := g.most(info.FullMethodName); g.calls.Load() >= int64(most) {
		err := &callLimitError{limit: most}
		if left, due := g.lines.due(time.Now(), "calls"); due {
			g.log.LogAttrs(ctx, slog.LevelWarn, "refused a call",
				slog.String("reason", err.Error()),
				slog.Int("unlogged", left))
		}
		return ctx, toStatus(ctx, err)
	}
	p, _ := peer.FromContext(ctx)
	if p == nil {
		return ctx, nil
	}
	auth, ok := p.AuthInfo.(*authInfo)
	if !ok {
		return ctx, nil
	}
	c := &call{Context: ctx, conn: auth.conn, begun: time.Now()}
	c.identity, c.hint, c.err = e.access.identify(auth, info.Header)
	if auth.conn.refusal != nil {
		c.err = auth.conn.refusal
	}
	if _, ok := info.Header[authorization]; ok && !auth.fixed {
		rest := info.Header.Copy()
		delete(rest, authorization)
		c.Context = metadata.NewIncomingContext(ctx, rest)
	}
	c.bound(g.limits.UnaryTimeout, unary[info.FullMethodName])
	return c, nil
}

// bound bounds the time of a call that has just begun, or of its wait for the first request. The context that gRPC made
// for it ends with the call, and with it what is made here.
func (c *call) bound(timeout time.Duration, unary bool) {
	switch deadline, ok := c.Context.Deadline(); {
	case ok && deadline.Sub(c.begun) <= timeout:
		c.deadline = deadline
		return
	case !ok && unary:
		c.Context, c.cancel = context.WithTimeout(c.Context, timeout)
		return
	default:
		c.deadline = deadline
	}
	c.Context, c.cancel = context.WithCancel(c.Context)
	c.unrequested = time.AfterFunc(timeout, func() {
		c.late.Store(true)
		c.cancel()
	})
}
