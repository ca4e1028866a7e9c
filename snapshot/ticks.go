package snapshot

import (
	"context"
	"sync"
	"time"
)

// ticks wake the two goroutines of a rota by turns.
type ticks interface {
	// wait blocks the goroutine of a turn, 0 or 1, until it is to make a round. It reports false after stop.
	wait(turn int) bool

	// reset lets the next tick come after first, and the others at the period from then on.
	reset(first, period time.Duration)

	stop()
}

// newTicks returns ticks that begin after a period and stop when ctx is done.
func newTicks(ctx context.Context, period time.Duration, kernel bool) (t ticks) {
	if kernel {
		t = newKernelTicks()
	}
	if t == nil {
		t = &runtimeTicks{ctx: ctx, Ticker: time.NewTicker(period)}
	}
	t.reset(period, period)
	return t
}

// runtimeTicks are those of a timer of Go: the goroutine that waits for longer has the turn.
type runtimeTicks struct {
	*time.Ticker
	ctx context.Context

	mu     sync.Mutex
	first  time.Time     // no tick of before the last reset is as late as that
	period time.Duration // to go on with after the first tick; 0 where the Ticker does already
}

func (t *runtimeTicks) wait(int) bool {
	select {
	case <-t.ctx.Done():
		return false
	case at := <-t.C:
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.period > 0 && !at.Before(t.first) {
			t.Reset(t.period)
			t.period = 0
		}
		return true
	}
}

func (t *runtimeTicks) reset(first, period time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.first, t.period = time.Now().Add(first), period
	if first == period {
		t.period = 0
	}
	t.Reset(first)
}

func (t *runtimeTicks) stop() { t.Stop() }
