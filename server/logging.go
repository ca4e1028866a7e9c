package server

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/logging"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// callLevel returns the level of a finished call: what the caller did wrong is info, and what an operator may
// have to look at is a warning. UNAVAILABLE is what every caller is told while the server starts or drains.
// Refusals for lack of a role and faults of the server have lines of their own, so theirs here is debug; so is
// the caller's own end of a call, which is how most streams end.
func callLevel(code codes.Code) logging.Level {
	switch code {
	case codes.OK, codes.Canceled, codes.PermissionDenied, codes.Unauthenticated, codes.Internal:
		return logging.LevelDebug
	case codes.ResourceExhausted, codes.Unknown:
		return logging.LevelWarn
	default:
		return logging.LevelInfo
	}
}

// callLogger writes one line for each finished call to log. Those of calls that failed are spaced out, a second
// for each identity, so that a caller cannot fill the disk.
type callLogger struct {
	log    *slog.Logger
	failed occasional
}

func (l *callLogger) unary() grpc.UnaryServerInterceptor {
	return logging.UnaryServerInterceptor(l,
		logging.WithLogOnEvents(logging.FinishCall),
		logging.WithLevels(callLevel),
		logging.WithDurationField(logging.DurationToDurationField),
		logging.WithDisableLoggingFields(logging.SystemTag[0], logging.ComponentFieldKey),
	)
}

// stream logs as unary does, and keeps the transport's stream for the handler. It is not the middleware's
// because that would hold 2 KiB for as long as the stream stands.
func (l *callLogger) stream(
	srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler,
) error {
	begin := time.Now()
	ctx := context.WithValue(stream.Context(), transportKey{}, stream)
	err := handler(srv, &contextStream{stream, ctx})
	code := status.Code(err)
	if level := callLevel(code); l.log.Enabled(ctx, slog.Level(level)) {
		call := interceptors.NewServerCallMeta(info.FullMethod, info, nil)
		fields := []any{
			logging.ServiceFieldKey, call.Service, logging.MethodFieldKey, call.Method,
			logging.MethodTypeFieldKey, call.Typ, "grpc.code", code, "grpc.duration", time.Since(begin),
		}
		if err != nil {
			fields = append(fields, "grpc.error", err)
		}
		if p, ok := peer.FromContext(ctx); ok {
			fields = append(fields, "peer.address", p.Addr)
		}
		l.Log(ctx, level, "finished call", fields...)
	}
	return err
}

// Log implements the logger of the middleware.
func (l *callLogger) Log(ctx context.Context, level logging.Level, msg string, fields ...any) {
	if !l.log.Enabled(ctx, slog.Level(level)) {
		return
	}
	identity, _ := IdentityFrom(ctx)
	attrs := make([]slog.Attr, 0, len(fields)/2+2)
	attrs = append(attrs, slog.String("identity", logText(identity.Name)))
	if level > logging.LevelDebug {
		unlogged, ok := l.failed.due(time.Now(), identity.Name)
		if !ok {
			return
		}
		if unlogged > 0 {
			attrs = append(attrs, slog.Int("unlogged", unlogged))
		}
	}
	for i := 0; i+1 < len(fields); i += 2 {
		attrs = append(attrs, slog.String(fmt.Sprint(fields[i]), logText(fmt.Sprint(fields[i+1]))))
	}
	l.log.LogAttrs(ctx, slog.Level(level), msg, attrs...)
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
