package permit

import (
	"fmt"
	"iter"
	"time"
)

// leastReportWithin is the shortest time for which reports are put off: for less it is not worth it.
const leastReportWithin = 10 * time.Millisecond

// reportWithin returns for how long the reports of the targets that the pass lowered may be put off where nobody waits
// for them. Each costs as much as to tell the target, and else they come while most are still to be told.
func (l *Ledger) reportWithin(p *pass) time.Duration {
	within := min(time.Duration(p.lowered)*time.Second/time.Duration(l.config.ReportRate), l.config.TTL/3)
	if within < leastReportWithin {
		return 0
	}
	return within
}

// why says in words why the share has not all that it wants; "" where it has.
func (sh *share) why() string {
	r, c := sh.resource, &sh.charge
	quota, guaranteed := sh.holder.grant.Max, r.assured-min(sh.guarantee, sh.wish)
	switch {
	case sh.session.kicked != "":
		return sh.session.kicked
	case sh.want <= c.target:
		return ""
	case r.mode != ModeNormal:
		return r.reason
	case sh.need > r.limit && sh.need > 1:
		return fmt.Sprintf("it needs %d at once, and the limit is %d", sh.need, r.limit)
	case quota > 0 && sh.need > quota:
		return fmt.Sprintf("it needs %d at once, and the quota of its identity is %d", sh.need, quota)
	case c.target < sh.give && r.unknown == 0:
		return "others have not yet given back what is its share"
	case sh.part < min(sh.want, r.limit) && c.target >= sh.part:
		return sh.partText()
	case sh.wish < min(sh.want, r.limit):
		return "it did not use what it had while others waited"
	case quota > 0 && sh.holder.charge >= quota:
		return "the quota of its identity"
	case r.unknown > 0:
		return "workers from before the server's restart may still hold permits"
	case guaranteed > 0 && guaranteed+c.target >= r.limit:
		return "the rest of the limit is guaranteed to others"
	case r.charge == c.amount():
		return r.binds.own
	case c.target > 0:
		return r.binds.rest
	default:
		return r.binds.all
	}
}

// mostAtOnce returns how many permits the session can have at once, where it needs more and no load will change that; else 0.
// A limit of 0 is for a pause.
func (sh *share) mostAtOnce() int64 {
	r, most := sh.resource, int64(MaxLimit)
	if r.config.Law == "fixed" && r.limit > 0 {
		most = r.limit
	}
	if quota := sh.holder.grant.Max; quota > 0 {
		most = min(most, quota)
	}
	if sh.need <= most {
		return 0
	}
	return most
}

// limitTexts say that the limit binds, to sessions of which others have all, the rest or none.
type limitTexts struct{ all, rest, own string }

// bindBy makes the texts of the limit as it is, with what binds it.
func (r *resource) bindBy(binding string) {
	r.binding = binding
	because := ""
	if binding != "" {
		because = ": " + binding
	}
	if r.limit == 0 {
		none := "the limit is 0" + because
		r.binds = limitTexts{none, none, none}
		return
	}
	limit := fmt.Sprintf("of the limit of %d%s", r.limit, because)
	r.binds = limitTexts{"others have all " + limit, "others have the rest " + limit, "it has all " + limit}
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
			Contended: sh.contended, Fence: sh.fence, Mode: r.mode, Binding: sh.why(), Most: sh.mostAtOnce(),
			ReportWithin: sh.reportWithin,
		}
		sh.reportWithin = 0
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

// measure finds how many permits end a second, by what the workers say that they hold and for how long or, where
// they did not say, for how long others of their identity did that have ended. A worker
// that says that it holds them for ever makes that wrong by no more than its own part. One that says that it
// holds them for no time makes waits look short, which refuses nobody.
func (r *resource) measure() {
	rate, known := 0.0, int64(0)
	for b := range r.bands {
		for _, g := range r.bands[b].groups {
			for _, sh := range g.shares {
				mean := sh.meanHold
				if mean == 0 {
					mean = sh.holder.meanHold
				}
				if held := sh.charge.held; held > 0 && mean > 0 {
					rate += float64(held) / mean.Seconds()
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
