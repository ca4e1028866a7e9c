package client

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/headroom-rpc/headroom/permit"
	"github.com/headroom-rpc/headroom/snapshot"
)

// localInterval is how often OfflineLocal allows more or less, which is how often a machine is sampled.
const localInterval = time.Second

// localLoad judges the load of this machine, from start to halt, on a goroutine of its own, since the sources are
// the program's. Only the watcher of an attachment uses it. A nil one never judges.
type localLoad struct {
	sources     func() snapshot.Sources
	stop        context.CancelFunc // nil while it does not run
	snapshotter *atomic.Pointer[snapshot.Snapshotter]
}

// start begins to judge, and reports whether it did not before.
func (l *localLoad) start(c *Client) bool {
	if l == nil || l.stop != nil {
		return false
	}
	ctx, stop := context.WithCancel(context.Background())
	l.stop, l.snapshotter = stop, new(atomic.Pointer[snapshot.Snapshotter])
	go judge(ctx, c, l.sources, l.snapshotter)
	return true
}

// judge runs a snapshotter until ctx is done, and says which.
func judge(ctx context.Context, c *Client, sources func() snapshot.Sources, which *atomic.Pointer[snapshot.Snapshotter]) {
	s, err := snapshot.New(snapshot.Config{Scope: snapshot.ScopeHost, Sources: sources(), Clock: c.clock, Log: c.log})
	if err == nil {
		which.Store(s)
		err = s.Run(ctx)
	}
	if err != nil {
		c.log.Error("the load of this machine cannot be judged", "err", err)
	}
}

// halt stops judging. It does not wait for a source that hangs.
func (l *localLoad) halt() {
	if l == nil || l.stop == nil {
		return
	}
	l.stop()
	l.stop = nil
}

// state returns the judgement over the last seconds.
func (l *localLoad) state() snapshot.State {
	if l == nil || l.stop == nil {
		return snapshot.StateUnknown
	}
	s := l.snapshotter.Load()
	if s == nil {
		return snapshot.StateUnknown
	}
	v, _, err := s.View()
	if err != nil {
		return snapshot.StateUnknown
	}
	return v.Current.State
}

// followsLocal reports whether the load of this machine decides.
func (s *share) followsLocal() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.offline && s.config.offline == OfflineLocal && len(s.handles) > 0
}

// judge allows more or less by the load of this machine.
func (s *share) judge(state snapshot.State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.state.offline || s.config.offline != OfflineLocal {
		return
	}
	before := s.offlineOpen.Load()
	next := nextLocal(before, s.gate.Held(), state)
	if next == before {
		return
	}
	s.allowLocked(next)
	s.serveLocked()
	s.notifyLocked()
}

// nextLocal returns how many permits are allowed in the next second, after allowed ones of which some are held.
// What is not known changes nothing.
func nextLocal(allowed, held int64, state snapshot.State) int64 {
	step := max(allowed/20, 1)
	switch {
	case state == snapshot.StateOverloaded:
		return max(allowed-step, 1)
	case state == snapshot.StateIdle && held >= allowed:
		return min(allowed+step, permit.MaxLimit)
	default:
		return allowed
	}
}
