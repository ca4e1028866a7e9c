package client_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/permit"
)

func TestAcquireIsFirstComeFirstServed(t *testing.T) {
	l := newLessor(1)
	l.give("host", 4)
	leaseTest(t, l, func(t *testing.T, m *machine, _ func()) {
		h := permits(t, m.client(t), "host")
		held := []*client.Permit{take(t, h), take(t, h), take(t, h), take(t, h)}
		var mu sync.Mutex
		var order []int
		var got []client.Permit
		for i, n := range []int64{1, 3, 1} { // the second must not be overtaken by the third
			go func() {
				p, err := h.Acquire(t.Context(), n)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				order, got = append(order, i), append(got, p)
			}()
			synctest.Wait()
		}
		for i, want := range []int{1, 1, 1, 2} {
			held[i].Release()
			synctest.Wait()
			mu.Lock()
			if len(order) != want || !slices.IsSorted(order) {
				t.Errorf("after %d releases %v were served, want the first %d", i+1, order, want)
			}
			mu.Unlock()
			if _, ok := h.TryAcquire(1); ok {
				t.Error("TryAcquire overtook who waits")
			}
		}
		mu.Lock()
		for i := range got {
			got[i].Release()
		}
		mu.Unlock()
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if len(got) != 3 || h.Held() != 1 {
			t.Fatalf("%d served and %d held, want 3 and the last 1", len(got), h.Held())
		}
		got[2].Release()
	})
}

// A call that gives up leaves nothing behind, and is in nobody's way.
func TestAcquireGivesUp(t *testing.T) {
	l := newLessor(1)
	l.give("host", 2)
	leaseTest(t, l, func(t *testing.T, m *machine, _ func()) {
		h := permits(t, m.client(t), "host")
		p := take(t, h)
		ctx, cancel := context.WithCancelCause(t.Context())
		gone := errors.New("gone")
		large, small := make(chan error), make(chan error)
		go func() {
			_, err := h.Acquire(ctx, 2)
			large <- err
		}()
		synctest.Wait()
		go func() {
			p, err := h.Acquire(t.Context(), 1)
			p.Release()
			small <- err
		}()
		synctest.Wait()
		if r := l.report("host"); r.Want < 3 || r.Need != 2 {
			t.Errorf("%d wanted, %d at once; want at least 3 and 2", r.Want, r.Need)
		}
		cancel(gone)
		if err := <-large; !errors.Is(err, gone) || !strings.Contains(err.Error(), `acquire "host"`) {
			t.Errorf("Acquire = %v, want the cause with the resource", err)
		}
		if err := <-small; err != nil {
			t.Errorf("the call behind = %v, want a permit", err)
		}
		p.Release()
		time.Sleep(3 * time.Second)
		if r := l.report("host"); r.Want != 0 || r.Held != 0 {
			t.Errorf("report = %+v, want nothing held and wanted", r)
		}
		done, cancelNow := context.WithCancel(t.Context())
		cancelNow()
		if _, err := h.Acquire(done, 1); !errors.Is(err, context.Canceled) || h.Held() != 0 {
			t.Errorf("Acquire with a context that is done = %v, held %d", err, h.Held())
		}
		for _, n := range []int64{0, -1, permit.MaxLimit + 1} {
			if _, err := h.Acquire(t.Context(), n); err == nil {
				t.Errorf("Acquire(%d) gave permits", n)
			}
		}
	})
}

// Whether a call is served or gives up in the same instant, no permit is lost.
func TestAcquireRace(t *testing.T) {
	l := newLessor(1)
	l.give("host", 3)
	leaseTest(t, l, func(t *testing.T, m *machine, _ func()) {
		h := permits(t, m.client(t), "host")
		var all sync.WaitGroup
		for i := range 200 {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%7)*time.Millisecond)
				defer cancel()
				p, err := h.Acquire(ctx, int64(1+i%3))
				if err == nil {
					time.Sleep(time.Duration(i%5) * time.Millisecond)
				}
				p.Release()
			})
		}
		all.Wait()
		three, ok := h.TryAcquire(3)
		if !ok || h.Held() != 3 {
			t.Errorf("took all: %v, held %d, want 3", ok, h.Held())
		}
		three.Release()
	})
}

func TestManyWaiters(t *testing.T) {
	const n = 20_000 // the benchmark has more
	l := newLessor(1)
	l.give("host", 1)
	leaseTest(t, l, func(t *testing.T, m *machine, _ func()) {
		h := permits(t, m.client(t), "host")
		first := take(t, h)
		var all sync.WaitGroup
		for range n {
			all.Go(func() {
				p, err := h.Acquire(t.Context(), 1)
				if err != nil {
					t.Error(err)
				}
				p.Release()
			})
		}
		time.Sleep(time.Second)
		if r := l.report("host"); r.Want != n+1 {
			t.Errorf("%d wanted, want %d", r.Want, n+1)
		}
		first.Release()
		all.Wait()
		if h.Held() != 0 {
			t.Errorf("held %d in the end, want 0", h.Held())
		}
	})
}
