package permit

import (
	"cmp"
	"slices"
	"time"

	"github.com/headroom-rpc/headroom/internal/mistake"
)

// A pass is the room that sharing out one resource takes, kept to be used again.
type pass struct {
	number int64
	order  []*share // all that may be given something, by group
	groups []*group // that have some of them, by band
	claims []claimant
	index  []int32
	raises []*share
	band   [bands]struct{ from, to int } // of groups

	capacity int64 // to be shared
	assured  int64 // of it, what is guaranteed and wanted
	want     int64 // sum over groups, taken from what is used
	claimed  int64 // the same, as the workers say
	rotates  bool  // whether bands take turns, as there are fewer permits than bands that want some
	short    bool  // whether there are fewer permits than are guaranteed
	lowered  int   // how many targets were
	owed     bool  // whether somebody has less than its part, since others have not given that back
	again    time.Duration
	look     bool // whether to look again
}

// shareOut brings the targets of a resource to what each session's part is, as far as that is free.
func (l *Ledger) shareOut(r *resource) {
	p := &l.pass
	p.number++
	r.changed, r.planned = false, l.now
	l.collect(r, p)
	p.split(r)
	if l.choose(r, p) {
		p.split(r)
	}
	l.lower(r, p)
	l.raise(r, p)
	l.tell(r, p)
	r.reviewing, r.review = p.look, p.again
}

// collect finds who may be given something, and what each is taken to want.
func (l *Ledger) collect(r *resource, p *pass) {
	p.order, p.groups = p.order[:0], p.groups[:0]
	p.look, p.owed, p.lowered = false, false, 0
	p.want, p.claimed, p.assured = 0, 0, 0
	stuck := int64(0)
	for b := range r.bands {
		p.band[b].from = len(p.groups)
		for _, g := range r.bands[b].groups {
			g.from = len(p.order)
			g.sure, g.has, g.wish = 0, 0, 0
			claimed := int64(0)
			for _, sh := range g.shares {
				if !sh.served {
					stuck += sh.charge.amount()
					continue
				}
				if sh.asked > sh.guarantee {
					l.guarantee(sh)
				}
				if at, ok := l.reclaim(sh); ok {
					p.lookAt(at)
				}
				sh.wish = sh.usable(sh.want)
				if r.gather.by == sh {
					sh.wish = max(sh.wish, min(sh.need, sh.most()))
				}
				claimed += min(sh.want, sh.most())
				g.wish += sh.wish
				g.sure += min(sh.sure(), sh.wish)
				p.assured += min(sh.guarantee, sh.wish)
				g.has += sh.charge.target
				p.order = append(p.order, sh)
			}
			if g.to = len(p.order); g.from == g.to {
				continue
			}
			if g.holder.pass != p.number {
				g.holder.wanted, g.holder.pass = 0, p.number
			}
			quota := r.limit
			if most := g.holder.grant.Max; most > 0 {
				quota = min(quota, max(most-g.holder.wanted, 0))
			}
			g.want = min(g.wish, quota)
			g.sure = min(g.sure, quota)
			g.holder.wanted += g.want
			p.want += g.want
			p.claimed += min(claimed, quota)
			p.groups = append(p.groups, g)
		}
		p.band[b].to = len(p.groups)
	}
	p.capacity = max(r.limit-r.unknown-stuck, 0)
	if r.mode != ModeNormal {
		p.capacity = 0
	}
	r.measure()
	if scarce := p.claimed > p.capacity; scarce != r.scarce {
		r.scarce, r.since = scarce, l.now
		if scarce {
			p.lookAt(l.now + reclaimAfter)
		}
	}
}

func (p *pass) lookAt(at time.Duration) {
	if !p.look || at < p.again {
		p.look, p.again = true, at
	}
}

// sure is what the share has before all sharing.
func (sh *share) sure() int64 {
	if sh.resource.gather.by == sh {
		return max(sh.guarantee, min(sh.need, sh.most()))
	}
	return sh.guarantee
}

// split divides the capacity among bands, then identities, then sessions.
func (p *pass) split(r *resource) {
	give := p.splitBands(r)
	for b := range r.bands {
		groups := p.groups[p.band[b].from:p.band[b].to]
		p.claims = p.claims[:0]
		for _, g := range groups {
			p.claims = append(p.claims, claimant{
				want: g.want, sure: g.sure, weight: g.holder.weight(),
				has: g.has, turn: max(g.turn, r.bands[b].clock),
			})
		}
		divide(give[b], p.claims, &p.index)
		for i, g := range groups {
			g.give, g.whole = p.claims[i].give, p.claims[i].whole
		}
		for _, g := range groups {
			p.splitGroup(g)
		}
	}
	if left := p.capacity - p.want; left > 0 {
		p.spread(r, left)
	}
}

// splitBands returns what each band has: first what is guaranteed, and of what is left after that the highest band
// all that it wants, but for a floor of each lower one that wants something. Where less is left than there are
// bands that want some of it, they take turns.
func (p *pass) splitBands(r *resource) (give [bands]int64) {
	var want, sure, has [bands]int64
	for b := range r.bands {
		for _, g := range p.groups[p.band[b].from:p.band[b].to] {
			want[b] += g.want
			sure[b] += min(g.sure, g.want)
			has[b] += g.has
		}
	}
	p.rotates, p.short = false, false
	if p.want <= p.capacity {
		return want
	}

	p.claims = p.claims[:0]
	for b := range r.bands {
		p.claims = append(p.claims, claimant{want: sure[b], weight: 1, has: has[b], turn: r.bands[b].turn})
	}
	divide(p.capacity, p.claims, &p.index)
	left, wanting, top := p.capacity, int64(0), -1
	for b := range p.claims {
		give[b] = p.claims[b].give
		left -= give[b]
		if want[b] > sure[b] {
			wanting++
			if top < 0 {
				top = b
			}
		}
		p.short = p.short || give[b] < sure[b]
	}
	if p.short { // after a cut
		p.rotates = true
		return give
	}

	// The floors of many bands together leave the highest half, or one permit.
	p.rotates = left < wanting
	ratio := r.config.FloorRatio
	if ratio == 0 {
		ratio = defaultFloorRatio
	}
	floor, floors := max(int64(ratio*float64(left)), 1), max(left/2, wanting-1)
	p.claims = p.claims[:0]
	for b := range r.bands {
		c := claimant{weight: 1, has: max(has[b]-sure[b], 0), turn: r.bands[b].turn}
		switch {
		case p.rotates:
			c.want = min(want[b]-sure[b], 1)
		case b != top:
			c.want = min(want[b]-sure[b], floor)
		}
		p.claims = append(p.claims, c)
	}
	if p.rotates {
		floors = left
	}
	divide(floors, p.claims, &p.index)
	for b := range p.claims {
		give[b] += p.claims[b].give
		left -= p.claims[b].give
	}
	for b := range give {
		more := min(want[b]-give[b], left)
		give[b] += more
		left -= more
	}
	return give
}

const defaultFloorRatio = 0.1

// splitGroup divides what a group has among its sessions.
func (p *pass) splitGroup(g *group) {
	shares := p.order[g.from:g.to]
	if g.wish <= g.give {
		for _, sh := range shares {
			sh.give, sh.whole = sh.wish, sh.wish
		}
		return
	}
	p.claims = p.claims[:0]
	for _, sh := range shares {
		c := claimant{
			want: min(sh.wish, g.give), sure: sh.sure(), weight: sh.weight,
			has: sh.charge.target, turn: max(sh.turn, g.clock),
		}
		if sh.idle {
			c.has = 0
		}
		p.claims = append(p.claims, c)
	}
	divide(g.give, p.claims, &p.index)
	for i, sh := range shares {
		c := &p.claims[i]
		sh.give, sh.whole = c.give, c.whole
	}
}

// spread divides what nobody is taken to want: a session keeps what it has, and gets a little more than it wants
// when nobody waits.
func (p *pass) spread(r *resource, left int64) {
	p.claims = p.claims[:0]
	for _, g := range p.groups {
		for _, sh := range p.order[g.from:g.to] {
			c := claimant{weight: sh.weight, has: max(sh.charge.target-sh.give, 0), turn: sh.turn}
			if g.wish <= g.give { // else the quota binds
				most := max(min(sh.want, r.limit), sh.charge.target)
				if !r.scarce && sh.want > 0 && sh.charge.target <= sh.want {
					most = max(most, sh.want+1+sh.want/4)
				}
				c.want = min(max(min(most, sh.most())-sh.give, 0), left)
			}
			p.claims = append(p.claims, c)
		}
	}
	divide(left, p.claims, &p.index)
	for i, sh := range p.order {
		sh.give += p.claims[i].give
	}
}

// lower lowers the targets that are over their part.
func (l *Ledger) lower(r *resource, p *pass) {
	for _, sh := range p.order {
		if r.mode != ModeNormal {
			sh.give, sh.whole = 0, 0
		}
		if sh.give < sh.charge.target {
			l.aim(sh, sh.give)
			p.lowered++
		}
	}
}

// raise raises the targets that are under their part, as far as that is free: first those that lack what is
// theirs whoever else wants it, then by who was raised longest ago.
func (l *Ledger) raise(r *resource, p *pass) {
	p.raises = p.raises[:0]
	var need int64
	for _, sh := range p.order {
		if sh.give > sh.charge.target {
			p.raises = append(p.raises, sh)
			need += max(sh.give-sh.charge.amount(), 0)
		}
	}
	if need > r.free() {
		slices.SortFunc(p.raises, func(a, b *share) int {
			if lacksA, lacksB := a.charge.target < a.whole, b.charge.target < b.whole; lacksA != lacksB {
				if lacksA {
					return -1
				}
				return 1
			}
			return cmp.Compare(a.serve, b.serve)
		})
	}
	for _, sh := range p.raises {
		l.give(sh, sh.give)
		p.owed = p.owed || sh.charge.target < sh.give
	}
}

// give raises the target of a share, as far as that is free and within the quota of its identity, and reports
// whether it did.
func (l *Ledger) give(sh *share, target int64) bool {
	k := sh.charge.amount()
	most := k + max(sh.resource.free(), 0)
	if mistake.Planted(mistake.RaiseUnchecked) {
		most = target
	}
	if quota := sh.holder.grant.Max; quota > 0 {
		most = min(most, k+max(quota-sh.holder.charge, 0))
	}
	target = min(target, most)
	if target <= sh.charge.target || len(l.records) >= maxRecords {
		return false
	}
	l.aim(sh, target)
	l.passTurn(sh)
	return true
}

// lap is by how much a turn moves for one permit, divided by the weight. So over time even what does not divide is
// had by weight, and nobody is left out: it is stride scheduling, with the start times of start-time fair queueing
// (Goyal, Vin and Cheng, 1996).
const lap = MaxWeight << 10

// passTurn moves the turns of who got one of the permits that do not divide.
func (l *Ledger) passTurn(sh *share) {
	g := sh.group
	b := &sh.resource.bands[g.band]
	if sh.charge.target > sh.whole {
		g.clock = max(sh.turn, g.clock)
		sh.turn = g.clock + lap/sh.weight
	}
	if g.has > g.whole {
		b.clock = max(g.turn, b.clock)
		g.turn = b.clock + lap/g.holder.weight()
	}
	if sh.charge.target > sh.sure() || sh.resource.short {
		b.turn = sh.resource.serves // what is guaranteed is had without a turn
	}
	sh.idle = false
}

// tell sees to it that each session knows what else there is to know beside its target.
func (l *Ledger) tell(r *resource, p *pass) {
	r.unserved = 0
	tight := p.want > p.capacity
	within := l.reportWithin(p)
	r.tight, r.short, r.assured, r.wanted = tight, p.short, p.assured, p.claimed
	for _, g := range p.groups {
		scarce := tight || g.wish > g.give
		r.tight = r.tight || scarce
		extra := scarce && (g.give > g.whole || p.rotates && tight)
		for _, sh := range p.order[g.from:g.to] {
			c := &sh.charge
			if short := sh.want - c.target; short > 0 {
				r.unserved += short
			}
			contended := scarce && r.gather.by != sh &&
				(c.target > sh.whole || extra || sh.want <= c.target)
			calm := !contended && sh.contended
			if calm && l.now < r.since+reclaimAfter && r.scarce == scarce {
				p.lookAt(r.since + reclaimAfter)
				calm = false
			}
			switch {
			case c.version == 0, sh.stance != r.stance, sh.toldGuarantee != sh.guarantee, sh.toldMost != sh.mostAtOnce(),
				contended && !sh.contended && c.target > 0, calm && c.target > 0:
				l.aim(sh, c.target)
			}
			if c.version > c.sent {
				sh.contended, sh.stance, sh.toldGuarantee, sh.toldMost = contended, r.stance, sh.guarantee, sh.mostAtOnce()
				sh.reportWithin = max(sh.reportWithin, within)
				if p.owed {
					sh.reportWithin = 0
				}
			}
		}
	}
	// A hand-off knows neither modes nor gathering.
	r.tight = r.tight && r.mode == ModeNormal && r.gather.by == nil
}
