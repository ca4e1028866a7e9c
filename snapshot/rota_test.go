package snapshot_test

import (
	"context"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

// hanging returns a signal that takes as long as stall says, until it is read again.
func hanging(name string, stall *atomic.Int64) snapshot.Signal {
	return snapshot.Signal{Name: name, Interval: time.Second, Read: func(context.Context) (value, limit float64, err error) {
		time.Sleep(time.Duration(stall.Swap(0)))
		return 0, 1, nil
	}}
}

func TestSourceThatBeginsToHangDelaysOthersByOneTickOnce(t *testing.T) {
	for _, tt := range []struct {
		name     string
		disabled []string
		want     []time.Duration // when the signal behind it is read, in ms
	}{
		{"at the next tick of another", nil, []time.Duration{0, 1000, 2500, 3000, 4000, 5000}},
		{"or within a second", []string{snapshot.SignalEventLoop}, []time.Duration{0, 1000, 3000, 4000, 5000}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var stall, none atomic.Int64
				s, stop := start(t, snapshot.Config{
					Signals: []snapshot.Signal{hanging("a", &stall), hanging("b", &none)}, Disabled: tt.disabled,
				})
				defer stop()
				sleep(1900 * time.Millisecond)
				stall.Store(int64(2200 * time.Millisecond)) // of the reading at 2 s
				sleep(3200 * time.Millisecond)
				for i := range tt.want {
					tt.want[i] *= time.Millisecond
				}
				if got := times(t, s, "b"); !slices.Equal(got, tt.want) {
					t.Errorf("the signal behind it has snapshots at %v, want %v", got, tt.want)
				}
				if got, want := times(t, s, "a"), []time.Duration{0, time.Second, 4200 * time.Millisecond, 5 * time.Second}; !slices.Equal(got, want) {
					t.Errorf("it has snapshots at %v itself, want %v", got, want)
				}
			})
		})
	}
}

func TestSourceThatEndsItsGoroutineStopsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := start(t, snapshot.Config{Signals: []snapshot.Signal{{
			Name: "a", Read: func(context.Context) (value, limit float64, err error) {
				if time.Now().Second() == 2 {
					runtime.Goexit()
				}
				return 0, 1, nil
			},
		}}})
		defer stop()
		sleep(10*time.Second + time.Millisecond)
		if got := len(times(t, s, snapshot.SignalEventLoop)); got < 20 {
			t.Errorf("%d snapshots of the event loop in 10 s, want 20 or 21", got)
		}
	})
}

// Sources that are prompt do not wake the machine one by one: they are read by one goroutine.
func TestPromptSourcesAreReadTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at atomic.Int64 // how many sources are being read
		var together atomic.Bool
		var signals []snapshot.Signal
		for _, name := range []string{"a", "b", "c"} {
			signals = append(signals, snapshot.Signal{Name: name, Read: func(context.Context) (value, limit float64, err error) {
				together.Store(together.Load() || at.Add(1) > 1)
				time.Sleep(time.Microsecond) // others that are at it would come now
				at.Add(-1)
				return 0, 1, nil
			}})
		}
		_, stop := start(t, snapshot.Config{Signals: signals})
		defer stop()
		sleep(500 * time.Millisecond) // the first reading is each by itself
		together.Store(false)
		sleep(10 * time.Second)
		if together.Load() {
			t.Error("two sources were read at once, want one after the other")
		}
	})
}

func TestSourcesThatHangTogetherLeaveTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var signals []snapshot.Signal
		stalls := make([]atomic.Int64, 4)
		for i, name := range []string{"a", "b", "c", "d"} {
			signals = append(signals, hanging(name, &stalls[i]))
		}
		s, stop := start(t, snapshot.Config{Signals: signals})
		defer stop()
		sleep(1900 * time.Millisecond)
		for i := range stalls[:3] {
			stalls[i].Store(int64(20 * time.Second))
		}
		sleep(20 * time.Second)
		if got := len(times(t, s, "d")); got != 21 {
			t.Errorf("%d snapshots in 20 s beside three that hang, want 21", got)
		}
		if got := len(times(t, s, snapshot.SignalEventLoop)); got != 44 {
			t.Errorf("%d snapshots of the event loop, want 44", got)
		}
	})
}
