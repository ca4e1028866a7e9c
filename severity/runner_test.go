package severity_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/severity"
	"github.com/headroom-rpc/headroom/snapshot"
)

// host is a host of 100 bytes whose free memory a test sets, behind a real Snapshotter.
type host struct {
	free atomic.Int64 // less than 0 cannot be read
	*snapshot.Snapshotter
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := new(host)
	h.free.Store(100)
	var err error
	h.Snapshotter, err = snapshot.New(snapshot.Config{
		Scope:    snapshot.ScopeHost,
		Disabled: []string{"cpu", "event_loop", "client"},
		Sources: snapshot.Sources{Memory: func(context.Context) (snapshot.MemoryReading, error) {
			free := h.free.Load()
			if free < 0 {
				return snapshot.MemoryReading{}, errors.New("denied")
			}
			return snapshot.MemoryReading{Used: 100 - free, Total: 100}, nil
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	background(t, h.Run)
	return h
}

// background runs until the test ends, before its bubble does.
func background(t *testing.T, run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func newRunner(t *testing.T, c severity.RunnerConfig) *severity.Runner {
	t.Helper()
	c.Reader.Scope = snapshot.ScopeHost
	r, err := severity.NewRunner(c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func level(r *severity.Runner) int {
	report, _ := r.Latest()
	return report.Level
}

func TestRunEveryCheckInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		handlers, j := newHandlers(t, severity.HandlersConfig{})
		began := time.Now()
		must(t)(handlers.OnRemaining(0, 0, func(context.Context, severity.Event) error {
			j.add("%v", time.Since(began))
			return nil
		}))
		h := newHost(t)
		synctest.Wait()
		r := newRunner(t, severity.RunnerConfig{Config: severity.Config{Levels: free()}, View: h.View, Handlers: handlers})
		stop := background(t, r.Run)
		time.Sleep(35 * s)
		j.expect(t, "0s 10s 20s 30s")
		if err := r.Run(t.Context()); !errors.Is(err, severity.ErrRunning) {
			t.Errorf("a second Run: %v, want ErrRunning", err)
		}
		stop()
		time.Sleep(time.Minute)
		j.expect(t, "")
		background(t, r.Run)
		j.expect(t, "1m35s")
	})
}

func TestRunOnEverySnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		handlers, j := newHandlers(t, severity.HandlersConfig{})
		for n := 1; n <= 3; n++ {
			must(t)(handlers.OnEntered(n, note(handlers, j, "in")))
			must(t)(handlers.OnLeft(n, note(handlers, j, "out")))
		}
		must(t)(handlers.OnNormal(note(handlers, j, "normal")))
		var log bytes.Buffer
		h := newHost(t)
		synctest.Wait()
		r := newRunner(t, severity.RunnerConfig{
			Config: severity.Config{Levels: free()}, View: h.View, Handlers: handlers, EverySnapshot: true,
			Log: slog.New(slog.NewTextHandler(&log, nil)),
		})
		background(t, r.Run)
		time.Sleep(s / 2)
		h.free.Store(20)
		time.Sleep(s)
		j.expect(t, "in1@1 in2@2")
		report, changed := r.Latest()
		if report.Level != 2 || report.Memory.Available != 20 || len(report.Firing) != 1 || report.Err != nil ||
			report.Fraction < 0.49 || report.Fraction > 0.51 || report.Sequence != 2 || report.Time.IsZero() {
			t.Errorf("report %+v", report)
		}
		h.free.Store(100)
		time.Sleep(s)
		j.expect(t, "out2@2 out1@1 normal0@0")
		select {
		case <-changed:
		default:
			t.Error("a newer report was not told")
		}
		list, _, err := r.History().After(1)
		if err != nil || len(list) != 3 || list[0].From != 1 || list[2].To != 0 || len(list[2].Evidence) != 1 {
			t.Errorf("history %+v, %v", list, err)
		}
		synctest.Wait()
		text := log.String()
		if got := strings.Count(text, "level=WARN"); got != 4 {
			t.Errorf("%d warnings, want one for each transition:\n%s", got, text)
		}
		if want := "from=0 to=1 why=\"global_relative(50) is true: memory 0.2 ratio, bound 0.5, "; !strings.Contains(text, want) {
			t.Errorf("the log does not say %q:\n%s", want, text)
		}
	})
}

// A signal that is read twenty times a second does not set the pace, and one that is not read at all does not
// stop it.
func TestRunPaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var looks atomic.Int64
		closed := make(chan struct{})
		close(closed)
		for name, tt := range map[string]struct {
			changed <-chan struct{}
			err     error
			want    int64
		}{
			"always something newer": {closed, nil, 98}, "never": {nil, nil, 11}, "error": {closed, snapshot.ErrInactive, 11},
		} {
			looks.Store(0)
			r := newRunner(t, severity.RunnerConfig{EverySnapshot: true, View: func() (snapshot.View, <-chan struct{}, error) {
				looks.Add(1)
				return snapshot.View{}, tt.changed, tt.err
			}})
			stop := background(t, r.Run)
			time.Sleep(10*s + time.Millisecond)
			stop()
			if got := looks.Load(); got != tt.want {
				t.Errorf("%s: %d looks in 10 s, want %d", name, got, tt.want)
			}
		}
	})
}

// What is read ten times a second is evaluated when it is read, also after a delay brought the two out of step.
func TestRunKeepsStep(t *testing.T) {
	const interval, delay = 100 * time.Millisecond, 33 * time.Millisecond
	for name, late := range map[string]int{"never late": 0, "late at first": 1, "late six times": 6} {
		synctest.Test(t, func(t *testing.T) {
			var (
				mu      sync.Mutex
				newest  = time.Now()
				changed = make(chan struct{})
				latest  time.Duration // of an evaluation, after what it looks at was read
			)
			begun := newest
			publish := func() {
				mu.Lock()
				defer mu.Unlock()
				newest = time.Now()
				close(changed)
				changed = make(chan struct{})
			}
			background(t, func(ctx context.Context) error {
				tick := time.NewTicker(interval)
				defer tick.Stop()
				for n := 0; ; n++ {
					select {
					case <-ctx.Done():
						return nil
					case <-tick.C:
						if n < late {
							time.Sleep(delay)
						}
						publish()
					}
				}
			})
			r := newRunner(t, severity.RunnerConfig{
				EverySnapshot: true,
				View: func() (snapshot.View, <-chan struct{}, error) {
					mu.Lock()
					defer mu.Unlock()
					return snapshot.View{At: newest.Sub(begun)}, changed, nil
				},
				Process: func(context.Context) (severity.Process, error) {
					mu.Lock()
					defer mu.Unlock()
					if time.Since(begun) > 4*s {
						latest = max(latest, time.Since(newest))
					}
					return severity.Process{}, nil
				},
			})
			background(t, r.Run)
			time.Sleep(8*s + interval/2)
			mu.Lock()
			defer mu.Unlock()
			if latest != 0 {
				t.Errorf("%s: evaluated %v after what it looks at was read", name, latest)
			}
		})
	}
}

func TestRunHoldsWhatItCannotSee(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		var inactive atomic.Bool
		h := newHost(t)
		synctest.Wait()
		r := newRunner(t, severity.RunnerConfig{
			Config: severity.Config{Levels: free()}, EverySnapshot: true, SilentTransitions: true,
			Log: slog.New(slog.NewTextHandler(&log, nil)),
			View: func() (snapshot.View, <-chan struct{}, error) {
				if inactive.Load() {
					return snapshot.View{}, nil, snapshot.ErrInactive
				}
				return h.View()
			},
		})
		background(t, r.Run)
		h.free.Store(20)
		time.Sleep(2 * s)
		h.free.Store(-1)
		time.Sleep(5 * s)
		if report, _ := r.Latest(); report.Level != 2 || report.Held != severity.HeldUnknown || len(report.Unknown) != 3 ||
			report.Unknown[0].Reason == "" {
			t.Errorf("report %+v, want level 2 held", report)
		}
		inactive.Store(true)
		time.Sleep(5 * s)
		if report, _ := r.Latest(); report.Level != 2 || !errors.Is(report.Err, snapshot.ErrInactive) {
			t.Errorf("report %+v, want level 2 and ErrInactive", report)
		}
		text := log.String()
		if strings.Count(text, "severity unknown, level held") != 2 || strings.Count(text, "\n") != 2 ||
			!strings.Contains(text, "global_relative(50) is unknown: ") || !strings.Contains(text, "not active") {
			t.Errorf("log %q, want a line for each cause", text)
		}
		inactive.Store(false)
		h.free.Store(100)
		time.Sleep(2 * s)
		if report, _ := r.Latest(); report.Level != 0 || report.Err != nil {
			t.Errorf("report %+v, want level 0", report)
		}
	})
}

func TestRunStopAndResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		synctest.Wait()
		r := newRunner(t, severity.RunnerConfig{Config: severity.Config{Levels: free()}, EverySnapshot: true, View: h.View})
		background(t, r.Run)
		r.Stop()
		h.free.Store(20)
		time.Sleep(10 * s)
		if got := level(r); got != 0 {
			t.Errorf("stopped: level %d, want 0", got)
		}
		r.Resume()
		time.Sleep(2 * s)
		if got := level(r); got != 2 {
			t.Errorf("resumed: level %d, want 2", got)
		}
	})
}

// The sampler goes on, and so do the handlers, whatever a Custom, the reader of the process or a handler does.
func TestRunDoesNotDelayTheSampler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		synctest.Wait()
		handlers, j := newHandlers(t, severity.HandlersConfig{Deadline: time.Hour})
		release := make(chan struct{})
		deaf := func() { <-release }
		must(t)(handlers.OnEntered(1, func(context.Context, severity.Event) error { deaf(); return nil }))
		must(t)(handlers.OnEntered(1, note(handlers, j, "in")))
		r := newRunner(t, severity.RunnerConfig{
			Config: severity.Config{ProcessMax: 50, Levels: []severity.Level{{Enter: severity.Any(
				severity.GlobalRelative(50), severity.LocalRelative(10),
				severity.Custom("deaf", func(context.Context, severity.Input) (bool, error) { deaf(); return true, nil }, s),
			)}}},
			View: h.View, EverySnapshot: true, Handlers: handlers,
			Process: func(context.Context) (severity.Process, error) { deaf(); return severity.Process{}, nil },
		})
		background(t, r.Run)
		h.free.Store(40)
		time.Sleep(60 * s)
		if sample, err := h.AppendSample(nil, "memory", 10*s); err != nil || len(sample) != 11 {
			t.Errorf("%d snapshots in 10 s, %v; want 11", len(sample), err)
		}
		j.expect(t, "in1@1")
		report, _ := r.Latest()
		if report.Level != 1 || len(report.Unknown) != 2 {
			t.Errorf("level %d, unknown %v; want 1, and two unknown", report.Level, report.Unknown)
		}
		close(release)
		synctest.Wait()
	})
}

func TestRunReadsTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		synctest.Wait()
		r := newRunner(t, severity.RunnerConfig{
			Config: severity.Config{ProcessMax: 4000, Levels: []severity.Level{{Enter: severity.LocalRelative(20)}}},
			View:   h.View, EverySnapshot: true,
			Process: func(context.Context) (severity.Process, error) { return severity.Process{Used: 3201, Known: true}, nil },
		})
		time.Sleep(5 * s)
		background(t, r.Run)
		synctest.Wait()
		if report, _ := r.Latest(); report.Level != 1 || report.Process.Max != 4000 || report.Firing[0].Age != 0 {
			t.Errorf("report %+v, want level 1", report)
		}
	})
}

func TestRunnerConfigFaults(t *testing.T) {
	_, err := severity.NewRunner(severity.RunnerConfig{
		Config: severity.Config{CheckInterval: -1}, Reader: severity.ReaderConfig{MaxMemory: -1}})
	for _, want := range []string{"CheckInterval", "View: required", "MaxMemory: -1 bytes is negative"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}
