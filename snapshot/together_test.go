package snapshot_test

import (
	"context"
	"runtime/metrics"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

// wakes counts how often a watcher is woken, from now until the test ends, and when it last was.
func wakes(t *testing.T, s *snapshot.Snapshotter) (count *atomic.Int64, last *atomic.Int64) {
	count, last = new(atomic.Int64), new(atomic.Int64)
	go func() {
		for {
			v, changed, err := s.View()
			if err != nil {
				return
			}
			last.Store(int64(v.At))
			<-changed
			count.Add(1)
		}
	}()
	synctest.Wait()
	return count, last
}

func TestSnapshotsOfOneTickAreToldTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := start(t, snapshot.Config{Signals: []snapshot.Signal{{Name: "queue", Read: read, Interval: 250 * time.Millisecond}}})
		defer stop()
		sleep(100 * time.Millisecond)
		before := view(t, s).Version
		count, _ := wakes(t, s)
		sleep(2 * time.Second)
		if got := view(t, s).Version - before; got != 3*2+4+8 {
			t.Errorf("%d versions in 2 s, want one for each of 18 snapshots", got)
		}
		if got := count.Load(); got != 8 {
			t.Errorf("woken %d times in 2 s, want once for each of 8 ticks", got)
		}
	})
}

func TestSlowSourceHoldsUpTheOthersOfItsTickForAtMost2Milliseconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := calm()
		c.Memory = func(ctx context.Context) (snapshot.MemoryReading, error) {
			time.Sleep(700 * time.Millisecond)
			return calm().Memory(ctx)
		}
		s, stop := start(t, snapshot.Config{Sources: c, Disabled: []string{snapshot.SignalEventLoop}})
		defer stop()
		sleep(1900 * time.Millisecond)
		count, last := wakes(t, s)
		sleep(101 * time.Millisecond)
		if got := count.Load(); got != 0 {
			t.Errorf("woken %d times 1 ms after the tick, want 0", got)
		}
		sleep(time.Millisecond)
		if got := time.Duration(last.Load()); count.Load() != 1 || got != 2002*time.Millisecond {
			t.Errorf("woken %d times, last at %v; want once, 2 ms after the tick", count.Load(), got)
		}
		sleep(700 * time.Millisecond)
		if got := time.Duration(last.Load()); count.Load() != 2 || got != 2700*time.Millisecond {
			t.Errorf("woken %d times, last at %v; want twice, when the slow one answered", count.Load(), got)
		}
	})
}

func TestVerdictIsToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var used atomic.Int64
		s, stop := start(t, snapshot.Config{
			Disabled: []string{snapshot.SignalEventLoop},
			Sources: snapshot.Sources{
				CPU: func(context.Context) (snapshot.CPUReading, error) {
					return snapshot.CPUReading{Used: float64(used.Load()) / 100, Cores: 4}, nil
				},
				Memory: func(ctx context.Context) (snapshot.MemoryReading, error) {
					time.Sleep(700 * time.Millisecond)
					return calm().Memory(ctx)
				},
			},
		})
		sleep(1900 * time.Millisecond)
		before, judged, err := s.Verdict()
		if err != nil {
			t.Fatal(err)
		}
		count, _ := wakes(t, s)
		used.Store(99)
		sleep(100 * time.Millisecond)
		if got := count.Load(); got != 1 || !isClosed(judged) {
			t.Errorf("woken %d times at the tick, told of a verdict=%v; want both at once", got, isClosed(judged))
		}
		after, judged, err := s.Verdict()
		if after != before+1 || err != nil {
			t.Errorf("verdict %d after %d, %v; want the next", after, before, err)
		}
		sleep(950 * time.Millisecond)
		if isClosed(judged) {
			t.Error("told of a verdict where there was none")
		}
		stop()
		if !isClosed(judged) {
			t.Error("not told that Run ended")
		}
		if _, _, err := s.Verdict(); err != snapshot.ErrInactive {
			t.Errorf("Verdict = %v, want ErrInactive", err)
		}
	})
}

func TestAfterTellsOfTheFirstSnapshotFromATimeOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var used atomic.Int64
		s, stop := start(t, snapshot.Config{Sources: snapshot.Sources{
			CPU: func(context.Context) (snapshot.CPUReading, error) {
				return snapshot.CPUReading{Used: float64(used.Load()) / 100, Cores: 4}, nil
			},
			Memory: calm().Memory,
		}})
		sleep(1900 * time.Millisecond)
		_, early := s.After(3*time.Second), s.After(2200*time.Millisecond)
		sleep(500 * time.Millisecond)
		if isClosed(early) {
			t.Error("told of the snapshots of 2 s, want those after 2.2 s")
		}
		sleep(101 * time.Millisecond)
		if !isClosed(early) {
			t.Error("not told of the snapshot of 2.5 s")
		}
		late := s.After(3 * time.Second)
		if isClosed(late) {
			t.Error("told at once")
		}
		sleep(600 * time.Millisecond)
		if !isClosed(late) {
			t.Error("not told of the snapshots of 3 s")
		}
		never := s.After(time.Hour)
		used.Store(99)
		sleep(1000 * time.Millisecond)
		if !isClosed(never) {
			t.Error("not told of a verdict")
		}
		never = s.After(time.Hour)
		stop()
		if !isClosed(never) {
			t.Error("not told that Run ended")
		}
	})
}

func TestLateEventLoopReturnsToTheGridAndBillsTheLatenessOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stall atomic.Int64
		s, err := snapshot.New(snapshot.Config{Sources: calm()})
		if err != nil {
			t.Fatal(err)
		}
		s.WithScheduler(func() *metrics.Float64Histogram {
			time.Sleep(time.Duration(stall.Swap(0)))
			return nil
		})
		stop := run(t, s)
		defer stop()
		sleep(900 * time.Millisecond)
		stall.Store(int64(120 * time.Millisecond)) // of the reading at 1 s
		sleep(1200 * time.Millisecond)
		sample, err := s.AppendSample(nil, snapshot.SignalEventLoop, 0)
		if err != nil {
			t.Fatal(err)
		}
		const ms = time.Millisecond
		want := []struct{ at, delay time.Duration }{{0, 0}, {500 * ms, 0}, {1120 * ms, 120 * ms}, {1500 * ms, 0}, {2000 * ms, 0}}
		if len(sample) != len(want) {
			t.Fatalf("%d snapshots, want %d", len(sample), len(want))
		}
		for i, w := range want {
			if sample[i].At != w.at || sample[i].EventLoop.TimerLag != w.delay {
				t.Errorf("snapshot %d at %v with a lag of %v, want %v and %v", i, sample[i].At, sample[i].EventLoop.TimerLag, w.at, w.delay)
			}
		}
	})
}
