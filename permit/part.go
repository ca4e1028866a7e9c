package permit

import (
	"fmt"
	"time"
)

// User is what the ledger knows of one session that uses, or would use, permits of a resource.
type User struct {
	Session      SessionID
	Party        Party
	Weight       int
	Held, Charge int64
	Want, Need   int64

	// PermitSeconds sums over the permits the time in which they were held, as far as the worker reported them,
	// since the session has the resource.
	PermitSeconds float64

	// Usage is what the newest report with one said, and Reported when it came, where HasUsage is true. First is what
	// the first one said: sums from which all later ones go on.
	Usage, First Usage
	Reported     time.Duration
	HasUsage     bool
}

// Users appends to dst the sessions that hold, may hold or want permits of the resource, in no order.
func (l *Ledger) Users(now time.Duration, resource string, dst []User) ([]User, error) {
	l.clock(now)
	r := l.byName[resource]
	if r == nil {
		return dst, fmt.Errorf("%w: %q", ErrNoResource, resource)
	}
	for b := range r.bands {
		for _, g := range r.bands[b].groups {
			for _, sh := range g.shares {
				if sh.want == 0 && sh.charge.amount() == 0 {
					continue
				}
				dst = append(dst, User{
					Session: sh.session.id, Party: sh.session.party, Weight: int(sh.weight), Want: sh.want, Need: sh.need,
					Held: sh.charge.held, Charge: sh.charge.amount(), PermitSeconds: sh.permitSeconds(l.now),
					Usage: sh.usage, First: sh.first, Reported: sh.used, HasUsage: sh.hasUsage,
				})
			}
		}
	}
	return dst, nil
}

// Wanted returns how many permits of the resource its sessions could use, as of the last [Ledger.Advance] that had something
// to decide for it; 0 for a resource that there is not.
func (l *Ledger) Wanted(resource string) int64 {
	if r := l.byName[resource]; r != nil {
		return r.wanted
	}
	return 0
}

// SetNewPart sets the part with which a session begins from now on; see [Ledger.SetPart]. MaxLimit, no bound, is how
// it is at first. A part out of the range from 0 to MaxLimit and a resource that there is not are ignored.
func (l *Ledger) SetNewPart(resource string, part int64, binding string) {
	if r := l.byName[resource]; r != nil && part >= 0 && part <= MaxLimit {
		r.newPart, r.newPartBinding = part, binding
	}
}

// SetPart bounds what the session has of a resource, whatever it wants: to part, and why, for people. What is
// guaranteed to it stays. MaxLimit is no bound. It takes nothing from anybody: charges fall as work ends. A part of
// less than 0, and a session that does not have the resource, are ignored.
func (l *Ledger) SetPart(now time.Duration, resource string, id SessionID, part int64, binding string) {
	l.clock(now)
	s := l.sessions[id]
	if s == nil || part < 0 {
		return
	}
	sh := s.share(resource)
	if sh == nil {
		return
	}
	sh.partBinding = binding
	if part = min(part, MaxLimit); part == sh.part {
		return
	}
	sh.part = part
	l.touch(sh.resource)
}

// permitSeconds is the sum over the permits of the time in which they were held, by that time.
func (sh *share) permitSeconds(now time.Duration) float64 {
	return sh.heldSum + float64(sh.charge.held)*(now-sh.heldAt).Seconds()
}

// most is what the share has at most, whatever it wants.
func (sh *share) most() int64 { return min(max(sh.part, sh.guarantee), sh.resource.limit) }

// usable is what the share is taken to want of so many.
func (sh *share) usable(want int64) int64 { return min(want, sh.use.cap, sh.most()) }

// partText says that the part binds.
func (sh *share) partText() string {
	text := fmt.Sprintf("its part of the limit is %d", sh.part)
	if sh.partBinding != "" {
		text += ": " + sh.partBinding
	}
	return text
}
