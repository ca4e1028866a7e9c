package coarse

import (
	"testing"
	"time"
)

// While no more than brief ticks were counted a look holds, and then it does not.
func TestLookHoldsBriefly(t *testing.T) {
	var c Clock
	c.Start()
	if !c.counted {
		t.Skip("the kernel does not tell the time by the time stamp counter here")
	}
	const then = 42 * time.Nanosecond
	c.at.Store(int64(then))
	c.ticks.Store(ticks())
	held := c.Now()
	if used := ticks() - c.ticks.Load(); used < brief && held != then {
		t.Errorf("%d ticks after a look: Now = %v, want %v, of the look", used, held, then)
	}
	for _, n := range []uint64{brief, 1 << 40, ^uint64(1 << 40)} { // the last is a counter that went back
		c.at.Store(int64(then))
		c.ticks.Store(ticks() - n)
		if got := c.Now(); got == then {
			t.Errorf("%d ticks after a look: Now = %v, of the look", int64(n), got)
		}
	}
}
