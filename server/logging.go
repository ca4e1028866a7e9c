package server

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// callLevel returns the level of a finished call: what the caller did wrong is info, and what an operator may
// have to look at is a warning. UNAVAILABLE is what every caller is told while the server starts or drains.
// Refusals for lack of a role and faults of the server have lines of their own, so theirs here is debug; so is
// the caller's own end of a call, which is how most streams end.
func callLevel(code codes.Code) slog.Level {
	switch code {
	case codes.OK, codes.Canceled, codes.PermissionDenied, codes.Unauthenticated, codes.Internal:
		return slog.LevelDebug
	case codes.ResourceExhausted, codes.Unknown:
		return slog.LevelWarn
	default:
		return slog.LevelInfo
	}
}

// callLogger writes one line for each finished call to log. Those of calls that failed are spaced out, a second
// for each identity, so that a caller cannot fill the disk.
type callLogger struct {
	log    *slog.Logger
	failed occasional
}

// finished logs a call that began then and ended with the status err; a nil stream is a unary one. It is not the
// middleware's, which holds 2 KiB for as long as a stream stands, and takes a tenth of the time of a unary call to make
// fields that nobody reads.
func (l *callLogger) finished(
	ctx context.Context, method string, stream *grpc.StreamServerInfo, begin time.Time, err error,
) {
	code := status.Code(err)
	level := callLevel(code)
	if !l.log.Enabled(ctx, level) {
		return
	}
	identity, _ := IdentityFrom(ctx)
	attrs := []slog.Attr{slog.String("identity", logText(identity.Name))}
	if level > slog.LevelDebug {
		unlogged, ok := l.failed.due(time.Now(), identity.Name)
		if !ok {
			return
		}
		if unlogged > 0 {
			attrs = append(attrs, slog.Int("unlogged", unlogged))
		}
	}
	call := interceptors.NewServerCallMeta(method, stream, nil)
	attrs = append(attrs,
		slog.String("grpc.service", logText(call.Service)), slog.String("grpc.method", logText(call.Method)),
		slog.String("grpc.method_type", string(call.Typ)), slog.String("grpc.code", code.String()),
		slog.String("grpc.duration", time.Since(begin).String()))
	if err != nil {
		attrs = append(attrs, slog.String("grpc.error", logText(err.Error())))
	}
	if p, ok := peer.FromContext(ctx); ok {
		attrs = append(attrs, slog.String("peer.address", logText(p.Addr.String())))
	}
	l.log.LogAttrs(ctx, level, "finished call", attrs...)
}

// logText returns s cut to maxLogText bytes, with everything escaped that a terminal or a log reader could
// take for more than text: control characters, bidirectional marks and invalid UTF-8.
func logText(s string) string {
	cut := ""
	if len(s) > maxLogText {
		s, cut = strings.TrimRightFunc(s[:maxLogText], func(r rune) bool { return r == utf8.RuneError }), "…"
	}
	for _, r := range s {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			quoted := strconv.Quote(s)
			return quoted[1:len(quoted)-1] + cut
		}
	}
	return s + cut
}
