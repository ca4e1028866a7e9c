package sim

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"github.com/headroom-rpc/headroom/pool"
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
	refused  int64         // by the target, up to the last verdict
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

// clock is the time that a pool goes by.
func (h *liveHost) clock() time.Duration { return time.Minute + time.Since(h.begin) }

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
		timer.Reset(max(wait, 1)) // rounding must not keep the time where it is
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
		v.client = t.refused-h.refused > errors
		h.refused = t.refused
	}
	h.verdicts.add(v)
	m.after(1, func() { h.judge(errors) })
}

func (h *liveHost) status() (current, historical snapshot.Status) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.verdicts.status(5 * time.Second), h.verdicts.status(30 * time.Second)
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
