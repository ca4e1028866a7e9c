package client

import (
	"context"
	"time"
)

// watchInterval is how often the two clocks are compared while there is a lease, so that little is started after a
// suspend that outlasted it.
const watchInterval = 100 * time.Millisecond

// forever is longer than any wait.
const forever time.Duration = 1 << 62

// watch ends the lease, the stream and the work in time, until ctx is done.
func (a *attachment) watch(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	defer a.local.halt()
	for {
		select {
		case <-timer.C:
		case <-a.look:
		case <-ctx.Done():
			return
		}
		if wait := a.check(); wait < forever {
			timer.Reset(wait)
		} else {
			timer.Stop()
		}
	}
}

// check does what is due, and returns how long nothing is if nothing happens.
func (a *attachment) check() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.exactNow()
	heartbeat, ttl := a.timesLocked()
	wait := forever

	a.stale = now-a.heard >= 2*heartbeat
	a.lessee.Advance(now)
	a.settleLocked(now)
	if deadline, ok := a.lessee.Deadline(); ok && now < deadline {
		wait = min(watchInterval, deadline-now)
	}
	if a.cut != nil {
		silence := now - a.heard
		if silence >= ttl/2 {
			a.cut(errSilent)
		} else {
			wait = min(wait, ttl/2-silence)
		}
	}
	for _, s := range a.shares {
		if s.dirty.Load() {
			signal(a.wake)
		}
		if at, ok := s.cancelDue(now); ok {
			wait = min(wait, at-now)
		}
	}
	return min(wait, a.judgeLocked(now))
}

// judgeLocked lets the load of this machine decide while there is no lease and a handle wants that, and returns
// when it is to be called again.
func (a *attachment) judgeLocked(now time.Duration) time.Duration {
	wanted := false
	for _, s := range a.shares {
		wanted = s.followsLocal() || wanted
	}
	if !wanted {
		a.local.halt()
		return forever
	}
	if a.local.start(a.client) {
		a.judgeAt = now + localInterval
	}
	if now >= a.judgeAt {
		a.judgeAt = now + localInterval
		state := a.local.state()
		for _, s := range a.shares {
			s.judge(state)
		}
	}
	return a.judgeAt - now
}
