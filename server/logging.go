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

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/logging"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

// logInterceptors log one line for each finished call.
func logInterceptors(log *slog.Logger) (grpc.UnaryServerInterceptor, grpc.StreamServerInterceptor) {
	logger := &callLogger{log: log}
	options := []logging.Option{
		logging.WithLogOnEvents(logging.FinishCall),
		logging.WithLevels(callLevel),
		logging.WithDurationField(logging.DurationToDurationField),
		logging.WithDisableLoggingFields(logging.SystemTag[0], logging.ComponentFieldKey),
	}
	return logging.UnaryServerInterceptor(logger, options...), logging.StreamServerInterceptor(logger, options...)
}

// callLevel returns the level of a finished call: what the caller did is info, and what an operator may have
// to look at is a warning. Refusals for lack of a role and faults of the server have lines of their own, so
// theirs here is debug.
func callLevel(code codes.Code) logging.Level {
	switch code {
	case codes.OK, codes.PermissionDenied, codes.Unauthenticated, codes.Internal:
		return logging.LevelDebug
	case codes.ResourceExhausted, codes.Unavailable, codes.Unknown:
		return logging.LevelWarn
	default:
		return logging.LevelInfo
	}
}

// callLogger writes the lines of finished calls to log. Those of calls that failed are spaced out, a second for
// each identity, so that a caller cannot fill the disk.
type callLogger struct {
	log    *slog.Logger
	failed occasional
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
