package main

import (
	"context"
	"sync"
	"time"

	"github.com/headroom-rpc/headroom/internal/spawn"
	"github.com/headroom-rpc/headroom/pool"
	"github.com/headroom-rpc/headroom/snapshot"
	"github.com/headroom-rpc/headroom/snapshot/host"
)

// A lease is what a command runs under beside the permit of the pool. One of nothing is never lost.
type lease struct {
	environ []string
	lost    <-chan struct{}
	cause   func() error
	give    func()
}

func (l *lease) release() {
	if l.give != nil {
		l.give()
	}
}

// machineInterval is the time between two readings of the machine. What the commands use is read more often.
const machineInterval = 250 * time.Millisecond

// newMachine returns what judges this machine where no server does.
func newMachine() (*snapshot.Snapshotter, func(), error) {
	h, err := host.Open(host.Config{Scope: snapshot.ScopeHost})
	if err != nil {
		return nil, nil, err
	}
	s, err := snapshot.New(snapshot.Config{
		Scope: snapshot.ScopeHost, Sources: h.Sources(), CPUInterval: machineInterval, MemoryInterval: machineInterval,
	})
	if err != nil {
		h.Close()
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = s.Run(ctx) }) // without readings the pool knows less
	return s, func() {
		cancel()
		running.Wait()
		h.Close()
	}, nil
}

// usageOf returns the usage of what a Spawner started, as a pool asks for it. The sum over time of what is runnable is
// that of the Spawner.
func usageOf(s *spawn.Spawner) func() pool.Usage {
	var before spawn.Usage
	at := time.Now()
	return func() pool.Usage {
		u, now := s.Usage(), time.Now()
		is := pool.Usage{CPU: u.CPU, Runnable: -1, Memory: u.Memory}
		if passed := now.Sub(at); passed > 0 && u.Runnable >= 0 {
			is.Runnable = float64(u.Runnable-before.Runnable) / float64(passed)
		}
		before, at = u, now
		return is
	}
}
