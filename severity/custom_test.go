package severity_test

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/severity"
)

func TestCustom(t *testing.T) {
	for _, tt := range []struct {
		name   string
		f      func(context.Context, severity.Input) (bool, error)
		truth  severity.Truth
		reason string
		took   time.Duration
	}{
		{"true", func(_ context.Context, in severity.Input) (bool, error) { return in.At == 7*s, nil }, T, "", 0},
		{"false", func(context.Context, severity.Input) (bool, error) { return false, nil }, F, "", 0},
		{"error", func(context.Context, severity.Input) (bool, error) { return true, errors.New("bad") }, U, "bad", 0},
		{"panic", func(context.Context, severity.Input) (bool, error) { panic("bad") }, U, "panic: bad", 0},
		{"goexit", func(context.Context, severity.Input) (bool, error) { runtime.Goexit(); return true, nil }, U,
			"severity: the function called runtime.Goexit", 0},
		{"deadline", func(ctx context.Context, _ severity.Input) (bool, error) { time.Sleep(time.Hour); return true, nil }, U,
			"no answer within 2s", 2 * s},
		{"in time", func(ctx context.Context, _ severity.Input) (bool, error) { time.Sleep(s); return true, nil }, T, "", s},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				condition := severity.Custom("mine", tt.f, 2*s)
				e := engine(t, severity.Config{Levels: []severity.Level{
					{Enter: severity.Any(condition, severity.Not(condition))}, {Enter: condition}}})
				in := severity.Input{At: 7 * s}
				if f := condition.Judge(&in); f.Truth != U || f.Reason != "not asked" {
					t.Errorf("before Ask: %v for %q", f.Truth, f.Reason)
				}
				began := time.Now()
				e.Ask(t.Context(), &in)
				if f := condition.Judge(&in); f.Truth != tt.truth || f.Reason != tt.reason {
					t.Errorf("%v for %q, want %v for %q", f.Truth, f.Reason, tt.truth, tt.reason)
				}
				if took := time.Since(began); took != tt.took {
					t.Errorf("took %v, want %v", took, tt.took)
				}
				want := map[severity.Truth]int{U: 0, F: 1, T: 2}[tt.truth]
				if out := e.Step(in); out.Level != want || (out.Held == severity.HeldUnknown) != (tt.truth == U) {
					t.Errorf("level %d, held %q; want %d", out.Level, out.Held, want)
				}
				time.Sleep(2 * time.Hour)
			})
		})
	}
}

func TestCustomsAreAskedAtOnceAndNeverTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		stuck := severity.Custom("stuck", func(context.Context, severity.Input) (bool, error) {
			calls.Add(1)
			time.Sleep(10 * s)
			return true, nil
		}, s)
		slow := severity.Custom("slow", func(context.Context, severity.Input) (bool, error) {
			time.Sleep(s / 2)
			return true, nil
		}, s)
		e := engine(t, severity.Config{Levels: []severity.Level{{Enter: severity.All(stuck, slow, stuck)}}})
		began := time.Now()
		for i, want := range []time.Duration{s, s + s/2, 2 * s} {
			var in severity.Input
			e.Ask(t.Context(), &in)
			if got := time.Since(began); got != want {
				t.Errorf("answer %d after %v, want %v", i, got, want)
			}
			if f := slow.Judge(&in); f.Truth != T {
				t.Errorf("answer %d of slow: %v", i, f.Truth)
			}
			reason := "severity: an earlier call has not returned yet"
			if i == 0 {
				reason = "no answer within 1s"
			}
			if f := stuck.Judge(&in); f.Truth != U || f.Reason != reason {
				t.Errorf("answer %d of stuck: %v for %q", i, f.Truth, f.Reason)
			}
		}
		if got := calls.Load(); got != 1 {
			t.Errorf("%d calls, want 1", got)
		}
		time.Sleep(20 * s)
		var in severity.Input
		e.Ask(t.Context(), &in)
		if got := calls.Load(); got != 2 {
			t.Errorf("%d calls once the first returned, want 2", got)
		}
		time.Sleep(20 * s)
	})
}
