package pool_test

import (
	"context"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/pool"
	"github.com/headroom-rpc/headroom/snapshot"
)

// startTimes runs tasks that take no time and returns when the first n started. More than n may start, as Ready may
// be asked before one that was started has been counted.
func startTimes(t *testing.T, o pool.Options, n int) (times []time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var mu sync.Mutex
		o.Run = func(context.Context) error {
			mu.Lock()
			defer mu.Unlock()
			times = append(times, time.Since(began))
			return nil
		}
		o.Ready = func(context.Context) (bool, error) {
			mu.Lock()
			defer mu.Unlock()
			return len(times) < n, nil
		}
		if err := newPool(t, o).Run(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	return times[:min(n, len(times))]
}

// In any 60 s no more start than may; crawlee-python spaces them evenly.
func TestTasksPerMinute(t *testing.T) {
	const s = time.Second
	for _, tt := range []struct {
		name string
		o    pool.Options
		n    int
		want []time.Duration
	}{
		{"a sliding minute", pool.Options{MaxTasksPerMinute: 3}, 7, []time.Duration{0, 0, 0, 60 * s, 60 * s, 60 * s, 120 * s}},
		{"no bound", pool.Options{MaxTasksPerMinute: math.Inf(1)}, 3, []time.Duration{0, 0, 0}},
		{"js", pool.Options{Profile: pool.ProfileCrawleeJS, MaxTasksPerMinute: 2}, 3, []time.Duration{0, 0, 60 * s}},
		{"python", pool.Options{Profile: pool.ProfileCrawleePython, MaxTasksPerMinute: 60}, 4, []time.Duration{0, s, 2 * s, 3 * s}},
		{"python, less than one", pool.Options{Profile: pool.ProfileCrawleePython, MaxTasksPerMinute: 0.5}, 2, []time.Duration{0, 120 * s}},
		{"a token bucket", pool.Options{Starts: pool.Rate{PerSecond: 2, Burst: 3}}, 6,
			[]time.Duration{0, 0, 0, s / 2, s, 3 * s / 2}},
		{"a token bucket with the default burst", pool.Options{Starts: pool.Rate{PerSecond: 0.1}}, 3, []time.Duration{0, 10 * s, 20 * s}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := startTimes(t, tt.o, tt.n); !slices.Equal(got, tt.want) {
				t.Errorf("started at %v, want %v", got, tt.want)
			}
		})
	}
}

// A minute slides: a start counts for 60 s after it, whatever began before.
func TestMinuteSlides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWork(0, 0)
		// One at once, so that Ready is not asked before the task before has taken its work: to start in vain counts too.
		p := newPool(t, pool.Options{
			Law: fixed(t, 1), MaxTasksPerMinute: 2, Run: w.run, Ready: w.ready,
			Finished: func(context.Context) (bool, error) { return false, nil },
		})
		result := start(t, p)
		add := func(n, want int64) {
			t.Helper()
			w.left.Add(n)
			p.Notify()
			synctest.Wait()
			if w.done.Load() != want {
				t.Errorf("%d started, want %d", w.done.Load(), want)
			}
		}
		add(1, 1)
		time.Sleep(40 * time.Second)
		add(2, 2)
		time.Sleep(19999 * time.Millisecond)
		add(0, 2)
		if s := p.Stats(); s.Block != pool.BlockMinute || s.Until != time.Millisecond || !strings.Contains(s.Binding, "2 a minute") {
			t.Errorf("%q for %v more: %s; want the minute, 1 ms", s.Block, s.Until, s.Binding)
		}
		if s := p.Stats(); s.Waiting != 0 {
			t.Errorf("%d wait, want none: what waits for its minute is no demand", s.Waiting)
		}
		time.Sleep(time.Millisecond)
		add(0, 3)
		if err := p.Abort(); err != nil {
			t.Error(err)
		}
		<-result
	})
}

// The rate does not keep a pool from ending, nor from being stopped.
func TestRateHoldsNoEmptyPool(t *testing.T) {
	for _, o := range []pool.Options{
		{MaxTasksPerMinute: 1}, {Profile: pool.ProfileCrawleePython, MaxTasksPerMinute: 1}, {Starts: pool.Rate{PerSecond: 0.01}},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWork(1, time.Second)
			o.Run, o.Ready, o.Finished = w.run, w.ready, w.finished
			began := time.Now()
			if err := newPool(t, o).Run(t.Context()); err != nil || time.Since(began) != time.Second {
				t.Errorf("Run = %v after %v, want the second of the task", err, time.Since(began))
			}
			// Nor where the work vanishes while it waits.
			w.left.Store(2)
			p := newPool(t, o)
			result := start(t, p)
			time.Sleep(5 * time.Second)
			w.left.Store(0)
			time.Sleep(600 * time.Millisecond)
			if err := outcome(t, result); err != nil {
				t.Error(err)
			}
		})
	}
}

// As in Crawlee for JavaScript, a pool that waits for its minute is not scaled; the others are lowered.
func TestScaleWhileCapped(t *testing.T) {
	for profile, want := range map[pool.Profile]int64{pool.ProfileCrawleeJS: 95, pool.ProfileCrawleePython: 85} {
		synctest.Test(t, func(t *testing.T) {
			l := newLoad(snapshot.StateOverloaded)
			w := newWork(1000, time.Hour)
			p := newPool(t, pool.Options{
				Profile: profile, MaxTasksPerMinute: 1, Desired: 100, Status: l.status, Run: w.run, Ready: w.ready,
			})
			result := start(t, p)
			time.Sleep(25 * time.Second)
			if p.Desired() != want {
				t.Errorf("%v: desired %d, want %d", profile, p.Desired(), want)
			}
			if err := p.Abort(); err != nil {
				t.Error(err)
			}
			<-result
		})
	}
}
