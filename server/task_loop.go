package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
	"github.com/headroom-rpc/headroom/snapshot/host"
	"github.com/headroom-rpc/headroom/task"
)

const (
	// demandSpacing is the least time between two passes where somebody waits for one; demandShare bounds what such
	// take, as one part in so many.
	demandSpacing = 100 * time.Millisecond
	demandShare   = 20

	// pssBudget bounds what the reading of PSS takes after one pass.
	pssBudget = 250 * time.Millisecond

	// forgetEvery is how often tasks are looked at that ended long ago.
	forgetEvery = 10 * time.Second

	// restEvery is how often the loop wakes without any task.
	restEvery = time.Hour

	// heldShare is the part of the files that the process may open which is for processes, as one in so many; and
	// groupFiles how many those of one cgroup are.
	heldShare  = 4
	groupFiles = 6
)

// taskLoop is the one goroutine that asks the kernel.
type taskLoop struct {
	*taskService
	scanner *host.ProcessScanner
	opened  error // why there is no scanner
	handles []*handle
	last    time.Duration // when the last pass ended
	cost    time.Duration
	passes  uint64
	slow    bool // somebody was told that the sampling falls behind
}

// run samples the tasks until ctx is done. It does not wait for folders that hang.
func (s *taskService) run(ctx context.Context) error {
	l := &taskLoop{taskService: s}
	l.scanner, l.opened = host.OpenProcesses(maxOpenFiles() / heldShare / 2)
	defer l.close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-s.wake:
		}
		timer.Reset(max(l.once(ctx), 0))
	}
}

// close lets go of everything, and tells whoever waits.
func (l *taskLoop) close() {
	l.disk.Close()
	if l.scanner != nil {
		l.scanner.Close()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	l.monitor.Stop("the server ends")
	for _, h := range l.taskService.handles {
		h.close()
	}
	for _, h := range l.trash {
		h.close()
	}
	clear(l.taskService.handles)
	l.changedLocked()
}

// once does what is due, and returns how long nothing is.
func (l *taskLoop) once(ctx context.Context) time.Duration {
	now := l.clock()
	l.mu.Lock()
	trash := l.trash
	l.trash = nil
	l.monitor.Forget(now)
	_, _ = l.expireLocked(now)
	folders := l.monitor.DiskDue(now)
	l.mu.Unlock()
	for _, h := range trash {
		h.close()
	}
	for _, job := range folders {
		l.walk(job)
	}
	if due, ok := l.due(); ok && due <= now {
		l.pass(ctx)
	}
	return l.idle()
}

// due returns when the next pass is, if one is to be.
func (l *taskLoop) due() (time.Duration, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, ok := l.monitor.Next()
	if l.asked > l.served {
		soon := time.Duration(0)
		if l.passes > 0 {
			soon = l.last + max(demandSpacing, demandShare*l.cost)
		}
		if !ok || soon < at {
			at, ok = soon, true
		}
	}
	return at, ok
}

// idle returns how long there is nothing to do.
func (l *taskLoop) idle() time.Duration {
	now := l.clock()
	next := now + restEvery
	if at, ok := l.due(); ok {
		next = min(next, at)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.monitor.Len() > 0 {
		next = min(next, now+forgetEvery)
	}
	if at, ok := l.expireLocked(now); ok {
		next = min(next, at)
	}
	if at, ok := l.monitor.NextDisk(); ok {
		next = min(next, at)
	}
	return next - now
}

// walk has a folder read, in the background, unless its task has ended; with the task the walk ends.
func (l *taskLoop) walk(job task.DiskJob) {
	l.mu.Lock()
	lease := l.leases[job.ID]
	l.mu.Unlock()
	if lease == nil {
		return
	}
	stop := l.startWalk(host.DiskRequest{Path: job.Sandbox, UID: lease.uid}, func(r snapshot.DiskReading) {
		l.mu.Lock()
		l.monitor.DiskDone(l.clock(), time.Now(), job.ID, r)
		l.changedLocked()
		l.mu.Unlock()
		l.poke()
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	lease.stopWalk = stop
	if l.leases[job.ID] != lease {
		stop()
	}
}

// pass looks at all processes once, and then at the PSS that somebody waits for.
func (l *taskLoop) pass(ctx context.Context) {
	l.mu.Lock()
	answers, fresh := l.asked, l.monitor.Fresh()
	l.handles = l.handles[:0]
	for _, h := range l.taskService.handles {
		l.handles = append(l.handles, h)
	}
	pss := make([]string, 0, len(l.pss))
	for id := range l.pss {
		pss = append(pss, id)
	}
	clear(l.pss)
	l.mu.Unlock()

	l.passes++
	meter := startMeter()
	p := task.Pass{Err: l.opened, Outside: l.outside, All: fresh}
	if l.scanner != nil {
		p.Processes, p.Err = l.scanner.Scan(ctx, fresh)
	}
	for i, h := range l.handles { // after the pass: a process that has not ended by now was itself in it
		h.looked = l.passes
		h.keep = i < maxOpenFiles()/heldShare/2/groupFiles
		h.read()
	}
	p.Cost = meter.stop()
	if ctx.Err() != nil {
		return
	}
	p.At, p.Time = l.clock(), time.Now()

	l.mu.Lock()
	// A clock that went back would be a fault of the host; the pass is left out.
	if err := l.monitor.Observe(p); err != nil {
		l.log.Error("a sample of the tasks was refused", "err", err)
	}
	l.last, l.cost = p.At, p.Cost
	if l.scanner != nil {
		l.held = l.scanner.Held()
	}
	health, configured := l.monitor.Health(), l.monitor.Config().Interval
	l.mu.Unlock()
	l.report(&health, configured)

	deadline := time.Now().Add(pssBudget)
	for _, id := range pss {
		l.readPSS(ctx, id, deadline)
	}
	l.mu.Lock()
	l.served = answers
	l.changedLocked()
	l.mu.Unlock()
}

// read takes up what the kernel tells of a process beside the pass.
func (h *handle) read() {
	h.outside.Ended = h.process == nil || h.process.Ended()
	if h.group == nil {
		return
	}
	r, err := h.group.Read(h.keep)
	h.outside.Group, h.outside.GroupKnown = r, err == nil
	h.outside.GroupEnded = errors.Is(err, host.ErrNoGroup)
	if h.outside.PIDs, err = h.group.PIDs(h.outside.PIDs[:0]); err != nil {
		h.outside.PIDs = h.outside.PIDs[:0]
	}
}

// outside returns what is known of a process beside the pass; it is called with the lock held. One that was
// registered since the pass began was not looked at.
func (l *taskLoop) outside(number uint64) *task.Outside {
	if h := l.taskService.handles[number]; h != nil && h.looked == l.passes {
		return &h.outside
	}
	return nil
}

// readPSS reads the PSS of a task, as far as the time allows: of a tree it is known whole or not at all.
func (l *taskLoop) readPSS(ctx context.Context, id string, deadline time.Time) {
	if l.scanner == nil {
		return
	}
	l.mu.Lock()
	targets := l.monitor.PSSTargets(l.clock(), id)
	l.mu.Unlock()
	sums, known := make(map[uint64]int64), make(map[uint64]bool)
	for _, t := range targets {
		if _, seen := known[t.Number]; !seen {
			known[t.Number] = true
		}
		if !known[t.Number] {
			continue
		}
		if time.Now().After(deadline) {
			known[t.Number] = false
			continue
		}
		bytes, err := l.scanner.PSS(ctx, t.PID, t.Start)
		if err != nil && !errors.Is(err, host.ErrNoProcess) {
			known[t.Number] = false
		}
		sums[t.Number] += bytes
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for number, whole := range known {
		l.monitor.SetPSS(l.clock(), id, number, sums[number], whole)
	}
}

// report says once that the sampling falls behind, and what to do about it, and once that it does no more.
func (l *taskLoop) report(h *task.Health, configured time.Duration) {
	slow := h.Interval > configured
	if slow == l.slow {
		return
	}
	l.slow = slow
	if !slow {
		l.log.Info("samples of tasks are taken in time again", "cost", h.Cost, "interval", h.Interval)
		return
	}
	l.log.Warn("samples of tasks are taken less often: one pass takes over 1 % of the interval",
		"cost", h.Cost, "interval", h.Interval, "processes", h.Processes,
		"hint", fmt.Sprintf("set task-interval to %v, or register fewer processes", h.Interval.Round(time.Second)))
}
