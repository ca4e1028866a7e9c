package main

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/internal/spawn"
	"github.com/headroom-rpc/headroom/permit"
	"github.com/headroom-rpc/headroom/pool"
	"github.com/headroom-rpc/headroom/snapshot"
	"github.com/headroom-rpc/headroom/snapshot/host"
)

// A share is what many commands may use of a server's permits. Without a server it is nothing.
type share struct {
	client  *client.Client
	needs   *needs
	first   *client.Permits // the pool takes permits of this resource
	permits pool.Permits
	rest    map[string]int64 // each command takes those of the others by itself
}

// share finds the server. Without one there is no share.
func (r *runCommand) share(ctx context.Context, program string) (*share, error) {
	c, err := r.connect(ctx, program)
	if c == nil {
		return &share{}, err
	}
	s := &share{client: c, needs: &r.needs, rest: maps.Clone(r.needs.counts)}
	if err = r.possible(ctx, c); err == nil {
		// In the order that AcquireAll has, so that two programs never wait for each other.
		name := r.needs.sorted()[0]
		delete(s.rest, name)
		if s.first, err = c.Permits(name); err != nil {
			err = runError(err)
		}
	}
	if err != nil {
		s.close()
		return nil, err
	}
	s.permits = s.first.Pool()
	return s, nil
}

func (s *share) close() {
	if s.client != nil {
		s.client.Close()
	}
}

// blocked says why nothing may start. The newest target may not tell: the server sends none where a reason alone changed.
func (s *share) blocked(ctx context.Context) string {
	var reasons []string
	for _, name := range s.needs.sorted() {
		e, err := s.client.Explain(ctx, name)
		if err != nil {
			return "the server is not heard of"
		}
		if e.Share.Want > e.Share.Target {
			reasons = append(reasons, name+": "+strings.Join(e.Reasons, "; "))
		}
	}
	if len(reasons) == 0 {
		return "no permits of " + strings.Join(s.needs.sorted(), ", ")
	}
	return strings.Join(reasons, "; ")
}

// weight is how many permits of the pool a command takes.
func (s *share) weight() int64 {
	if s.first == nil {
		return 1
	}
	return s.needs.counts[s.first.Resource()]
}

// leaseLeft returns what says how long the permits of all commands are leased if the server is not heard of from now on;
// nil without a server.
func (s *share) leaseLeft() func() time.Duration {
	if s.first == nil {
		return nil
	}
	return s.first.LeaseLeft
}

// over reports whether the lease of the permits has ended.
func (s *share) over() bool { return s.first != nil && s.first.LeaseLeft() == 0 }

// A lease is what one command runs under.
type lease struct {
	environ []string
	others  *holding // nil for none
}

func (l *lease) lost() <-chan struct{} {
	if l.others == nil {
		return nil
	}
	return l.others.lost.Done()
}

func (l *lease) release() {
	if l.others != nil {
		l.others.release()
	}
}

// hold takes the permits that the pool does not, and says what is held. It blocks until it has them. ctx is that of a task
// of the pool.
func (s *share) hold(ctx context.Context) (*lease, error) {
	if s.first == nil {
		return &lease{}, nil
	}
	l := &lease{}
	fences := map[string]permit.Fence{s.first.Resource(): pool.FenceOf(ctx)}
	if len(s.rest) > 0 {
		permits, err := s.client.AcquireAll(ctx, s.rest)
		if err != nil {
			return nil, err
		}
		l.others = newHolding(permits, slices.Sorted(maps.Keys(s.rest)))
		for name, p := range l.others.permits {
			fences[name] = p.Fence()
		}
	}
	l.environ = heldEnvironment(s.needs.names, s.needs.counts, fences)
	return l, nil
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
	before, runnable := s.Usage(), -1.0
	return func() pool.Usage {
		u := s.Usage()
		if passed := u.At.Sub(before.At); passed > 0 {
			if runnable = -1; u.Runnable >= 0 {
				runnable = float64(u.Runnable-before.Runnable) / float64(passed)
			}
			before = u
		}
		return pool.Usage{CPU: u.CPU, Runnable: runnable, Memory: u.Memory, Kills: s.Kills(), Age: time.Since(u.At)}
	}
}
