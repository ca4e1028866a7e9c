package permit

import (
	"iter"
	"time"
)

// A binding says why a target is not higher.
type binding uint8

const (
	bindsNothing binding = iota
	bindsLimit           // the limit, with the others' parts
	bindsQuota           // the quota of the identity
	bindsUse             // that it did not use what it had
	bindsFree            // that others have not yet given back what is its part
	bindsUnknown         // what an earlier life of the server may have granted
	bindsMode            // the severity
	bindsKick
)

// bind notes down why the share has not all that it wants.
func (sh *share) bind() {
	r, c := sh.resource, &sh.charge
	switch {
	case sh.want <= c.target:
		sh.binding = bindsNothing
	case r.mode != ModeNormal:
		sh.binding = bindsMode
	case c.target < sh.give && r.unknown > 0:
		sh.binding = bindsUnknown
	case c.target < sh.give:
		sh.binding = bindsFree
	case sh.wish < min(sh.want, r.limit):
		sh.binding = bindsUse
	case sh.holder.grant.Max > 0 && sh.holder.charge >= sh.holder.grant.Max:
		sh.binding = bindsQuota
	default:
		sh.binding = bindsLimit
	}
}

// why returns the binding in words.
func (sh *share) why() string {
	if sh.session.kicked != "" {
		return sh.session.kicked
	}
	switch sh.binding {
	case bindsLimit:
		return sh.resource.binding
	case bindsQuota:
		return "the quota of its identity"
	case bindsUse:
		return "it did not use what it had while others waited"
	case bindsFree:
		return "others have not yet given back what is its share"
	case bindsUnknown:
		return "workers from before the server's restart may still hold permits"
	case bindsMode:
		return sh.resource.reason
	}
	return ""
}

// unsettle makes the target of the share one to be sent.
func (l *Ledger) unsettle(sh *share) {
	sh.unsettled = true
	l.enqueue(sh.session)
}

func (l *Ledger) enqueue(s *session) {
	if !s.unsettled {
		s.unsettled = true
		l.unsettled = append(l.unsettled, s)
	}
}

// Dirty yields the live sessions that have targets to be sent, each once. TakeTargets may be called meanwhile, and
// nothing else of the ledger.
func (l *Ledger) Dirty() iter.Seq[SessionID] {
	return func(yield func(SessionID) bool) {
		left := l.unsettled[:0]
		stopped := false
		for _, s := range l.unsettled {
			if s.live && s.unsettled && !stopped {
				stopped = !yield(s.id)
			}
			if !s.live { // it is sent all when it comes back
				s.unsettled = false
			}
			if s.unsettled {
				left = append(left, s)
			}
		}
		clear(l.unsettled[len(left):])
		l.unsettled = left
	}
}

// TakeTargets appends to dst the targets of the session that changed since the last call, and takes them for
// sent.
func (l *Ledger) TakeTargets(id SessionID, dst []Target) []Target {
	s := l.sessions[id]
	if s == nil || !s.live || !s.unsettled {
		return dst
	}
	s.unsettled = false
	dst = append(dst, s.refused...)
	s.refused = s.refused[:0]
	for _, sh := range s.shares {
		if !sh.unsettled {
			continue
		}
		sh.unsettled = false
		sh.sentAt = l.now
		l.recharge(sh, (*charge).take)
		r := sh.resource
		t := Target{
			Resource: r.name, Version: sh.charge.version, Target: sh.charge.target, Guarantee: sh.guarantee,
			Contended: sh.contended, Fence: sh.fence, Mode: r.mode, Binding: sh.why(),
		}
		if r.mode == ModeCancel {
			t.CancelAfter = r.cancelAfter
		}
		if sh.want > sh.charge.target {
			t.Wait, t.HasWait = r.wait(r.unserved)
		}
		dst = append(dst, t)
	}
	return dst
}

// measure finds how many permits end a second, by what the workers say that they hold and for how long. A worker
// that says that it holds them for ever makes that wrong by no more than its own part. One that says that it
// holds them for no time makes waits look short, which refuses nobody.
func (r *resource) measure() {
	rate, known := 0.0, int64(0)
	for b := range r.bands {
		for _, g := range r.bands[b].groups {
			for _, sh := range g.shares {
				if held := sh.charge.held; held > 0 && sh.meanHold > 0 {
					rate += float64(held) / sh.meanHold.Seconds()
					known += held
				}
			}
		}
	}
	r.releases, r.ready = rate, rate > 0 && 2*known >= r.held
}

// wait estimates how long it takes until so many permits have ended.
func (r *resource) wait(permits int64) (time.Duration, bool) {
	if !r.ready {
		return 0, false
	}
	return time.Duration(min(float64(max(permits, 1))/r.releases, maxWait.Seconds()) * float64(time.Second)), true
}
