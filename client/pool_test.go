package client_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/permit"
	"github.com/headroom-rpc/headroom/pool"
)

// backlog is work for a pool.
type backlog struct {
	left, running, most, done atomic.Int64
	fence                     atomic.Pointer[permit.Fence]
}

func (b *backlog) options(n int64, hold time.Duration) pool.Options {
	b.left.Store(n)
	return pool.Options{
		Ready: func(context.Context) (bool, error) { return b.left.Load() > 0, nil },
		Run: func(ctx context.Context) error {
			if b.left.Add(-1) < 0 { // Ready was asked before the task before had taken its work
				b.left.Add(1)
				return nil
			}
			f := pool.FenceOf(ctx)
			b.fence.Store(&f)
			b.most.Store(max(b.most.Load(), b.running.Add(1)))
			defer b.running.Add(-1)
			select {
			case <-time.After(hold):
				b.done.Add(1)
				return nil
			case <-ctx.Done():
				b.left.Add(1)
				return context.Cause(ctx)
			}
		},
		Usage: func() pool.Usage { return pool.Usage{CPU: 3 * time.Second, Runnable: 1, Memory: 77} },
	}
}

func newPermitPool(t *testing.T, m *machine, resource string, o pool.Options) *pool.Pool {
	t.Helper()
	p, err := client.NewPool(m.client(t), resource, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A pool runs as many tasks as it has permits, gives all back, and says what its tasks use.
func TestPool(t *testing.T) {
	l := newLessor(1)
	l.give("host", 3)
	leaseTest(t, l, func(t *testing.T, m *machine, _ func()) {
		var b backlog
		p := newPermitPool(t, m, "host", b.options(30, time.Second))
		done := make(chan error)
		go func() { done <- p.Run(t.Context()) }()
		time.Sleep(5500 * time.Millisecond)
		if got := p.Stats(); got.Current != 3 || got.Block != pool.BlockPermits {
			t.Errorf("%d in use, %q blocks (%s); want 3 and permits", got.Current, got.Block, got.Binding)
		}
		r := l.report("host")
		if r.Held != 3 || r.Want != 6 || !r.HasUsage || r.Usage.Memory != 77 || r.Usage.Completions < 9 || r.Usage.CPU != 0 {
			t.Errorf("report = %+v, want 3 held, as many wanted, and the usage", r)
		}
		if f := b.fence.Load(); f.Epoch != 1 || f.Counter == 0 {
			t.Errorf("fence of a task = %v", f)
		}
		var told []permit.Report
		for _, f := range l.streams()[0].received() {
			for _, r := range f.Reports {
				if r.HasUsage && (len(told) == 0 || r.Usage.Uptime != told[len(told)-1].Usage.Uptime) {
					told = append(told, r)
				}
			}
		}
		// A heartbeat at the instant of a step of the pool says what was so before it, or after.
		if len(told) < 3 {
			t.Errorf("the usage was told %d times in 5.5 s, want with every heartbeat", len(told))
		}
		l.give("host", 1)
		if time.Sleep(2 * time.Second); p.Current() != 1 {
			t.Errorf("%d in use after the target fell to 1", p.Current())
		}
		l.give("host", 10)
		if err := <-done; err != nil || b.done.Load() != 30 || b.most.Load() != 10 {
			t.Errorf("Run = %v after %d tasks, %d at once; want 30, 10 at once", err, b.done.Load(), b.most.Load())
		}
		time.Sleep(3 * time.Second)
		if r := l.report("host"); r.Held != 0 || r.Want != 0 {
			t.Errorf("report = %+v, want nothing held and wanted", r)
		}
	})
}

// When the lease is lost the tasks are told, and the pool goes on when there is another.
func TestPoolLosesItsLease(t *testing.T) {
	l := newLessor(1)
	l.give("host", 2)
	leaseTest(t, l, func(t *testing.T, m *machine, _ func()) {
		var b backlog
		o := b.options(4, time.Minute)
		causes := make(chan error, 10)
		run := o.Run
		o.Run = func(ctx context.Context) error {
			err := run(ctx)
			if err != nil {
				causes <- err
			}
			return err
		}
		p := newPermitPool(t, m, "host", o)
		done := make(chan error)
		go func() { done <- p.Run(t.Context()) }()
		time.Sleep(time.Second)
		l.fallSilent(true)
		for range 2 {
			if err := <-causes; !errors.Is(err, client.ErrLeaseLost) {
				t.Errorf("a task ended with %v, want ErrLeaseLost", err)
			}
		}
		time.Sleep(10 * time.Second)
		if p.Current() != 0 {
			t.Errorf("%d in use without a lease", p.Current())
		}
		l.fallSilent(false)
		if err := <-done; err != nil || b.done.Load() != 4 {
			t.Errorf("Run = %v with %d tasks done, want 4", err, b.done.Load())
		}
	})
}

func TestPoolIsRefused(t *testing.T) {
	l := newLessor(1)
	l.set(permit.Target{Resource: "no", Refused: permit.RefusedNoResource})
	leaseTest(t, l, func(t *testing.T, m *machine, _ func()) {
		var b backlog
		err := newPermitPool(t, m, "no", b.options(1, time.Second)).Run(t.Context())
		if refused := new(client.RefusedError); !errors.As(err, &refused) || b.done.Load() != 0 {
			t.Errorf("Run = %v, want the refusal", err)
		}
	})
	leaseTest(t, newLessor(1), func(t *testing.T, m *machine, _ func()) {
		if _, err := client.NewPool(m.client(t), "host", pool.Options{}); err == nil {
			t.Error("NewPool without Run = nil")
		}
		synctest.Wait()
	})
}

// Two pools of one program share what it has, and neither waits for ever.
func TestTwoPoolsOfOneResource(t *testing.T) {
	l := newLessor(1)
	l.give("host", 1)
	leaseTest(t, l, func(t *testing.T, m *machine, _ func()) {
		var a, b backlog
		c := m.client(t)
		done := make(chan error)
		for _, work := range []*backlog{&a, &b} {
			p, err := client.NewPool(c, "host", work.options(10, time.Second))
			if err != nil {
				t.Fatal(err)
			}
			go func() { done <- p.Run(t.Context()) }()
		}
		time.Sleep(10500 * time.Millisecond)
		if a, b := a.done.Load(), b.done.Load(); a+b != 10 || min(a, b) < 4 {
			t.Errorf("%d and %d tasks done after 10 s, want 10 in turns", a, b)
		}
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}

// What somebody else of the program gives back starts a task at once.
func TestPoolIsWoken(t *testing.T) {
	l := newLessor(1)
	l.give("host", 1)
	leaseTest(t, l, func(t *testing.T, m *machine, _ func()) {
		h := permits(t, m.client(t), "host")
		taken := take(t, h)
		started := make(chan time.Time, 1)
		done := make(chan error)
		go func() {
			done <- pool.ForEach(t.Context(), slices.Values([]int{1}), func(context.Context, int) error {
				started <- time.Now()
				return nil
			}, pool.Options{Permits: h.Pool()})
		}()
		time.Sleep(1234 * time.Millisecond)
		released := time.Now()
		taken.Release()
		if got := <-started; got != released {
			t.Errorf("started %v after the release, want at once", got.Sub(released))
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
