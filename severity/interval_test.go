package severity_test

import (
	"strings"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/severity"
)

func TestParseInterval(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"10s": 10 * time.Second, "30 min": 30 * time.Minute, "1.5h": 90 * time.Minute, "2d": 48 * time.Hour,
		"1 hours": time.Hour, "30 minutes": 30 * time.Minute, "2 days": 48 * time.Hour, "1 weeks": 168 * time.Hour,
		"1w": 168 * time.Hour, "1 week": 168 * time.Hour, "500ms": 500 * time.Millisecond, "1h30m": 90 * time.Minute,
		"1h 30m": 90 * time.Minute, "1 hour 30 minutes": 90 * time.Minute, "1m0.5s": 60500 * time.Millisecond,
		"0": 0, "0s": 0, "10": 10 * time.Second, "2.5": 2500 * time.Millisecond, " 10\ts ": 10 * time.Second,
		"0.1s": 100 * time.Millisecond, "0.001ms": time.Microsecond, "3 secs": 3 * time.Second, "1 second": time.Second,
	} {
		if got, err := severity.ParseInterval(text); err != nil || got != want {
			t.Errorf("%q = %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", " ", "s", "-5s", "+5s", "inf", "nan", "infs", "nans", "1month", "1 month", "1y", "1month 3s", "１0s", "１s",
		"1e3s", "0x10s", "1_000s", ".5s", "5.s", "1..5s", "1.2.3s", "30m1h", "1h1h", "1h30", "1 2s", "10S", "5 M",
		"1s,", "1s and 2ms", "9999999999w", strings.Repeat("9", 400) + "s", "1\n0s", "1us",
	} {
		if got, err := severity.ParseInterval(text); err == nil {
			t.Errorf("%q = %v, want an error", text, got)
		}
	}
}

func FuzzParseInterval(f *testing.F) {
	f.Add("1h30m")
	f.Add("-5s")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := severity.ParseInterval(text)
		if err == nil && (d < 0 || strings.ContainsAny(text, "-+eE_x,")) {
			t.Errorf("%q = %v", text, d)
		}
	})
}
