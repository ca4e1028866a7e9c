package permit

import (
	"cmp"
	"time"
)

// What is left open by a hand-off may wait for leastPlan, and longer where there are many sessions: to share out among
// them, which takes some 80 ns for each, is then not what most of the time goes to while each of them answers a cut.
const (
	leastPlan   = 10 * time.Millisecond
	planSession = 5 * time.Microsecond
)

// planInterval is how long what is left open by a hand-off may wait.
func (r *resource) planInterval() time.Duration {
	return max(leastPlan, time.Duration(r.shares)*planSession)
}

// handOff gives what became free to who is next by the parts of the last pass: it looks at each identity and at
// the sessions of one, and divides nothing. It reports false where the resource is to be shared out instead.
func (l *Ledger) handOff(r *resource) bool {
	if again := r.planned + r.planInterval(); !r.reviewing || r.review > again {
		r.reviewing, r.review = true, again
	}
	for r.free() > 0 {
		g := r.nextGroup()
		if g == nil {
			return false
		}
		sh := g.nextShare(r)
		if sh == nil {
			g.wish = g.has // nobody of it is next before the parts are divided again
			continue
		}
		if !l.give(sh, max(min(sh.give, sh.want), sh.charge.target+1)) {
			return false
		}
		sh.contended = sh.charge.target > sh.whole || sh.want <= sh.charge.target
	}
	return true
}

// nextGroup returns the group that is next, of those that want something and have no more than their part, or
// one that goes round.
func (r *resource) nextGroup() (next *group) {
	for b := range r.bands {
		for _, g := range r.bands[b].groups {
			if g.has >= g.wish || g.has >= g.give && g.has > g.whole {
				continue
			}
			if next == nil || sooner(g.has < g.whole, next.has < next.whole, g.band, next.band, g.turn, next.turn) {
				next = g
			}
		}
	}
	return next
}

// nextShare does the same among the sessions of a group.
func (g *group) nextShare(r *resource) (next *share) {
	for _, sh := range g.shares {
		t := sh.charge.target
		if !sh.served || t >= sh.usable(sh.want) || t >= sh.give && t > sh.whole {
			continue
		}
		if next == nil || sooner(t < sh.whole, next.charge.target < next.whole, 0, 0, sh.turn, next.turn) {
			next = sh
		}
	}
	return next
}

// sooner orders who waits: first those that lack a part of their own, then by band, then by turn.
func sooner(own, nextOwn bool, band, nextBand int, turn, nextTurn int64) bool {
	if own != nextOwn {
		return own
	}
	return cmp.Or(cmp.Compare(band, nextBand), cmp.Compare(turn, nextTurn)) < 0
}
