package pool_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/pool"
	"github.com/headroom-rpc/headroom/snapshot"
)

// start runs a pool until the test ends, and returns what Run returned then.
func start(t *testing.T, p *pool.Pool) (result <-chan error) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- p.Run(t.Context()) }()
	synctest.Wait()
	return done
}

// outcome returns what Run returned, which must have happened by now.
func outcome(t *testing.T, result <-chan error) error {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-result:
		return err
	default:
		t.Fatal("Run has not returned")
		return nil
	}
}

func running(result <-chan error) bool {
	synctest.Wait()
	select {
	case <-result:
		return false
	default:
		return true
	}
}

// Finished is asked only when no task runs and Ready has just said false.
func TestFinishedIsAskedLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// No task ends at an instant at which Ready is asked anyway.
		w := newWork(3, 1200*time.Millisecond)
		var asked, said atomic.Int64
		p := newPool(t, pool.Options{
			Law: fixed(t, 2), Run: w.run,
			Ready: func(ctx context.Context) (bool, error) {
				said.Store(0)
				ok, err := w.ready(ctx)
				if !ok {
					said.Store(1)
				}
				return ok, err
			},
			Finished: func(context.Context) (bool, error) {
				if w.running.Load() > 0 || said.Load() == 0 {
					t.Errorf("asked while %d run, and Ready said %d", w.running.Load(), said.Load())
				}
				return asked.Add(1) == 3, nil
			},
		})
		began := time.Now()
		if err := p.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		// The last task ends after 2.4 s; then it is asked at once, and with Ready every 500 ms.
		if took := time.Since(began); took != 3400*time.Millisecond || asked.Load() != 3 {
			t.Errorf("asked %d times in %v, want 3 times in 3.4 s", asked.Load(), took)
		}
	})
}

// After it said false, Ready is asked again when a task ends, after Notify, and every 500 ms.
func TestReadyIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var times []time.Duration
		began := time.Now()
		var left atomic.Int64
		left.Store(1)
		p := newPool(t, pool.Options{
			Law: fixed(t, 5),
			Run: func(context.Context) error {
				time.Sleep(700 * time.Millisecond)
				return nil
			},
			Ready: func(context.Context) (bool, error) {
				times = append(times, time.Since(began))
				return left.Add(-1) >= 0, nil
			},
			Finished: func(context.Context) (bool, error) { return time.Since(began) > 2*time.Second, nil },
		})
		result := start(t, p)
		time.Sleep(1050 * time.Millisecond)
		p.Notify()
		time.Sleep(1050 * time.Millisecond)
		if err := outcome(t, result); err != nil {
			t.Fatal(err)
		}
		ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
		want := []time.Duration{0, 0, ms(500), ms(700), ms(1050), ms(1550), ms(2050)}
		if len(times) != len(want) {
			t.Fatalf("asked at %v, want %v", times, want)
		}
		for i := range want {
			if times[i] != want[i] {
				t.Errorf("asked at %v, want %v", times, want)
			}
		}
	})
}

// Without Ready there is work until Finished says otherwise.
func TestFinishedAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWork(7, time.Second)
		p := newPool(t, pool.Options{Law: fixed(t, 3), Run: w.run, Finished: w.finished})
		if err := p.Run(t.Context()); err != nil || w.done.Load() != 7 {
			t.Errorf("Run = %v after %d tasks, want 7", err, w.done.Load())
		}
	})
}

func TestPause(t *testing.T) {
	for _, profile := range []pool.Profile{pool.ProfileHeadroom, pool.ProfileCrawleePython, pool.ProfileCrawleeJS} {
		t.Run(profile.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWork(1000, time.Second)
				p := newPool(t, pool.Options{Profile: profile, Law: fixed(t, 4), Desired: 4, Run: w.run, Ready: w.ready, Finished: w.finished})
				result := start(t, p)
				time.Sleep(1500 * time.Millisecond)
				p.Pause()
				if p.Current() != 4 || p.Stats().Block != pool.BlockPaused {
					t.Errorf("%d run, %q blocks after Pause; want 4, paused", p.Current(), p.Stats().Block)
				}
				time.Sleep(time.Minute)
				if w.done.Load() != 8 || p.Current() != 0 || !p.Paused() {
					t.Errorf("%d tasks done and %d run after Pause, want 8 and 0", w.done.Load(), p.Current())
				}
				p.Resume()
				time.Sleep(1100 * time.Millisecond)
				if w.done.Load() != 12 {
					t.Errorf("%d tasks done after Resume, want 12", w.done.Load())
				}
				if err := p.Abort(); err != nil {
					t.Error(err)
				}
				<-result
			})
		})
	}
}

// A pool with no work can finish although it is paused.
func TestFinishWhilePaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWork(2, time.Second)
		p := newPool(t, pool.Options{Law: fixed(t, 4), Run: w.run, Ready: w.ready, Finished: w.finished})
		result := start(t, p)
		p.Pause()
		time.Sleep(2 * time.Second)
		if err := outcome(t, result); err != nil {
			t.Error(err)
		}
	})
}

// Nor is there work any more once others have done what Ready spoke of.
func TestWorkGoneWhilePaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var gone atomic.Bool
		p := newPool(t, pool.Options{
			Run:   func(context.Context) error { return errors.New("a task started") },
			Ready: func(context.Context) (bool, error) { return !gone.Load(), nil },
		})
		p.Pause()
		result := start(t, p)
		time.Sleep(time.Minute)
		gone.Store(true)
		time.Sleep(pool.DefaultReadyInterval)
		if err := outcome(t, result); err != nil {
			t.Error(err)
		}
	})
}

// A crawlee profile autoscales while paused.
func TestScalesWhilePaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLoad(snapshot.StateOverloaded)
		w := newWork(1000, time.Hour)
		p := newPool(t, pool.Options{Profile: pool.ProfileCrawleeJS, Desired: 100, Status: l.status, Run: w.run, Ready: w.ready})
		result := start(t, p)
		p.Pause()
		time.Sleep(25 * time.Second)
		if got := p.Desired(); got != 85 {
			t.Errorf("desired %d after three steps, want 85", got)
		}
		if err := p.Abort(); err != nil || outcome(t, result) != nil {
			t.Error("Abort failed")
		}
	})
}

// Under overload no more start than the minimum, and as many.
func TestOverloadKeepsTheMinimum(t *testing.T) {
	for _, profile := range []pool.Profile{pool.ProfileCrawleePython, pool.ProfileCrawleeJS} {
		t.Run(profile.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLoad(snapshot.StateIdle)
				l.current.Store(uint32(snapshot.StateOverloaded))
				w := newWork(1000, 10*time.Second)
				p := newPool(t, pool.Options{
					Profile: profile, Min: 3, Desired: 20, Status: l.status, Run: w.run, Ready: w.ready, Finished: w.finished,
				})
				result := start(t, p)
				time.Sleep(5 * time.Second)
				if s := p.Stats(); s.Current != 3 || s.Block != pool.BlockOverload || !strings.Contains(s.Binding, "the minimum, 3") {
					t.Errorf("%d run, %q blocks: %s; want the minimum of 3", s.Current, s.Block, s.Binding)
				}
				l.set(snapshot.StateIdle)
				time.Sleep(time.Second)
				if p.Current() < 20 {
					t.Errorf("%d run after the overload, want at least 20", p.Current())
				}
				if err := p.Abort(); err != nil {
					t.Error(err)
				}
				<-result
			})
		})
	}
}

// What is set while the pool runs counts at once, and ends no task.
func TestSetWhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWork(1000, 10*time.Second)
		l := newLoad(snapshot.StateIdle)
		p := newPool(t, pool.Options{
			Profile: pool.ProfileCrawleeJS, Min: 2, Max: 50, Desired: 5, Status: l.status, AutoscaleInterval: time.Hour,
			Run: w.run, Ready: w.ready,
		})
		result := start(t, p)
		for _, tt := range []struct {
			name               string
			set                func() error
			desired, low, high int64
			current            int64
		}{
			{"at first", func() error { return nil }, 5, 2, 50, 5},
			{"SetDesired", func() error { p.SetDesired(8); return nil }, 8, 2, 50, 8},
			{"SetDesired over the maximum", func() error { p.SetDesired(80); return nil }, 50, 2, 50, 50},
			{"SetMax lower ends none", func() error { return p.SetMax(4) }, 4, 2, 4, 50},
			{"SetMax higher", func() error { return p.SetMax(60) }, 4, 2, 60, 50},
			{"SetMin raises the desired", func() error { return p.SetMin(55) }, 55, 55, 60, 55},
			{"the maximum wins", func() error { return p.SetMin(99) }, 60, 60, 60, 60},
			{"SetDesired under the minimum", func() error { p.SetDesired(1); return nil }, 60, 60, 60, 60},
		} {
			if err := tt.set(); err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			synctest.Wait()
			if p.Desired() != tt.desired || p.Min() != tt.low || p.Max() != tt.high || p.Current() != tt.current {
				t.Errorf("%s: desired %d in [%d, %d], %d run; want %d in [%d, %d], %d",
					tt.name, p.Desired(), p.Min(), p.Max(), p.Current(), tt.desired, tt.low, tt.high, tt.current)
			}
		}
		if p.SetMin(0) == nil || p.SetMax(0) == nil {
			t.Error("bounds of 0 are accepted")
		}
		if err := p.Abort(); err != nil {
			t.Error(err)
		}
		<-result
	})
}

// A Ready that sets what is set already is not asked again for that.
func TestReadyThatSets(t *testing.T) {
	for name, set := range map[string]func(*pool.Pool) error{
		"SetDesired": func(p *pool.Pool) error { p.SetDesired(5); return nil },
		"SetMin":     func(p *pool.Pool) error { return p.SetMin(2) },
		"SetMax":     func(p *pool.Pool) error { return p.SetMax(50) },
		"Resume":     func(p *pool.Pool) error { p.Resume(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWork(20, time.Second)
				l := newLoad(snapshot.StateIdle)
				var p *pool.Pool
				asked := 0
				p = newPool(t, pool.Options{
					Profile: pool.ProfileCrawleeJS, Status: l.status, Run: w.run, Finished: w.finished,
					Ready: func(ctx context.Context) (bool, error) {
						if asked++; asked == 1000 {
							return false, errors.New("asked 1000 times")
						}
						if err := set(p); err != nil {
							return false, err
						}
						return w.ready(ctx)
					},
				})
				if err := p.Run(t.Context()); err != nil {
					t.Errorf("Run = %v", err)
				}
			})
		})
	}
}

func TestRunTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWork(100, time.Hour)
		l := newLoad(snapshot.StateIdle)
		p := newPool(t, pool.Options{Profile: pool.ProfileCrawleePython, Status: l.status, Run: w.run, Ready: w.ready})
		if err := p.Abort(); !errors.Is(err, pool.ErrNotRunning) {
			t.Errorf("Abort before Run = %v", err)
		}
		result := start(t, p)
		if err := p.Run(t.Context()); !errors.Is(err, pool.ErrRunning) {
			t.Errorf("a second Run = %v, want ErrRunning", err)
		}
		time.Sleep(15 * time.Second) // two steps, the first without a task
		if err := p.Abort(); err != nil || outcome(t, result) != nil {
			t.Error("Abort failed")
		}
		if p.Desired() != 11 || p.Current() != 0 {
			t.Errorf("desired %d and %d run after the first Run, want 11 and 0", p.Desired(), p.Current())
		}
		w.left.Store(2)
		w.hold = time.Second
		if err := p.Run(t.Context()); err != nil || w.done.Load() != 2 {
			t.Errorf("the next Run = %v after %d tasks, want 2", err, w.done.Load())
		}
	})
}

// An idle pool is woken by nothing but its heartbeat and the question whether there is work, and reads no sensors.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var readings, asked atomic.Int64
		w := newWork(1, time.Second)
		p := newPool(t, pool.Options{
			Run: w.run, Finished: func(context.Context) (bool, error) { return false, nil },
			Ready: func(ctx context.Context) (bool, error) {
				asked.Add(1)
				return w.ready(ctx)
			},
			Usage: func() pool.Usage {
				readings.Add(1)
				return pool.Usage{}
			},
		})
		result := start(t, p)
		time.Sleep(2 * time.Second)
		before, asks := readings.Load(), asked.Load()
		if before < 10 || before > 15 {
			t.Errorf("%d readings for a task of 1 s, want about ten", before)
		}
		time.Sleep(time.Hour)
		if n := readings.Load() - before; n != 0 {
			t.Errorf("%d readings in an idle hour", n)
		}
		if n := asked.Load() - asks; n < 7199 || n > 7201 {
			t.Errorf("Ready was asked %d times in an idle hour, want every 500 ms", n)
		}
		w.left.Store(1)
		p.Notify()
		synctest.Wait()
		if p.Current() < 1 { // Ready may say so twice before the task has taken its work
			t.Error("Notify started nothing")
		}
		if err := p.Abort(); err != nil || !errors.Is(outcome(t, result), pool.ErrAborted) {
			t.Error("Abort failed")
		}
	})
}

// Tasks that wait cost no goroutines.
func TestManyQueued(t *testing.T) {
	const n = 100_000
	before := runtime.NumGoroutine()
	g := newGroup(t, 10)
	hold := make(chan struct{})
	var done atomic.Int64
	for range n {
		if err := g.Go(func(context.Context) error {
			<-hold
			done.Add(1)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if extra := runtime.NumGoroutine() - before; extra > 30 {
		t.Errorf("%d goroutines for %d queued tasks, want those of the 10 that run", extra, n)
	}
	if s := g.Pool().Stats(); s.Waiting < n-20 {
		t.Errorf("%d wait, want about %d", s.Waiting, n)
	}
	close(hold)
	if err := g.Wait(); err != nil || done.Load() != n {
		t.Errorf("Wait = %v after %d tasks, want %d", err, done.Load(), n)
	}
}
