package snapshot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"
)

// logSnapshot logs a snapshot at debug, the loss and the return of a source, and a critical use of memory.
// wasKnown is whether the snapshot before it was known.
func (s *Snapshotter) logSnapshot(ctx context.Context, snap *Snapshot, wasKnown bool, err error) {
	log := s.cfg.Log
	if log.Enabled(ctx, slog.LevelDebug) {
		log.LogAttrs(ctx, slog.LevelDebug, "snapshot", snapshotAttrs(snap)...)
	}
	switch {
	case err != nil && wasKnown:
		attrs := []slog.Attr{slog.String("signal", snap.Signal), slog.String("reason", snap.Unknown)}
		if p, ok := errors.AsType[*panicError](err); ok {
			attrs = append(attrs, slog.String("stack", string(p.stack)))
		}
		log.LogAttrs(ctx, slog.LevelWarn, "signal is unknown", attrs...)
	case err == nil && !wasKnown:
		log.LogAttrs(ctx, slog.LevelInfo, "signal is known again", slog.String("signal", snap.Signal))
	}
	if snap.Resource == Memory && snap.Known() {
		s.warnOfMemory(ctx, snap)
	}
}

// warnOfMemory logs that memory is nearly exhausted, at most once in a cooldown.
func (s *Snapshotter) warnOfMemory(ctx context.Context, snap *Snapshot) {
	r := &snap.Memory
	rules := s.cfg.memoryRules()
	budget := rules.budget(r.Total)
	if r.Max == 0 || !s.warning.due(snap.At, r.Used, rules.critical(budget)) {
		return
	}
	msg := fmt.Sprintf("memory is critically overloaded: %s of %s (%d%%) in use; raise the budget, run fewer tasks, or give the machine more memory",
		bytesText(r.Used), bytesText(r.Max), rules.percent(r.Used, budget))
	s.cfg.Log.LogAttrs(ctx, slog.LevelWarn, msg, slog.Int64("used_bytes", r.Used), slog.Int64("max_bytes", r.Max))
}

// logStatus logs both judgements in words.
func (s *Snapshotter) logStatus(ctx context.Context) {
	log := s.cfg.Log
	if !log.Enabled(ctx, slog.LevelInfo) {
		return
	}
	s.mu.Lock()
	v := s.viewLocked(s.cfg.Clock())
	s.mu.Unlock()
	log.LogAttrs(ctx, slog.LevelInfo, statusText(&v), statusAttrs("current", &v.Current), statusAttrs("historical", &v.Historical))
}

// statusText says what the load is now, signal by signal: the last value and its limit, and how much of
// the current window was overloaded.
func statusText(v *View) string {
	var b strings.Builder
	fmt.Fprintf(&b, "load is %s", v.Current.State)
	if v.Historical.State != v.Current.State {
		fmt.Fprintf(&b, " (over %v %s)", v.Historical.Window, v.Historical.State)
	}
	separator := ": "
	for i := range v.Current.Signals {
		sig := &v.Current.Signals[i]
		if sig.State == StateDisabled {
			continue
		}
		b.WriteString(separator)
		separator = ", "
		fmt.Fprintf(&b, "%s %s", sig.Signal, sig.State)
		if sig.HasValue {
			fmt.Fprintf(&b, " at %s of %s", valueText(sig.Resource, sig.Value), valueText(sig.Resource, sig.Bound))
		}
		switch {
		case sig.State == StateUnknown || sig.Reason != "":
			fmt.Fprintf(&b, " (%s)", sig.Reason)
		case sig.Actual > 0:
			fmt.Fprintf(&b, " (over it for %.0f%% of %v, %.0f%% allowed)", 100*sig.Actual, v.Current.Window, 100*sig.Limit)
		}
	}
	return b.String()
}

// statusAttrs holds the share of the window that each signal was over its limit, for programs.
func statusAttrs(name string, st *Status) slog.Attr {
	attrs := []any{slog.String("state", st.State.String())}
	for i := range st.Signals {
		switch sig := &st.Signals[i]; sig.State {
		case StateDisabled:
		case StateUnknown:
			attrs = append(attrs, slog.String(sig.Signal, sig.State.String()))
		default:
			attrs = append(attrs, slog.Float64(sig.Signal, sig.Actual))
		}
	}
	return slog.Group(name, attrs...)
}

func snapshotAttrs(snap *Snapshot) []slog.Attr {
	attrs := []slog.Attr{slog.String("signal", snap.Signal)}
	if !snap.Known() {
		return append(attrs, slog.String("unknown", snap.Unknown))
	}
	attrs = append(attrs,
		slog.Bool("overloaded", snap.Overloaded),
		slog.Float64("value", snap.Value),
		slog.Float64("limit", snap.Limit),
		slog.String("source", snap.Source))
	if snap.Discontinuity {
		attrs = append(attrs, slog.Bool("discontinuity", true))
	}
	return attrs
}

func valueText(r Resource, v float64) string {
	switch r.Unit() {
	case "ratio":
		return strconv.FormatFloat(100*v, 'f', 0, 64) + "%"
	case "seconds":
		return time.Duration(v * float64(time.Second)).Round(100 * time.Microsecond).String()
	default:
		return strconv.FormatFloat(v, 'g', 6, 64)
	}
}

func bytesText(n int64) string {
	const mib = 1 << 20
	return strconv.FormatInt((n+mib/2)/mib, 10) + " MiB"
}
