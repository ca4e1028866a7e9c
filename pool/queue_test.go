package pool_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/pool"
)

func TestForEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sum, begun, running, most, taken atomic.Int64
		values := func(yield func(int64) bool) {
			for i := range int64(10) {
				if taken.Add(1) > begun.Load()+3 {
					t.Errorf("%d values were taken for %d calls", taken.Load(), begun.Load())
				}
				if !yield(i) {
					return
				}
			}
		}
		began := time.Now()
		err := pool.ForEach(t.Context(), values, func(_ context.Context, i int64) error {
			begun.Add(1)
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			time.Sleep(time.Second)
			sum.Add(i)
			return nil
		}, pool.Options{Law: fixed(t, 3)})
		if err != nil || sum.Load() != 45 || most.Load() != 3 || time.Since(began) != 4*time.Second {
			t.Errorf("ForEach = %v: sum %d, %d at once, in %v; want 45, 3, 4 s", err, sum.Load(), most.Load(), time.Since(began))
		}
	})
}

func TestForEachStopsAtAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stopped := false
		endless := func(yield func(int) bool) {
			defer func() { stopped = true }()
			for i := 0; yield(i); i++ {
			}
		}
		err := pool.ForEach(t.Context(), endless, func(_ context.Context, i int) error {
			if i == 7 {
				return errBroken
			}
			return nil
		}, pool.Options{Law: fixed(t, 3)})
		if !errors.Is(err, errBroken) || !stopped {
			t.Errorf("ForEach = %v, the sequence ended: %v", err, stopped)
		}
		for name, seq := range map[string]iter.Seq[int]{
			"at once":         func(func(int) bool) { panic(errBroken) },
			"when it is left": func(yield func(int) bool) { defer panic(errBroken); yield(7) },
			"as it goes on":   func(yield func(int) bool) { yield(7); yield(8) },
			"as one panicked": func(func(int) bool) { panic(&pool.PanicError{Value: errBroken}) },
		} {
			err := pool.ForEach(t.Context(), seq, func(context.Context, int) error { return errBroken }, pool.Options{Law: fixed(t, 1)})
			var p *pool.PanicError
			if !errors.Is(err, errBroken) || !errors.As(err, &p) {
				t.Errorf("ForEach of a sequence that panics %s = %v", name, err)
			} else if !strings.Contains(string(p.Stack), "TestForEachStopsAtAnError") {
				t.Errorf("of a sequence that panics %s the stack is not its own:\n%s", name, p.Stack)
			}
		}
		none := func(context.Context, int) error { return nil }
		if err := pool.ForEach(t.Context(), slices.Values([]int{}), none); err != nil {
			t.Errorf("ForEach of nothing = %v", err)
		}
		for _, o := range [][]pool.Options{{{Min: -1}}, {{}, {}}, {{Run: func(context.Context) error { return nil }}}} {
			if err := pool.ForEach(t.Context(), slices.Values([]int{1}), none, o...); err == nil {
				t.Errorf("ForEach with %d options = nil, want an error", len(o))
			}
		}
		if err := pool.All(t.Context(), slices.Values([]pool.Task{{}})); err == nil {
			t.Error("All of a task without Run = nil")
		}
	})
}

func TestMap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		words := []string{"a", "b", "c", "d", "e"}
		got, err := pool.Map(t.Context(), slices.Values(words), func(_ context.Context, s string) (string, error) {
			time.Sleep(time.Duration('f'-s[0]) * time.Second)
			return s + s, nil
		}, pool.Options{Law: fixed(t, 3)})
		if want := []string{"aa", "bb", "cc", "dd", "ee"}; err != nil || !slices.Equal(got, want) {
			t.Errorf("Map = %v, %v; want %v", got, err, want)
		}
		got, err = pool.Map(t.Context(), slices.Values(words), func(context.Context, string) (string, error) { return "", errBroken })
		if !errors.Is(err, errBroken) || got != nil {
			t.Errorf("Map = %v, %v; want the error alone", got, err)
		}
	})
}

func TestGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t, 2)
		var mu sync.Mutex
		var order []int
		task := func(i int) func(context.Context) error {
			return func(context.Context) error {
				mu.Lock()
				order = append(order, i)
				mu.Unlock()
				time.Sleep(time.Second)
				if i == 3 { // also while the group is waited for
					return g.Go(func(context.Context) error {
						mu.Lock()
						defer mu.Unlock()
						order = append(order, 100)
						return nil
					})
				}
				return nil
			}
		}
		time.Sleep(time.Hour) // with nothing to do
		for i := range 6 {
			if err := g.Go(task(i)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if err := g.Submit(pool.Task{}); err == nil {
			t.Error("a task without Run is accepted")
		}
		if err := g.Submit(pool.Task{Run: task(9), Weight: -1}); err == nil {
			t.Error("a task of weight -1 is accepted")
		}
		if err := g.Wait(); err != nil || g.Wait() != nil {
			t.Error(err)
		}
		if len(order) != 7 || order[6] != 100 || !slices.IsSorted(order[:2]) || max(order[2], order[3]) != 3 {
			t.Errorf("order %v", order)
		}
		if err := g.Go(task(1)); !errors.Is(err, pool.ErrStopped) {
			t.Errorf("Go after Wait = %v, want ErrStopped", err)
		}
	})
}

// Heavy tasks take their weight, are not overtaken, and run alone where they are heavier than the limit.
func TestWeights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var held, most atomic.Int64
		var mu sync.Mutex
		var order []int64
		task := func(weight int64) pool.Task {
			return pool.Task{Weight: weight, Run: func(context.Context) error {
				mu.Lock()
				order = append(order, weight)
				mu.Unlock()
				if now := held.Add(weight); now > 4 && now != weight {
					t.Errorf("%d held", now)
				} else if now <= 4 {
					most.Store(max(most.Load(), now))
				}
				time.Sleep(time.Second)
				held.Add(-weight)
				return nil
			}}
		}
		began := time.Now()
		tasks := []pool.Task{task(1), task(2), task(3), task(1), task(9), task(1), task(0), task(1), task(1)}
		tasks[6].Weight = 1
		if err := pool.All(t.Context(), slices.Values(tasks), pool.Options{Law: fixed(t, 4)}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 4*time.Second || most.Load() != 4 || order[4] != 9 {
			t.Errorf("order %v, up to %d at once, in %v; want 4 turns with 4 at most", order, most.Load(), took)
		}
	})
}

// A throttled key holds no permit of the others, and its tasks wait as long as was asked.
func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var mu sync.Mutex
		starts := make(map[string][]time.Duration)
		tries := 0
		task := func(key string) pool.Task {
			return pool.Task{Key: key, Run: func(context.Context) error {
				mu.Lock()
				starts[key] = append(starts[key], time.Since(began))
				refuse := key == "slow" && tries == 0
				if refuse {
					tries++
				}
				mu.Unlock()
				time.Sleep(time.Second)
				if refuse {
					return fmt.Errorf("get: %w", pool.RetryAfter(30*time.Second, errBroken))
				}
				return nil
			}}
		}
		g := newGroup(t, 1)
		for _, key := range []string{"slow", "slow", "a", "slow", "a", "b", ""} {
			if err := g.Submit(task(key)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(6 * time.Second)
		if s := g.Pool().Stats(); s.Block != pool.BlockKey || s.Until != 25*time.Second || s.Waiting != 0 || s.Current != 0 || s.Throttled != 1 {
			t.Errorf("%+v, want the key to block for 25 s with no demand", s)
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		sec := func(n ...int) (d []time.Duration) {
			for _, n := range n {
				d = append(d, time.Duration(n)*time.Second)
			}
			return d
		}
		for key, want := range map[string][]time.Duration{"slow": sec(0, 31, 32, 33), "a": sec(1, 2), "b": sec(3), "": sec(4)} {
			if !slices.Equal(starts[key], want) {
				t.Errorf("key %q started at %v, want %v", key, starts[key], want)
			}
		}
	})
}

// Without a key only the task itself waits, and a longer wait of the same key counts.
func TestRetryAfterWithoutKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var tries atomic.Int64
		var took [3]time.Duration
		tasks := []pool.Task{
			{Run: func(context.Context) error {
				if tries.Add(1) < 4 {
					return pool.RetryAfter(10*time.Second, nil)
				}
				took[0] = time.Since(began)
				return nil
			}},
			{Run: func(context.Context) error {
				took[1] = time.Since(began)
				return nil
			}},
		}
		err := pool.All(t.Context(), slices.Values(tasks), pool.Options{Law: fixed(t, 1)})
		if err != nil || took[0] != 30*time.Second || took[1] != 0 {
			t.Errorf("All = %v; the tasks ended after %v, want 30 s and 0", err, took[:2])
		}
	})
}

// In a sequence the tasks of a throttled key are passed over, but not without end.
func TestThrottledSequence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var taken, refused atomic.Int64
		endless := iter.Seq[pool.Task](func(yield func(pool.Task) bool) {
			for taken.Add(1) > 0 {
				if !yield(pool.Task{Key: "k", Run: func(context.Context) error {
					refused.Add(1)
					return pool.RetryAfter(time.Hour, nil)
				}}) {
					return
				}
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := pool.All(ctx, endless, pool.Options{Law: fixed(t, 1)})
		if !errors.Is(err, context.DeadlineExceeded) || refused.Load() != 1 || taken.Load() > 10_010 {
			t.Errorf("All = %v after %d tasks were taken and %d refused", err, taken.Load(), refused.Load())
		}
	})
}

// newGroup returns a group that runs so many tasks.
func newGroup(t *testing.T, n int64) *pool.Group {
	t.Helper()
	g, err := pool.NewGroup(t.Context(), pool.Options{Law: fixed(t, n)})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// A target that throttles and names no time, or one in the past, is not asked without a pause.
func TestRetryAfterNoTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, d := range []time.Duration{0, -time.Hour, time.Millisecond} {
			calls := 0
			began := time.Now()
			g := newGroup(t, 1)
			g.Submit(pool.Task{Key: "k", Run: func(context.Context) error {
				if calls++; calls < 11 {
					return pool.RetryAfter(d, nil)
				}
				return nil
			}})
			if err := g.Wait(); err != nil || time.Since(began) != time.Second {
				t.Errorf("RetryAfter(%v) ten times took %v, %v, want a second", d, time.Since(began), err)
			}
		}
	})
}

// Whoever waits for a group that was drained is told that tasks were left.
func TestDrainedGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, tt := range map[string]struct {
			tasks int
			retry bool // the last asks to be run again in an hour
			want  error
		}{
			"nothing is left":       {tasks: 2},
			"one waits":             {tasks: 3, want: pool.ErrStopped},
			"one waits to be tried": {tasks: 2, retry: true, want: pool.ErrStopped},
		} {
			g := newGroup(t, 2)
			for i := range tt.tasks {
				g.Go(func(context.Context) error {
					if tt.retry && i == tt.tasks-1 {
						return pool.RetryAfter(time.Hour, nil)
					}
					time.Sleep(time.Second)
					return nil
				})
			}
			time.Sleep(100 * time.Millisecond)
			if err := g.Pool().Drain(t.Context()); err != nil {
				t.Errorf("%s: Drain = %v", name, err)
			}
			if err := g.Wait(); err != tt.want {
				t.Errorf("%s: Wait = %v, want %v", name, err, tt.want)
			}
		}
	})
}

// A pool whose function finds its own work takes RetryAfter for no failure.
func TestRetryAfterOfRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWork(5, 0)
		p := newPool(t, pool.Options{Law: fixed(t, 1), Ready: w.ready, Run: func(ctx context.Context) error {
			if err := w.run(ctx); err != nil {
				return err
			}
			return pool.RetryAfter(time.Hour, nil)
		}})
		if err := p.Run(t.Context()); err != nil || p.Stats().Throttled != 5 || p.Stats().Failed != 0 {
			t.Errorf("Run = %v: %+v", err, p.Stats())
		}
	})
}

// Of several waits of one key the longest counts, and of its tasks none is lost when it is over.
func TestLongestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var mu sync.Mutex
		var starts []time.Duration
		var tasks []pool.Task
		for i := range 6 {
			refused := false
			tasks = append(tasks, pool.Task{Key: "k", Weight: 2, Run: func(context.Context) error {
				if i < 2 && !refused {
					refused = true
					time.Sleep(time.Duration(2-i) * time.Second)
					return pool.RetryAfter(time.Duration(10+20*i)*time.Second, nil)
				}
				mu.Lock()
				starts = append(starts, time.Since(began))
				mu.Unlock()
				time.Sleep(time.Second)
				return nil
			}})
		}
		err := pool.All(t.Context(), slices.Values(tasks), pool.Options{Law: fixed(t, 5)})
		const s = time.Second
		if want := []time.Duration{31 * s, 31 * s, 32 * s, 32 * s, 33 * s, 33 * s}; err != nil || !slices.Equal(starts, want) {
			t.Errorf("All = %v; started at %v, want %v", err, starts, want)
		}
	})
}
