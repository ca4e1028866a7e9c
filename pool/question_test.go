package pool_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/pool"
	"github.com/headroom-rpc/headroom/snapshot"
)

// What Ready and Finished return because their context ended is no error of theirs.
func TestQuestionsThatEndWithTheirContext(t *testing.T) {
	waits := func(ctx context.Context) (bool, error) {
		<-ctx.Done()
		return false, ctx.Err()
	}
	no := func(context.Context) (bool, error) { return false, nil }
	work := func(context.Context) error { return nil }
	for name, o := range map[string]pool.Options{
		"Ready": {Run: work, Ready: waits}, "Finished": {Run: work, Ready: no, Finished: waits},
	} {
		for profile, aborted := range map[pool.Profile]error{
			pool.ProfileHeadroom: pool.ErrAborted, pool.ProfileCrawleePython: nil, pool.ProfileCrawleeJS: nil,
		} {
			t.Run(name+" in "+profile.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					o.Profile = profile
					p := newPool(t, o)
					result := start(t, p)
					if err := p.Abort(); err != nil {
						t.Error(err)
					}
					if err := outcome(t, result); err != aborted {
						t.Errorf("Run = %v after Abort, want %v", err, aborted)
					}
					ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errBroken)
					defer cancel()
					if err := p.Run(ctx); err != errBroken {
						t.Errorf("Run = %v, want the cause of its context", err)
					}
				})
			})
		}
	}
}

// A task that returns the error of its context did what it was told, also where the context has a cause beside it.
func TestContextEndsByATimeoutWithACause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errBroken)
		defer cancel()
		p := newPool(t, pool.Options{Law: fixed(t, 2), Run: func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}})
		if err := p.Run(ctx); err != errBroken {
			t.Errorf("Run = %v, want the cause", err)
		}
	})
}

// A task that panics after its time was over is told of beside the timeout, also where the timeout alone is no error.
func TestPanicAfterTheTimeout(t *testing.T) {
	for _, profile := range []pool.Profile{pool.ProfileHeadroom, pool.ProfileCrawleePython, pool.ProfileCrawleeJS} {
		t.Run(profile.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var n atomic.Int64
				p := newPool(t, pool.Options{
					Profile: profile, TaskTimeout: time.Second,
					Ready: func(context.Context) (bool, error) { return n.Load() == 0, nil },
					Run: func(ctx context.Context) error {
						n.Add(1)
						<-ctx.Done()
						panic("a bug")
					},
				})
				err := p.Run(t.Context())
				if _, ok := errors.AsType[*pool.PanicError](err); !ok {
					t.Errorf("Run = %v, want the panic", err)
				}
				if _, ok := errors.AsType[*pool.TimeoutError](err); ok != (profile != pool.ProfileCrawleePython) {
					t.Errorf("Run = %v: that it timed out is told: %v", err, ok)
				}
			})
		})
	}
}

// A question that ends its goroutine ends the run and not the program.
func TestQuestionsThatEndTheirGoroutine(t *testing.T) {
	work := func(context.Context) error { return nil }
	no := func(context.Context) (bool, error) { return false, nil }
	exits := func(context.Context) (bool, error) {
		runtime.Goexit()
		return false, nil
	}
	for name, o := range map[string]pool.Options{
		"Ready":    {Run: work, Ready: exits},
		"Finished": {Run: work, Ready: no, Finished: exits},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for range 2 {
					if err := newPool(t, o).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "Goexit") {
						t.Errorf("Run = %v, want an error that names Goexit", err)
					}
				}
			})
		})
	}
	t.Run("a sequence", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			err := pool.ForEach(t.Context(), func(yield func(int) bool) {
				yield(1)
				runtime.Goexit()
			}, func(context.Context, int) error { return nil })
			if err == nil || !strings.Contains(err.Error(), "Goexit") {
				t.Errorf("ForEach = %v, want an error that names Goexit", err)
			}
		})
	})
}

// What is given to see the machine may panic: that ends the run with its stack, and not the program.
func TestObservationsThatPanic(t *testing.T) {
	status := func() (current, historical snapshot.Status) { panic("a bug in Status") }
	usage := func() pool.Usage { panic("a bug in Usage") }
	for name, o := range map[string]pool.Options{
		"Status":                   {Status: status},
		"Status in crawlee-python": {Profile: pool.ProfileCrawleePython, Status: status},
		"Status in crawlee-js":     {Profile: pool.ProfileCrawleeJS, Status: status},
		"Usage":                    {Usage: usage},
		"Host":                     {Host: func() pool.Host { panic("a bug in Host") }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWork(1000, time.Second)
				o.Run, o.Ready = w.run, w.ready
				o.Log = slog.New(slog.NewTextHandler(io.Discard, nil)) // which asks Status too
				p := newPool(t, o)
				for range 2 {
					err := p.Run(t.Context())
					if e, ok := errors.AsType[*pool.PanicError](err); !ok || len(e.Stack) == 0 || !strings.Contains(err.Error(), "a bug in") {
						t.Errorf("Run = %v, want the panic with its stack", err)
					}
				}
			})
		})
	}
	t.Run("Usage in a Budget", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBudget(t, pool.BudgetOptions{Law: fixed(t, 4)})
			good := join(t, b, "good", 1, newWork(1000, time.Second), pool.Options{})
			bad := join(t, b, "bad", 1, newWork(1000, time.Second), pool.Options{Usage: usage})
			if err := <-bad.result; err == nil || !strings.Contains(err.Error(), "a bug in Usage") {
				t.Errorf("Run = %v, want the panic", err)
			}
			time.Sleep(3 * time.Second)
			if good.Current() != 4 {
				t.Errorf("%d run in the other pool, want all 4", good.Current())
			}
			if err := good.Abort(); err != nil {
				t.Error(err)
			}
			<-good.result
		})
	})
}

// After an observation panicked nothing is looked at any more while tasks drain.
func TestRestsAfterAnObservationPanicked(t *testing.T) {
	for name, o := range map[string]pool.Options{
		"Usage": {Usage: panicsAfter(5, pool.Usage{})},
		"Host":  {Host: panicsAfter(5, pool.Host{})},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const many = 10_000
				var looks atomic.Int64
				busy := make(chan struct{})
				began := time.Now()
				o.Clock = func() time.Duration {
					if looks.Add(1) == many {
						close(busy)
					}
					return time.Since(began)
				}
				o.Law, o.OnError = fixed(t, 2), pool.ErrorDrain
				o.Run = func(context.Context) error {
					select {
					case <-time.After(time.Minute):
					case <-busy:
					}
					return nil
				}
				err := newPool(t, o).Run(t.Context())
				if _, ok := errors.AsType[*pool.PanicError](err); !ok || time.Since(began) != time.Minute || looks.Load() >= many {
					t.Errorf("Run = %v after %v, and looked at the clock %d times", err, time.Since(began), looks.Load())
				}
			})
		})
	}
}

// panicsAfter returns what returns v so many times, and then panics.
func panicsAfter[T any](n int, v T) func() T {
	return func() T {
		if n--; n < 0 {
			panic("a bug")
		}
		return v
	}
}
