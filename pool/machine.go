package pool

import (
	"runtime"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

// machine reads what the tasks use and what is seen of the machine.
type machine struct {
	clock       func() time.Duration
	ask         func() Host // nil where the Snapshotter or the sensors say
	snapshotter *snapshot.Snapshotter
	status      func() (current, historical snapshot.Status) // nil where the Snapshotter judges
	sensors     *sensors
	view        snapshot.View
	viewAt      time.Duration   // when it was taken, by the clock of the pool
	newer       <-chan struct{} // closed when there is a newer one; nil where there is none
	seen        seen
}

func newMachine(
	clock func() time.Duration, ask func() Host, s *snapshot.Snapshotter,
	status func() (current, historical snapshot.Status),
) machine {
	return machine{clock: clock, ask: ask, snapshotter: s, status: status, sensors: newSensors()}
}

// read returns what the tasks use now and what is seen of the machine. Where usage is nil the tasks are goroutines of
// this process.
func (m *machine) read(now time.Duration, usage func() Usage) (own Usage, host Host) {
	var self *reading // of this process, where the tasks run in it
	if usage != nil {
		own = usage()
	} else {
		own, self = m.sensors.usage(), &m.sensors.newest
	}
	if m.ask != nil {
		return own, m.ask()
	}
	if host = m.sensors.host(own); usage != nil {
		host.MemoryUsed, host.MemoryTotal = 0, 0 // of this process, in which no task runs
		host.Kills = own.Kills
	}
	if m.snapshotter != nil {
		m.look()
		host = m.seen.host(now, host, &m.view, m.viewAt, own, self)
	}
	return own, host
}

// look gets what the Snapshotter has, if that is news.
func (m *machine) look() {
	select {
	case <-m.newer:
		m.newer = nil
	default:
	}
	if m.newer != nil {
		return
	}
	if v, newer, err := m.snapshotter.View(); err == nil {
		m.view, m.newer, m.viewAt = v, newer, m.clock()
	} else {
		m.view = snapshot.View{}
	}
}

// judge returns the judgements of now, where there is something that judges.
func (m *machine) judge() (current, historical snapshot.Status, ok bool) {
	switch {
	case m.status != nil:
		current, historical = m.status()
		return current, historical, true
	case m.snapshotter != nil:
		m.look()
		return m.view.Current, m.view.Historical, m.newer != nil
	}
	return current, historical, false
}

// host adds what was seen to what this process knows by itself, where own is what the tasks use now. self is
// what this process holds, where they are goroutines of it, and else nil.
func (s *seen) host(now time.Duration, h Host, view *snapshot.View, viewAt time.Duration, own Usage, self *reading) Host {
	held, idle := own.Memory, int64(0)
	if self != nil {
		held, idle = self.held, self.idle
	}
	s.look(now, own, held)
	for i := range view.Newest {
		snap := &view.Newest[i]
		if !snap.Known() {
			continue
		}
		switch snap.Resource {
		case snapshot.CPU:
			c := &snap.CPU
			if c.Cores > 0 {
				s.cpu(viewAt-(view.At-snap.At), c.Used*c.Cores)
				h.Cores, h.Busy = c.Cores, s.busy
			}
			if c.LoadKnown {
				h.RunQueue = runQueue(float64(c.Runnable), own.Runnable, self != nil)
			}
		case snapshot.Memory:
			m := &snap.Memory
			if m.Total <= 0 {
				continue
			}
			h.MemoryUsed, h.MemoryTotal = m.Used, m.Total
			then := s.points.by(viewAt - (view.At - snap.At))
			if held < 0 || then.memory < 0 {
				continue
			}
			h.MemoryUsed = max(0, m.Used+held-then.memory-idle) // with what came since
			if self != nil && self.most > 0 {
				h.MemoryTotal = min(m.Total, max(0, m.Used-then.memory)+self.most) // others, and what this process may have
			}
		}
	}
	return h
}

// runQueue returns how many run or wait for a CPU, by what the kernel counts and what the tasks know of themselves.
func runQueue(kernel, own float64, inProcess bool) float64 {
	queue := max(0, kernel-observers)
	if inProcess && own >= 0 {
		// The kernel sees no more goroutines than there are processors.
		queue = own + max(0, queue-min(own, float64(runtime.GOMAXPROCS(0))))
	}
	return max(queue, own)
}
