package pool_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/limit"
	"github.com/headroom-rpc/headroom/pool"
	"github.com/headroom-rpc/headroom/snapshot"
)

// fixed returns a law that lets n run.
func fixed(tb testing.TB, n int64) limit.Law {
	tb.Helper()
	law, err := limit.NewFixed(n)
	if err != nil {
		tb.Fatal(err)
	}
	return law
}

func newPool(tb testing.TB, o pool.Options) *pool.Pool {
	tb.Helper()
	p, err := pool.New(o)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// load is a status that the test sets.
type load struct{ current, historical atomic.Uint32 }

func (l *load) set(s snapshot.State) {
	l.current.Store(uint32(s))
	l.historical.Store(uint32(s))
}

func (l *load) status() (current, historical snapshot.Status) {
	return snapshot.Status{State: snapshot.State(l.current.Load())}, snapshot.Status{State: snapshot.State(l.historical.Load())}
}

func newLoad(s snapshot.State) *load {
	l := new(load)
	l.set(s)
	return l
}

// work is a number of tasks for the functions of a pool.
type work struct {
	left, running, most, done atomic.Int64
	hold                      time.Duration
}

func (w *work) ready(context.Context) (bool, error) { return w.left.Load() > 0, nil }

func (w *work) run(ctx context.Context) error {
	if w.left.Add(-1) < 0 { // Ready was asked before the task before had taken its work
		w.left.Add(1)
		return nil
	}
	if n := w.running.Add(1); n > w.most.Load() {
		w.most.Store(n)
	}
	defer w.running.Add(-1)
	select {
	case <-time.After(w.hold):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	w.done.Add(1)
	return nil
}

func (w *work) finished(context.Context) (bool, error) { return w.left.Load() <= 0, nil }

func newWork(n int64, hold time.Duration) *work {
	w := &work{hold: hold}
	w.left.Store(n)
	return w
}

func TestRunsUntilFinished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWork(10, time.Second)
		p := newPool(t, pool.Options{Run: w.run, Ready: w.ready, Finished: w.finished, Law: fixed(t, 3), Desired: 3})
		began := time.Now()
		if err := p.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if w.done.Load() != 10 || w.most.Load() != 3 || time.Since(began) != 4*time.Second {
			t.Errorf("%d tasks, %d at once, in %v; want 10, 3 at once, in 4 s", w.done.Load(), w.most.Load(), time.Since(began))
		}
	})
}

// ramp runs a crawlee pool that is always saturated and returns its desired concurrency after each step.
func ramp(t *testing.T, o pool.Options, steps int) (desired []int64) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o.Run = func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}
		p := newPool(t, o)
		done := make(chan error)
		go func() { done <- p.Run(t.Context()) }()
		for range steps {
			synctest.Wait()
			desired = append(desired, p.Desired())
			time.Sleep(10 * time.Second)
		}
		if err := p.Abort(); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Errorf("Run = %v after Abort, want nil in a crawlee profile", err)
		}
	})
	return desired
}

func TestCrawleeRamps(t *testing.T) {
	idle, overloaded := newLoad(snapshot.StateIdle), newLoad(snapshot.StateOverloaded)
	py, js := pool.ProfileCrawleePython, pool.ProfileCrawleeJS
	for _, tt := range []struct {
		name  string
		o     pool.Options
		steps int // as often as the desired concurrency is looked at, from the first step at once
		want  []int64
		last  int64
	}{
		// The first step of a pool that runs nothing yet raises it only from 1.
		{"python from 10 to 100", pool.Options{Profile: py, Status: idle.status}, 38,
			[]int64{10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 23, 25, 27, 29, 31, 33, 35, 37, 39, 41, 44, 47, 50, 53,
				56, 59, 62, 66, 70, 74, 78, 82, 87, 92, 97, 100}, 100},
		{"js from 1 to 200", pool.Options{Profile: js, Status: idle.status}, 59, []int64{2, 3, 4, 5}, 200},
		{"js from 1 to 10", pool.Options{Profile: js, Status: idle.status}, 9, []int64{2, 3, 4, 5, 6, 7, 8, 9, 10}, 10},
		{"down from 100", pool.Options{Profile: py, Status: overloaded.status, Desired: 100}, 13,
			[]int64{95, 90, 85, 80, 76, 72, 68, 64, 60, 57, 54, 51, 48}, 48},
		{"down to the minimum", pool.Options{Profile: py, Status: overloaded.status, Desired: 100}, 44, nil, 1},
		{"down to 10", pool.Options{Profile: js, Status: overloaded.status, Desired: 100}, 35, nil, 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := ramp(t, tt.o, tt.steps)
			if !slices.Equal(got[:min(len(got), len(tt.want))], tt.want) || got[len(got)-1] != tt.last {
				t.Errorf("desired:\n%v, want\n%v up to %d", got, tt.want, tt.last)
			}
		})
	}
}

func TestOptions(t *testing.T) {
	_, err := pool.New(pool.Options{
		Run: func(context.Context) error { return nil },
		Min: 5, Max: 3, Desired: 10, Weight: -1, MaxTasksPerMinute: 0.5, DesiredRatio: 1, StepUpRatio: 2, StepDownRatio: -1,
		AutoscaleInterval: -1, LogInterval: -1, ReadyInterval: -1, Grace: -1, TaskTimeout: -1, OnError: 9, Profile: 9,
		Starts: pool.Rate{PerSecond: -1, Burst: -1}, Memory: pool.Memory{High: 2},
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, name := range []string{"Max:", "Desired:", "Weight:", "MaxTasksPerMinute:", "DesiredRatio:", "StepUpRatio:",
		"StepDownRatio:", "AutoscaleInterval:", "LogInterval:", "ReadyInterval:", "Grace:", "TaskTimeout:", "OnError:",
		"Profile:", "Starts.PerSecond:", "Starts.Burst:", "Memory.High:"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%v\ndoes not name %s", err, name)
		}
	}
	run := func(context.Context) error { return nil }
	for _, tt := range []struct {
		o    pool.Options
		want string
	}{
		{pool.Options{}, "pool: options: Run: want a function"},
		{pool.Options{Weight: -1}, "pool: options: Run: want a function\npool: options: Weight: -1: want 1 to 1000000000"},
		// What was not set is not at fault.
		{pool.Options{Run: run, Memory: pool.Memory{High: math.NaN()}}, "pool: options: Memory.High: NaN: want over 0 and up to 1"},
		{pool.Options{Run: run, Profile: pool.ProfileCrawleePython, Min: 5, Max: 3}, "pool: options: Max: 3 is less than Min, 5"},
		{pool.Options{Run: run, Profile: pool.ProfileCrawleeJS, MaxTasksPerMinute: 1.5},
			"pool: options: MaxTasksPerMinute: 1.5: want a whole number"},
	} {
		if _, err := pool.New(tt.o); err == nil || err.Error() != tt.want {
			t.Errorf("New(%+v) = %v, want %s", tt.o, err, tt.want)
		}
	}
	none := func(func(int) bool) {}
	for _, err := range []error{
		pool.ForEach(t.Context(), none, nil), pool.All(t.Context(), nil),
		pool.ForEach(t.Context(), nil, func(context.Context, int) error { return nil }),
	} {
		if panicked := new(pool.PanicError); err == nil || errors.As(err, &panicked) {
			t.Errorf("nil instead of work: %v", err)
		}
	}
}

func TestFirstErrorStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		var n atomic.Int64
		p := newPool(t, pool.Options{Law: fixed(t, 4), Desired: 4, Run: func(ctx context.Context) error {
			if n.Add(1) == 4 {
				time.Sleep(time.Second)
				return broken
			}
			<-ctx.Done()
			return context.Cause(ctx)
		}})
		if err := p.Run(t.Context()); !errors.Is(err, broken) || err.Error() != "broken" || n.Load() != 4 {
			t.Errorf("Run = %v after %d tasks, want broken after 4", err, n.Load())
		}
	})
}

// The defaults and bounds of the profiles.
func TestProfileDefaults(t *testing.T) {
	run := func(context.Context) error { return nil }
	for _, tt := range []struct {
		o                  pool.Options
		low, high, desired int64 // a high of 0 is no maximum
	}{
		{pool.Options{}, 1, 0, 1},
		{pool.Options{Min: 5}, 5, 0, 5},
		{pool.Options{Profile: pool.ProfileCrawleePython}, 1, 100, 10},
		{pool.Options{Profile: pool.ProfileCrawleePython, Max: 5, Desired: 5}, 1, 5, 5},
		{pool.Options{Profile: pool.ProfileCrawleePython, Min: 150, Max: 150, Desired: 150}, 150, 150, 150},
		{pool.Options{Profile: pool.ProfileCrawleeJS}, 1, 200, 1},
		{pool.Options{Profile: pool.ProfileCrawleeJS, Min: 7}, 7, 200, 7},
		{pool.Options{Profile: pool.ProfileCrawleeJS, Max: 3, Desired: 10}, 1, 3, 3},
		{pool.Options{Profile: pool.ProfileCrawleeJS, Min: 10, Desired: 3}, 10, 200, 10},
	} {
		tt.o.Run = run
		p := newPool(t, tt.o)
		if high := p.Max(); p.Min() != tt.low || p.Desired() != tt.desired || high != tt.high && (tt.high != 0 || high < 1_000_000) {
			t.Errorf("%+v: desired %d in [%d, %d], want %d in [%d, %d]", tt.o.Profile, p.Desired(), p.Min(), high, tt.desired, tt.low, tt.high)
		}
	}
	for _, o := range []pool.Options{
		{Max: 3, Desired: 10}, {Profile: pool.ProfileCrawleePython, Min: 10, Desired: 3},
		{Profile: pool.ProfileCrawleePython, Min: 20}, {Profile: pool.ProfileCrawleePython, Max: 5},
		{Profile: pool.ProfileCrawleePython, Min: 150, Desired: 150},
	} {
		o.Run = run
		if _, err := pool.New(o); err == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
}
