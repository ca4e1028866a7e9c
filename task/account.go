package task

import (
	"slices"
	"sort"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

// maxSessions bounds the sessions that are followed for one tree.
const maxSessions = 256

// account is what one named process has used.
type account struct {
	Process
	number uint64

	members  []member // in order of pid
	spare    []member
	sessions []int32 // made by its processes: whoever is in one belongs to it, wherever its parent is

	serial    uint64 // of the root, where rooted is true: it was seen
	rooted    bool
	inherited int32 // the session that the root was born in; it has others too

	seen         bool // there was a sample
	ended        bool
	user, system time.Duration
	cpu          time.Duration // user and system, or what the cgroup says
	cpuKnown     bool          // they are of a process or a cgroup that could be read
	byGroup      bool          // the cgroup counts them
	pace         pace
	twice        times // what its cgroup counted while it was within that of another account
	inside       bool  // others have all its processes too
	pss          int64
	pssAt        time.Duration
	pssKnown     bool
	pssAsked     bool
	last         Usage
}

// member is one process as the last pass saw it.
type member struct {
	pid, parent            int32
	start, serial          uint64
	known                  bool // the times are
	user, system           time.Duration
	childUser, childSystem time.Duration

	userCredit, systemCredit credit
}

// credit is the CPU time of descendants that ended, as far as it was counted while they lived: it is not to be
// counted again when it turns up as that of children. One may be read before its child ended and be seen without it
// after, so what does not turn up at once has one more pass to.
type credit struct{ now, before time.Duration }

// take returns how much of the time of children is new.
func (c *credit) take(children time.Duration) time.Duration {
	children = max(children, 0)
	fresh := max(children-c.now-c.before, 0)
	spent := max(children-c.before, 0)
	*c = credit{before: max(c.now-spent, 0)}
	return fresh
}

// Outside is what is known of a named process beside the pass.
type Outside struct {
	Group      snapshot.GroupReading // of its cgroup, where GroupKnown is true
	GroupKnown bool
	GroupEnded bool    // the cgroup is gone
	PIDs       []int32 // of the processes in the cgroup

	// Ended is whether the root is known to have ended, asked after the pass was made. One that is not, and is not in
	// the pass, is hidden.
	Ended bool
}

// observe takes up a pass, and returns what the account uses now.
func (a *account) observe(now time.Duration, f *forest, out *Outside, since uint64, gap bool) Usage {
	a.inside = false
	root := a.findRoot(f, out)
	found := a.collect(f, root, out)
	a.byGroup = a.byGroup || out.GroupKnown && out.Group.CPUKnown
	a.count(f.p, f.gains, found, since)
	u := Usage{Known: true}
	for _, i := range found {
		f.p.Watch[i] = true
		if f.p.Status[i] == snapshot.ProcessZombie {
			continue
		}
		u.Processes++
		u.Threads += f.p.Threads[i]
		u.RSS += f.p.RSS[i]
		u.VMS += f.p.VMS[i]
		u.Known = u.Known && f.p.Known[i]
	}
	alive := root >= 0 && f.p.Status[root] != snapshot.ProcessZombie
	if alive {
		u.Status, u.Nice, u.StatusKnown = f.p.Status[root], f.p.Nice[root], f.p.Known[root]
	}
	hidden := a.PID != 0 && root < 0 && !out.Ended && len(found) == 0
	a.ended = !hidden && u.Processes == 0 && (a.PID != 0 || out.GroupEnded)
	a.readGroup(&u, out, alive)
	if hidden {
		u = Usage{Group: u.Group, GroupKnown: u.GroupKnown}
	}
	u.CPU, u.User, u.System = a.cpu, a.user, a.system
	a.cpuKnown = a.cpuKnown || a.byGroup || a.ended // what ended before anybody saw it used nothing that is known of
	u.CPUKnown = a.cpuKnown
	u.PSS, u.PSSAt, u.PSSKnown = a.pss, a.pssAt, a.pssKnown
	u.Rate, u.RateKnown = a.pace.rate(now, a.cpu, gap)
	if hidden && !out.GroupKnown {
		u.Rate, u.RateKnown = 0, false
	}
	a.seen = true
	a.last = u
	return u
}

// findRoot returns the index of the root, or -1. Once it was seen, its serial tells it apart. Before that it is the
// one that began when it did, unless it is known to have ended: then another may have its pid.
func (a *account) findRoot(f *forest, out *Outside) int32 {
	if a.PID == 0 || a.rooted {
		if a.PID == 0 {
			return -1
		}
		return f.same(a.PID, a.serial)
	}
	i := int32(f.p.Find(a.PID))
	if i < 0 || f.p.Start[i] != a.Start || out.Ended && f.p.Status[i] != snapshot.ProcessZombie {
		return -1
	}
	a.rooted, a.serial = true, f.p.Serial[i]
	return i
}

// collect finds the processes of the account: its root, whoever belonged to it before, those of its cgroup and of
// the sessions that its processes made, and all descendants of these.
func (a *account) collect(f *forest, root int32, out *Outside) []int32 {
	f.begin()
	if root >= 0 {
		if !a.seen {
			if a.inherited = f.p.Session[root]; a.inherited == a.PID {
				a.inherited = 0
			}
		}
		f.take(root)
	}
	for i := range a.members {
		if at := f.same(a.members[i].pid, a.members[i].serial); at >= 0 {
			f.take(at)
		}
	}
	for _, pid := range out.PIDs {
		if at := f.p.Find(pid); at >= 0 {
			f.take(int32(at))
		}
	}
	for _, id := range a.sessions {
		leader := f.p.Find(id)
		if leader >= 0 && f.p.Session[leader] == id && f.mark[leader] != f.stamp {
			continue // another has the pid, and made a session of its own
		}
		for _, i := range f.session(id) {
			f.take(i)
		}
	}
	found := f.sorted()
	if a.PID != 0 {
		a.follow(f.p, found)
	}
	return found
}

// follow takes up the sessions that the processes made.
func (a *account) follow(p *snapshot.Processes, found []int32) {
	a.sessions = a.sessions[:0]
	for _, i := range found {
		id := p.Session[i]
		if id == 0 || id == a.inherited || len(a.sessions) >= maxSessions {
			continue
		}
		if k := len(a.sessions); k > 0 && a.sessions[k-1] == id || slices.Contains(a.sessions, id) {
			continue
		}
		a.sessions = append(a.sessions, id)
	}
}

// count adds the CPU time that the processes used since the pass before. A process that is met for the first time
// counts from its birth, if that was since then; the first pass takes all as it is.
//
// The time of one that ended turns up as that of a child of whoever waited for it. What was counted of it already
// is its credit, and is taken off there. One that nobody waited for keeps what was counted.
//
// It says in gains what it added for each process.
func (a *account) count(p *snapshot.Processes, gains []gain, found []int32, since uint64) {
	next := a.spare[:0]
	for _, i := range found {
		next = append(next, member{
			pid: p.PID[i], parent: p.Parent[i], start: p.Start[i], serial: p.Serial[i], known: p.Known[i], user: p.User[i],
			system: p.System[i], childUser: p.ChildUser[i], childSystem: p.ChildSystem[i],
		})
	}
	a.giveCredit(next)
	old, user, system := 0, time.Duration(0), time.Duration(0)
	for k := range next {
		m := &next[k]
		for old < len(a.members) && a.members[old].pid < m.pid {
			old++
		}
		var was *member
		if old < len(a.members) && a.members[old].serial == m.serial {
			was = &a.members[old]
		}
		g := gain{knew: was != nil && was.known}
		switch {
		case !m.known && was != nil:
			user, system := m.userCredit, m.systemCredit
			*m = *was
			m.userCredit, m.systemCredit = user, system
		case !m.known:
		case g.knew:
			g.user = max(m.user-was.user, 0) + m.userCredit.take(m.childUser-was.childUser)
			g.system = max(m.system-was.system, 0) + m.systemCredit.take(m.childSystem-was.childSystem)
			m.user, m.system = max(m.user, was.user), max(m.system, was.system)
			m.childUser, m.childSystem = max(m.childUser, was.childUser), max(m.childSystem, was.childSystem)
		case !a.seen || m.start >= since:
			g.user = m.user + m.userCredit.take(m.childUser)
			g.system = m.system + m.systemCredit.take(m.childSystem)
		}
		gains[found[k]] = g
		a.cpuKnown = a.cpuKnown || m.known
		user, system = user+g.user, system+g.system
	}
	a.spare, a.members = a.members, next
	if !a.byGroup {
		a.user, a.system = a.user+user, a.system+system
		a.cpu = a.user + a.system
	}
}

// giveCredit gives what was counted of each process that has ended to the nearest ancestor that has not.
func (a *account) giveCredit(next []member) {
	for i := range next {
		if was := find(a.members, next[i].pid); was >= 0 && a.members[was].serial == next[i].serial {
			next[i].userCredit, next[i].systemCredit = a.members[was].userCredit, a.members[was].systemCredit
		}
	}
	for i := range a.members {
		gone := &a.members[i]
		if at := find(next, gone.pid); at >= 0 && next[at].serial == gone.serial || !gone.known {
			continue
		}
		user := gone.user + gone.childUser + gone.userCredit.now + gone.userCredit.before
		system := gone.system + gone.childSystem + gone.systemCredit.now + gone.systemCredit.before
		born := gone.start
		for parent, steps := gone.parent, 0; steps <= len(a.members); steps++ {
			if at := find(next, parent); at >= 0 && next[at].start <= born {
				next[at].userCredit.now += user
				next[at].systemCredit.now += system
				break
			}
			at := find(a.members, parent)
			if at < 0 || a.members[at].start > born {
				break // somebody outside waited for it
			}
			parent, born = a.members[at].parent, a.members[at].start
		}
	}
}

func find(members []member, pid int32) int {
	i := sort.Search(len(members), func(i int) bool { return members[i].pid >= pid })
	if i < len(members) && members[i].pid == pid {
		return i
	}
	return -1
}

// readGroup takes from the cgroup what it counts better.
func (a *account) readGroup(u *Usage, out *Outside, alive bool) {
	if !out.GroupKnown {
		u.Known = u.Known && (a.PID != 0 || a.ended)
		return
	}
	g := &out.Group
	if g.CPUKnown {
		a.user, a.system = max(a.user, g.User), max(a.system, g.System)
		a.cpu = max(a.cpu, g.CPU)
	}
	u.Group, u.GroupKnown = g.Memory, g.MemoryKnown
	if a.PID == 0 && g.TasksKnown {
		u.Threads = int32(min(g.Tasks, 1<<30))
	}
	if g.Frozen && alive {
		u.Status, u.StatusKnown = snapshot.ProcessFrozen, true
	}
}
