package permit

import (
	"time"

	"github.com/headroom-rpc/headroom/internal/mistake"
)

// report takes what a session says of one resource.
func (l *Ledger) report(s *session, sequence int64, in *Report) {
	sh := s.share(in.Resource)
	if sh == nil {
		if sh = l.admit(s, in.Resource); sh == nil {
			return
		}
	}
	version := in.Version
	switch {
	case sequence > sh.sequence:
		sh.sequence = sequence
	case sequence == sh.sequence && mistake.Planted(mistake.ReportTwice):
		version++
	case mistake.Planted(mistake.AcceptStaleReport):
	default:
		return
	}
	l.hear(sh, version, in.Held, in.Ceiling, in.HasCeiling)
	l.demand(sh, in)
}

// admit begins a share, or notes down why there is none.
func (l *Ledger) admit(s *session, name string) *share {
	refusal := RefusedNoResource
	if r := l.byName[name]; r != nil {
		grant, named := r.config.Grants[s.identity.name]
		if !named {
			grant = r.config.Default
		}
		switch {
		case grant.Denied:
			refusal = RefusedNotAllowed
		case len(s.shares) < MaxReports:
			return l.join(s, r)
		default:
			refusal = RefusedTooMany
		}
	}
	for i := range s.refused {
		if s.refused[i].Resource == name {
			return nil
		}
	}
	if len(s.refused) < MaxReports {
		s.refused = append(s.refused, Target{Resource: name, Version: 1, Mode: ModeNormal, Refused: refusal})
		l.enqueue(s)
	}
	return nil
}

// hear takes what a worker holds and the version that it goes by.
func (l *Ledger) hear(sh *share, version, held, ceiling int64, yields bool) {
	applied := sh.charge.applied
	l.recharge(sh, func(c *charge) {
		if c.report(version, max(held, 0), max(ceiling, 0), yields) {
			sh.resource.mismatches++
		}
	})
	if sh.charge.applied > applied && sh.charge.acknowledged() {
		sh.use.since = l.now // from now on the worker knows what it has
	}
	if sh.use.note(sh.charge.held, sh.charge.target) {
		l.nudge(sh.resource)
	}
	if sh.charge.applied < sh.charge.sent && l.now >= sh.sentAt+l.config.Heartbeat {
		l.unsettle(sh) // the frame may be lost
	}
}

// demand takes what a worker wants.
func (l *Ledger) demand(sh *share, in *Report) {
	r, s := sh.resource, sh.session
	changed := false
	set := func(to *int64, value int64) {
		if *to != value {
			*to, changed = value, true
		}
	}
	if want := min(max(in.Want, 0), MaxLimit); want != sh.want {
		r.want += want - sh.want
		sh.group.wish += sh.usable(want) - sh.usable(sh.want)
		sh.want = want
		l.nudge(r)
	}
	set(&sh.need, min(max(in.Need, 1), MaxLimit))
	set(&sh.weight, int64(min(max(in.Weight, 1), MaxWeight)))
	set(&sh.asked, min(max(in.Guarantee, 0), MaxLimit))
	most := sh.holder.grant.MaxPriority
	if s.party.Unbounded {
		most = MaxPriority
	}
	if priority := min(max(in.Priority, MinPriority), most); priority != sh.priority {
		r.exit(sh)
		r.enter(sh, priority)
		changed = true
	}
	sh.meanHold = max(in.MeanHold, 0)
	if in.HasUsage {
		if !sh.hasUsage {
			sh.first = in.Usage
		}
		sh.usage, sh.used, sh.hasUsage = in.Usage, l.now, true
	}
	sh.waiting = sh.want > sh.charge.held
	sh.waitSince = l.now - min(max(in.OldestWait, 0), maxWait)
	if changed {
		l.guarantee(sh)
		l.touch(r)
	}
}

// maxWait bounds what a worker can claim to have waited.
const maxWait = 24 * time.Hour

// guarantee admits what the share asks for, if there is room for all of it.
func (l *Ledger) guarantee(sh *share) {
	if sh.asked == sh.guarantee {
		return
	}
	r, h := sh.resource, sh.holder
	give := sh.asked
	if more := give - sh.guarantee; more > 0 {
		room := r.guaranteed+more <= r.limit
		allowed := sh.session.party.Unbounded || h.guaranteed+more <= h.grant.MaxGuarantee
		if !room || !allowed {
			return
		}
	}
	r.guaranteed += give - sh.guarantee
	h.guaranteed += give - sh.guarantee
	sh.guarantee = give
}
