package snapshot

import (
	"context"
	"sync"
	"time"
)

// Ticks wake the two goroutines of one Run by turns. Its methods are called from several goroutines.
type Ticks interface {
	// Wait blocks the goroutine of a turn, 0 or 1, until it is to take snapshots. It reports false after Stop.
	Wait(turn int) bool

	// Reset lets the next tick come after first, and the others at the period from then on. Both are positive. After Stop
	// it does nothing.
	Reset(first, period time.Duration)

	// Stop ends all that wait, and gives back what the ticks hold.
	Stop()
}

// newTicks returns ticks that begin after a period and stop when ctx is done: those of create, or of a timer of Go where
// that is nil or returns nil.
func newTicks(ctx context.Context, period time.Duration, create func() Ticks) (t Ticks) {
	if create != nil {
		t = create()
	}
	if t == nil {
		t = &runtimeTicks{ctx: ctx, ticker: time.NewTicker(period)}
	}
	t.Reset(period, period)
	return t
}

// runtimeTicks are those of a timer of Go: the goroutine that waits for longer has the turn.
type runtimeTicks struct {
	ctx    context.Context
	ticker *time.Ticker

	mu     sync.Mutex
	first  time.Time     // no tick of before the last reset is as late as that
	period time.Duration // to go on with after the first tick; 0 where the ticker does already
}

func (t *runtimeTicks) Wait(int) bool {
	select {
	case <-t.ctx.Done():
		return false
	case at := <-t.ticker.C:
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.period > 0 && !at.Before(t.first) {
			t.ticker.Reset(t.period)
			t.period = 0
		}
		return true
	}
}

func (t *runtimeTicks) Reset(first, period time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.first, t.period = time.Now().Add(first), period
	if first == period {
		t.period = 0
	}
	t.ticker.Reset(first)
}

func (t *runtimeTicks) Stop() { t.ticker.Stop() }
