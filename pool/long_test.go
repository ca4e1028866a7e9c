package pool_test

import (
	"context"
	"errors"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/pool"
)

// The longest durations mean for ever.
func TestLongDurations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const forever time.Duration = math.MaxInt64
		time.Sleep(time.Second)
		var asked, steps atomic.Int64
		p := newPool(t, pool.Options{
			Profile: pool.ProfileCrawleePython, Desired: 1, AutoscaleInterval: forever, LogInterval: forever,
			ReadyInterval: forever, Grace: forever, TaskTimeout: forever,
			Ready: func(context.Context) (bool, error) { return asked.Add(1) == 1, nil },
			Run: func(ctx context.Context) error {
				<-ctx.Done()
				time.Sleep(time.Hour)
				steps.Add(1)
				return ctx.Err()
			},
		})
		result := start(t, p)
		time.Sleep(time.Minute)
		if n := asked.Load(); n > 3 || p.Desired() != 2 {
			t.Errorf("Ready was asked %d times in a minute, and %d desired, want 2 times and 2", n, p.Desired())
		}
		if err := p.Abort(); err != nil {
			t.Error(err)
		}
		if err := <-result; err != nil || steps.Load() != 1 {
			t.Errorf("Run = %v before its task ended", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		var tries atomic.Int64
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Hour, errBroken)
		defer cancel()
		err := pool.ForEach(ctx, func(yield func(int) bool) { yield(1) }, func(context.Context, int) error {
			if tries.Add(1) > 10 {
				return errors.New("tried again at once")
			}
			return pool.RetryAfter(math.MaxInt64, nil)
		})
		if err != errBroken || tries.Load() != 1 {
			t.Errorf("ForEach = %v after %d tries, want 1", err, tries.Load())
		}
	})
}
