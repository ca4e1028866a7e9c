package client

import (
	"context"
	"time"
)

// lease is what permits are taken under, and lost with.
type lease struct {
	share *share
	epoch int64 // of their fences; 0 where the offline policy gave them
	ctx   context.Context
	end   context.CancelCauseFunc
}

func newLease(s *share) *lease {
	ctx, end := context.WithCancelCause(context.Background())
	return &lease{share: s, ctx: ctx, end: end}
}

// reissue puts l in force under another epoch, if it is in force: what is taken under either is lost together.
func (s *share) reissue(l *lease, epoch int64) *lease {
	again := &lease{share: s, epoch: epoch, ctx: l.ctx, end: l.end}
	s.lease.CompareAndSwap(l, again)
	return again
}

// cancelDue ends what runs above the target where the server asked for it long enough ago, and returns when it is
// to be called again.
func (s *share) cancelDue(now time.Duration) (at time.Duration, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.cancelling || s.cancelled:
		return 0, false
	case now < s.cancelAt:
		return s.cancelAt, true
	}
	s.cancelled = true
	if s.gate.Held() > s.target.Target {
		s.endLocked(ErrCancelled)
	}
	return 0, false
}

// lose ends the contexts of the permits that are held, where the offline policy does not let the work go on or
// always is set. Where none may be held it does so also with none: one may be on its way through the gate, by a
// goroutine that looked at the clock before.
func (s *share) lose(cause error, always bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.config.offline
	if always || o == OfflineNone || o > 0 && s.gate.Held() > int64(o) {
		s.endLocked(cause)
	}
}

// endLocked ends the contexts of the permits that are held.
func (s *share) endLocked(cause error) { s.lease.Swap(newLease(s)).end(cause) }
