package permit

import (
	"errors"
	"fmt"
)

// Check returns an error that names every invariant that does not hold: the conserved sum, the order of
// versions, and the sums that are kept beside their parts. It costs as much as a look at every session.
func (l *Ledger) Check() error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf("permit: "+format, args...)) }
	equal := func(what, where string, kept, counted int64) {
		if kept != counted {
			fault("%s of %s: kept %d, counted %d", what, where, kept, counted)
		}
	}
	type sums struct{ charge, unknown, held, want, guaranteed, shares int64 }
	resources := make(map[*resource]*sums)
	holders := make(map[*holder]*sums)
	identities := make(map[*identity]int64)
	for _, r := range l.resources {
		resources[r] = &sums{}
		for _, h := range r.holders {
			holders[h] = &sums{}
		}
	}
	for id, s := range l.sessions {
		identities[s.identity]++
		if s.place >= len(l.expiry) || l.expiry[s.place] != s || s.id != id {
			fault("session %s is not in its place", s.name)
		}
		if len(s.shares) > MaxReports || len(s.refused) > MaxReports {
			fault("session %s has %d resources and %d refusals", s.name, len(s.shares), len(s.refused))
		}
		for _, sh := range s.shares {
			for _, sum := range []*sums{resources[sh.resource], holders[sh.holder]} {
				if sum == nil {
					fault("session %s has a share of what does not exist", s.name)
					continue
				}
				sum.charge += sh.charge.amount()
				sum.held += sh.charge.held
				sum.want += sh.want
				sum.guaranteed += sh.guarantee
				sum.shares++
			}
			if sh.group.shares[sh.place] != sh || sh.group.holder != sh.holder {
				fault("session %s is not in its group of %s", s.name, sh.resource.name)
			}
			if k := sh.charge.amount(); k > sh.ceiling {
				fault("session %s has %d of %s, and %d on record", s.name, k, sh.resource.name, sh.ceiling)
			}
			if err := sh.charge.check(); err != nil {
				fault("session %s, %s: %w", s.name, sh.resource.name, err)
			}
		}
	}
	for i, s := range l.expiry {
		if i > 0 && l.expiry.less(i, (i-1)/2) || l.sessions[s.id] != s {
			fault("the expiry heap is out of order at %d", i)
		}
	}
	for owner, n := range identities {
		equal("sessions", owner.name, int64(owner.sessions), n)
	}
	for _, e := range l.recovery.entries {
		for r, ceiling := range e.ceilings {
			resources[r].unknown += ceiling
		}
	}
	for _, r := range l.resources {
		sum := resources[r]
		equal("charge", r.name, r.charge, sum.charge)
		equal("held", r.name, r.held, sum.held)
		equal("want", r.name, r.want, sum.want)
		equal("guarantees", r.name, r.guaranteed, sum.guaranteed)
		equal("shares", r.name, int64(r.shares), sum.shares)
		equal("limit", r.name, r.limit, r.free()+r.charge+r.unknown)
		if !l.config.Amnesia {
			equal("unknown", r.name, r.unknown, sum.unknown)
		}
		if r.unknown < 0 {
			fault("unknown of %s is %d", r.name, r.unknown)
		}
		for name, h := range r.holders {
			equal("charge", name+" in "+r.name, h.charge, holders[h].charge)
			equal("guarantees", name+" in "+r.name, h.guaranteed, holders[h].guaranteed)
			equal("shares", name+" in "+r.name, int64(h.shares), holders[h].shares)
		}
	}
	return errors.Join(errs...)
}

// check returns what is wrong within one charge.
func (c *charge) check() error {
	switch {
	case c.held < 0 || c.target < 0:
		return fmt.Errorf("held %d, target %d", c.held, c.target)
	case c.version != c.sent && c.version != c.sent+1 || c.applied > c.sent:
		return fmt.Errorf("version %d, sent %d, applied %d", c.version, c.sent, c.applied)
	case c.sent > 0 && (c.n == 0 || c.pending[c.n-1].version != c.sent):
		return fmt.Errorf("the target sent as version %d is not counted", c.sent)
	case c.version == c.sent && c.n > 0 && c.pending[c.n-1].target != c.target:
		return fmt.Errorf("target %d, and %d is promised", c.target, c.pending[c.n-1].target)
	}
	for i := 1; i < c.n; i++ {
		if c.pending[i].version <= c.pending[i-1].version || c.pending[i].target >= c.pending[i-1].target {
			return fmt.Errorf("promises out of order: %v", c.pending[:c.n])
		}
	}
	return nil
}
