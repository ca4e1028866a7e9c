package server

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/headroom-rpc/headroom/limit"
	"github.com/headroom-rpc/headroom/permit"
)

const (
	// stepInterval is the time between two steps of a limit law.
	stepInterval = time.Second

	// stepSlack is how much early a step may be that comes with new snapshots, or late without any. With them it costs
	// no wakeup of the machine: whoever looks at snapshots is awake.
	stepSlack = 50 * time.Millisecond

	// leastStep is the least time from step to step where only the verdict changed: a shorter window says little.
	leastStep = 250 * time.Millisecond

	// firstLook is how long after somebody wants what nobody used the law looks, or else that goes by the limit of an idle
	// host for up to a second. Those who come together are there by then, and have reported first what they use.
	firstLook = 250 * time.Millisecond
)

// follow lets the limit of HostResource follow its law and the severity, until ctx is done.
func (s *permitService) follow(ctx context.Context, a *arbiter) {
	overdue := time.NewTimer(0)
	defer overdue.Stop()
	var (
		verdict uint64
		level   = -1
		last    time.Duration // step
		due     time.Duration // the next one
	)
	for {
		until := due - stepSlack - s.config.Clock()
		if s.regime.paces(s.config.Clock()) {
			until = 0 // each snapshot counts
		}
		changed := s.snapshotter.After(s.snapshotter.Now() + until)
		newest, _, err := s.snapshotter.Verdict()
		moved := s.moved()
		report, _ := s.severity.Latest()
		now := s.config.Clock()
		if newest != verdict {
			due = min(due, last+leastStep)
		}
		switch {
		case err != nil:
			overdue.Reset(inactiveTry)
		case report.Level != level || now >= due-stepSlack:
			verdict, level, last = newest, report.Level, now
			_, next := s.step(a)
			due = now + next
			continue // what changed meanwhile comes before the wait
		default:
			overdue.Reset(max(min(s.pace(a), due+stepSlack-now), stepSlack))
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-moved:
		case <-a.wanted:
			due = min(due, s.config.Clock()+firstLook)
		case <-overdue.C:
		}
	}
}

// paces reports whether there is something to do between two steps: with what the decision gives by and by, or with
// memory that decides whether anything starts.
func (r *regime) paces(now time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.users) > 0 && (rises(&r.decision, now-r.at) || r.decision.Gate != (limit.Gate{}))
}

// moved returns a channel that is closed when the severity moves to another level than it has now.
func (s *permitService) moved() <-chan struct{} {
	for {
		// There is an error only if it moved since by more than is kept.
		if _, moved, err := s.severity.History().After(s.severity.History().Last()); err == nil {
			return moved
		}
	}
}

// hostState is what holds for HostResource.
type hostState struct {
	limit       int64
	binding     string
	mode        permit.Mode
	cancelAfter time.Duration
	reason      string // of the mode
}

// setHost sets it, and the parts of the sessions, those that are to come too.
func (a *arbiter) setHost(h hostState, parts []partOf, newPart int64) (err error) {
	now, err := a.enter()
	if err != nil {
		return err
	}
	defer a.leave(&err)
	a.change()
	if err := a.ledger.SetMode(now, HostResource, h.mode, h.cancelAfter, h.reason); err != nil {
		return err
	}
	for _, p := range parts {
		a.ledger.SetPart(now, HostResource, p.session, p.part, p.binding)
	}
	a.ledger.SetNewPart(HostResource, newPart, "the limit law has not looked at it yet")
	a.queues.setLimit(HostResource, h.limit)
	return a.ledger.SetLimit(now, HostResource, h.limit, h.binding)
}

// severityEffect says what the rules make of the decision of a law while the severity is at the level.
func severityEffect(rules []SeverityRule, level int, d limit.Decision) hostState {
	h := hostState{limit: d.Limit, binding: d.Binding, mode: permit.ModeNormal}
	for _, r := range rules {
		if r.Level > level {
			continue
		}
		switch r.Action {
		case SeverityCap:
			most := r.Limit
			if r.Ratio > 0 {
				most = max(1, int64(math.Floor(r.Ratio*float64(d.Limit))))
			}
			if most < h.limit {
				h.limit, h.binding = most, fmt.Sprintf("severity level %d caps the limit at %d", r.Level, most)
			}
		case SeverityDrain:
			if h.mode == permit.ModeNormal {
				h.mode, h.reason = permit.ModeDrain, fmt.Sprintf("severity level %d lets nothing start", r.Level)
			}
		case SeverityCancel:
			if h.mode != permit.ModeCancel || r.CancelAfter < h.cancelAfter {
				h.mode, h.cancelAfter = permit.ModeCancel, r.CancelAfter
				h.reason = fmt.Sprintf("severity level %d cancels what runs", r.Level)
			}
		}
	}
	return h
}
