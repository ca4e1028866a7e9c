package permit

import (
	"math"
	"testing"
)

// The fences of a block that is used up repeat its last one, also after turns began anew.
func TestFenceBlockIsUsedUp(t *testing.T) {
	b := &fenceBlock{epoch: 1, base: 100, from: math.MaxUint32}
	for _, tt := range []struct {
		turn uint32
		want int64
	}{
		{math.MaxUint32, 100},
		{0, 101},
		{FenceBlock - 3, 100 + FenceBlock - 2},
		{FenceBlock - 2, 100 + FenceBlock - 1},
		{FenceBlock - 1, 100 + FenceBlock - 1},
		{math.MaxUint32 - 1, 100 + FenceBlock - 1},
		{math.MaxUint32, 100 + FenceBlock - 1},
		{5, 100 + FenceBlock - 1},
	} {
		if got := b.counter(tt.turn); got != tt.want {
			t.Errorf("counter(%d) = %d, want %d", tt.turn, got, tt.want)
		}
	}
}

// A start that looked at the limit before does not go through after any of these.
func TestStartsDoNotStraddle(t *testing.T) {
	l := &lease{}
	l.deadline.Store(math.MaxInt64)
	for _, tt := range []struct {
		name string
		do   func(*Gate)
	}{
		{"a report", func(g *Gate) { g.snapshot() }},
		{"a target", func(g *Gate) { g.apply(1, Target{Target: 2}) }},
		{"the end of the session", func(g *Gate) { g.set(0, false) }},
		{"another start and its end", func(g *Gate) { g.TryAcquire(0, 1); g.Release(1) }},
		{"a start without a lease and its end", func(g *Gate) { g.SetOffline(5); g.tryOffline(1); g.Release(1) }},
		{"a release that yields", func(g *Gate) { g.Release(1) }},
	} {
		g := newGate(l)
		g.apply(1, Target{Target: 3, Contended: true})
		if _, ok := g.TryAcquire(0, 1); !ok {
			t.Fatalf("%s: refused", tt.name)
		}
		looked := g.state.Load()
		tt.do(g)
		if g.state.CompareAndSwap(looked, looked+1+nextTurn) {
			t.Errorf("%s: a start that looked before goes through after it", tt.name)
		}
	}
}
