package severity_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/severity"
)

// journal collects what happened, in order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
}

// take returns what happened since the last time, once nothing more does.
func (j *journal) take() string {
	synctest.Wait()
	j.mu.Lock()
	defer j.mu.Unlock()
	text := strings.Join(j.lines, " ")
	j.lines = nil
	return text
}

func (j *journal) expect(t *testing.T, want string) {
	t.Helper()
	if got := j.take(); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func newHandlers(t *testing.T, c severity.HandlersConfig) (*severity.Handlers, *journal) {
	j := new(journal)
	if c.OnFault == nil {
		c.OnFault = func(e *severity.HandlerError) { j.add("fault(%v)", e) }
	}
	h := severity.NewHandlers(c)
	t.Cleanup(h.Close)
	return h, j
}

// note returns a handler that notes its name and the level as it sees it.
func note(h *severity.Handlers, j *journal, name string) severity.Handler {
	return func(_ context.Context, e severity.Event) error {
		j.add("%s%d@%d", name, e.Level, h.Level())
		return nil
	}
}

func must(t *testing.T) func(*severity.Registration, error) *severity.Registration {
	return func(r *severity.Registration, err error) *severity.Registration {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
}

// move applies the transitions from one level to another.
func move(h *severity.Handlers, from, to int) {
	for ; from < to; from++ {
		h.Apply(severity.Transition{From: from, To: from + 1})
	}
	for ; from > to; from-- {
		h.Apply(severity.Transition{From: from, To: from - 1})
	}
}

type cache struct {
	journal *journal
	name    string
}

func (c *cache) Cleanup() { c.journal.add("cleanup-%s", c.name) }

func TestHandlersOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, j := newHandlers(t, severity.HandlersConfig{})
		kept := &cache{journal: j, name: "x"}
		must(t)(severity.CleanUp(h, 1, kept, nil))
		for level := range 4 {
			for _, name := range []string{"a", "b"} {
				must(t)(h.OnEntered(level, note(h, j, "in-"+name)))
				must(t)(h.OnLeft(level, note(h, j, "out-"+name)))
				must(t)(h.OnRemaining(level, 0, note(h, j, "stay-"+name)))
			}
		}
		must(t)(h.OnNormal(note(h, j, "normal")))

		h.Remain(0)
		j.expect(t, "stay-a0@0 stay-b0@0")
		move(h, 0, 3)
		j.expect(t, "in-a1@1 in-b1@1 cleanup-x in-a2@2 in-b2@2 in-a3@3 in-b3@3")
		h.Remain(3)
		h.Remain(2)
		j.expect(t, "stay-a3@3 stay-b3@3 stay-a2@3 stay-b2@3")
		move(h, 3, 0)
		j.expect(t, "out-a3@3 out-b3@3 out-a2@2 out-b2@2 out-a1@1 out-b1@1 normal0@0")
		if got := h.Level(); got != 0 {
			t.Errorf("Level = %d, want 0", got)
		}
		runtime.KeepAlive(kept)
	})
}

// A handler that fails is reported, stays, and takes no other with it.
func TestHandlersAreIsolated(t *testing.T) {
	for _, tt := range []struct {
		name  string
		bad   func(context.Context) error
		fault string
	}{
		{"error", func(context.Context) error { return errors.New("bad") }, "fault(handler of entered 1: bad) "},
		{"panic", func(context.Context) error { panic("bad") }, "fault(handler of entered 1: panic: bad) "},
		{"goexit", func(context.Context) error { runtime.Goexit(); return nil },
			"fault(handler of entered 1: severity: the function called runtime.Goexit) "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, j := newHandlers(t, severity.HandlersConfig{})
				must(t)(h.OnEntered(1, note(h, j, "a")))
				must(t)(h.OnEntered(1, func(ctx context.Context, _ severity.Event) error { return tt.bad(ctx) }))
				must(t)(h.OnEntered(1, note(h, j, "c")))
				for range 2 {
					move(h, 0, 1)
					j.expect(t, "a1@1 "+tt.fault+"c1@1")
					move(h, 1, 0)
				}
			})
		})
	}
}

func TestPanicErrorHasTheStack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fault *severity.HandlerError
		h := severity.NewHandlers(severity.HandlersConfig{OnFault: func(e *severity.HandlerError) {
			fault = e
			panic("and again")
		}})
		must(t)(h.OnEntered(1, func(context.Context, severity.Event) error { panic("bad") }))
		move(h, 0, 1)
		synctest.Wait()
		h.Close()
		var p *severity.PanicError
		if !errors.As(fault, &p) || p.Value != "bad" || !strings.Contains(string(p.Stack), "TestPanicErrorHasTheStack") {
			t.Errorf("fault %v", fault)
		}
	})
}

func TestSlowHandlerDelaysOthersOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, j := newHandlers(t, severity.HandlersConfig{})
		began := time.Now()
		release := make(chan struct{})
		must(t)(h.OnEntered(1, func(_ context.Context, e severity.Event) error {
			j.add("slow")
			<-release // deaf to its context
			return nil
		}))
		must(t)(h.OnEntered(1, func(context.Context, severity.Event) error {
			j.add("next@%v", time.Since(began))
			return nil
		}))
		for range 3 {
			move(h, 0, 1)
			move(h, 1, 0)
		}
		time.Sleep(5 * s)
		j.expect(t, "slow next@1s next@1s next@1s")
		time.Sleep(6 * s)
		j.expect(t, "fault(handler of entered 1: severity: handler missed its deadline)")
		close(release)
		j.expect(t, "slow slow") // what waited for it was not lost
	})
}

func TestDeadlineEndsTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, j := newHandlers(t, severity.HandlersConfig{Deadline: 3 * s})
		began := time.Now()
		must(t)(h.OnEntered(1, func(ctx context.Context, _ severity.Event) error {
			<-ctx.Done()
			j.add("%v after %v", context.Cause(ctx), time.Since(began))
			return nil
		}))
		move(h, 0, 1)
		time.Sleep(4 * s)
		if got := j.take(); !strings.Contains(got, "severity: handler missed its deadline after 3s") {
			t.Errorf("got %q", got)
		}
	})
}

func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, j := newHandlers(t, severity.HandlersConfig{})
		var once *severity.Registration
		once = must(t)(h.OnEntered(1, func(context.Context, severity.Event) error {
			j.add("once")
			once.Cancel()
			once.Cancel()
			return nil
		}))
		other := must(t)(h.OnEntered(1, note(h, j, "other")))
		object := &cache{journal: j, name: "x"}
		cleanup := must(t)(severity.CleanUp(h, 1, object, nil))
		move(h, 0, 1)
		j.expect(t, "once other1@1 cleanup-x")
		other.Cancel()
		cleanup.Cancel()
		move(h, 1, 0)
		move(h, 0, 1)
		j.expect(t, "")
		runtime.KeepAlive(object)
	})
}

func TestCancelDropsWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, j := newHandlers(t, severity.HandlersConfig{Deadline: time.Hour})
		release := make(chan struct{})
		r := must(t)(h.OnEntered(1, func(context.Context, severity.Event) error {
			j.add("called")
			<-release
			return nil
		}))
		for range 3 {
			move(h, 0, 1)
			move(h, 1, 0)
		}
		time.Sleep(5 * s)
		r.Cancel()
		close(release)
		j.expect(t, "called")
	})
}

// A handler that registers another into the group that runs: that one is told from the next step on.
func TestRegisteredWhileTelling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, j := newHandlers(t, severity.HandlersConfig{})
		must(t)(h.OnEntered(1, func(context.Context, severity.Event) error {
			j.add("first")
			must(t)(h.OnEntered(1, note(h, j, "late")))
			must(t)(h.OnEntered(2, note(h, j, "late")))
			return nil
		}))
		must(t)(h.OnEntered(2, note(h, j, "second")))
		move(h, 0, 2)
		j.expect(t, "first second2@2 late2@2")
		move(h, 2, 0)
		move(h, 0, 1)
		j.expect(t, "first late1@1")
	})
}

func TestRemainingGapCountsFromTheEndOfTheLastCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, j := newHandlers(t, severity.HandlersConfig{})
		began := time.Now()
		must(t)(h.OnRemaining(0, 10*s, func(context.Context, severity.Event) error {
			j.add("%v", time.Since(began))
			time.Sleep(3 * s)
			return nil
		}))
		must(t)(h.OnRemaining(1, 0, note(h, j, "one")))
		for range 30 {
			h.Remain(0)
			time.Sleep(s)
		}
		j.expect(t, "0s 13s 26s")
	})
}

func TestRemainingIsNotToldLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, j := newHandlers(t, severity.HandlersConfig{})
		must(t)(h.OnEntered(1, func(context.Context, severity.Event) error {
			time.Sleep(500 * time.Millisecond)
			j.add("entered")
			return nil
		}))
		must(t)(h.OnEntered(2, note(h, j, "entered")))
		must(t)(h.OnRemaining(1, 0, note(h, j, "stay")))
		move(h, 0, 1)
		move(h, 1, 2)
		h.Remain(1)
		time.Sleep(s)
		j.expect(t, "entered entered2@2")
	})
}

func TestCleanUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, j := newHandlers(t, severity.HandlersConfig{})
		kept, lost := &cache{journal: j, name: "kept"}, &cache{journal: j, name: "lost"}
		must(t)(severity.CleanUp(h, 2, lost, nil))
		must(t)(severity.CleanUp(h, 2, kept, func(c *cache) { j.add("collect-%s", c.name) }))
		must(t)(severity.CleanUp(h, 2, kept, func(*cache) { panic("bad") }))
		must(t)(severity.CleanUp(h, 2, kept, nil))
		must(t)(h.OnEntered(2, note(h, j, "entered")))
		move(h, 0, 2)
		j.expect(t, "entered2@2 cleanup-lost collect-kept fault(handler of entered 2: panic: bad) cleanup-kept")
		runtime.KeepAlive(lost)
		lost = nil
		runtime.GC()
		move(h, 2, 1)
		move(h, 1, 2)
		j.expect(t, "entered2@2 collect-kept fault(handler of entered 2: panic: bad) cleanup-kept")
		runtime.KeepAlive(kept)
	})
}

// A program that registers objects for ever and drops them does not fill the registry.
func TestCleanUpPrunes(t *testing.T) {
	h := severity.NewHandlers(severity.HandlersConfig{})
	defer h.Close()
	for i := range 1 << 18 {
		if _, err := severity.CleanUp(h, 1, new(cache), nil); err != nil {
			t.Fatalf("registration %d: %v", i, err)
		}
		if i%10_000 == 0 {
			runtime.GC()
		}
	}
}

func TestRegistrationFaults(t *testing.T) {
	h := severity.NewHandlers(severity.HandlersConfig{})
	f := func(context.Context, severity.Event) error { return nil }
	for name, register := range map[string]func() (*severity.Registration, error){
		"negative level":   func() (*severity.Registration, error) { return h.OnEntered(-1, f) },
		"negative gap":     func() (*severity.Registration, error) { return h.OnRemaining(1, -1, f) },
		"no function":      func() (*severity.Registration, error) { return h.OnNormal(nil) },
		"no object":        func() (*severity.Registration, error) { return severity.CleanUp[cache](h, 1, nil, nil) },
		"no Cleanup":       func() (*severity.Registration, error) { return severity.CleanUp(h, 1, new(int), nil) },
		"negative cleanup": func() (*severity.Registration, error) { return severity.CleanUp(h, -1, new(cache), nil) },
	} {
		if r, err := register(); err == nil || r != nil {
			t.Errorf("%s: %v, %v; want an error", name, r, err)
		}
	}
	h.Close()
	h.Close()
	if _, err := h.OnLeft(1, f); !errors.Is(err, severity.ErrClosed) {
		t.Errorf("after Close: %v, want ErrClosed", err)
	}
	if _, err := severity.CleanUp(h, 1, new(cache), nil); !errors.Is(err, severity.ErrClosed) {
		t.Errorf("clean-up after Close: %v, want ErrClosed", err)
	}
	move(h, 0, 1)
}

func TestTooManyHandlers(t *testing.T) {
	h := severity.NewHandlers(severity.HandlersConfig{})
	defer h.Close()
	f := func(context.Context, severity.Event) error { return nil }
	var last *severity.Registration
	for range 1 << 16 {
		last = must(t)(h.OnNormal(f))
	}
	if _, err := h.OnNormal(f); !errors.Is(err, severity.ErrTooMany) {
		t.Errorf("one more: %v, want ErrTooMany", err)
	}
	last.Cancel()
	must(t)(h.OnNormal(f))
}

func TestOverflowIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, j := newHandlers(t, severity.HandlersConfig{Deadline: 24 * time.Hour})
		release := make(chan struct{})
		calls := 0
		must(t)(h.OnEntered(1, func(context.Context, severity.Event) error {
			<-release
			calls++
			return nil
		}))
		for range severity.HistorySize + 2 {
			move(h, 0, 1)
			synctest.Wait()
			time.Sleep(s)
		}
		j.expect(t, "fault(handler of entered 1: severity: too many events waiting for a handler)")
		close(release)
		synctest.Wait()
		if want := severity.HistorySize + 1; calls != want {
			t.Errorf("%d calls, want %d", calls, want)
		}
	})
}

func TestCloseDropsWhatWaitsForAHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, j := newHandlers(t, severity.HandlersConfig{})
		must(t)(h.OnEntered(1, func(ctx context.Context, _ severity.Event) error {
			j.add("called")
			<-ctx.Done()
			return nil
		}))
		for range 3 {
			move(h, 0, 1)
			move(h, 1, 0)
		}
		time.Sleep(5 * s)
		h.Close()
		j.expect(t, "called")
	})
}

func TestCloseWaitsAndDrops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, j := newHandlers(t, severity.HandlersConfig{})
		must(t)(h.OnEntered(1, func(ctx context.Context, _ severity.Event) error {
			<-ctx.Done()
			j.add("%v", context.Cause(ctx))
			time.Sleep(s)
			j.add("returned")
			return nil
		}))
		must(t)(h.OnEntered(1, note(h, j, "never")))
		move(h, 0, 1)
		move(h, 1, 0)
		move(h, 0, 1)
		synctest.Wait()
		h.Close()
		j.add("closed")
		j.expect(t, "context canceled returned closed")
	})
}

// What a program does in handlers and beside them is its own affair; this is for the race detector.
func TestHandlersConcurrently(t *testing.T) {
	h := severity.NewHandlers(severity.HandlersConfig{OnFault: func(*severity.HandlerError) {}})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range 200 {
				r, err := h.OnEntered(1, func(context.Context, severity.Event) error {
					if n%7 == 0 {
						panic(n)
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
				if i%2 == 0 {
					r.Cancel()
				}
			}
		})
	}
	wg.Go(func() {
		for range 50 {
			move(h, 0, 3)
			move(h, 3, 0)
			h.Remain(0)
		}
	})
	wg.Wait()
	h.Close()
}
