package permit

import "time"

// reclaimAfter is how long a session may have what it does not use while others wait.
const reclaimAfter = 200 * time.Millisecond

// use is how much of its target a session used of late.
type use struct {
	cap   int64         // at most this much is taken for wanted
	peak  int64         // the most held since
	since time.Duration // the target was raised, others began to wait, or the last look
}

func (u *use) restart(now time.Duration, held int64) { u.since, u.peak = now, held }

// note takes a report, and says whether the cap changed: whoever uses all that it has may have twice that.
func (u *use) note(held, target int64) (changed bool) {
	u.peak = max(u.peak, held)
	used := held + 1
	if held >= target {
		used = max(used, 2*held)
	}
	if used <= u.cap {
		return false
	}
	u.cap = min(used, MaxLimit)
	return true
}

// reclaim caps what the share is taken to want by what it used, while others wait, and returns when to look at
// it again, if that may change anything.
func (l *Ledger) reclaim(sh *share) (again time.Duration, ok bool) {
	r, u := sh.resource, &sh.use
	if !r.scarce {
		u.cap = MaxLimit
		return 0, false
	}
	if u.since < r.since {
		u.restart(r.since, sh.charge.held)
	}
	if sh.charge.target <= u.peak || r.gather.by == sh {
		return 0, false
	}
	after := reclaimAfter
	if !sh.charge.acknowledged() { // it may not have heard of it yet; for ever is no excuse
		after += l.config.Heartbeat
	}
	if l.now < u.since+after {
		return u.since + after, true
	}
	if sh.charge.target > u.peak+1 || sh.charge.target > sh.whole {
		u.cap = u.peak + 1
		if sh.charge.target > sh.whole {
			// One that goes round and is not used goes to the next.
			sh.turn = max(sh.turn, sh.group.clock) + lap/sh.weight
			sh.idle = true
		}
	}
	u.restart(l.now, sh.charge.held)
	if sh.charge.target > u.peak+1 {
		return l.now + reclaimAfter, true
	}
	return 0, false
}
