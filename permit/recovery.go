package permit

import (
	"cmp"
	"slices"
	"time"

	"github.com/headroom-rpc/headroom/internal/mistake"
)

// recovery is what workers of an earlier life may still hold.
type recovery struct {
	until   time.Duration
	open    bool
	entries map[SessionID]*recovered
	order   []SessionID // of entries; some may be settled

	// instances has the last session of each instance: its worker may know an earlier one only, when the welcome
	// to the last did not come before the server ended.
	instances map[InstanceID]SessionID

	overclaims []Overclaim // that nobody took
}

// recovered is one session of an earlier life that has not come back.
type recovered struct {
	epoch    int64
	instance InstanceID
	identity string
	ceilings map[*resource]int64
}

// startRecovery charges what an earlier life may have granted as unknown.
func (l *Ledger) startRecovery() {
	rec := &l.recovery
	rec.entries = make(map[SessionID]*recovered)
	rec.instances = make(map[InstanceID]SessionID)
	rec.until = l.now + max(l.config.Window, l.config.TTL+l.config.Grace)
	if mistake.Planted(mistake.ForgetUnknown) {
		return
	}
	if l.config.Amnesia {
		rec.open = true
		for _, r := range l.resources {
			r.unknown, r.claimable = r.limit, r.limit
		}
		return
	}
	for _, record := range l.config.Recovered {
		r := l.byName[record.Resource]
		if r == nil || record.Ceiling <= 0 {
			continue
		}
		e := rec.entries[record.Session]
		if e == nil {
			e = &recovered{record.Epoch, record.Instance, record.Identity, make(map[*resource]int64)}
			rec.entries[record.Session] = e
			rec.order = append(rec.order, record.Session)
			rec.instances[record.Instance] = record.Session
		}
		ceiling := min(record.Ceiling, MaxLimit)
		r.unknown += ceiling - e.ceilings[r]
		e.ceilings[r] = ceiling
		rec.open = true
	}
}

// Recovery returns how much longer something may be charged as unknown, or 0.
func (l *Ledger) Recovery(now time.Duration) time.Duration {
	if !l.recovery.open {
		return 0
	}
	return max(l.recovery.until-now, 0)
}

// endRecovery frees what nobody came back for: the leases of an earlier life are over.
func (l *Ledger) endRecovery() {
	rec := &l.recovery
	if !rec.open || l.now < rec.until {
		return
	}
	for _, id := range rec.order {
		if e := rec.entries[id]; e != nil {
			l.settle(id, e)
		}
	}
	rec.order = nil
	for _, r := range l.resources {
		if r.unknown != 0 {
			r.unknown = 0
			l.touch(r)
		}
	}
	rec.open = false
}

// settle takes what a session of an earlier life may hold out of what is unknown.
func (l *Ledger) settle(id SessionID, e *recovered) {
	for _, r := range l.resources {
		if ceiling, ok := e.ceilings[r]; ok {
			r.unknown -= ceiling
			l.touch(r)
			l.note(Record{e.epoch, e.instance, e.identity, id, r.name, 0})
		}
	}
	delete(l.recovery.entries, id)
	if len(l.recovery.entries) == 0 && !l.config.Amnesia {
		l.recovery.open = false
	}
}

// recover lets a session take over what its worker holds from an earlier life, as far as that may have been
// granted: at most what was recorded for that session, instance and identity, so that charge and unknown together do
// not grow by it. Where nothing is recorded, every claim is charged up to the limit and the quota of the identity, even if
// the limit was cut since the start: what runs does not end by that. Not all of them can be true once they are more than
// the limit together, but which are not is not known, and the work of those that are runs: nothing is granted until
// enough of it ended, as after a cut of the limit.
func (l *Ledger) recover(s *session, h Hello) {
	if !l.recovery.open {
		return
	}
	id := h.Session
	e := l.recovery.entries[id]
	if e == nil {
		id = l.recovery.instances[s.instance]
		e = l.recovery.entries[id]
	}
	if e != nil && (e.instance != s.instance || e.identity != s.identity.name) {
		e = nil
	}
	if e == nil && !l.config.Amnesia {
		return
	}
	l.inherit(s, h.Session)
	held := h.Held[:min(len(h.Held), MaxReports)]
	for i := range held {
		r := l.byName[held[i].Resource]
		if r == nil {
			continue
		}
		l.touch(r)
		if r.grant(s.identity.name).Denied {
			continue
		}
		if !l.config.Amnesia {
			most, ok := e.ceilings[r]
			if !ok {
				l.adopt(s, r, &held[i], 0)
				continue
			}
			r.unknown -= most
			delete(e.ceilings, r)
			l.adopt(s, r, &held[i], most)
			l.note(Record{e.epoch, e.instance, e.identity, id, r.name, 0})
			continue
		}
		before := r.charge
		l.adopt(s, r, &held[i], r.mostClaimed(s.identity.name))
		r.unknown = max(r.unknown-(r.charge-before), 0)
		if r.charge > max(before, r.limit) {
			l.overclaim(r)
		}
	}
	if e != nil {
		l.settle(id, e)
	}
}

// mostClaimed returns how many permits a worker of the identity can have been granted by an earlier life of which nothing
// is known.
func (r *resource) mostClaimed(identity string) int64 {
	if quota := r.grant(identity).Max; quota > 0 {
		return min(quota, r.claimable)
	}
	return r.claimable
}

// An Overclaim says that workers claim to hold more from an earlier life than the limit of a resource.
type Overclaim struct {
	Resource      string
	Limit, Charge int64
	Claims        []Claim // the largest first, and not more than 8
}

// A Claim is what is charged to a session for what its worker says that it holds.
type Claim struct {
	Identity, Client, Session string
	Charge                    int64
}

// maxClaims bounds the claims of an Overclaim.
const maxClaims = 8

// TakeOverclaims returns what was claimed over a limit since the last call: of each resource once, when that came up.
func (l *Ledger) TakeOverclaims() []Overclaim {
	taken := l.recovery.overclaims
	l.recovery.overclaims = nil
	return taken
}

// overclaim notes that the claims to a resource are over its limit.
func (l *Ledger) overclaim(r *resource) {
	if r.overclaimed {
		return
	}
	r.overclaimed = true
	o := Overclaim{Resource: r.name, Limit: r.limit, Charge: r.charge}
	for _, s := range l.sessions {
		if sh := s.share(r.name); sh != nil && sh.charge.amount() > 0 {
			o.Claims = append(o.Claims, Claim{s.identity.name, s.client, s.name, sh.charge.amount()})
		}
	}
	slices.SortFunc(o.Claims, func(a, b Claim) int {
		return cmp.Or(cmp.Compare(b.Charge, a.Charge), cmp.Compare(a.Session, b.Session))
	})
	o.Claims = o.Claims[:min(len(o.Claims), maxClaims)]
	l.recovery.overclaims = append(l.recovery.overclaims, o)
}

// succeed lets a session take over the charge of one that was kicked, from the worker that had it.
func (l *Ledger) succeed(old, s *session, h Hello) {
	for i := range h.Held[:min(len(h.Held), MaxReports)] {
		held := &h.Held[i]
		sh := old.share(held.Resource)
		if sh == nil {
			continue
		}
		most := sh.charge.amount()
		l.recharge(sh, func(c *charge) { *c = charge{version: c.version, sent: c.sent, applied: c.applied} })
		l.adopt(s, sh.resource, held, most)
	}
	// What the worker does not name it does not hold.
	l.end(old)
}

// adopt charges a new share for what its worker says that it holds or may start, up to most.
func (l *Ledger) adopt(s *session, r *resource, held *Holding, most int64) {
	if s.share(r.name) != nil { // named twice
		return
	}
	claim := held.Target
	if held.HasCeiling {
		claim = min(claim, held.Ceiling)
	}
	claim = max(claim, held.Held, 0)
	if claim == 0 {
		return
	}
	sh := l.join(s, r)
	if claim > most {
		r.mismatches++
		claim = max(most, 0)
	}
	l.recharge(sh, func(c *charge) {
		c.held = min(max(held.Held, 0), claim)
		c.promise(0, claim)
	})
	sh.want = sh.charge.held
	r.want += sh.want
	l.aim(sh, claim)
}
