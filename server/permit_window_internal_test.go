package server

import (
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/limit"
	"github.com/headroom-rpc/headroom/permit"
)

// What sessions report as sums is looked at as means over the time between two looks.
func TestWindows(t *testing.T) {
	id := permit.SessionID{1}
	report := func(uptime, cpu, runnable, permits time.Duration, completions int64) permit.Usage {
		u := permit.UnknownUsage(uptime)
		u.CPU, u.Runnable, u.Permits, u.Completions = cpu, runnable, permits, completions
		u.Memory, u.Grown, u.Duration = 1<<30, 1.5, 4*time.Second
		return u
	}
	type step struct {
		at   time.Duration
		user permit.User
		want limit.Pool
	}
	const s = time.Second
	base := permit.User{Session: id, Weight: 2, Held: 3, Want: 8}
	with := func(seconds float64, reported time.Duration, u permit.Usage) permit.User {
		user := base
		user.PermitSeconds, user.Reported, user.Usage, user.First, user.HasUsage = seconds, reported, u, u, true
		return user
	}
	since := func(user permit.User, first permit.Usage) permit.User {
		user.First = first
		return user
	}
	without := func(seconds float64) permit.User {
		user := base
		user.PermitSeconds = seconds
		return user
	}
	pool := func(inUse float64, change func(*limit.Pool)) limit.Pool {
		p := limit.Pool{ID: id.Name(), Weight: 2, Leased: 3, Waiting: 5, InUse: inUse}
		if change != nil {
			change(&p)
		}
		return p
	}
	gauges := func(p *limit.Pool) {
		p.Memory, p.MemoryKnown, p.Grown, p.Duration, p.Stale = 1<<30, true, 1.5, 4*s, true
	}
	means := func(window time.Duration, cpu, runnable float64, completed int64) func(*limit.Pool) {
		return func(p *limit.Pool) {
			gauges(p)
			p.CPU, p.CPUKnown, p.Runnable, p.RunnableKnown, p.Completed = cpu, true, runnable, true, completed
			p.Window, p.Stale = window, false
		}
	}
	stale := func(change func(*limit.Pool)) func(*limit.Pool) {
		return func(p *limit.Pool) {
			change(p)
			p.Stale = true
		}
	}
	unknown := func(p *limit.Pool) {
		gauges(p)
		p.Window, p.Stale = s, false
	}
	for _, tt := range []struct {
		name  string
		steps []step
	}{
		{"without usage only permits are known, once it is late", []step{
			{10 * s, without(7), pool(3, func(p *limit.Pool) { p.Stale = true })},
			{12 * s, without(12), pool(2.5, nil)},
		}},
		{"the means are over the worker's own time", []step{
			{10 * s, with(0, 10*s, report(5*s, 2*s, 3*s, 9*s, 7)), pool(3, gauges)},
			{11 * s, with(2, 11*s, report(7*s, 3*s, 5*s, 13*s, 17)), pool(2, means(2*s, 0.5, 1, 10))},
		}},
		{"what was used between the first report and the first look counts", []step{
			{11 * s, since(with(2, 11*s, report(7*s, 3*s, 5*s, 13*s, 17)), report(5*s, 2*s, 3*s, 9*s, 7)),
				pool(2, means(2*s, 0.5, 1, 10))},
		}},
		{"between two reports the means hold, and nothing is counted twice", []step{
			{10 * s, with(0, 10*s, report(5*s, 2*s, 3*s, 9*s, 7)), pool(3, gauges)},
			{11 * s, with(2, 11*s, report(7*s, 3*s, 5*s, 13*s, 17)), pool(2, means(2*s, 0.5, 1, 10))},
			{12 * s, with(5, 11*s, report(7*s, 3*s, 5*s, 13*s, 17)), pool(2, stale(means(2*s, 0.5, 1, 0)))},
		}},
		{"an old report stands for nothing", []step{
			{10 * s, with(0, 10*s, report(5*s, 2*s, 3*s, 9*s, 7)), pool(3, gauges)},
			{14 * s, with(8, 10*s, report(5*s, 2*s, 3*s, 9*s, 7)), pool(2, nil)},
		}},
		{"sums that fall are not known", []step{
			{10 * s, with(0, 10*s, report(5*s, 2*s, 3*s, 9*s, 7)), pool(3, gauges)},
			{11 * s, with(2, 11*s, report(6*s, 1*s, 1*s, 1*s, 3)), pool(2, unknown)},
		}},
		{"a worker's time that goes back begins anew", []step{
			{10 * s, with(0, 10*s, report(5*s, 2*s, 3*s, 9*s, 7)), pool(3, gauges)},
			{11 * s, with(2, 11*s, report(1*s, 3*s, 5*s, 13*s, 17)), pool(2, gauges)},
			{12 * s, with(3, 12*s, report(2*s, 4*s, 5*s, 13*s, 18)), pool(0, means(s, 1, 0, 1))},
		}},
		{"no more can run than hold permits", []step{
			{10 * s, with(0, 10*s, report(5*s, 0, 0, 0, 0)), pool(3, gauges)},
			{11 * s, with(2, 11*s, report(6*s, s, 9*s, 2*s, 0)), pool(2, means(s, 1, 2, 0))},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var w usageWindows
			for i, step := range tt.steps {
				got, since := w.look(step.at, []permit.User{step.user}, nothing)
				if len(got) != 1 || got[0] != step.want {
					t.Errorf("step %d: %+v\nwant %+v", i, got, step.want)
				}
				want := time.Duration(0)
				if i > 0 {
					want = step.at - tt.steps[i-1].at
				}
				if since != want {
					t.Errorf("step %d: %v since the last look, want %v", i, since, want)
				}
			}
		})
	}
}

// A session that ended is forgotten: one of the same id would begin anew.
func TestWindowsForget(t *testing.T) {
	var w usageWindows
	user := permit.User{Session: permit.SessionID{1}, Weight: 1, Held: 4, PermitSeconds: 100}
	w.look(time.Second, []permit.User{user}, nothing)
	w.look(2*time.Second, nil, nothing)
	if len(w.last) != 0 {
		t.Errorf("%d sessions are remembered, want none", len(w.last))
	}
	if got, _ := w.look(3*time.Second, []permit.User{user}, nothing); got[0].InUse != 4 {
		t.Errorf("InUse = %v of a session seen for the first time, want what it holds", got[0].InUse)
	}
}

// nothing is measured.
func nothing(permit.SessionID) (sensed, bool) { return sensed{}, false }

// What was measured of a worker counts where it says less, or nothing.
func TestWindowsMeasured(t *testing.T) {
	const s = time.Second
	report := func(at, cpu time.Duration) permit.User {
		u := permit.UnknownUsage(at)
		u.CPU, u.Runnable, u.Permits = cpu, cpu, 4*at
		return permit.User{
			Session: permit.SessionID{1}, Weight: 1, Held: 4, PermitSeconds: 4 * at.Seconds(), Usage: u, First: u, HasUsage: true, Reported: at,
		}
	}
	silent := func(at time.Duration) permit.User {
		u := report(at, 0)
		u.HasUsage = false
		return u
	}
	type step struct {
		user    permit.User
		sensed  sensed // none where it is zero
		cpu     float64
		known   bool
		waiting float64 // runnable
	}
	for _, tt := range []struct {
		name  string
		steps []step
	}{
		{"it says nothing", []step{
			{silent(1 * s), sensed{5 * s, 1 * s}, 0, false, 0},
			{silent(2 * s), sensed{7 * s, 2 * s}, 2, true, 0},
			{silent(3 * s), sensed{7 * s, 2 * s}, 2, true, 0}, // no newer pass
		}},
		{"it says less", []step{
			{report(1*s, 0), sensed{5 * s, 1 * s}, 0, false, 0},
			{report(2*s, s/2), sensed{7 * s, 2 * s}, 2, true, 2},
		}},
		{"it says more", []step{
			{report(1*s, 0), sensed{5 * s, 1 * s}, 0, false, 0},
			{report(2*s, 3*s), sensed{7 * s, 2 * s}, 3, true, 3},
		}},
		{"it is measured for the first time", []step{
			{report(1*s, 0), sensed{}, 0, false, 0},
			{report(2*s, s), sensed{7 * s, 2 * s}, 1, true, 1},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var w usageWindows
			for i, step := range tt.steps {
				pools, _ := w.look(time.Duration(i+1)*s, []permit.User{step.user}, func(permit.SessionID) (sensed, bool) {
					return step.sensed, step.sensed != (sensed{})
				})
				if p := pools[0]; p.CPU != step.cpu || p.CPUKnown != step.known || p.Runnable != step.waiting {
					t.Errorf("step %d: CPU %v, %v, runnable %v, want %v, %v and %v",
						i, p.CPU, p.CPUKnown, p.Runnable, step.cpu, step.known, step.waiting)
				}
			}
		})
	}
}

// What a worker used is counted once, whether all of it is told or not: it reports at other times than it is measured, in
// windows of which one says more and the next one less.
func TestWindowsMeasuredAtOtherTimes(t *testing.T) {
	const s = time.Second
	used := func(at time.Duration) time.Duration { // as much as one core, in lumps
		const lump = 400 * time.Millisecond
		return at/lump*lump + min(at%lump, lump/8)*8
	}
	for _, tt := range []struct {
		name  string
		every time.Duration // the reports
		told  func(used time.Duration) time.Duration
		clock func(time.Duration) time.Duration
	}{
		{"all, often", s / 5, func(used time.Duration) time.Duration { return used }, nil},
		{"all, seldom", 9 * s / 10, func(used time.Duration) time.Duration { return used }, nil},
		{"half, often", s / 5, func(used time.Duration) time.Duration { return used / 2 }, nil},
		{"half, seldom", 9 * s / 10, func(used time.Duration) time.Duration { return used / 2 }, nil},
		{"nothing", 9 * s / 10, func(time.Duration) time.Duration { return 0 }, nil},
		{"nothing, by a clock that nearly stands", 9 * s / 10, func(time.Duration) time.Duration { return 0 },
			func(at time.Duration) time.Duration { return at / 1000 }},
		{"nothing, by a clock that stands", 9 * s / 10, func(time.Duration) time.Duration { return 0 },
			func(at time.Duration) time.Duration { return min(at, 2*s) }},
		{"all, by a clock that goes fast", 9 * s / 10, func(used time.Duration) time.Duration { return used },
			func(at time.Duration) time.Duration { return 20 * at }},
		{"nothing, by a clock that goes fast", 9 * s / 10, func(time.Duration) time.Duration { return 0 },
			func(at time.Duration) time.Duration { return 20 * at }},
		{"sums that fall again and again", s / 4, func(used time.Duration) time.Duration { return used / (2 * s / 5) % 2 * s / 100 }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var w usageWindows
			var sum, spans float64
			for at := s; at < 30*s; at += s / 4 {
				told := at / tt.every * tt.every
				u := permit.UnknownUsage(told)
				if tt.clock != nil {
					u.Uptime = tt.clock(told)
				}
				u.CPU = tt.told(used(told))
				user := permit.User{
					Session: permit.SessionID{1}, Weight: 1, Held: 4, Usage: u, First: u, HasUsage: true, Reported: told,
				}
				pass := at / (950 * time.Millisecond) * (950 * time.Millisecond)
				pools, span := w.look(at, []permit.User{user}, func(permit.SessionID) (sensed, bool) { return sensed{used(pass), pass}, true })
				if at > 10*s {
					sum += pools[0].CPU * span.Seconds()
					spans += span.Seconds()
				}
			}
			if cores := sum / spans; cores < 0.93 || cores > 1.07 {
				t.Errorf("%.2f cores, want 1", cores)
			}
		})
	}
}

// Sessions that tell at times of their own what they use are not taken for others while what each uses goes up and down.
func TestWindowsOthers(t *testing.T) {
	const s = time.Second
	one := func(at time.Duration) time.Duration { // of two cores: a quarter of the time both, else less
		return at/s*s + min(at%s, s/4)*2 + max(0, at%s-s/4)*2/3
	}
	var w usageWindows
	var busy busyHistory
	for at := s; at < 20*s; at += s / 10 {
		if at%s == 0 {
			cores := 2.0
			if at > 10*s {
				cores = 2.5
			}
			busy.add(at, cores)
		}
		if at%(s/2) != 0 {
			continue
		}
		var users []permit.User
		for id, every := range []time.Duration{s / 5, 9 * s / 10} {
			told := at / every * every
			u := permit.UnknownUsage(told)
			if u.CPU = one(told); id == 1 {
				u.CPU = 2*told - one(told)
			}
			users = append(users, permit.User{
				Session: permit.SessionID{byte(id + 1)}, Weight: 1, Held: 4, Usage: u, First: u, HasUsage: true, Reported: told,
			})
		}
		w.look(at, users, nothing)
		got, ok := w.usedByOthers(&busy)
		if want := 0.5; at > 13*s && (!ok || got < want-0.15 || got > want+0.15) || at > 4*s && at < 10*s && (!ok || got > 0.15) {
			t.Errorf("at %v: others use %.2f cores, %v; want none until 10 s, then a half", at, got, ok)
		}
	}
	w.at += 4 * s
	if _, ok := w.usedByOthers(&busy); ok {
		t.Error("what others used is known four seconds after it was told last")
	}
}

// What one used who left is not taken for others, up to when it left.
func TestWindowsOthersWithoutWhoLeft(t *testing.T) {
	const s = time.Second
	var w usageWindows
	var busy busyHistory
	for at := s / 2; at < 20*s; at += s / 2 {
		cores := 2.0
		if at > 10*s {
			cores = 1
		}
		busy.add(at, cores)
		var users []permit.User
		for id := range byte(2) {
			if id == 1 && at > 10*s {
				continue
			}
			told := at / (9 * s / 10) * (9 * s / 10)
			u := permit.UnknownUsage(told)
			u.CPU = told
			users = append(users, permit.User{
				Session: permit.SessionID{id + 1}, Weight: 1, Held: 4, Usage: u, First: u, HasUsage: true, Reported: told,
			})
		}
		w.look(at, users, nothing)
		if got, ok := w.usedByOthers(&busy); at > 5*s && (!ok || got > 0.1) {
			t.Errorf("at %v: others use %.2f cores, %v; want none", at, got, ok)
		}
	}
	if len(w.gone) > 0 {
		t.Errorf("%d who left are kept, want none", len(w.gone))
	}
}
