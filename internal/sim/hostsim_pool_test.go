package sim

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/limit"
	"github.com/headroom-rpc/headroom/pool"
	"github.com/headroom-rpc/headroom/server"
	"github.com/headroom-rpc/headroom/snapshot"
)

// liveHost is a machine in the time of a bubble, and the sensors that pools read it by. It is safe for concurrent use.
type liveHost struct {
	mu       sync.Mutex
	m        *machine
	senses   *sensors
	verdicts verdicts
	begin    time.Time
	wake     chan struct{} // capacity 1: something happens sooner than planned
	planned  float64       // when the loop looks next
	busy     float64       // at the last verdict
	asked    [2]int64      // of the target: refused and all calls, at the last verdict
	target   *target
	backlog  []func() bool // of each pool: whether work waits
	record   *record
}

func newLiveHost(sc *scenario, cores int, seed uint64) *liveHost {
	m := newMachine(cores, float64(cores)*memoryPerCore, usual)
	h := &liveHost{
		m: m, senses: newSensors(m, seed), begin: time.Now(), wake: make(chan struct{}, 1),
		target: sc.stage(m, seed), record: &record{m: m},
	}
	if h.target != nil {
		h.target.final = true
	}
	for i := range sc.pools {
		m.grow(i)
	}
	m.after(tickLength, h.watch)
	return h
}

// watch records at the end of each tick what only the pools know.
func (h *liveHost) watch() {
	backlog := false
	for _, waits := range h.backlog {
		backlog = backlog || waits()
	}
	h.record.backlog = append(h.record.backlog, backlog)
	h.m.after(tickLength, h.watch)
}

func (h *liveHost) lock() {
	h.mu.Lock()
	h.m.advance(time.Since(h.begin).Seconds())
}

// unlock has the loop wake when the next thing happens.
func (h *liveHost) unlock() {
	sooner := h.m.next() < h.planned
	h.mu.Unlock()
	if sooner {
		select {
		case h.wake <- struct{}{}:
		default:
		}
	}
}

// run lets things happen at their time, until ctx is done.
func (h *liveHost) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		h.lock()
		h.planned = h.m.next()
		wait := time.Duration(math.Ceil(h.planned*1e9)) - time.Since(h.begin)
		h.mu.Unlock()
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-h.wake:
		case <-timer.C:
		}
	}
}

// do runs a job and returns how it ended.
func (h *liveHost) do(ctx context.Context, index int, plan jobPlan, refusals int) (how fate, backoff time.Duration) {
	ended := make(chan fate, 1)
	h.lock()
	j := h.m.start(index, plan, h.target, func(_ *job, how fate) { ended <- how })
	j.refusals = refusals
	h.unlock()
	select {
	case how = <-ended:
	case <-ctx.Done():
		h.lock()
		select {
		case how = <-ended:
		default:
			how = shed
			h.m.leave(j, shed)
			if errors.Is(context.Cause(ctx), pool.ErrShed) {
				h.record.shed++
			}
		}
		h.unlock()
	}
	if how == killed {
		h.mu.Lock()
		h.record.kills++
		h.mu.Unlock()
	}
	return how, seconds(j.backoff)
}

// usage and host are what a pool reads.
func (h *liveHost) usage(index int) pool.Usage {
	h.lock()
	defer h.unlock()
	r := h.senses.pool(index)
	return pool.Usage{CPU: r.CPU, Runnable: r.Runnable, Memory: r.Memory}
}

func (h *liveHost) host() pool.Host {
	h.lock()
	defer h.unlock()
	r := h.senses.host()
	return pool.Host{
		Cores: r.Cores, Busy: r.CPU, RunQueue: r.RunQueue, MemoryUsed: r.MemoryUsed, MemoryTotal: r.MemoryTotal,
		Stalled: r.Stalled, Kills: r.Kills,
	}
}

// judge makes a verdict each second.
func (h *liveHost) judge(errors int64) {
	m := h.m
	v := verdict{cpu: m.busy-h.busy > 0.95*m.cores, memory: m.used() > 0.9*m.memory}
	h.busy = m.busy
	if t := h.target; t != nil {
		v.client = t.refused-h.asked[0] > errors
		h.asked[0] = t.refused
	}
	h.verdicts.add(v)
	m.after(1, func() { h.judge(errors) })
}

func (h *liveHost) status() (current, historical snapshot.Status) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.verdicts.status(5 * time.Second), h.verdicts.status(30 * time.Second)
}

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

// runPools runs a scenario by real pools: one alone by a law of its own, and several, or one whose server restarts,
// by the arbiter of a real server.
func runPools(t *testing.T, sc *scenario, cores int, seed uint64, r *rules) (result *record) {
	synctest.Test(t, func(t *testing.T) {
		h := newLiveHost(sc, cores, seed)
		arbitrated := len(sc.pools) > 1 || sc.restart > 0
		if arbitrated { // by a server that has been there for longer than any worker could hold permits of another
			h.begin = h.begin.Add(10 * time.Second)
		}
		h.m.after(1, func() { h.judge(r.errors) })
		running, stop := context.WithCancel(t.Context())
		over := make(chan struct{})
		go func() { defer close(over); h.run(running) }()
		ctx, cancel := context.WithDeadline(t.Context(), h.begin.Add(seconds(sc.span)))
		defer cancel()
		lease := func() (pool.Permits, error) { return nil, nil }
		if arbitrated {
			lease = h.arbitrate(t, ctx, sc, r)
		}
		var pools sync.WaitGroup
		for i := range sc.pools {
			w := &work{h: h, plan: &sc.pools[i], index: i, random: rand.New(rand.NewPCG(seed, uint64(i)))}
			h.backlog = append(h.backlog, w.waits)
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
func (w *work) runUntil(ctx context.Context, r *rules, lease func() (pool.Permits, error)) (err error) {
	o := pool.Options{
		Host: w.h.host, Usage: func() pool.Usage { return w.h.usage(w.index) }, Memory: pool.Memory{Shed: true},
	}
	o.Permits, err = lease()
	switch {
	case err != nil:
		return err
	case o.Permits != nil:
	case r.profile == pool.ProfileHeadroom:
		o.Status = w.h.status
		if o.Law, err = limit.Parse(r.law); err != nil {
			return err
		}
	default:
		o.Status, o.Profile, o.Max = w.h.status, r.profile, 100_000
	}
	return w.run(ctx, o)
}

// arbitrate runs a server with the law, and returns what gives a pool permits of it.
func (h *liveHost) arbitrate(t *testing.T, ctx context.Context, sc *scenario, r *rules) func() (pool.Permits, error) {
	law := func() limit.Law {
		law, err := limit.Parse(r.law)
		if err != nil {
			t.Fatal(err)
		}
		return law
	}
	s := &service{t: t, host: newHost(), sources: h.sources}
	s.permits = server.PermitConfig{Host: server.HostPermits{Law: law()}, Clock: s.host.clock}
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
			s.permits.Host.Law = law()
			s.start()
		}()
	}
	return func() (pool.Permits, error) {
		p, err := s.client().Permits(server.HostResource)
		if err != nil {
			return nil, err
		}
		return p.Pool(), nil
	}
}

// readers is how many of those who read the run queue count themselves: the reader and a thread of its runtime.
const readers = 2

// sources are what a server reads the host by.
func (h *liveHost) sources() snapshot.Sources {
	var busy, at float64
	return snapshot.Sources{
		CPU: func(context.Context) (snapshot.CPUReading, error) {
			h.lock()
			defer h.unlock()
			r := h.senses.host()
			reading := snapshot.CPUReading{
				Cores: r.Cores, Runnable: int64(r.RunQueue) + readers, LoadKnown: true, Source: "simulated",
			}
			if span := h.m.now - at; span > 0 {
				reading.Used = min(max(0, (r.CPU.Seconds()-busy)/(span*r.Cores)), 1)
			}
			busy, at = r.CPU.Seconds(), h.m.now
			return reading, nil
		},
		Memory: func(context.Context) (snapshot.MemoryReading, error) {
			h.lock()
			defer h.unlock()
			return snapshot.MemoryReading{
				Used: int64(h.m.used()), Total: int64(h.m.memory), Definition: "simulated", Source: "simulated",
			}, nil
		},
	}
}
