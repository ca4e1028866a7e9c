package permit

import "cmp"

// maxQueue bounds how many of those who wait are looked at for one permit.
const maxQueue = 64

// passOn gives what became free to who is next, without looking at everybody. It reports false where that is
// not enough, and the resource is to be shared out.
func (l *Ledger) passOn(r *resource) bool {
	if again := r.planned + planInterval; !r.reviewing || r.review > again {
		r.reviewing, r.review = true, again
	}
	filled := false
	for r.free() > 0 {
		next := -1
		for i := 0; i < len(r.queue); i++ {
			sh := r.queue[i]
			if !sh.eligible() {
				last := len(r.queue) - 1
				r.queue[i], r.queue[last] = r.queue[last], nil
				r.queue = r.queue[:last]
				i--
				continue
			}
			if next < 0 || sooner(sh, r.queue[next]) < 0 {
				next = i
			}
		}
		switch {
		case next >= 0:
			sh := r.queue[next]
			if !l.give(sh, sh.charge.target+1) {
				return false
			}
			sh.contended = sh.charge.target > sh.whole || sh.want <= sh.charge.target
		case filled:
			return false
		default:
			l.fillQueue(r)
			filled = true
		}
	}
	return true
}

// eligible reports whether the share may be given one more: it wants it, and has no more than the part of the
// last pass, or one that goes round.
func (sh *share) eligible() bool {
	t, g := sh.charge.target, sh.group
	return sh.served && t < min(sh.want, sh.use.cap, sh.resource.limit) &&
		(t < sh.give || t <= sh.whole && g.has <= g.whole)
}

// sooner orders those who wait: first those that lack a part of their own, then by band, then by turn.
func sooner(a, b *share) int {
	if ownA, ownB := a.charge.target < a.whole, b.charge.target < b.whole; ownA != ownB {
		if ownA {
			return -1
		}
		return 1
	}
	return cmp.Or(
		cmp.Compare(a.group.band, b.group.band),
		cmp.Compare(a.group.turn, b.group.turn),
		cmp.Compare(a.turn, b.turn),
		cmp.Compare(a.serve, b.serve),
	)
}

// fillQueue finds who is next.
func (l *Ledger) fillQueue(r *resource) {
	p := &l.pass
	p.raises = p.raises[:0]
	for b := range r.bands {
		for _, g := range r.bands[b].groups {
			for _, sh := range g.shares {
				if sh.eligible() {
					p.raises = append(p.raises, sh)
				}
			}
		}
	}
	if len(p.raises) > maxQueue {
		least(p.raises, maxQueue, sooner)
		p.raises = p.raises[:maxQueue]
	}
	r.queue = append(r.queue[:0], p.raises...)
}
