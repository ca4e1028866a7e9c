package server

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/snapshot"
)

func TestTimeOfCalls(t *testing.T) {
	const timeout = 10 * time.Second
	for _, tt := range []struct {
		name      string
		unary     bool
		own       time.Duration // 0 is none
		requested bool          // after a second
		want      time.Duration
		err       error
	}{
		{"unary without a deadline", true, 0, true, timeout, context.DeadlineExceeded},
		{"unary, and no request", true, 0, false, timeout, context.DeadlineExceeded},
		{"unary with a near deadline", true, 5 * time.Second, true, 5 * time.Second, context.DeadlineExceeded},
		{"unary with a near deadline, and no request", true, 5 * time.Second, false, 5 * time.Second, context.DeadlineExceeded},
		{"unary with a far deadline", true, time.Minute, true, time.Minute, context.DeadlineExceeded},
		{"unary with a far deadline, and no request", true, time.Minute, false, timeout, context.DeadlineExceeded},
		{"stream without a deadline", false, 0, true, time.Hour, context.Canceled},
		{"stream, and no request", false, 0, false, timeout, context.DeadlineExceeded},
		{"stream with a far deadline", false, time.Minute, true, time.Minute, context.DeadlineExceeded},
		{"stream with a far deadline, and no request", false, time.Minute, false, timeout, context.DeadlineExceeded},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, hangUp := context.WithCancel(t.Context())
				defer hangUp()
				if tt.own > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.own)
					defer cancel()
				}
				time.AfterFunc(time.Hour, hangUp)
				c := &call{Context: ctx, begun: time.Now()}
				c.bound(timeout, tt.unary)
				if tt.requested {
					time.AfterFunc(time.Second, c.requested)
				}
				<-c.Done()
				if took := time.Since(c.begun); took != tt.want || c.Err() != tt.err {
					t.Errorf("ended after %v with %v, want %v and %v", took, c.Err(), tt.want, tt.err)
				}
				deadline, ok := c.Deadline()
				if want := tt.own > 0 || tt.unary; ok != want {
					t.Errorf("has a deadline: %v, want %v", ok, want)
				}
				if want := tt.own; want > 0 && deadline.Sub(c.begun) != want {
					t.Errorf("deadline after %v, want %v", deadline.Sub(c.begun), want)
				}
			})
		})
	}
}

func TestLogText(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"plain text, ünïcode too", "plain text, ünïcode too"},
		{"a\nb", `a\nb`},
		{"\x1b[2J", `\x1b[2J`},
		{"\u202etxt.exe", `\u202etxt.exe`},
		{"\x9b31m", `\x9b31m`},
		{"a\xffb", `a\xffb`},
		{"nul\x00", `nul\x00`},
		{strings.Repeat("a", 256), strings.Repeat("a", 256)},
		{strings.Repeat("a", 257), strings.Repeat("a", 256) + "…"},
		{strings.Repeat("a", 255) + "ü", strings.Repeat("a", 255) + "…"},
	} {
		if got := logText(tt.in); got != tt.want {
			t.Errorf("logText(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestKindsOf(t *testing.T) {
	var all []headroomv1.ResourceKind
	for r := snapshot.CPU; r <= snapshot.Custom; r++ {
		all = append(all, headroomv1.ResourceKind(r))
	}
	if got := kindsOf(all); got != 0 {
		t.Errorf("kindsOf(all) = %b, want 0: it is the class of those who name none", got)
	}
	some := kindsOf(all[:1])
	if !some.has(snapshot.CPU) || some.has(snapshot.Memory) {
		t.Errorf("kindsOf(CPU) = %b, want CPU only", some)
	}
	if none := kindsOf(nil); !none.has(snapshot.Pressure) {
		t.Error("kindsOf(nil) lacks pressure, want all")
	}
}
