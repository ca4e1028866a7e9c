package server

import (
	"slices"
	"time"

	"github.com/headroom-rpc/headroom/limit"
	"github.com/headroom-rpc/headroom/permit"
)

// usageLasts is how long what a worker reported of its usage stands for what it does.
const usageLasts = 3 * time.Second

// firstUsage is how long a worker that is new may take until it reports what it uses, before it is taken for one that
// never does.
const firstUsage = 2 * time.Second

// clockDrift is by how much the clocks of two hosts may go apart.
const clockDrift = 1e-4

// mostGone is of how many who left it is remembered what they used: far more than do in a few seconds.
const mostGone = 1000

// usageWindows turns what the ledger knows of the sessions into what a limit law looks at: the sums of now and of the
// last look into means over the time between.
type usageWindows struct {
	at    time.Duration
	last  map[permit.SessionID]window
	pools []limit.Pool

	// What others used by the last time up to which that could be told, and then.
	others float64
	told   time.Duration
	gone   []*busyHistory // what those used who left since, until they left
}

// A window is what was known of one session at the last look.
type window struct {
	user   permit.User
	pool   limit.Pool // by what it reports
	at     time.Duration
	sensed sensed        // what was measured; zero if nothing was
	cores  float64       // the same, between the last two measurements
	twice  bool          // there are two
	hidden hidden        // of what was measured
	begun  time.Duration // when it was first looked at

	// What is to be added to the worker's clock for that of the server, but for the time that a report takes: the least
	// that was seen, which a clock that goes slower may exceed by clockDrift.
	offset time.Duration

	// The CPU time of pool is the mean from one to the other; zero where it is not known. It is kept in used.
	from, to time.Duration
	used     *busyHistory
}

// look returns the pools of the users, in their order, and the time since the last look. measured says what was
// measured of a session, if anything was. What look returns is good until the next call.
func (w *usageWindows) look(
	now time.Duration, users []permit.User, measured func(permit.SessionID) (sensed, bool),
) (pools []limit.Pool, since time.Duration) {
	seen := make(map[permit.SessionID]window, len(users))
	w.pools = w.pools[:0]
	for i := range users {
		user := &users[i]
		last, known := w.last[user.Session]
		if !known {
			last = window{user: permit.User{HasUsage: false}, at: now, begun: now}
		}
		next := window{user: *user, at: now, begun: last.begun, offset: last.offset, from: last.from, to: last.to, used: last.used}
		if user.HasUsage && !last.user.HasUsage && user.First.Uptime < user.Usage.Uptime {
			last.user.Usage, last.user.HasUsage = user.First, true
		}
		next.pool = pool(now, user, &last)
		if before := last.user.Usage.Uptime; user.HasUsage && (!last.user.HasUsage || user.Usage.Uptime != before) {
			goesOn := last.user.HasUsage && user.Usage.Uptime > before
			next.offset += time.Duration(clockDrift * float64(now-last.at))
			if took := user.Reported - user.Usage.Uptime; !goesOn || took < next.offset {
				next.offset = took
			}
			if goesOn {
				next.from, next.to = before+next.offset, user.Usage.Uptime+next.offset
			}
		}
		pool := next.pool
		var ok bool
		if next.sensed, ok = measured(user.Session); ok {
			next.correct(&pool, &last)
		}
		if !pool.CPUKnown {
			next.from, next.to = 0, 0
		} else if next.to > max(next.from, last.to) {
			if next.used == nil {
				next.used = &busyHistory{}
				next.used.add(next.from, 0)
			}
			next.used.add(next.to, pool.CPU)
		}
		w.pools = append(w.pools, pool)
		seen[user.Session] = next
	}
	for id, one := range w.last {
		if _, stays := seen[id]; !stays && one.used != nil && len(w.gone) < mostGone {
			if one.to > one.from { // else it fell silent long before
				one.used.goOn(now)
			}
			w.gone = append(w.gone, one.used)
		}
	}
	w.gone = slices.DeleteFunc(w.gone, func(one *busyHistory) bool { return one.newest() <= max(w.told, now-2*usageLasts) })
	if w.last != nil {
		since = now - w.at
	}
	w.last, w.at = seen, now
	return w.pools, since
}

// span returns the time over which the CPU time of the pools is the mean, on average; ok is false where that of none
// is known.
func (w *usageWindows) span() (from, to time.Duration, ok bool) {
	var n time.Duration
	for _, one := range w.last {
		if one.to > one.from {
			from, to, n = from+one.from, to+one.to, n+1
		}
	}
	if n == 0 {
		return 0, 0, false
	}
	return from / n, to / n, true
}

// othersTime is the least time over which it is told what others use: the readings of the host are means of about a second.
const othersTime = time.Second

// usedByOthers returns how many cores those used who are not among the sessions, up to the time by which all told what they
// use, since the last such time: the sessions tell that at times of their own, and what one used more in another time would
// look like somebody else. ok is false where it is not known of all, and was not of late.
func (w *usageWindows) usedByOthers(busy *busyHistory) (cores float64, ok bool) {
	to, known := busy.newest(), len(w.last) > 0
	for _, one := range w.last {
		to, known = min(to, one.to), known && one.to > one.from
	}
	from := max(w.told, to-usageLasts)
	if span := to - from; known && span >= othersTime {
		if cores, ok := busy.over(from, to); ok {
			for _, one := range w.last {
				used, _ := one.used.within(from, to)
				cores -= used / span.Seconds()
			}
			for _, one := range w.gone {
				used, _ := one.within(from, to)
				cores -= used / span.Seconds()
			}
			w.others, w.told = max(0, cores), to
		}
	}
	return w.others, w.told > 0 && w.at-w.told <= usageLasts
}

// pool returns what a session did since the last look at it.
func pool(now time.Duration, user *permit.User, last *window) limit.Pool {
	p := limit.Pool{
		ID: user.Session.Name(), Weight: user.Weight, Leased: user.Held,
		Waiting: max(user.Want-user.Held, 0), InUse: float64(user.Held),
	}
	if span := (now - last.at).Seconds(); span > 0 {
		p.InUse = (user.PermitSeconds - last.user.PermitSeconds) / span
	}
	if !user.HasUsage || now-user.Reported > usageLasts {
		p.Stale = !user.HasUsage && now-last.begun < firstUsage
		return p
	}
	u, before := &user.Usage, &last.user.Usage
	if u.Memory >= 0 {
		p.Memory, p.MemoryKnown = u.Memory, true
	}
	p.Duration, p.Grown, p.Delayed = max(u.Duration, 0), max(u.Grown, 0), max(u.Delayed, 0)
	span := (u.Uptime - before.Uptime).Seconds()
	if !last.user.HasUsage || span < 0 {
		p.Stale = true
		return p
	}
	p.Window = u.Uptime - before.Uptime
	if span == 0 { // nothing came since: the means hold, and nothing was counted
		p.Window, p.Stale = last.pool.Window, true
		p.CPU, p.CPUKnown = last.pool.CPU, last.pool.CPUKnown
		p.Runnable, p.RunnableKnown = last.pool.Runnable, last.pool.RunnableKnown
		if p.CPUKnown {
			p.InUse = last.pool.InUse
		}
		return p
	}
	mean := func(sum, before time.Duration) (float64, bool) {
		if sum < 0 || before < 0 || sum < before {
			return 0, false
		}
		return (sum - before).Seconds() / span, true
	}
	if n, ok := mean(u.Permits, before.Permits); ok {
		p.InUse = n
	}
	p.CPU, p.CPUKnown = mean(u.CPU, before.CPU)
	if p.Runnable, p.RunnableKnown = mean(u.Runnable, before.Runnable); p.RunnableKnown {
		p.Runnable = min(p.Runnable, p.InUse)
	}
	p.Started = counted(u.Starts, before.Starts)
	p.Completed = counted(u.Completions, before.Completions)
	p.Failed = counted(u.Failures, before.Failures)
	p.Calls = counted(u.Calls, before.Calls)
	p.Throttled = counted(u.Throttled, before.Throttled)
	return p
}

// counted returns by how much a count rose; 0 where that is not known.
func counted(n, before int64) int64 {
	if n < 0 || before < 0 {
		return 0
	}
	return max(n-before, 0)
}

// correct adds to the CPU time of the pool what was measured and the worker does not tell, or takes all of it where it tells
// nothing: what it hides others would be short of.
func (w *window) correct(p *limit.Pool, last *window) {
	w.cores, w.twice, w.hidden = last.cores, last.twice, last.hidden
	span := w.sensed.at - last.sensed.at
	if last.sensed.at > 0 && span > 0 {
		w.cores, w.twice = max(0, (w.sensed.cpu-last.sensed.cpu).Seconds()/span.Seconds()), true
	}
	w.hidden.measure(w.sensed)
	if u := &w.user; u.HasUsage && u.Reported != last.user.Reported {
		w.hidden.compare(p.CPU, p.CPUKnown, max(u.Usage.Uptime+w.offset, u.Reported-usageLasts)) // its clock may stand still
	}
	switch {
	case p.CPUKnown && !w.hidden.known && w.twice: // as after a sum that fell, which may happen again and again
		p.CPU = max(p.CPU, w.cores)
	case p.CPUKnown:
		p.CPU += w.hidden.cores
	case w.twice:
		p.CPU, p.CPUKnown = w.cores, true
		p.Stale = p.Stale && w.user.HasUsage
		if span > 0 {
			w.from, w.to = last.sensed.at, w.sensed.at
		}
	}
	if p.RunnableKnown {
		p.Runnable = min(max(p.Runnable, p.CPU), max(p.InUse, 0))
	}
}
