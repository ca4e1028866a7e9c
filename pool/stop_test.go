package pool_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/pool"
)

var errBroken = errors.New("broken")

// What becomes of the others when a task fails, and of their errors.
func TestError(t *testing.T) {
	for _, tt := range []struct {
		name    string
		o       pool.Options
		took    time.Duration
		joined  bool // whether the errors of the others are in that of Run
		finish  int64
		message string
	}{
		{"the others are cancelled", pool.Options{}, 1 * time.Second, false, 0, "broken"},
		{"the others are drained", pool.Options{OnError: pool.ErrorDrain}, 5 * time.Second, true, 2, "broken\nlate"},
		{"python drains", pool.Options{Profile: pool.ProfileCrawleePython}, 5 * time.Second, true, 2, "broken\nlate"},
		{"js cancels", pool.Options{Profile: pool.ProfileCrawleeJS}, 1 * time.Second, false, 0, "broken"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var started, finished atomic.Int64
				o := tt.o
				o.Law, o.Desired = fixed(t, 4), 4
				o.Run = func(ctx context.Context) error {
					switch started.Add(1) {
					case 1:
						time.Sleep(time.Second)
						return errBroken
					case 2:
						select {
						case <-time.After(3 * time.Second):
							return errors.New("late")
						case <-ctx.Done():
							return fmt.Errorf("ended: %w", context.Cause(ctx))
						}
					}
					select {
					case <-time.After(5 * time.Second):
						finished.Add(1)
						return nil
					case <-ctx.Done():
						if !errors.Is(context.Cause(ctx), pool.ErrStopped) {
							t.Errorf("cause %v, want ErrStopped", context.Cause(ctx))
						}
						return ctx.Err()
					}
				}
				began := time.Now()
				err := newPool(t, o).Run(t.Context())
				if !errors.Is(err, errBroken) || err.Error() != tt.message || time.Since(began) != tt.took ||
					started.Load() != 4 || finished.Load() != tt.finish {
					t.Errorf("Run = %q in %v, %d started and %d finished; want %q in %v, 4 and %d",
						err, time.Since(began), started.Load(), finished.Load(), tt.message, tt.took, tt.finish)
				}
			})
		})
	}
}

// Beside the first, only so many errors are kept.
func TestManyErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int64
		p := newPool(t, pool.Options{Law: fixed(t, 1000), OnError: pool.ErrorDrain, Run: func(context.Context) error {
			time.Sleep(time.Second)
			return fmt.Errorf("number %d", n.Add(1))
		}})
		err := p.Run(t.Context())
		if lines := strings.Split(err.Error(), "\n"); len(lines) != 66 || !strings.HasPrefix(lines[0], "number ") || lines[65] != "pool: and 935 more errors" {
			t.Errorf("%d lines, the last %q", len(lines), lines[len(lines)-1])
		}
	})
}

func TestErrorsOfTheQuestions(t *testing.T) {
	work := func(context.Context) error { return nil }
	no := func(context.Context) (bool, error) { return false, nil }
	fails := func(context.Context) (bool, error) { return true, errBroken }
	panics := func(context.Context) (bool, error) { panic(errBroken) }
	for name, o := range map[string]pool.Options{
		"Ready fails":     {Run: work, Ready: fails},
		"Finished fails":  {Run: work, Ready: no, Finished: fails},
		"Ready panics":    {Run: work, Ready: panics},
		"Finished panics": {Run: work, Ready: no, Finished: panics},
	} {
		for _, o.Profile = range []pool.Profile{pool.ProfileHeadroom, pool.ProfileCrawleePython, pool.ProfileCrawleeJS} {
			t.Run(name+" in "+o.Profile.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					if err := newPool(t, o).Run(t.Context()); !errors.Is(err, errBroken) {
						t.Errorf("Run = %v, want the error", err)
					}
				})
			})
		}
	}
}

// A panic is the error of its task, with the stack, and so is a task that ends its goroutine.
func TestPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		err := newPool(t, pool.Options{Law: fixed(t, 1), Run: func(context.Context) error { panic(errBroken) }}).Run(t.Context())
		var p *pool.PanicError
		if !errors.As(err, &p) || p.Value != errBroken || !errors.Is(err, errBroken) || !strings.Contains(string(p.Stack), "TestPanic") {
			t.Errorf("Run = %v, want the panic with its stack", err)
		}
		err = newPool(t, pool.Options{Law: fixed(t, 1), Run: func(context.Context) error {
			runtime.Goexit()
			return nil
		}}).Run(t.Context())
		if err == nil || !strings.Contains(err.Error(), "Goexit") {
			t.Errorf("Run = %v, want an error that names Goexit", err)
		}
	})
}

func TestTaskTimeout(t *testing.T) {
	for _, tt := range []struct {
		name    string
		profile pool.Profile
		fails   bool
	}{
		{"headroom", pool.ProfileHeadroom, true},
		{"js", pool.ProfileCrawleeJS, true},
		{"python goes on", pool.ProfileCrawleePython, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var n, left atomic.Int64
				left.Store(3)
				p := newPool(t, pool.Options{
					Profile: tt.profile, Law: fixed(t, 1), TaskTimeout: 2 * time.Second,
					Ready: func(context.Context) (bool, error) { return left.Load() > 0, nil },
					Run: func(ctx context.Context) error {
						left.Add(-1)
						if n.Add(1) != 2 {
							time.Sleep(time.Second)
							return nil
						}
						<-ctx.Done()
						if _, ok := errors.AsType[*pool.TimeoutError](context.Cause(ctx)); !ok {
							t.Errorf("cause %v", context.Cause(ctx))
						}
						if tt.profile == pool.ProfileCrawleeJS {
							return context.Cause(ctx) // which is not told twice
						}
						return nil // that it ended well does not help
					},
				})
				began := time.Now()
				err := p.Run(t.Context())
				var timeout *pool.TimeoutError
				if tt.fails {
					if !errors.As(err, &timeout) || err.Error() != timeout.Error() || timeout.After != 2*time.Second || n.Load() != 2 || time.Since(began) != 3*time.Second {
						t.Errorf("Run = %v after %d tasks and %v, want a timeout after 3 s", err, n.Load(), time.Since(began))
					}
				} else if err != nil || n.Load() != 3 || p.Stats().Failed != 1 {
					t.Errorf("Run = %v after %d tasks, %d failed; want 3, 1 failed", err, n.Load(), p.Stats().Failed)
				}
			})
		})
	}
}

// An error of the task that looks like a timeout is not taken for one of the pool.
func TestOwnDeadlineExceeded(t *testing.T) {
	for _, timeout := range []time.Duration{0, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			p := newPool(t, pool.Options{
				Profile: pool.ProfileCrawleePython, TaskTimeout: timeout,
				Run: func(context.Context) error { return context.DeadlineExceeded },
			})
			if err := p.Run(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Run = %v with a timeout of %v, want the task's own", err, timeout)
			}
		})
	}
}

// A timeout is known at once, although the task does not end: Run waits for it no longer than the grace.
func TestTimeoutOfADeafTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		done := make(chan struct{})
		p := newPool(t, pool.Options{TaskTimeout: time.Second, Grace: 3 * time.Second, Law: fixed(t, 1), Run: func(context.Context) error {
			defer close(done)
			time.Sleep(time.Minute)
			return nil
		}})
		began := time.Now()
		if err := p.Run(t.Context()); time.Since(began) != 4*time.Second || err == nil {
			t.Errorf("Run = %v after %v, want the timeout after 1 s and a grace of 3 s", err, time.Since(began))
		}
		if p.Current() != 0 {
			t.Errorf("%d counted after Run returned", p.Current())
		}
		<-done
	})
}

// Abort ends the contexts of all tasks, waits for them, and Run says so, but in the crawlee profiles.
func TestAbort(t *testing.T) {
	for profile, want := range map[pool.Profile]error{
		pool.ProfileHeadroom: pool.ErrAborted, pool.ProfileCrawleePython: nil, pool.ProfileCrawleeJS: nil,
	} {
		t.Run(profile.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var ended atomic.Int64
				p := newPool(t, pool.Options{Profile: profile, Law: fixed(t, 5), Desired: 5, Run: func(ctx context.Context) error {
					<-ctx.Done()
					if context.Cause(ctx) != pool.ErrAborted {
						t.Errorf("cause %v, want ErrAborted", context.Cause(ctx))
					}
					time.Sleep(time.Second)
					ended.Add(1)
					return ctx.Err()
				}})
				result := start(t, p)
				time.Sleep(time.Second)
				if err := p.Abort(); err != nil {
					t.Fatal(err)
				}
				if !running(result) {
					t.Error("Run did not wait for the tasks")
				}
				time.Sleep(1100 * time.Millisecond)
				if err := outcome(t, result); err != want || ended.Load() != 5 {
					t.Errorf("Run = %v after %d tasks ended, want %v after 5", err, ended.Load(), want)
				}
			})
		})
	}
}

func TestGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWork(10, 0)
		release := make(chan struct{})
		p := newPool(t, pool.Options{Law: fixed(t, 2), Grace: 5 * time.Second, Ready: w.ready, Run: func(context.Context) error {
			w.left.Add(-1)
			<-release
			return errBroken
		}})
		result := start(t, p)
		if err := p.Abort(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(4900 * time.Millisecond)
		if !running(result) {
			t.Fatal("Run returned before the grace was over")
		}
		time.Sleep(200 * time.Millisecond)
		if err := outcome(t, result); !errors.Is(err, pool.ErrAborted) {
			t.Errorf("Run = %v", err)
		}
		// What outlived one Run does not count in the next.
		result = start(t, p)
		if p.Current() != 2 {
			t.Errorf("%d run in the next Run, want 2", p.Current())
		}
		old := w.left.Load()
		close(release)
		if err := outcome(t, result); !errors.Is(err, errBroken) || strings.Count(err.Error(), "broken") != 2 {
			t.Errorf("the next Run = %v with %d left before, want the errors of its own two", err, old)
		}
	})
}

func TestContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		w := newWork(1000, time.Minute)
		p := newPool(t, pool.Options{Law: fixed(t, 3), Run: w.run, Ready: w.ready})
		done := make(chan error)
		go func() { done <- p.Run(ctx) }()
		time.Sleep(time.Second)
		cancel(errBroken)
		if err := <-done; err != errBroken || w.running.Load() != 0 {
			t.Errorf("Run = %v with %d running, want the cause", err, w.running.Load())
		}
		if err := p.Run(ctx); err != errBroken || w.left.Load() != 997 {
			t.Errorf("Run of a context that is done = %v, %d tasks left", err, w.left.Load())
		}
	})
}

// Drain lets what runs end, within a time.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWork(1000, 10*time.Second)
		p := newPool(t, pool.Options{Law: fixed(t, 3), Run: w.run, Ready: w.ready})
		if err := p.Drain(t.Context()); err != nil {
			t.Errorf("Drain of a pool that does not run = %v", err)
		}
		result := start(t, p)
		time.Sleep(time.Second)
		if err := p.Drain(t.Context()); err != nil || w.done.Load() != 3 || w.left.Load() != 997 {
			t.Errorf("Drain = %v with %d done and %d left, want 3 and 997", err, w.done.Load(), w.left.Load())
		}
		if err := outcome(t, result); err != nil {
			t.Errorf("Run = %v after Drain, want nil", err)
		}

		result = start(t, p)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if err := p.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) || w.done.Load() != 3 || w.running.Load() != 0 {
			t.Errorf("Drain = %v with %d done and %d running", err, w.done.Load(), w.running.Load())
		}
		if err := outcome(t, result); !errors.Is(err, pool.ErrAborted) {
			t.Errorf("Run = %v after the deadline of Drain", err)
		}
	})
}

// The log says what happens, and warns of an interval that is too short.
func TestLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lines := new(logLines)
		w := newWork(1000, 900*time.Millisecond) // none ends when a line is written
		p := newPool(t, pool.Options{
			Law: fixed(t, 3), Run: w.run, Ready: w.ready, Log: lines.logger(), LogInterval: 10 * time.Second,
			AutoscaleInterval: time.Millisecond,
		})
		result := start(t, p)
		time.Sleep(25 * time.Second)
		got := lines.all()
		if len(got) != 4 || !strings.Contains(got[0], "WARN") || !strings.Contains(got[0], "5 to 20 s") ||
			!slices.ContainsFunc(got, func(l string) bool { return strings.Contains(l, "current=3 desired=3") }) {
			t.Errorf("log:\n%s\nwant a warning, and three lines with figures", strings.Join(got, "\n"))
		}
		if err := p.Abort(); err != nil {
			t.Error(err)
		}
		<-result
	})
}
