package client

import (
	"log/slog"
	"testing"
	"time"
)

// A lease that was found to be over by the exact time is over by the time that starts look at: else one would go through
// after what runs was told that the lease is lost, and would not be told.
func TestNowFollowsExactNow(t *testing.T) {
	begin := time.Now()
	for _, tt := range []struct {
		name string
		boot func() time.Duration
	}{
		{"awake", func() time.Duration { return 0 }},
		{"suspended again and again", func() time.Duration { return 2 * time.Since(begin) }},
	} {
		a := &attachment{client: &Client{clock: tt.boot, log: slog.New(slog.DiscardHandler)}}
		a.clock.Start()
		a.boot = tt.boot()
		for range 10_000 {
			a.now()
			exact := a.exactNow()
			if got := a.now(); got < exact {
				t.Fatalf("%s: now = %v after exactNow = %v", tt.name, got, exact)
			}
		}
	}
}
