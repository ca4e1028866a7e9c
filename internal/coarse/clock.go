// Package coarse reads Go's monotonic clock at a third of its price, some microseconds late.
package coarse

import (
	"sync/atomic"
	"time"
)

// brief is for how many ticks of the processor's counter a look at the clock holds: 16 µs at 1 GHz, less at the 2 to
// 4 GHz of most.
const brief = 1 << 14

// Clock tells the time since it was started. It must not be copied.
type Clock struct {
	begin time.Time

	// counted is whether there is a counter to go by.
	counted bool

	// at is the newest look at the clock, and ticks the counter before some look up to that one. Who reads ticks and
	// then at has a time no older than the look of those ticks.
	ticks atomic.Uint64
	at    atomic.Int64
}

// Start starts the clock. It is called once, before all else.
func (c *Clock) Start() {
	c.begin = time.Now()
	c.counted = counted(c.begin)
}

// Now returns the time since the clock was started, as it was at most some 16 µs ago, and never less than a call that
// returned before. A program that was stopped or descheduled in between is told the time as it is: the counter goes on.
//
// On Linux on amd64 a look at Go's monotonic clock holds for that long by the time stamp counter of the processor,
// where the kernel too tells the time by it, which it does only while the counter has a constant rate, goes on in all
// idle states, and is the same on all processors. Everywhere else, and in a bubble of testing/synctest, each call
// looks at Go's clock. It does not block and is safe for concurrent use.
func (c *Clock) Now() time.Duration {
	if !c.counted {
		return time.Since(c.begin)
	}
	n := ticks()
	if n-c.ticks.Load() < brief {
		return time.Duration(c.at.Load())
	}
	return c.look(n)
}

// Exact returns the time since the clock was started. No call of Now that follows it returns less, so what was found to
// be over by Exact is over by Now too. It does not block and is safe for concurrent use.
func (c *Clock) Exact() time.Duration {
	if !c.counted {
		return time.Since(c.begin)
	}
	return c.look(ticks())
}

// look looks at the clock, n ticks being counted.
func (c *Clock) look(n uint64) time.Duration {
	now := time.Since(c.begin)
	for {
		at := c.at.Load()
		if int64(now) <= at {
			return time.Duration(at) // by somebody who looked later, whose ticks are on their way
		}
		if c.at.CompareAndSwap(at, int64(now)) {
			c.ticks.Store(n)
			return now
		}
	}
}
