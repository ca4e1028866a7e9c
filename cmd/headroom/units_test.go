package main

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestParseSize(t *testing.T) {
	for _, tt := range []struct {
		text string
		want int64
	}{
		{"0", 0}, {"1024", 1024}, {"4GiB", 4 << 30}, {"4gib", 4 << 30}, {"1.5 MiB", 3 << 19},
		{"2kB", 2000}, {"7B", 7}, {"9223372036854775807", math.MaxInt64},
	} {
		if got, err := parseSize(tt.text); err != nil || got != tt.want {
			t.Errorf("parseSize(%q) = %d, %v, want %d", tt.text, got, err, tt.want)
		}
	}
	for _, text := range []string{
		"", "GiB", "-1", "-1GiB", "1e3", "0x10", "1.5", "0.3B", "9223372036854775808", "8388608TiB", "4 GiB x", "inf", "1GiBGiB",
	} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("parseSize(%q) = %d, want an error", text, got)
		}
	}
	if _, err := parseSize("4G"); err == nil || !strings.Contains(err.Error(), "4GiB or 4GB") {
		t.Errorf("parseSize(4G) = %v, want a hint of both units", err)
	}
}

func TestParseRatio(t *testing.T) {
	for text, want := range map[string]float64{"0.95": 0.95, "1": 1, "1e-3": 0.001} {
		if got, err := parseRatio(text); err != nil || got != want {
			t.Errorf("parseRatio(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "0", "-0.5", "NaN", "Inf", "101", "0%", "x", "%"} {
		if got, err := parseRatio(text); err == nil {
			t.Errorf("parseRatio(%q) = %v, want an error", text, got)
		}
	}
	for text, want := range map[string]string{"95": "is 0.95", "95%": "is 0.95", "1.5": "is 0.015", "1%": "is 0.01"} {
		if _, err := parseRatio(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("parseRatio(%q) = %v, want a hint with %q", text, err, want)
		}
	}
}

func TestFormatDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", time.Minute: "1m", time.Hour: "1h", 90 * time.Second: "1m30s", 10 * time.Second: "10s",
		100 * time.Minute: "1h40m", 50 * time.Millisecond: "50ms", 10 * time.Minute: "10m", 20 * time.Hour: "20h",
		time.Hour + time.Second: "1h0m1s",
	} {
		if got := formatDuration(d); got != want {
			t.Errorf("formatDuration(%d) = %q, want %q", d, got, want)
		}
	}
}

func TestHumanFigures(t *testing.T) {
	for got, want := range map[string]string{
		humanRatio(0.12345):                         "12.3%",
		humanRatio(1):                               "100%",
		humanSize(3 << 29):                          "1.5GiB",
		humanSize(17):                               "17B",
		humanDuration(1234 * time.Microsecond):      "1.2ms",
		humanDuration(50 * time.Millisecond):        "50ms",
		humanDuration(-1234 * time.Millisecond):     "-1.2s",
		humanDuration(90*time.Minute + time.Second): "1h30m",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func FuzzParseSize(f *testing.F) {
	for _, seed := range []string{"4GiB", "1.5 MiB", "99999999999999999999", "0", "1e3GB", "..", "4G"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := parseSize(text)
		if err != nil {
			return
		}
		if n < 0 {
			t.Fatalf("parseSize(%q) = %d", text, n)
		}
		if again, err := parseSize(formatSize(n)); err != nil || again != n {
			t.Fatalf("parseSize(%q) = %d, but %q is read as %d, %v", text, n, formatSize(n), again, err)
		}
	})
}

func FuzzParseDuration(f *testing.F) {
	for _, seed := range []string{"1m30s", "0", "-1h", "1h0m0.5s", "2", "9223372036854775807ns"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := parseDuration(text)
		if err != nil {
			return
		}
		if again, err := parseDuration(formatDuration(d)); err != nil || again != d {
			t.Fatalf("parseDuration(%q) = %v, but %q is read as %v, %v", text, d, formatDuration(d), again, err)
		}
	})
}
