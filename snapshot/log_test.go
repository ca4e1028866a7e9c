package snapshot_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

// text is what was logged so far.
type text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *text) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *text) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// logTo returns a logger that writes lines without times to b.
func logTo(b *text, level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
}

func TestStatusIsLoggedSoonAndOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b text
		_, stop := start(t, snapshot.Config{Log: logTo(&b, slog.LevelInfo)})
		sleep(time.Second)
		first := b.String()
		for _, want := range []string{
			"level=INFO", "load is idle: cpu idle at 10% of 95%, memory idle at 25% of 90%, event_loop idle at 0s of 50ms, client idle at 0 of 1",
			"current.state=idle", "historical.cpu=0", "current.memory=0",
		} {
			if !strings.Contains(first, want) {
				t.Errorf("first status:\n%swant %q in it", first, want)
			}
		}
		sleep(3 * time.Minute)
		if got := strings.Count(b.String(), "load is idle"); got != 4 {
			t.Errorf("%d lines in three minutes, want 4:\n%s", got, b.String())
		}
		stop()
	})
}

func TestStatusSaysWhatBindsAndWhatIsUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b text
		_, stop := start(t, snapshot.Config{
			Log:      logTo(&b, slog.LevelInfo),
			Disabled: []string{"client", "event_loop"},
			Sources: snapshot.Sources{
				CPU: func(context.Context) (snapshot.CPUReading, error) { return snapshot.CPUReading{Used: 0.99}, nil },
				Memory: func(context.Context) (snapshot.MemoryReading, error) {
					return snapshot.MemoryReading{}, errSource
				},
			},
		})
		sleep(2 * time.Second)
		for _, want := range []string{
			"load is overloaded: cpu overloaded at 99% of 95% (over it for 100% of 5s, 40% allowed), memory unknown (source is gone)",
			`level=WARN msg="signal is unknown" signal=memory reason="source is gone"`,
		} {
			if !strings.Contains(b.String(), want) {
				t.Errorf("log:\n%swant %q in it", b.String(), want)
			}
		}
		if got := strings.Count(b.String(), "signal is unknown"); got != 1 {
			t.Errorf("%d warnings for one lost source, want 1", got)
		}
		stop()
	})
}

func TestSnapshotsAreLoggedAtDebug(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b text
		_, stop := start(t, snapshot.Config{Log: logTo(&b, slog.LevelDebug)})
		sleep(2*time.Second + time.Millisecond)
		for line, want := range map[string]int{
			"msg=snapshot signal=cpu overloaded=false value=0.1 limit=0.95 source=test": 3,
			"msg=snapshot signal=memory":     3,
			"msg=snapshot signal=event_loop": 5,
			"msg=snapshot signal=client":     3,
		} {
			if got := strings.Count(b.String(), line); got != want {
				t.Errorf("%d lines of %q, want %d", got, line, want)
			}
		}
		stop()
	})
}

func TestLostSourceIsLoggedOnceAndItsReturnToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b text
		var panics atomic.Bool
		_, stop := start(t, snapshot.Config{
			Log: logTo(&b, slog.LevelInfo),
			Signals: []snapshot.Signal{{Name: "queue", Read: func(context.Context) (float64, float64, error) {
				if panics.Load() {
					panic("boom")
				}
				return 0, 1, nil
			}}},
		})
		panics.Store(true)
		sleep(5 * time.Second)
		panics.Store(false)
		sleep(5 * time.Second)
		for line, want := range map[string]int{
			`msg="signal is unknown" signal=queue reason="panic: boom" stack=`: 1,
			`msg="signal is known again" signal=queue`:                         1,
		} {
			if got := strings.Count(b.String(), line); got != want {
				t.Errorf("%d of %q, want %d:\n%s", got, line, want, b.String())
			}
		}
		stop()
	})
}

func TestTheEndOfRunIsNoLossOfASource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b text
		_, stop := start(t, snapshot.Config{
			Log: logTo(&b, slog.LevelDebug),
			Sources: snapshot.Sources{CPU: func(ctx context.Context) (snapshot.CPUReading, error) {
				<-ctx.Done()
				return snapshot.CPUReading{}, ctx.Err()
			}},
		})
		stop()
		if strings.Contains(b.String(), "signal=cpu") {
			t.Errorf("the end of Run is logged as the end of a source:\n%s", b.String())
		}
	})
}

// slowLog takes its time over each snapshot of the event loop.
type slowLog struct{ slog.Handler }

func (h slowLog) Handle(ctx context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "signal" && a.Value.String() == snapshot.SignalEventLoop {
			time.Sleep(100 * time.Millisecond)
		}
		return true
	})
	return nil
}

func TestEventLoopRestsAfterEachSnapshotAsInCrawlee(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := slog.New(slowLog{slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelDebug})})
		s, stop := start(t, snapshot.Config{Profile: python, Log: log})
		sleep(1300 * time.Millisecond)
		sample, err := s.AppendSample(nil, snapshot.SignalEventLoop, 0)
		if err != nil {
			t.Fatal(err)
		}
		for i, snap := range sample {
			if want := time.Duration(i) * 600 * time.Millisecond; snap.At != want {
				t.Errorf("snapshot %d at %v, want %v", i, snap.At, want)
			}
		}
		if got := sample[len(sample)-1].EventLoop.TimerLag; got != 100*time.Millisecond {
			t.Errorf("lag %v, want the 100 ms", got)
		}
		stop()
	})
}

func TestCriticalMemoryIsLoggedWithItsCooldown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b text
		_, stop := start(t, snapshot.Config{
			Log: logTo(&b, slog.LevelWarn),
			Sources: snapshot.Sources{Memory: func(context.Context) (snapshot.MemoryReading, error) {
				return snapshot.MemoryReading{Used: 985 << 20, Total: 4000 << 20}, nil
			}},
		})
		sleep(25*time.Second + time.Millisecond)
		want := "memory is critically overloaded: 985 MiB of 1000 MiB (99%) in use; raise the budget, run fewer tasks, or give the machine more memory"
		if got := strings.Count(b.String(), want); got != 3 {
			t.Errorf("%d warnings in 25 s, want 3 of %q:\n%s", got, want, b.String())
		}
		stop()
	})
}
