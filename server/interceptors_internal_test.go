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

func TestDeadlineOfUnaryCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			name string
			own  time.Duration // 0 is none
			want time.Duration
		}{{"none of its own", 0, 10 * time.Second}, {"a shorter one", time.Second, time.Second}, {"a longer one", time.Minute, time.Minute}} {
			ctx, cancel := t.Context(), context.CancelFunc(func() {})
			if tt.own > 0 {
				ctx, cancel = context.WithTimeout(ctx, tt.own)
			}
			begin := time.Now()
			bounded, end := withDeadline(ctx, 10*time.Second)
			<-bounded.Done()
			if err := bounded.Err(); err != context.DeadlineExceeded {
				t.Errorf("%s: %v, want DeadlineExceeded", tt.name, err)
			}
			end()
			if took := time.Since(begin); took != tt.want {
				t.Errorf("%s: ended after %v, want %v", tt.name, took, tt.want)
			}
			cancel()
		}
	})
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
