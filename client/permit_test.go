package client_test

import (
	"testing"
	"testing/synctest"
)

func TestTryAcquire(t *testing.T) {
	l := newLessor(1)
	l.give("host", 2)
	leaseTest(t, l, func(t *testing.T, m *machine, _ func()) {
		h := permits(t, m.client(t), "host")
		a, ok := h.TryAcquire(1)
		if !ok {
			t.Fatal("a permit within the target was not given")
		}
		b, ok := h.TryAcquire(1)
		if !ok || b.Fence().Compare(a.Fence()) <= 0 {
			t.Fatalf("second = %v with fence %v, want one after %v", ok, b.Fence(), a.Fence())
		}
		if _, ok := h.TryAcquire(1); ok {
			t.Fatal("a third permit was given with a target of 2")
		}
		if h.Held() != 2 || h.Limit() != 2 {
			t.Errorf("held %d of %d, want 2 of 2", h.Held(), h.Limit())
		}
		b.Release()
		b.Release()
		if h.Held() != 1 {
			t.Errorf("held %d after a permit was released twice, want 1", h.Held())
		}
		a.Release()
		synctest.Wait()
	})
}
