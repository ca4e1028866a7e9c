package snapshot_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

// calm returns sources of a machine at a tenth of its load.
func calm() snapshot.Sources {
	return snapshot.Sources{
		CPU: func(context.Context) (snapshot.CPUReading, error) {
			return snapshot.CPUReading{Used: 0.1, Cores: 4, Source: "test"}, nil
		},
		Memory: func(context.Context) (snapshot.MemoryReading, error) {
			return snapshot.MemoryReading{Used: 1 << 30, Total: 16 << 30, Source: "test"}, nil
		},
	}
}

func TestRunTakesSnapshotsAtTheirIntervals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := snapshot.New(snapshot.Config{Sources: calm(), MaxEventLoopDelay: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()

		time.Sleep(10*time.Second + 100*time.Millisecond)
		synctest.Wait()
		select {
		case <-s.Ready():
		default:
			t.Error("not ready after 10 s")
		}
		for signal, interval := range map[string]time.Duration{
			snapshot.SignalCPU: time.Second, snapshot.SignalMemory: time.Second,
			snapshot.SignalEventLoop: 500 * time.Millisecond, snapshot.SignalClient: time.Second,
		} {
			sample, err := s.AppendSample(nil, signal, 0)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := len(sample), int(10*time.Second/interval)+1; got != want {
				t.Errorf("%s: %d snapshots, want %d", signal, got, want)
			}
			for i, snap := range sample {
				if got, want := snap.At, time.Duration(i)*interval; got != want {
					t.Errorf("%s: snapshot %d at %v, want %v", signal, i, got, want)
				}
			}
		}
		v, _, err := s.View()
		if err != nil {
			t.Fatal(err)
		}
		if v.Current.State != snapshot.StateIdle || len(v.Newest) != 4 {
			t.Errorf("View = %v with %d snapshots, want idle with 4", v.Current.State, len(v.Newest))
		}
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	})
}
