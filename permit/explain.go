package permit

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// oldestWait returns how long the oldest task of the share has waited, as far as its session is old: before that it
// waited for nothing here.
func (sh *share) oldestWait(now time.Duration) time.Duration {
	if !sh.waiting {
		return 0
	}
	return max(now-max(sh.waitSince, sh.session.begun), 1)
}

// inForce returns the limit that people are told: 0 while the mode lets nothing start.
func (r *resource) inForce() int64 {
	if r.mode != ModeNormal {
		return 0
	}
	return r.limit
}

func (l *Ledger) resourceAccount(r *resource) ResourceAccount {
	a := ResourceAccount{
		Resource: r.name, Limit: r.inForce(), Charge: r.charge, Unknown: r.unknown, Held: r.held, Want: r.want,
		Law: r.config.Law, Binding: r.binding, Mode: r.mode, Mismatches: r.mismatches,
	}
	if r.mode != ModeNormal {
		a.Binding = r.reason
	}
	for b := range r.bands {
		for _, g := range r.bands[b].groups {
			for _, sh := range g.shares {
				if sh.want > 0 || sh.charge.amount() > 0 {
					a.Sessions++
				}
				a.OldestWait = max(a.OldestWait, sh.oldestWait(l.now))
			}
		}
	}
	return a
}

func (sh *share) account(now time.Duration) SessionShare {
	return SessionShare{
		Resource: sh.resource.name, Charge: sh.charge.amount(), Held: sh.charge.held, Target: sh.charge.target,
		Want: sh.want, Guarantee: sh.guarantee, Limit: sh.resource.inForce(), Priority: sh.priority,
		Weight: int(sh.weight), OldestWait: sh.oldestWait(now), Version: sh.charge.version,
	}
}

func (l *Ledger) sessionAccount(s *session) SessionAccount {
	a := SessionAccount{
		Name: s.name, Client: s.client, Party: s.party, Instance: s.instance, State: SessionSuspect,
		Silence: l.now - s.heard,
	}
	if s.served() {
		a.State = SessionLive
	}
	for _, sh := range s.shares {
		a.Shares = append(a.Shares, sh.account(l.now))
	}
	slices.SortFunc(a.Shares, func(a, b SessionShare) int { return cmp.Compare(a.Resource, b.Resource) })
	return a
}

// Account returns the account of one resource.
func (l *Ledger) Account(now time.Duration, resource string) (ResourceAccount, error) {
	l.clock(now)
	r := l.byName[resource]
	if r == nil {
		return ResourceAccount{}, fmt.Errorf("%w: %q", ErrNoResource, resource)
	}
	return l.resourceAccount(r), nil
}

// Resources returns the names of the resources, sorted.
func (l *Ledger) Resources() []string {
	names := make([]string, 0, len(l.resources))
	for _, r := range l.resources {
		names = append(names, r.name)
	}
	return names
}

// Sessions returns the sessions that keep accepts, sorted by name; nil accepts all.
func (l *Ledger) Sessions(now time.Duration, keep func(Party) bool) []SessionAccount {
	l.clock(now)
	var accounts []SessionAccount
	for _, s := range l.sessions {
		if keep == nil || keep(s.party) {
			accounts = append(accounts, l.sessionAccount(s))
		}
	}
	slices.SortFunc(accounts, func(a, b SessionAccount) int { return cmp.Compare(a.Name, b.Name) })
	return accounts
}

// Explain explains the resource to the sessions that keep accepts, together.
func (l *Ledger) Explain(now time.Duration, resource string, keep func(name string, p Party) bool) (Explanation, error) {
	l.clock(now)
	r := l.byName[resource]
	if r == nil {
		return Explanation{}, fmt.Errorf("%w: %q", ErrNoResource, resource)
	}
	r.measure()
	e := Explanation{Account: l.resourceAccount(r)}
	e.Share.Resource, e.Share.Limit = r.name, r.inForce()
	first := int64(-1) // the raise before that of any of them
	for b := range r.bands {
		for _, g := range r.bands[b].groups {
			for _, sh := range g.shares {
				if !keep(sh.session.name, sh.session.party) {
					continue
				}
				a := sh.account(l.now)
				e.Share.Charge += a.Charge
				e.Share.Held += a.Held
				e.Share.Target += a.Target
				e.Share.Want += a.Want
				e.Share.Guarantee += a.Guarantee
				e.Share.OldestWait = max(e.Share.OldestWait, a.OldestWait)
				e.Share.Priority, e.Share.Weight = a.Priority, a.Weight
				e.Share.Version = max(e.Share.Version, a.Version)
				if sh.want > sh.charge.target && (first < 0 || sh.serve < first) {
					first = sh.serve
				}
				if text := sh.why(); text != "" && !slices.Contains(e.Reasons, text) {
					e.Reasons = append(e.Reasons, text)
				}
			}
		}
	}
	if e.Share.Charge == r.charge { // of several sessions, each has others that are explained too
		for i, text := range e.Reasons {
			if text == r.binds.all || text == r.binds.rest {
				e.Reasons[i] = r.binds.own
			}
		}
		slices.Sort(e.Reasons)
		e.Reasons = slices.Compact(e.Reasons)
	}
	if first >= 0 {
		for b := range r.bands {
			for _, g := range r.bands[b].groups {
				for _, sh := range g.shares {
					if sh.serve < first && !keep(sh.session.name, sh.session.party) && sh.served {
						e.QueueAhead += max(min(sh.wish, sh.give+1)-sh.charge.target, 0)
					}
				}
			}
		}
		e.Wait, e.HasWait = r.wait(e.QueueAhead + 1)
	}
	if len(e.Reasons) == 0 && e.Share.Want <= e.Share.Target {
		e.Reasons = append(e.Reasons, fmt.Sprintf("it has all that it wants: %d", e.Share.Want))
	}
	return e, nil
}
