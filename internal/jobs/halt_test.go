package jobs_test

import (
	"testing"

	"github.com/headroom-rpc/headroom/internal/jobs"
)

func TestParseHalt(t *testing.T) {
	for _, text := range []string{"never", "soon,fail=1", "now,success=3", "soon,done=30%", "now,fail=0.5%", "now,done=100%"} {
		if h, err := jobs.ParseHalt(text); err != nil || h.String() != text {
			t.Errorf("%q = %v, %v", text, h, err)
		}
	}
	for _, text := range []string{"", "now", "later,fail=1", "now,fail", "now,fail=0", "now,fail=-1", "now,fail=101%",
		"now,fail=NaN%", "now,fall=1", "soon,done=0%", "never,fail=1"} {
		if h, err := jobs.ParseHalt(text); err == nil {
			t.Errorf("%q = %v, want an error", text, h)
		}
	}
}

func TestHaltReached(t *testing.T) {
	for _, tt := range []struct {
		rule                string
		done, failed, total int64
		want                bool
	}{
		{"never", 10, 10, 10, false},
		{"soon,fail=2", 9, 1, 0, false},
		{"soon,fail=2", 9, 2, 0, true},
		{"now,success=2", 3, 2, 0, false},
		{"now,success=2", 3, 1, 0, true},
		{"now,done=4", 3, 3, 9, false},
		{"now,done=4", 4, 0, 9, true},
		{"soon,fail=20%", 9, 2, 10, true},
		{"soon,fail=20%", 9, 1, 10, false},
		{"soon,fail=20%", 9, 9, 0, false}, // of how many?
		{"soon,done=50%", 5, 0, 10, true},
		{"soon,success=100%", 10, 1, 10, false},
	} {
		h, err := jobs.ParseHalt(tt.rule)
		if err != nil {
			t.Fatal(err)
		}
		if got := h.Reached(tt.done, tt.failed, tt.total); got != tt.want {
			t.Errorf("%s: %d done, %d failed of %d: %t, want %t", tt.rule, tt.done, tt.failed, tt.total, got, tt.want)
		}
	}
}
