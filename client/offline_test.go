package client_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/snapshot"
)

// takeAll takes permits one by one, up to max.
func takeAll(h *client.Permits, max int) (all []client.Permit) {
	for len(all) < max {
		p, ok := h.TryAcquire(1)
		if !ok {
			break
		}
		all = append(all, p)
	}
	return all
}

func releaseAll(all []client.Permit) {
	for i := range all {
		all[i].Release()
	}
}

// What each policy allows when the lease has ended while 2 of 3 permits were held, and whether it ends the work.
func TestOffline(t *testing.T) {
	for _, test := range []struct {
		name    string
		policy  client.Offline
		allowed int // in all, up to 50
		lost    bool
	}{
		{"none", client.OfflineNone, 2, true},
		{"safe 1", client.OfflineSafe(1), 2, true},
		{"safe 2", client.OfflineSafe(2), 2, false},
		{"safe 5", client.OfflineSafe(5), 5, false},
		{"unlimited", client.OfflineUnlimited, 50, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLessor(1)
			l.give("host", 3)
			leaseTest(t, l, func(t *testing.T, m *machine, _ func()) {
				h := permits(t, m.client(t), "host", client.WithOffline(test.policy))
				all := takeAll(h, 2)
				l.fallSilent(true)
				time.Sleep(4900 * time.Millisecond)
				if n := len(takeAll(h, 50)); n != 0 {
					t.Fatalf("%d more were started on a silent stream, before the lease was over", n)
				}
				time.Sleep(100 * time.Millisecond)
				cause := context.Cause(all[0].Context())
				if lost := errors.Is(cause, client.ErrLeaseLost); lost != test.lost || lost != (cause != nil) {
					t.Errorf("the context of what ran: %v, want lost %v", cause, test.lost)
				}
				all = append(all, takeAll(h, 50-len(all))...)
				if len(all) != test.allowed || h.Held() != int64(test.allowed) {
					t.Errorf("%d run offline, %d held, want %d", len(all), h.Held(), test.allowed)
				}
				if last := all[len(all)-1]; test.allowed > 2 && (last.Fence().Counter != 0 || last.Context().Err() != nil) {
					t.Errorf("the last has fence %v and %v, want none", last.Fence(), last.Context().Err())
				}

				// The server's word counts again, and it is told of all that runs.
				l.fallSilent(false)
				time.Sleep(5 * time.Second)
				if h.Limit() != 3 {
					t.Fatalf("limit %d, want the server's 3", h.Limit())
				}
				if r := l.report("host"); r.Held != int64(test.allowed) {
					t.Errorf("the server was told of %d, want %d", r.Held, test.allowed)
				}
				if n := len(takeAll(h, 50)); n != max(3-test.allowed, 0) {
					t.Errorf("%d more were started over a target of 3 with %d held", n, test.allowed)
				}
				if test.allowed > 3 && all[4].Context().Err() != nil {
					t.Errorf("what ran offline was cancelled: %v", context.Cause(all[4].Context()))
				}
				releaseAll(all)
			})
		})
	}
}

// A server that does not lease when the program starts is as one that is gone, but not before it was asked.
func TestOfflineFromTheStart(t *testing.T) {
	l := newLessor(1)
	l.refuse(unavailable())
	leaseTest(t, l, func(t *testing.T, m *machine, _ func()) {
		c := m.client(t)
		h, err := c.Permits("host", client.WithOffline(client.OfflineSafe(2)))
		if err != nil {
			t.Fatal(err)
		}
		if n := len(takeAll(h, 5)); n != 0 {
			t.Errorf("%d were started before the server was asked", n)
		}
		p, err := h.Acquire(t.Context(), 2)
		if err != nil || h.Limit() != 2 {
			t.Fatalf("Acquire = %v with a limit of %d, want 2 permits", err, h.Limit())
		}
		p.Release()

		none := permits(t, c, "other")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = none.Acquire(ctx, 1)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "not now") {
			t.Errorf("Acquire = %v, want that the deadline is over, and why there is no server", err)
		}
	})
}

// busy are the sources of a machine whose CPU is as busy as the test says, and which counts how often it is read.
func busy(load *atomic.Bool, reads *atomic.Int64) func() snapshot.Sources {
	return func() snapshot.Sources {
		return snapshot.Sources{
			CPU: func(context.Context) (snapshot.CPUReading, error) {
				reads.Add(1)
				if load.Load() {
					return snapshot.CPUReading{Used: 1, Cores: 4}, nil
				}
				return snapshot.CPUReading{Used: 0.1, Cores: 4}, nil
			},
			Memory: func(context.Context) (snapshot.MemoryReading, error) {
				return snapshot.MemoryReading{Used: 1, Total: 100, HostKnown: true, HostUsed: 1, HostTotal: 100}, nil
			},
		}
	}
}

func TestOfflineLocal(t *testing.T) {
	l := newLessor(1)
	l.give("host", 4)
	leaseTest(t, l, func(t *testing.T, m *machine, _ func()) {
		var load atomic.Bool
		var reads atomic.Int64
		h := permits(t, m.client(t, client.WithLocal(busy(&load, &reads))), "host", client.WithOffline(client.OfflineLocal))
		all := takeAll(h, 2)
		l.fallSilent(true)
		time.Sleep(5 * time.Second)
		if h.Limit() != 2 || all[0].Context().Err() != nil {
			t.Fatalf("limit %d and %v when the lease ended, want the 2 that ran and no end", h.Limit(), all[0].Context().Err())
		}
		time.Sleep(10 * time.Second)
		if h.Limit() != 3 {
			t.Fatalf("limit %d after 10 s, want one more, as no more was used", h.Limit())
		}
		for range 10 {
			all = append(all, takeAll(h, 50)...)
			time.Sleep(time.Second)
		}
		if n := len(all); n < 10 || n > 14 {
			t.Errorf("%d run on an idle machine after 10 s of demand, want about one more a second", n)
		}
		load.Store(true)
		time.Sleep(5 * time.Second) // until that is the judgement
		before := h.Limit()
		time.Sleep(4 * time.Second)
		if h.Limit() != before-4 {
			t.Errorf("limit %d after %d and 4 s of overload, want 4 less", h.Limit(), before)
		}
		time.Sleep(time.Minute)
		if h.Limit() != 1 || all[0].Context().Err() != nil {
			t.Errorf("limit %d after a minute, and %v, want 1 and no end of the work", h.Limit(), all[0].Context().Err())
		}
		l.fallSilent(false)
		time.Sleep(5 * time.Second)
		if h.Limit() != 4 {
			t.Errorf("limit %d when the server is back, want its 4", h.Limit())
		}
		before = reads.Load()
		time.Sleep(time.Minute)
		if n := reads.Load() - before; n != 0 {
			t.Errorf("the machine was read %d times with the server there", n)
		}
		releaseAll(all)
	})
}

// The sources are the program's, and may hang.
func TestOfflineLocalSourcesHang(t *testing.T) {
	l := newLessor(1)
	l.give("host", 4)
	leaseTest(t, l, func(t *testing.T, m *machine, _ func()) {
		hang := make(chan struct{})
		defer close(hang)
		sources := client.WithLocal(func() snapshot.Sources { <-hang; return snapshot.Sources{} })
		h := permits(t, m.client(t, sources), "host", client.WithOffline(client.OfflineLocal))
		l.fallSilent(true)
		time.Sleep(10 * time.Second)
		if all := takeAll(h, 5); len(all) != 1 {
			t.Errorf("%d run while nothing is known, want 1", len(all))
		} else {
			releaseAll(all)
		}
		l.fallSilent(false)
		time.Sleep(5 * time.Second)
		all := takeAll(h, 5)
		if len(all) != 4 {
			t.Errorf("%d run when the server is back, want 4", len(all))
		}
		releaseAll(all)
		synctest.Wait()
	})
}

func TestNextLocal(t *testing.T) {
	for _, test := range []struct {
		allowed, held int64
		state         snapshot.State
		want          int64
	}{
		{1, 0, snapshot.StateIdle, 1},
		{1, 1, snapshot.StateIdle, 2},
		{100, 100, snapshot.StateIdle, 105},
		{100, 99, snapshot.StateIdle, 100},
		{100, 100, snapshot.StateUnknown, 100},
		{100, 0, snapshot.StateOverloaded, 95},
		{2, 2, snapshot.StateOverloaded, 1},
		{1, 1, snapshot.StateOverloaded, 1},
		{1_000_000_000, 1_000_000_000, snapshot.StateIdle, 1_000_000_000},
	} {
		if got := client.NextLocal(test.allowed, test.held, test.state); got != test.want {
			t.Errorf("after %d with %d held and %v: %d, want %d", test.allowed, test.held, test.state, got, test.want)
		}
	}
}
