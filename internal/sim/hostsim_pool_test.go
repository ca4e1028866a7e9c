package sim

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/pool"
	"github.com/headroom-rpc/headroom/server"
)

// work is the work of one pool.
type work struct {
	h      *liveHost
	plan   *poolPlan
	index  int
	random *rand.Rand
	queued int // of a pool whose work ends
}

// task returns the next task. It may be tried more than once.
func (w *work) task() pool.Task {
	w.h.mu.Lock()
	plan := w.plan.draw(w.random)
	w.h.mu.Unlock()
	refusals := 0
	return pool.Task{Key: w.plan.key, Run: func(ctx context.Context) error {
		how, backoff := w.h.do(ctx, w.index, plan, refusals)
		switch how {
		case refused:
			refusals++
			return pool.RetryAfter(backoff, nil)
		case killed:
			return pool.RetryAfter(seconds(tickLength), nil)
		case shed:
			return context.Cause(ctx)
		}
		return nil
	}}
}

// run has a pool do the work, until ctx is done.
func (w *work) run(ctx context.Context, o pool.Options) error {
	if w.plan.tasks == 0 {
		return pool.All(ctx, func(yield func(pool.Task) bool) {
			for yield(w.task()) {
			}
		}, o)
	}
	g, err := pool.NewGroup(ctx, o)
	if err != nil {
		return err
	}
	for {
		w.h.mu.Lock()
		w.queued += w.plan.tasks
		w.h.mu.Unlock()
		for range w.plan.tasks {
			t := w.task()
			run := t.Run
			first := true
			t.Run = func(ctx context.Context) error {
				if first {
					first = false
					w.h.mu.Lock()
					w.queued--
					w.h.mu.Unlock()
				}
				return run(ctx)
			}
			if g.Submit(t) != nil { // it was stopped
				return g.Wait()
			}
		}
		again := time.After(seconds(w.plan.every))
		if w.plan.every == 0 {
			again = nil
		}
		select {
		case <-ctx.Done():
			return g.Wait()
		case <-again:
		}
	}
}

// waits reports whether work waits.
func (w *work) waits() bool {
	begun := w.h.m.now >= w.plan.from
	return begun && (w.plan.tasks == 0 || w.queued > 0)
}

// runPools runs a scenario by real pools and by a law in its place: of the pool, of a budget or of a real server.
func runPools(t *testing.T, sc *scenario, cores int, seed uint64, r *rules) (result *record) {
	synctest.Test(t, func(t *testing.T) {
		h := newLiveHost(sc, cores, seed)
		if sc.arbiter == byServer { // which has been there for longer than any worker could hold permits of another
			h.begin = h.begin.Add(10 * time.Second)
		}
		h.m.after(1, func() { h.judge(r.errors) })
		running, stop := context.WithCancel(t.Context())
		over := make(chan struct{})
		go func() { defer close(over); h.run(running) }()
		ctx, cancel := context.WithDeadline(t.Context(), h.begin.Add(seconds(sc.span)))
		defer cancel()
		lease := func(int) (pool.Permits, error) { return nil, nil }
		switch sc.arbiter {
		case byBudget:
			lease = h.budget(t, r)
		case byServer:
			lease = h.arbitrate(t, ctx, sc, r)
		}
		var pools sync.WaitGroup
		for i := range sc.pools {
			w := &work{h: h, plan: &sc.pools[i], index: i, random: rand.New(rand.NewPCG(seed, uint64(i)))}
			h.mu.Lock()
			h.backlog = append(h.backlog, w.waits)
			h.mu.Unlock()
			pools.Go(func() {
				time.Sleep(time.Until(h.begin.Add(seconds(w.plan.from))))
				if err := w.runUntil(ctx, r, lease); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("pool %d returned %v", i, err)
				}
			})
		}
		<-ctx.Done()
		pools.Wait()
		stop()
		<-over
		h.record.ticks = ticks(sc.span)
		result = h.record
	})
	return result
}

// runUntil has a pool do the work by the rules until ctx is done.
func (w *work) runUntil(ctx context.Context, r *rules, lease func(int) (pool.Permits, error)) (err error) {
	o := pool.Options{
		Clock: w.h.clock, Host: w.h.host, Usage: func() pool.Usage { return w.h.usage(w.index) }, Memory: pool.Memory{Shed: true},
	}
	o.Permits, err = lease(w.index)
	switch {
	case err != nil:
		return err
	case o.Permits != nil:
	case r.profile == pool.ProfileHeadroom:
		o.Status = w.h.status
		if o.Law, err = r.parse(); err != nil {
			return err
		}
	default:
		o.Status, o.Profile, o.Max = w.h.status, r.profile, 100_000
	}
	return w.run(ctx, o)
}

// budget returns what gives the pools permits of a budget with the law.
func (h *liveHost) budget(t *testing.T, r *rules) func(int) (pool.Permits, error) {
	law, err := r.parse()
	if err != nil {
		t.Fatal(err)
	}
	b, err := pool.NewBudget(pool.BudgetOptions{Law: law, Host: h.host, Status: h.status, Clock: h.clock})
	if err != nil {
		t.Fatal(err)
	}
	return func(i int) (pool.Permits, error) { return b.Share(string(rune('a'+i)), 1) }
}

// arbitrate runs a server with the law, and returns what gives a pool permits of it.
func (h *liveHost) arbitrate(t *testing.T, ctx context.Context, sc *scenario, r *rules) func(int) (pool.Permits, error) {
	first, err := r.parse()
	next, again := r.parse()
	if err = errors.Join(err, again); err != nil {
		t.Fatal(err)
	}
	s := &service{t: t, host: newHost(), sources: h.sources}
	s.permits = server.PermitConfig{Host: server.HostPermits{Law: first}, Clock: s.host.clock}
	s.start()
	t.Cleanup(s.end)
	if sc.restart > 0 {
		go func() {
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Until(h.begin.Add(seconds(sc.restart)))):
			}
			s.end()
			time.Sleep(restartTakes * time.Second)
			s.permits.Host.Law = next
			s.start()
		}()
	}
	return func(int) (pool.Permits, error) {
		p, err := s.client().Permits(server.HostResource)
		if err != nil {
			return nil, err
		}
		return p.Pool(), nil
	}
}
