package snapshot_test

import (
	"context"
	"math"
	"runtime/metrics"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

func TestSchedulerLatencySlidesOverASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var short, long, jump atomic.Int64 // waits since the start of the process
		short.Store(1000)
		long.Store(1000)
		began := time.Now()
		s, err := snapshot.New(snapshot.Config{
			Sources: calm(),
			Clock:   func() time.Duration { return time.Since(began) + time.Duration(jump.Load()) },
		})
		if err != nil {
			t.Fatal(err)
		}
		s.WithScheduler(func() *metrics.Float64Histogram {
			return &metrics.Float64Histogram{
				Counts:  []uint64{0, uint64(short.Load()), uint64(long.Load())},
				Buckets: []float64{math.Inf(-1), 0, 0.06, math.Inf(1)},
			}
		})
		stop := run(t, s)
		defer stop()
		for i, step := range []struct {
			short, long int64 // new waits
			jump        time.Duration
			want        time.Duration
			known       bool
		}{
			{0, 30, 0, 60 * time.Millisecond, true}, // in half a second
			{30, 0, 0, 60 * time.Millisecond, true}, // still within the last second
			{30, 0, 0, 0, true},                     // no longer
			{5, 0, 0, 0, true},                      // 35 in a second
			{0, 0, 0, 0, false},                     // 5 in a second
			{0, 19, 0, 0, false},
			{0, 1, 0, 60 * time.Millisecond, true},
			{0, 500, time.Minute, 0, false}, // across a gap
			{20, 0, 0, 0, true},             // since the gap only
		} {
			short.Add(step.short)
			long.Add(step.long)
			jump.Add(int64(step.jump))
			sleep(500 * time.Millisecond)
			got := view(t, s).Newest[2]
			e := got.EventLoop
			if e.SchedulerP99 != step.want || e.SchedulerKnown != step.known || e.Delay != step.want {
				t.Errorf("step %d: %+v, want a p99 of %v, known=%v", i, e, step.want, step.known)
			}
			if want := step.want > 0; got.Overloaded != want || (e.Judged == snapshot.LoopScheduler) != want {
				t.Errorf("step %d: overloaded=%v by %v", i, got.Overloaded, e.Judged)
			}
		}
	})
}

func TestSchedulerLatencyIsReadFromTheRuntime(t *testing.T) {
	s, err := snapshot.New(snapshot.Config{Sources: calm(), EventLoopInterval: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() { stop(); <-done }()
	<-s.Ready()
	for {
		v, changed, err := s.View()
		if err != nil {
			t.Fatal("no 20 waits of the scheduler in 10 s")
		}
		if e := v.Newest[2].EventLoop; e.SchedulerKnown {
			if e.SchedulerP99 < 0 {
				t.Errorf("p99 = %v", e.SchedulerP99)
			}
			return
		}
		for range 200 { // give the scheduler something to count
			c := make(chan struct{})
			go close(c)
			<-c
		}
		<-changed
	}
}
