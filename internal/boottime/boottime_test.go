package boottime_test

import (
	"sync"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/internal/boottime"
)

// Go's monotonic clock is the oracle: without a suspend between the readings, which would stop that one
// alone, the two advance together. Each reading of one is bracketed by two of the other, so a paused test
// widens the bracket and does not fail it. The slack covers the steps of the Windows clock and the slewing
// that CLOCK_MONOTONIC_RAW does not follow.
func TestNowAdvancesWithTheMonotonicClock(t *testing.T) {
	const slack = 40 * time.Millisecond
	start := time.Now()
	a := boottime.Now()
	inner := time.Now()
	for time.Since(inner) < 50*time.Millisecond {
	}
	least := time.Since(inner)
	b := boottime.Now()
	most := time.Since(start)
	if got := b - a; got < least-slack || got > most+slack {
		t.Errorf("Now advanced by %v, want %v to %v", got, least, most)
	}
}

func TestNowNeverGoesBack(t *testing.T) {
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			last := boottime.Now()
			for range 10_000 {
				now := boottime.Now()
				if now < last {
					t.Errorf("Now = %v after %v", now, last)
					return
				}
				last = now
			}
		})
	}
	wg.Wait()
}

func BenchmarkNow(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		boottime.Now()
	}
}
