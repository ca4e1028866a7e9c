package coarse_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/internal/coarse"
)

// Go's clock is the oracle: it is read before and after, so a paused test widens the bracket and does not fail it.
func TestNowIsLittleLate(t *testing.T) {
	const late = 50 * time.Microsecond // of a counter of a third of a gigahertz
	earlier := time.Now()
	var c coarse.Clock
	c.Start()
	later := time.Now()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			last := time.Duration(0)
			for range 20_000 {
				least := time.Since(later) - late
				got := c.Now()
				most := time.Since(earlier)
				if got < least || got > most {
					t.Errorf("Now = %v, want %v to %v", got, least, most)
					return
				}
				if got < last {
					t.Errorf("Now = %v after %v", got, last)
					return
				}
				last = got
			}
		})
	}
	wg.Wait()
}

// What is over by Exact is over by Now, or a lease that was found to have ended would allow starts once more.
func TestNowIsNotBeforeExact(t *testing.T) {
	var c coarse.Clock
	c.Start()
	for range 20_000 {
		c.Now()
		exact := c.Exact()
		if got := c.Now(); got < exact {
			t.Fatalf("Now = %v after Exact = %v", got, exact)
		}
	}
}

func TestNowInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c coarse.Clock
		c.Start()
		want := time.Duration(0)
		for _, step := range []time.Duration{0, time.Nanosecond, time.Microsecond, time.Hour, 0, time.Nanosecond} {
			time.Sleep(step)
			if want += step; c.Now() != want {
				t.Errorf("after %v: Now = %v", want, c.Now())
			}
		}
	})
}

func TestNowDoesNotAllocate(t *testing.T) {
	var c coarse.Clock
	c.Start()
	if n := testing.AllocsPerRun(1000, func() { c.Now() }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

// What a reading costs beside one of Go's clock.
func BenchmarkNow(b *testing.B) {
	var c coarse.Clock
	c.Start()
	begin := time.Now()
	for _, of := range []struct {
		name string
		read func() time.Duration
	}{
		{"coarse", c.Now},
		{"exact", func() time.Duration { return time.Since(begin) }},
	} {
		b.Run("clock="+of.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				of.read()
			}
		})
	}
}
