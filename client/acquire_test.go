package client_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/permit"
)

func TestAcquireWithoutAPool(t *testing.T) {
	l := newLessor(1)
	l.give("host", 1)
	leaseTest(t, l, func(t *testing.T, m *machine, _ func()) {
		c := m.client(t)
		p, err := c.Acquire(t.Context(), "host")
		if err != nil {
			t.Fatal(err)
		}
		second := make(chan client.Permit)
		go func() {
			p, err := c.Acquire(t.Context(), "host")
			if err != nil {
				t.Error(err)
			}
			second <- p
		}()
		time.Sleep(time.Second)
		h := permits(t, c, "host", client.WithWeight(3)) // who chooses options is not bound by who does not
		if _, ok := h.TryAcquire(1); ok || h.Held() != 1 {
			t.Errorf("took %v of a limit of 1, held %d", ok, h.Held())
		}
		p.Release()
		q := <-second
		q.Release()
		if n := len(l.streams()); n != 1 {
			t.Errorf("%d streams, want 1", n)
		}
	})
}

func TestAcquireAll(t *testing.T) {
	l := newLessor(1)
	l.give("a", 1)
	l.give("b", 2)
	leaseTest(t, l, func(t *testing.T, m *machine, _ func()) {
		c := m.client(t)
		both, err := c.AcquireAll(t.Context(), map[string]int64{"b": 2, "a": 1})
		if err != nil || len(both) != 2 || both[0].Count() != 1 || both[1].Count() != 2 {
			t.Fatalf("AcquireAll = %v, %v; want 1 of a and 2 of b", both, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := c.AcquireAll(ctx, map[string]int64{"a": 1}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("AcquireAll of what is taken = %v, want that the deadline is over", err)
		}
		releaseAll(both)
		_, err = c.AcquireAll(t.Context(), map[string]int64{"a": 0, "B": 1})
		if err == nil || !strings.Contains(err.Error(), `"a"`) || !strings.Contains(err.Error(), `"B"`) {
			t.Errorf("AcquireAll = %v, want both faults", err)
		}
		if none, err := c.AcquireAll(t.Context(), nil); err != nil || len(none) != 0 {
			t.Errorf("AcquireAll of nothing = %v, %v", none, err)
		}
	})
}

// What can be had only if an operator changes something is not waited for, and is in nobody's way; what may come by
// itself is waited for, and the error says why it did not come.
func TestAcquireTooMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newArbiter(t, permit.Resource{Name: "fixed", Limit: 2, Law: "fixed"}, permit.Resource{Name: "host", Limit: 2, Law: "status"},
			permit.Resource{Name: "quota", Limit: 9, Law: "status", Default: permit.Grant{Max: 2}})
		m := newMachine()
		defer m.serve(&script{permits: r})()
		c := m.client(t)
		for _, resource := range []string{"fixed", "quota"} {
			h := permits(t, c, resource)
			for range 2 {
				start := time.Now()
				_, err := h.Acquire(t.Context(), 3)
				var many *client.TooManyError
				if !errors.As(err, &many) || *many != (client.TooManyError{Resource: resource, Count: 3, Most: 2}) {
					t.Errorf("Acquire of 3 of %s = %v, want a TooManyError of at most 2", resource, err)
				}
				if took := time.Since(start); took > 200*time.Millisecond {
					t.Errorf("Acquire of 3 of %s took %v, want 200 ms at most", resource, took)
				}
				p, err := h.Acquire(t.Context(), 2)
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				p.Release()
			}
		}
		for _, limit := range []int64{3, 2} { // one that an operator raised, and lowered while it is waited for
			h := permits(t, c, "fixed")
			r.setLimit(t, "fixed", 3)
			time.Sleep(time.Second)
			p, err := h.Acquire(t.Context(), 2)
			if err != nil {
				t.Fatal(err)
			}
			failed := make(chan error, 1)
			go func() {
				q, err := h.Acquire(t.Context(), 3)
				q.Release()
				failed <- err
			}()
			time.Sleep(time.Second)
			r.setLimit(t, "fixed", limit)
			time.Sleep(time.Second)
			p.Release()
			var many *client.TooManyError
			if err := <-failed; errors.As(err, &many) != (limit == 2) {
				t.Errorf("Acquire of 3 with a limit of %d = %v", limit, err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := permits(t, c, "host").Acquire(ctx, 3)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "it needs 3 at once, and the limit is 2") {
			t.Errorf("Acquire of 3 of host = %v, want the end of a minute, and why", err)
		}
	})
}

// Who waits for the rest gives back what it has after a while, so that it is in nobody's way for ever: here
// somebody holds the second resource and then wants the first.
func TestAcquireAllGivesBack(t *testing.T) {
	l := newLessor(1)
	l.give("a", 1)
	l.give("b", 1)
	leaseTest(t, l, func(t *testing.T, m *machine, _ func()) {
		c := m.client(t)
		b, err := c.Acquire(t.Context(), "b")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan []client.Permit)
		go func() {
			both, err := c.AcquireAll(t.Context(), map[string]int64{"a": 1, "b": 1})
			if err != nil {
				t.Error(err)
			}
			done <- both
		}()
		synctest.Wait()
		start := time.Now()
		a, err := c.Acquire(t.Context(), "a")
		if err != nil || time.Since(start) != time.Second {
			t.Errorf("the first resource was to be had after %v, %v; want 1 s", time.Since(start), err)
		}
		a.Release()
		b.Release()
		both := <-done
		if len(both) != 2 {
			t.Fatalf("%d permits, want 2", len(both))
		}
		releaseAll(both)
	})
}

// A permit that is lost before the last one came is taken again.
func TestAcquireAllLosesOne(t *testing.T) {
	l := newLessor(1)
	l.give("a", 1)
	l.give("b", 0)
	leaseTest(t, l, func(t *testing.T, m *machine, _ func()) {
		c := m.client(t)
		done := make(chan []client.Permit)
		go func() {
			both, err := c.AcquireAll(t.Context(), map[string]int64{"a": 1, "b": 1})
			if err != nil {
				t.Error(err)
			}
			done <- both
		}()
		time.Sleep(16 * time.Second) // since 15 s it has held a, and would for 16 s
		l.fallSilent(true)
		time.Sleep(6 * time.Second)
		l.fallSilent(false)
		time.Sleep(4 * time.Second)
		l.give("b", 1)
		both := <-done
		for i := range both {
			if err := both[i].Context().Err(); err != nil {
				t.Errorf("permit %d is lost: %v", i, context.Cause(both[i].Context()))
			}
		}
		releaseAll(both)
	})
}

// Two programs that name two resources in both orders never wait for each other.
func TestAcquireAllOfTwoClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newArbiter(t, permit.Resource{Name: "a", Limit: 1, Law: "fixed"}, permit.Resource{Name: "b", Limit: 1, Law: "fixed"})
		m := newMachine()
		defer m.serve(&script{permits: r})()
		var all sync.WaitGroup
		var mu sync.Mutex
		busy := make(map[string]int)
		for i := range 2 {
			c := m.client(t)
			all.Go(func() {
				for range 20 {
					needs := map[string]int64{"a": 1, "b": 1}
					both, err := c.AcquireAll(t.Context(), needs)
					if err != nil {
						t.Errorf("client %d: %v", i, err)
						return
					}
					mu.Lock()
					for name := range needs {
						if busy[name]++; busy[name] != 1 {
							t.Errorf("%d hold %s at once", busy[name], name)
						}
					}
					mu.Unlock()
					time.Sleep(10 * time.Millisecond)
					mu.Lock()
					busy["a"]--
					busy["b"]--
					mu.Unlock()
					releaseAll(both)
				}
			})
		}
		start := time.Now()
		all.Wait()
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("40 tasks of 10 ms took %v", took)
		}
	})
}
