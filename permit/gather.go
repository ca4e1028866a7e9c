package permit

import "time"

// gathering lets one session at a time gather more than its part, for a task that needs more permits at once.
// Without it two such tasks could wait for each other for ever, each with half of what it needs.
type gathering struct {
	by    *share
	since time.Duration
	held  int64 // the least held since: one more means that the task began
	full  bool  // whether it has all since
	at    time.Duration
	rest  time.Duration // until when nobody gathers, so that others get their part too
}

// choose sees to the session that gathers, and reports whether the parts are to be divided again.
func (l *Ledger) choose(r *resource, p *pass) (again bool) {
	var oldest *share
	top := -1
	for _, sh := range p.order {
		if top < 0 && sh.wish > 0 {
			top = sh.group.band
		}
		short := sh.need > 1 && sh.want >= sh.charge.held+sh.need && sh.need > sh.give &&
			sh.need <= sh.most() && p.fits(sh)
		if short && !sh.short {
			sh.shortSince = l.now
		}
		if sh.short = short; short && (oldest == nil || sh.shortSince < oldest.shortSince) {
			oldest = sh
		}
	}
	t := &r.gather
	if sh := t.by; sh != nil {
		t.held = min(t.held, sh.charge.held)
		full := sh.charge.target-sh.charge.held >= sh.need
		if full && !t.full {
			t.at = l.now
		}
		t.full = full
		switch {
		case !sh.served, sh.charge.held > t.held, sh.want < sh.charge.held+sh.need,
			!p.fits(sh), r.mode != ModeNormal, full && l.now >= t.at+reclaimAfter:
			took := l.now - t.since
			if sh.group.band > top {
				took *= 9 // a lower band has a floor of a tenth
			}
			l.gathered(r)
			t.rest = l.now + took
			sh.short = false
			sh.shortSince = l.now
			l.touch(r)
			return false
		case full:
			p.lookAt(t.at + reclaimAfter)
		}
		return false
	}
	if oldest == nil || r.mode != ModeNormal {
		return false
	}
	if l.now < t.rest {
		p.lookAt(t.rest)
		return false
	}
	*t = gathering{by: oldest, since: l.now, held: oldest.charge.held}
	oldest.wish = max(oldest.wish, oldest.need)
	g := oldest.group
	g.wish, g.sure = 0, 0
	for _, sh := range p.order[g.from:g.to] {
		g.wish += sh.wish
		g.sure += min(sh.sure(), sh.wish)
	}
	p.want -= g.want
	g.want = min(max(g.wish, g.want), max(g.want, oldest.need))
	g.sure = min(g.sure, g.want)
	p.want += g.want
	return true
}

// fits reports whether what the share needs at once can ever be had, beside what is guaranteed to others.
func (p *pass) fits(sh *share) bool {
	most := sh.holder.grant.Max
	others := p.assured - min(sh.guarantee, sh.wish)
	return sh.need <= p.capacity-others && (most == 0 || sh.need <= most)
}

// gathered ends a gathering.
func (l *Ledger) gathered(r *resource) { r.gather = gathering{rest: r.gather.rest} }
