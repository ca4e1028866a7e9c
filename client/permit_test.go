package client_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/permit"
)

func TestTryAcquire(t *testing.T) {
	l := newLessor(1)
	l.give("host", 2)
	leaseTest(t, l, func(t *testing.T, m *machine, _ func()) {
		h := permits(t, m.client(t), "host")
		a, b := take(t, h), take(t, h)
		if b.Fence().Compare(a.Fence()) <= 0 || a.Fence().Epoch != 1 {
			t.Errorf("fences %v and %v, want the second after the first of epoch 1", a.Fence(), b.Fence())
		}
		if _, ok := h.TryAcquire(1); ok {
			t.Error("a third permit was given with a target of 2")
		}
		b.Release()
		b.Release()
		if h.Held() != 1 || h.Limit() != 2 {
			t.Errorf("held %d of %d after a permit was released twice, want 1 of 2", h.Held(), h.Limit())
		}
		for _, n := range []int64{2, 0, -1, math.MaxInt64} {
			if _, ok := h.TryAcquire(n); ok {
				t.Errorf("took %d permits of the one that is left", n)
			}
		}
		a.Release()
		two, ok := h.TryAcquire(2)
		if !ok || two.Count() != 2 || h.Held() != 2 {
			t.Errorf("took %v, %d permits, held %d; want 2", ok, two.Count(), h.Held())
		}
		two.Release()
		var none client.Permit
		none.Release()
		if h.Held() != 0 || none.Context().Err() != nil {
			t.Errorf("held %d after the zero Permit was released, want 0", h.Held())
		}
	})
}

// A permit keeps its fence, and is lost with all others, also where the server was restarted since or before.
func TestFencesOverRestart(t *testing.T) {
	l := newLessor(1)
	l.give("host", 4)
	leaseTest(t, l, func(t *testing.T, m *machine, stop func()) {
		h := permits(t, m.client(t), "host")
		first := take(t, h)
		l.cut(nil)
		stop()
		next := newLessor(2)
		next.give("host", 4)
		stop = m.serve(&script{permits: next})
		defer func() { stop() }()
		time.Sleep(2 * time.Second)
		second, third := take(t, h), take(t, h)
		if a, b, c := first.Fence(), second.Fence(), third.Fence(); a.Epoch != 1 || b.Epoch != 2 || c.Epoch != 2 || c.Compare(b) <= 0 {
			t.Errorf("fences %v, %v and %v, want one of epoch 1 and then two of epoch 2", a, b, c)
		}
		next.fallSilent(true)
		for i, p := range []*client.Permit{first, second, third} {
			if _, cause := lostAfter(t, p); !errors.Is(cause, client.ErrLeaseLost) {
				t.Errorf("permit %d lost with %v, want ErrLeaseLost", i, cause)
			}
			fence := p.Fence()
			p.Release()
			p.Release()
			if p.Fence() != fence || p.Count() != 1 || p.Context().Err() == nil {
				t.Errorf("permit %d is another once released: %v, %d, %v", i, p.Fence(), p.Count(), p.Context().Err())
			}
		}
		if h.Held() != 0 {
			t.Errorf("held = %d, want 0", h.Held())
		}
		l = next
	})
}

func TestChanged(t *testing.T) {
	l := newLessor(1)
	l.give("host", 1)
	leaseTest(t, l, func(t *testing.T, m *machine, _ func()) {
		h := permits(t, m.client(t), "host")
		changed := h.Changed()
		take(t, h).Release()
		time.Sleep(3 * time.Second)
		select {
		case <-changed:
			t.Error("changed without a change")
		default:
		}
		l.set(permit.Target{Resource: "host", Target: 3, Binding: "the limit"})
		<-changed
		if h.Limit() != 3 || h.Target().Binding != "the limit" {
			t.Errorf("limit %d because of %q, want 3 and the limit", h.Limit(), h.Target().Binding)
		}
		changed = h.Changed()
		l.fallSilent(true)
		<-changed
		for h.Limit() != 0 {
			<-h.Changed()
		}
	})
}

// A lowered target cancels nothing: no more is started until enough has ended.
func TestLoweredTarget(t *testing.T) {
	l := newLessor(1)
	l.give("host", 2)
	leaseTest(t, l, func(t *testing.T, m *machine, _ func()) {
		h := permits(t, m.client(t), "host")
		a, b := take(t, h), take(t, h)
		l.give("host", 1)
		synctest.Wait()
		if r := l.report("host"); r.Version != h.Target().Version || r.Held != 2 {
			t.Errorf("report = %+v, want the new version with 2 held at once", r)
		}
		a.Release()
		if _, ok := h.TryAcquire(1); ok {
			t.Error("started above the target")
		}
		b.Release()
		take(t, h).Release()
		if b.Context().Err() != nil {
			t.Errorf("work was cancelled: %v", context.Cause(b.Context()))
		}
	})
}

func TestCancelMode(t *testing.T) {
	l := newLessor(1)
	l.give("host", 2)
	leaseTest(t, l, func(t *testing.T, m *machine, _ func()) {
		h := permits(t, m.client(t), "host")
		p := take(t, h)
		ctx, cancel := p.Guard(t.Context())
		defer cancel()
		stop := permit.Target{Resource: "host", Mode: permit.ModeCancel, CancelAfter: 3 * time.Second}
		l.set(stop)
		time.Sleep(2 * time.Second)
		l.give("host", 1) // the pressure is gone
		time.Sleep(2 * time.Second)
		if p.Context().Err() != nil {
			t.Fatal("cancelled though the server took it back")
		}
		l.set(stop)
		time.Sleep(time.Second)
		l.set(stop) // again is no delay
		after, cause := lostAfter(t, p)
		if after != 2*time.Second || cause != client.ErrCancelled {
			t.Errorf("lost %v later with %v, want 2 s and ErrCancelled", after, cause)
		}
		synctest.Wait()
		if context.Cause(ctx) != client.ErrCancelled {
			t.Errorf("guarded context: %v, want ErrCancelled", context.Cause(ctx))
		}
		p.Release()
		l.give("host", 1)
		synctest.Wait()
		next := take(t, h)
		time.Sleep(5 * time.Second)
		if next.Context().Err() != nil {
			t.Errorf("the next permit: %v, want none", context.Cause(next.Context()))
		}
		next.Release()
	})
}

// A permit says how long it is leased if nothing more is heard, which is never longer than it then lasts.
func TestLeaseLeft(t *testing.T) {
	l := newLessor(1)
	l.give("host", 1)
	leaseTest(t, l, func(t *testing.T, m *machine, _ func()) {
		p := take(t, permits(t, m.client(t), "host"))
		defer p.Release()
		time.Sleep(time.Minute)
		synctest.Wait()
		if left := p.LeaseLeft(); left < permit.DefaultTTL-permit.DefaultHeartbeat-permit.DefaultTTL/100 || left > permit.DefaultTTL {
			t.Errorf("%v are left while the server answers, want about %v", left, permit.DefaultTTL)
		}
		l.fallSilent(true)
		left := p.LeaseLeft()
		if lasts, _ := lostAfter(t, p); lasts < left {
			t.Errorf("the permit was lost after %v, and said %v", lasts, left)
		}
		if left := p.LeaseLeft(); left != 0 || (&client.Permit{}).LeaseLeft() != 0 {
			t.Errorf("%v are left of a permit that is lost, want 0", left)
		}
	})
}

func TestGuard(t *testing.T) {
	l := newLessor(1)
	l.give("host", 1)
	leaseTest(t, l, func(t *testing.T, m *machine, _ func()) {
		p := take(t, permits(t, m.client(t), "host"))
		defer p.Release()
		parent, stop := context.WithCancelCause(t.Context())
		own := errors.New("own")
		a, cancelA := p.Guard(parent)
		b, cancelB := p.Guard(t.Context())
		defer cancelA()
		stop(own)
		cancelB()
		if context.Cause(a) != own || context.Cause(b) != context.Canceled || p.Context().Err() != nil {
			t.Errorf("causes %v, %v, %v; want own, canceled, none", context.Cause(a), context.Cause(b), context.Cause(p.Context()))
		}
	})
}

// A refusal ends those who wait, and may be taken back.
func TestResourceRefused(t *testing.T) {
	l := newLessor(1)
	leaseTest(t, l, func(t *testing.T, m *machine, _ func()) {
		c := m.client(t)
		h := permits(t, c, "host")
		waiting := make(chan error)
		go func() {
			_, err := h.Acquire(t.Context(), 1)
			waiting <- err
		}()
		synctest.Wait()
		l.set(permit.Target{Resource: "host", Refused: permit.RefusedNoResource})
		err := <-waiting
		var refused *client.RefusedError
		if !errors.As(err, &refused) || refused.Resource != "host" || client.Reason(err) != "NO_RESOURCE" {
			t.Errorf("Acquire = %v with reason %q, want NO_RESOURCE of host", err, client.Reason(err))
		}
		if _, err := c.Acquire(t.Context(), "host"); !errors.As(err, &refused) || !errors.As(h.Err(), &refused) {
			t.Errorf("Acquire = %v, Err = %v, want the refusal", err, h.Err())
		}
		l.give("host", 1)
		synctest.Wait()
		if h.Err() != nil {
			t.Errorf("Err = %v, want nil", h.Err())
		}
		take(t, h).Release()
	})
}

func TestClosedHandle(t *testing.T) {
	l := newLessor(1)
	l.give("host", 1)
	leaseTest(t, l, func(t *testing.T, m *machine, _ func()) {
		c := m.client(t)
		h, other := permits(t, c, "host"), permits(t, c, "host")
		p := take(t, h)
		waiting := make(chan error, 2)
		for _, h := range []*client.Permits{h, other} {
			go func() {
				p, err := h.Acquire(t.Context(), 1)
				p.Release()
				waiting <- err
			}()
		}
		synctest.Wait()
		h.Close()
		h.Close()
		if err := <-waiting; !errors.Is(err, client.ErrClosed) {
			t.Errorf("Acquire = %v, want ErrClosed", err)
		}
		p.Release()
		if err := <-waiting; err != nil {
			t.Errorf("Acquire of the other handle = %v, want a permit", err)
		}
		if _, ok := h.TryAcquire(1); ok || !errors.Is(h.Err(), client.ErrClosed) || other.Err() != nil {
			t.Errorf("took %v; Err = %v and %v, want ErrClosed of the closed one only", ok, h.Err(), other.Err())
		}
		if _, err := h.Acquire(t.Context(), 1); !errors.Is(err, client.ErrClosed) {
			t.Errorf("Acquire = %v, want ErrClosed", err)
		}
	})
}

func TestPermitOptions(t *testing.T) {
	l := newLessor(1)
	leaseTest(t, l, func(t *testing.T, m *machine, _ func()) {
		c := m.client(t)
		_, err := c.Permits("No", client.WithWeight(0), client.WithPriority(11), client.WithGuarantee(-1), client.WithOffline(-3))
		if err == nil {
			t.Fatal("no error for faulty options")
		}
		for _, fault := range []string{"No", "WithWeight", "WithPriority", "WithGuarantee", "WithOffline"} {
			if !strings.Contains(err.Error(), fault) {
				t.Errorf("%v does not name %s", err, fault)
			}
		}
		_, err = c.Permits("host", client.WithOffline(client.OfflineLocal))
		if err == nil || !strings.Contains(err.Error(), "client.WithLocal(func() snapshot.Sources {") {
			t.Errorf("OfflineLocal alone = %v, want the line to add", err)
		}
		if n := len(l.streams()); n != 0 {
			t.Errorf("%d streams after errors only, want 0", n)
		}
		permits(t, c, "host", client.WithWeight(2))
		if _, err := c.Permits("host"); err == nil || !strings.Contains(err.Error(), "other options") {
			t.Errorf("other options for the same resource = %v, want an error", err)
		}
		if _, err := c.Acquire(t.Context(), "No"); err == nil {
			t.Error("Acquire of no name of a resource gave a permit")
		}
	})
	for name, bad := range map[string]client.Option{
		"WithName": client.WithName("-x"), "WithLocal": client.WithLocal(nil),
	} {
		if _, err := client.Dial(t.Context(), bad); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("Dial = %v, want a fault of %s", err, name)
		}
	}
}
