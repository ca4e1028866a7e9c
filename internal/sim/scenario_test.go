package sim

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/snapshot"
)

// view keeps every state that one subscriber received.
type view struct {
	mu     sync.Mutex
	states []client.State
}

func watch(t *testing.T, c *client.Client, options client.WatchOptions) *view {
	v := &view{}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	t.Cleanup(func() { stop(); <-done })
	go func() {
		defer close(done)
		for state, err := range c.Snapshots(ctx, options) {
			if err != nil {
				t.Errorf("Snapshots ended: %v", err)
				return
			}
			v.mu.Lock()
			v.states = append(v.states, state)
			v.mu.Unlock()
		}
	}()
	return v
}

func (v *view) all() []client.State {
	v.mu.Lock()
	defer v.mu.Unlock()
	return append([]client.State(nil), v.states...)
}

func (v *view) last(t *testing.T) client.State {
	t.Helper()
	states := v.all()
	if len(states) == 0 {
		t.Fatal("no state received")
	}
	return states[len(states)-1]
}

func newest(t *testing.T, s client.State, signal string) snapshot.Snapshot {
	t.Helper()
	for _, snap := range s.Snapshots {
		if snap.Signal == signal {
			return snap
		}
	}
	t.Fatalf("state %d holds no snapshot of %s", s.Sequence, signal)
	return snapshot.Snapshot{}
}

func judged(t *testing.T, s snapshot.Status, signal string) snapshot.SignalStatus {
	t.Helper()
	for _, sig := range s.Signals {
		if sig.Signal == signal {
			return sig
		}
	}
	t.Fatalf("status holds no %s", signal)
	return snapshot.SignalStatus{}
}

func TestBurnerIsSeenWithinTwoSecondsAndSoIsItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		v := watch(t, s.client(), client.WatchOptions{})
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := v.last(t).Current.State; got != snapshot.StateIdle {
			t.Fatalf("before the burner: %v, want idle", got)
		}

		s.host.set(func(h *host) { h.cpu = 1 })
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if snap := newest(t, v.last(t), snapshot.SignalCPU); !snap.Overloaded || snap.Value != 1 {
			t.Errorf("2 s into the burner: overloaded %v at %v, want true at 1", snap.Overloaded, snap.Value)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		current := v.last(t).Current
		if current.State != snapshot.StateOverloaded {
			t.Errorf("5 s into the burner: %v, want overloaded", current.State)
		}
		if binding := current.Binding(); len(binding) != 1 || binding[0].Signal != snapshot.SignalCPU {
			t.Errorf("5 s into the burner: bound by %v, want cpu alone", binding)
		}

		s.host.set(func(h *host) { h.cpu = 0.1 })
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if got := v.last(t); got.Current.State != snapshot.StateIdle {
			t.Errorf("5 s after the burner: %v, want idle", got.Current.State)
		}
	})
}

func TestDeadSourceBecomesUnknownAndNeverIdle(t *testing.T) {
	for name, fault := range map[string]func(*host){
		"failing": func(h *host) { h.failing = errors.New("no such file") },
		"hanging": func(h *host) { h.hanging = true },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService(t)
				c := s.client()
				s.host.set(func(h *host) { h.cpu = 1 })
				time.Sleep(10 * time.Second)
				s.host.set(fault)
				time.Sleep(31 * time.Second) // the verdict is held for as long as the history
				synctest.Wait()
				status, err := c.Status(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				cpu := judged(t, status.Current, snapshot.SignalCPU)
				if cpu.State != snapshot.StateUnknown || cpu.Reason == "" {
					t.Errorf("cpu is %v because %q, want unknown with a reason", cpu.State, cpu.Reason)
				}
				if !cpu.HasValue || cpu.Age < 30*time.Second {
					t.Errorf("last good cpu reading: known %v, %v old; want true, at least 30s", cpu.HasValue, cpu.Age)
				}
				if status.Current.State != snapshot.StateUnknown {
					t.Errorf("the whole is %v, want unknown", status.Current.State)
				}
				if loop := judged(t, status.Current, snapshot.SignalEventLoop); loop.State != snapshot.StateIdle {
					t.Errorf("event loop is %v, want idle: one dead source must not stop another", loop.State)
				}
			})
		})
	}
}

func TestSuspendIsJudgedByNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		v := watch(t, s.client(), client.WatchOptions{})
		time.Sleep(10 * time.Second)
		s.host.set(func(h *host) { h.skew += 10 * time.Minute })
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		for _, signal := range []string{snapshot.SignalCPU, snapshot.SignalEventLoop} {
			snap := newest(t, v.last(t), signal)
			if snap.Overloaded {
				t.Errorf("%s is overloaded at %v after a suspend, want not", signal, snap.Value)
			}
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if got := v.last(t).Current.State; got != snapshot.StateIdle {
			t.Errorf("5 s after a suspend: %v, want idle", got)
		}
	})
}

func TestWorkersReportCountsUntilItExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		c := s.client()
		for range 6 {
			ttl, err := c.ReportLoad(t.Context(), "crawler-1", snapshot.Report{
				EventLoopDelay: 300 * time.Millisecond, HasEventLoop: true,
				Signals: map[string]snapshot.ReportedSignal{"queue_depth": {Value: 12, Limit: 10}},
			})
			if err != nil || ttl != 5*time.Second {
				t.Fatalf("ReportLoad = %v, %v; want 5s, nil", ttl, err)
			}
			time.Sleep(time.Second)
		}
		status, err := c.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if loop := judged(t, status.Current, snapshot.SignalEventLoop); loop.State != snapshot.StateOverloaded || loop.Value != 0.3 {
			t.Errorf("event loop is %v at %v s, want overloaded at 0.3", loop.State, loop.Value)
		}
		if queue := judged(t, status.Current, "queue_depth"); queue.State != snapshot.StateOverloaded || queue.Value != 12 || queue.Bound != 10 {
			t.Errorf("queue_depth is %v at %v of %v, want overloaded at 12 of 10", queue.State, queue.Value, queue.Bound)
		}

		time.Sleep(12 * time.Second)
		if status, err = c.Status(t.Context()); err != nil {
			t.Fatal(err)
		}
		if loop := judged(t, status.Current, snapshot.SignalEventLoop); loop.State != snapshot.StateIdle {
			t.Errorf("event loop is %v 12 s after the last report, want idle", loop.State)
		}
	})
}

func TestRestartIsToldApartAndSurvived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		v := watch(t, s.client(), client.WatchOptions{})
		time.Sleep(10 * time.Second)
		synctest.Wait()
		before := v.last(t)

		s.end()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if got := v.last(t); !got.Stale || got.Sequence < before.Sequence {
			t.Errorf("5 s after the server ended: stale %v, sequence %d; want stale, at least %d", got.Stale, got.Sequence, before.Sequence)
		}

		s.start()
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if got := v.last(t); got.Stale {
			t.Errorf("30 s after the server began again the state is still stale: %v", got.Cause)
		}
		instances := map[string]bool{}
		for _, state := range v.all() {
			instances[state.Started.InstanceID] = true
		}
		if len(instances) != 2 {
			t.Errorf("saw %d instances, want 2", len(instances))
		}
	})
}

func TestTenHoursGoByInNoTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		c := s.client()
		time.Sleep(10 * time.Hour)
		synctest.Wait()
		got, err := c.Sample(t.Context(), snapshot.SignalEventLoop, 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != 61 {
			t.Errorf("the history holds %d event-loop snapshots, want 61: 30 s at 500 ms, both ends", len(got))
		}
	})
}
