package server

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/headroom-rpc/headroom/permit"
	"github.com/headroom-rpc/headroom/snapshot"
	"github.com/headroom-rpc/headroom/snapshot/host"
	"github.com/headroom-rpc/headroom/task"
)

// sensor measures what workers on this host use of its CPUs, with all their descendants: what they say themselves is
// taken for no less than that. It looks at processes only while there are such workers, on a goroutine of its own.
type sensor struct {
	clock func() time.Duration
	log   *slog.Logger
	wake  chan struct{} // holds one token

	mu     sync.Mutex
	wanted map[permit.SessionID]int // the pid
	known  map[permit.SessionID]sensed
}

// sensed is the CPU time that a worker has used by a time.
type sensed struct {
	cpu, at time.Duration
}

const (
	senseInterval = time.Second
	senseShare    = 100 // the time between two passes is at least so many times what one takes
	senseFiles    = 512 // that are kept open
)

func newSensor(clock func() time.Duration, log *slog.Logger) *sensor {
	return &sensor{clock: clock, log: log, wake: make(chan struct{}, 1)}
}

// want says which sessions are to be looked at: those of processes on this host.
func (s *sensor) want(users []permit.User) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wanted == nil {
		s.wanted = make(map[permit.SessionID]int)
	}
	clear(s.wanted)
	for i := range users {
		if who := &users[i].Party; who.Local && who.PID > 0 {
			s.wanted[users[i].Session] = who.PID
		}
	}
	if len(s.wanted) > 0 {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// cpu returns what was measured last of a session.
func (s *sensor) cpu(id permit.SessionID) (sensed, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one, ok := s.known[id]
	return one, ok
}

// run measures until ctx is done.
func (s *sensor) run(ctx context.Context) {
	monitor, err := task.NewMonitor(task.Config{
		Interval: senseInterval, History: 10 * senseInterval, Keep: senseInterval, HistoryBytes: 1 << 20,
	})
	var scanner *host.ProcessScanner
	if err == nil {
		scanner, err = host.OpenProcesses(senseFiles)
	}
	if err != nil {
		s.log.Warn("what workers use is not measured, and taken as they say it", "reason", err.Error())
		return
	}
	defer scanner.Close()
	p := &passes{sensor: s, monitor: monitor, scanner: scanner, watched: make(map[permit.SessionID]int)}
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		}
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		pause.Reset(max(senseInterval*9/10, senseShare*p.once(ctx)))
	}
}

// passes is what the goroutine of a sensor works with.
type passes struct {
	*sensor
	monitor *task.Monitor
	scanner *host.ProcessScanner
	watched map[permit.SessionID]int
}

// once looks at the processes once, and returns how long that took.
func (p *passes) once(ctx context.Context) time.Duration {
	p.follow(ctx)
	fresh := p.monitor.Fresh()
	began := time.Now()
	processes, err := p.scanner.Scan(ctx, fresh)
	cost := time.Since(began)
	if ctx.Err() != nil {
		return cost
	}
	now := p.clock()
	observed := p.monitor.Observe(task.Pass{
		At: now, Time: began, Processes: processes, Err: err, Cost: cost, All: fresh,
		Outside: func(uint64) *task.Outside { return &task.Outside{} },
	})
	if observed != nil || err != nil {
		return cost
	}
	known := make(map[permit.SessionID]sensed, len(p.watched))
	for id, pid := range p.watched {
		if p.nests(processes, pid) {
			continue
		}
		sample, err := p.monitor.Sample(now, id.Name(), task.Query{})
		if err == nil && sample.Usage.Known && sample.At == now {
			known[id] = sensed{cpu: sample.Usage.CPU, at: sample.At}
		}
	}
	p.mu.Lock()
	p.known = known
	p.mu.Unlock()
	return cost
}

// follow registers the workers that are new, and drops those that are no longer wanted.
func (p *passes) follow(ctx context.Context) {
	p.mu.Lock()
	wanted := maps.Clone(p.wanted)
	p.mu.Unlock()
	now := p.clock()
	for id := range p.watched {
		if _, still := wanted[id]; !still {
			delete(p.watched, id)
			_ = p.monitor.End(now, time.Now(), id.Name(), task.Unregistered, nil) // it is known
		}
	}
	p.monitor.Forget(now)
	for id, pid := range wanted {
		if _, already := p.watched[id]; already {
			continue
		}
		worker, err := host.OpenProcess(ctx, pid)
		if err != nil {
			continue // it has ended
		}
		_, err = p.monitor.Register(now, time.Now(), task.Spec{
			ID: id.Name(), Owner: "worker", Name: "worker",
			Processes: []task.Process{{Name: "worker", PID: int32(pid), Start: worker.Start()}},
		})
		worker.Close()
		if err == nil { // else there are too many
			p.watched[id] = pid
		}
	}
}

// nests reports whether another worker has the same process, or one that descends from it: what the two use could
// not be told apart.
func (p *passes) nests(all *snapshot.Processes, pid int) bool {
	mine := 0
	for _, other := range p.watched {
		if other == pid {
			if mine++; mine > 1 {
				return true
			}
			continue
		}
		for at, steps := all.Find(int32(other)), 0; at >= 0 && steps < all.Len(); steps++ {
			parent := all.Parent[at]
			if parent == int32(pid) {
				return true
			}
			at = all.Find(parent)
		}
	}
	return false
}
