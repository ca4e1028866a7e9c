package permit

import (
	"time"

	"github.com/headroom-rpc/headroom/internal/mistake"
)

// Connect begins a stream: the next frame is its first, with a Hello. Frames of earlier streams that come after
// this change nothing.
func (w *Lessee) Connect(now time.Duration) {
	w.Disconnect(now)
	w.connected = !w.ended
	w.lastSent = max(w.lastSent, now-1)
}

// Disconnect says that the stream is over. What is held stays held until the lease ends.
func (w *Lessee) Disconnect(now time.Duration) {
	w.connected, w.greeted, w.welcomed = false, false, false
	w.sequence = 0
}

// Receive takes a frame of the server. A frame of an older epoch or of an earlier stream, and a target that is
// not newer than the one applied, change nothing.
func (w *Lessee) Receive(now time.Duration, f ServerFrame) {
	if !w.connected || !w.greeted {
		return
	}
	// The echo is that of the Hello or newer in every frame that answers it.
	if (f.Echo < w.greetedAt || f.Echo > w.lastSent) && !mistake.Planted(mistake.AcceptOldEpoch) {
		return
	}
	if f.Kicked != "" {
		w.lease.shut.Store(true)
		w.Disconnect(now)
		w.forget()
		return
	}
	if f.Welcome != nil && !w.welcomed {
		w.welcome(f)
	}
	if !w.welcomed || f.Epoch != w.session.Epoch && !mistake.Planted(mistake.AcceptOldEpoch) {
		return
	}
	w.prolong(now, f.Echo)
	for _, t := range f.Targets {
		w.apply(now, t)
	}
}

func (w *Lessee) welcome(f ServerFrame) {
	if f.Welcome.Epoch < w.session.Epoch || f.Welcome.Epoch != f.Epoch {
		return
	}
	w.welcomed = true
	before, had := w.session, w.hasSession
	w.session, w.hasSession, w.echo = *f.Welcome, true, f.Echo
	w.lease.shut.Store(false)
	resumed := f.Welcome.Resumed && had && before.Epoch == w.session.Epoch && before.Session == w.session.Session
	for _, s := range w.slots {
		if !resumed {
			s.revoke()
		}
		if s.asked || s.gate.Held() > 0 {
			s.due = atOnce // a hello does not say what is wanted
		}
	}
	// A new life of the server took over what the hello stated. The same life did not: it had given it up.
	if had && !resumed && before.Epoch == w.session.Epoch {
		w.lose()
	}
}

// prolong counts the lease from when the frame that is echoed was sent, which was before the server received
// it. The hundredth that it takes off is for a clock of the worker that is slower than the server's.
func (w *Lessee) prolong(now, echo time.Duration) {
	if mistake.Planted(mistake.LeaseFromReceive) {
		echo = now
	}
	w.echo = max(w.echo, echo)
	deadline := w.echo + w.session.TTL - w.session.TTL/100
	w.lease.deadline.Store(int64(deadline))
	if !w.live && now < deadline {
		w.live = true
		w.changedAll()
	}
}

func (w *Lessee) apply(now time.Duration, t Target) {
	s := w.byName[t.Resource]
	if s == nil || t.Version <= s.target.Version && !mistake.Planted(mistake.AcceptOldTarget) {
		return
	}
	t.Target = min(max(t.Target, 0), MaxLimit)
	t.Guarantee = min(max(t.Guarantee, 0), t.Target)
	if t.Mode < ModeNormal || t.Mode > ModeCancel {
		t.Mode = ModeDrain
	}
	lowered := t.Target < s.target.Target
	s.target = t
	s.gate.apply(w.session.Epoch, t)
	switch {
	case s.idle(), lowered && t.ReportWithin <= 0:
		s.due = atOnce // others may have to wait for the answer
	case lowered:
		s.due = min(s.due, now+t.ReportWithin)
	case t.Contended:
		s.due = min(s.due, now+reportDelay) // what is not used by then is needed elsewhere
	default:
		s.due = min(s.due, w.lastSent+w.heartbeat())
	}
	w.changed(s)
}

// Frame returns the next frame to send, if one is due: the hello of a stream, what has changed, or a heartbeat.
// It is taken for sent at the time now. Nothing is due between a hello and its answer. A frame holds at most
// MaxReports reports, those that are due first; another frame for the rest is due at once.
func (w *Lessee) Frame(now time.Duration) (f WorkerFrame, ok bool) {
	if now < w.frameDue() {
		return WorkerFrame{}, false
	}
	if !w.greeted {
		w.greeted = true
		f = w.stamp(now)
		w.greetedAt = f.Sent
		f.Hello = w.hello(now)
		return f, true
	}
	f = w.stamp(now)
	f.Reports = w.reports(now)
	return f, true
}

// Goodbye returns the frame that ends the session, to be sent if there is a stream. Nothing may be started
// after it, and nothing that runs is accounted for: it is for a worker whose work is over.
func (w *Lessee) Goodbye(now time.Duration) WorkerFrame {
	w.ended = true
	w.lease.shut.Store(true)
	f := w.stamp(now)
	f.Goodbye = true
	w.Disconnect(now)
	w.forget()
	return f
}

// stamp begins a frame. No two are sent at the same time, so that an echo names one frame.
func (w *Lessee) stamp(now time.Duration) WorkerFrame {
	w.sequence++
	w.lastSent = max(now, w.lastSent+1)
	return WorkerFrame{Sequence: w.sequence, Sent: w.lastSent}
}

// hello says what the worker holds and may still start. Once its lease is over it can start nothing before it is
// welcome, so that it claims no more than what runs: the rest may have been given to others.
func (w *Lessee) hello(now time.Duration) *Hello {
	h := &Hello{
		Client: w.config.Client, Instance: w.config.Instance, Exclusive: w.config.Exclusive,
		Process: w.config.Process,
		Session: w.session.Session, Epoch: w.session.Epoch, Resume: w.hasSession,
	}
	if !w.hasSession {
		return h
	}
	over := int64(now) >= w.lease.deadline.Load()
	for _, s := range w.slots {
		if over {
			s.gate.yieldTo(0)
		}
		held, ceiling, has := s.snapshot()
		if s.target.Version == 0 && held == 0 || len(h.Held) == MaxReports {
			continue
		}
		h.Held = append(h.Held, Holding{
			Resource: s.name, Held: held, Version: s.target.Version, Target: s.target.Target,
			Ceiling: ceiling, HasCeiling: has,
		})
	}
	return h
}

// snapshot returns what is held, and the ceiling where one was given, as they were at one instant.
func (s *slot) snapshot() (held, ceiling int64, has bool) {
	held, ceiling = s.gate.snapshot()
	if mistake.Planted(mistake.IgnoreCeiling) && s.target.Contended && max(held, s.gate.keep.Load()) < ceiling {
		ceiling = max(held, s.gate.keep.Load())
	}
	if ceiling >= s.target.Target {
		return held, 0, false
	}
	return held, max(ceiling, held), true
}

// frameDue returns when a frame is due, atOnce or never.
func (w *Lessee) frameDue() time.Duration {
	switch {
	case !w.connected, w.greeted && !w.welcomed:
		return never
	case !w.greeted:
		return atOnce
	}
	heartbeat := w.heartbeat()
	due := w.lastSent + heartbeat
	for _, s := range w.slots {
		if s.gate.told.Load() {
			return atOnce
		}
		due = min(due, s.due)
		if s.reported.Resource != "" {
			due = min(due, s.sent+2*heartbeat)
		}
	}
	return due
}

// heartbeat returns how often a frame is sent at least. It is never so seldom that one lost frame ends the
// lease.
func (w *Lessee) heartbeat() time.Duration {
	third := max(w.session.TTL/3, 1)
	if w.session.Heartbeat <= 0 {
		return third
	}
	return min(w.session.Heartbeat, third)
}

// reports takes the resources that changed, and then those that would be silent for two heartbeats by the next
// frame.
func (w *Lessee) reports(now time.Duration) []Report {
	var reports []Report
	heartbeat := w.heartbeat()
	for _, changed := range []bool{true, false} {
		for _, s := range w.slots {
			if changed {
				if told := s.gate.told.Swap(false); !told && s.due == never {
					continue
				}
			} else if s.reported.Resource == "" || now-s.sent < 2*heartbeat-heartbeat/4 {
				continue
			}
			if len(reports) == MaxReports {
				s.due = atOnce
				continue
			}
			if s.idle() && !mistake.Planted(mistake.IgnoreCeiling) {
				s.gate.yield()
			}
			reports = append(reports, s.report(now))
		}
	}
	return reports
}

func (s *slot) report(now time.Duration) Report {
	held, ceiling, has := s.snapshot()
	d := &s.demand
	r := Report{
		Resource: s.name, Version: s.target.Version, Held: held, Want: held + max(d.Waiting, 0),
		Ceiling: ceiling, HasCeiling: has,
		Weight: d.Weight, Priority: d.Priority, Guarantee: d.Guarantee, Need: d.Need, MeanHold: d.MeanHold,
		Usage: d.Usage, HasUsage: d.HasUsage,
	}
	if d.Waiting > 0 {
		r.OldestWait = d.OldestWait
	}
	if r.HasUsage && r.Usage != s.reported.Usage && held > 0 && s.usages < firstUsages {
		s.usages++
	}
	s.reported, s.sent, s.due = r, now, never
	return r
}
