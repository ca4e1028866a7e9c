package client_test

import (
	"slices"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/client"
)

func TestBackoff(t *testing.T) {
	mean := client.Backoffs(8, 0)
	want := []time.Duration{100, 200, 400, 800, 1600, 3200, 5000, 5000}
	for i := range want {
		want[i] *= time.Millisecond
	}
	if !slices.Equal(mean, want) {
		t.Errorf("waits = %v, want %v", mean, want)
	}
	// With full jitter a wait is anything up to twice its mean, so many together come evenly.
	const clients = 2_000
	low, high := 0, 0
	for range clients {
		for i, d := range client.Backoffs(8, 1) {
			if d < 0 || d > 2*want[i] {
				t.Fatalf("wait %d = %v, want at most %v", i, d, 2*want[i])
			}
			if i == 7 && d < want[i]/4 {
				low++
			}
			if i == 7 && d > 2*want[i]-want[i]/4 {
				high++
			}
		}
	}
	for _, n := range []int{low, high} { // an eighth of them, give or take six standard deviations
		if n < clients/8-90 || n > clients/8+90 {
			t.Errorf("%d and %d of %d waits in the outer eighths, want about %d", low, high, clients, clients/8)
		}
	}
}
