package task

import (
	"strings"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

// overlap is how far the sum over the named processes of a task is not what the task uses: where one is a part of
// another it counts twice, and where one was taken off the task what it had used is missing.
type overlap struct {
	twice, left  times // counted more than once, ever; used by those that were taken off
	pace         pace  // of what is counted twice
	rate         float64
	rateKnown    bool
	rss, vms     int64
	group        int64 // of cgroups within one another
	threads, n   int32
	pssAmbiguous bool // some processes are in two trees neither of which is in the other
	any          bool // there ever was something
}

// times is CPU time. Its sum is not that of the parts where the kernel counts it better.
type times struct{ cpu, user, system time.Duration }

func (t *times) add(user, system time.Duration) {
	t.cpu, t.user, t.system = t.cpu+user+system, t.user+user, t.system+system
}

// gain is the CPU time that an account added for a process in a pass.
type gain struct {
	user, system time.Duration
	knew         bool // it counted the process before
}

// claim is what the accounts of one task have seen of a process in a pass.
type claim struct {
	stamp    uint32
	accounts int32
	gain     gain // the one that counts, as long as no cgroup does
	group    bool // a cgroup counts it
	newGroup bool // from this pass on
}

// begin starts a pass over the accounts of a task.
func (o *overlap) begin(f *forest) {
	f.task++
	o.rss, o.vms, o.group, o.threads, o.n = 0, 0, 0, 0, 0
	o.rate, o.rateKnown, o.pssAmbiguous = 0, true, false
}

// take looks at what the account has found in the forest just now.
func (o *overlap) take(f *forest, a *account, newGroup bool) {
	p := f.p
	for _, i := range f.found {
		c := &f.claims[i]
		if c.stamp != f.task {
			*c = claim{f.task, 1, f.gains[i], a.byGroup, newGroup}
			continue
		}
		c.accounts++
		if p.Status[i] != snapshot.ProcessZombie {
			o.rss, o.vms, o.threads, o.n = o.rss+p.RSS[i], o.vms+p.VMS[i], o.threads+p.Threads[i], o.n+1
		}
		o.takeCPU(p, i, c, a.byGroup, newGroup, f.gains[i])
	}
}

// takeCPU decides who counts the CPU time of a process: its cgroup, or else the account that did before, or else the
// one that counts most, as it took what the process had used when it was met. What the others count is twice.
func (o *overlap) takeCPU(p *snapshot.Processes, i int32, c *claim, group, newGroup bool, g gain) {
	switch {
	case c.group && group:
	case c.group || group:
		if group {
			g, c.group, c.newGroup = c.gain, true, newGroup
		}
		if c.newGroup && p.Known[i] { // the cgroup brings what was counted all along
			g.user, g.system = p.User[i]+p.ChildUser[i], p.System[i]+p.ChildSystem[i]
		}
		o.twice.add(g.user, g.system)
	default:
		less := g
		if g.knew && !c.gain.knew || g.knew == c.gain.knew && g.user+g.system > c.gain.user+c.gain.system {
			less, c.gain = c.gain, g
		}
		o.twice.add(less.user, less.system)
	}
}

// end completes a pass at a time; first says that it was the first one of some account.
func (o *overlap) end(now time.Duration, f *forest, accounts []account, first, gap bool) {
	for i := range accounts {
		a := &accounts[i]
		if a.groupIsIn(accounts, i) {
			o.twice.cpu += a.cpu - a.twice.cpu
			o.twice.user += a.user - a.twice.user
			o.twice.system += a.system - a.twice.system
			a.twice = times{a.cpu, a.user, a.system}
			o.group += a.last.Group
		}
	}
	o.rate, o.rateKnown = o.pace.rate(now, o.twice.cpu, gap || first)
	o.findInside(f, accounts)
	o.any = o.any || o.n > 0 || o.group > 0 || o.twice != times{}
}

// groupIsIn reports whether the cgroup of the account, which is the one at the index, is that of another or within it.
func (a *account) groupIsIn(all []account, index int) bool {
	if !a.byGroup {
		return false
	}
	for i := range all {
		o := &all[i]
		if i != index && o.byGroup && (strings.HasPrefix(a.Group, o.Group+"/") || a.Group == o.Group && i < index) {
			return true
		}
	}
	return false
}

// findInside finds the accounts all of whose processes are in others too.
func (o *overlap) findInside(f *forest, accounts []account) {
	for i := range accounts {
		a := &accounts[i]
		a.inside = o.n > 0 && len(a.members) > 0
		for k := 0; a.inside && k < len(a.members); k++ {
			at := f.same(a.members[k].pid, a.members[k].serial)
			a.inside = at >= 0 && f.claims[at].stamp == f.task && f.claims[at].accounts > 1
		}
		for k := 0; a.inside && k < len(a.members); k++ {
			f.claims[f.same(a.members[k].pid, a.members[k].serial)].accounts--
		}
	}
	for i := 0; o.n > 0 && i < len(f.claims); i++ {
		if c := &f.claims[i]; c.stamp == f.task && c.accounts > 1 {
			o.pssAmbiguous = true
			return
		}
	}
}

// drop keeps what an account has used that is taken off the task.
func (o *overlap) drop(a *account) {
	o.left.cpu, o.left.user, o.left.system = o.left.cpu+a.cpu, o.left.user+a.user, o.left.system+a.system
	o.any = o.any || o.left != times{}
}

// correction is what is to be added to the sum over the accounts: nothing where ok is false.
func (o *overlap) correction(accounts []account) (fix Usage, ok bool) {
	if !o.any {
		return fix, false
	}
	fix = Usage{
		CPU: o.left.cpu - o.twice.cpu, User: o.left.user - o.twice.user, System: o.left.system - o.twice.system,
		Rate: -o.rate, RateKnown: o.rateKnown, RSS: -o.rss, VMS: -o.vms, Group: -o.group,
		Threads: -o.threads, Processes: -o.n, PSSKnown: !o.pssAmbiguous,
	}
	for i := range accounts {
		if accounts[i].inside {
			fix.PSS -= accounts[i].pss
		}
	}
	return fix, true
}

// correct adds a correction to the sum over the processes of a task.
func (u *Usage) correct(fix *Usage) {
	u.CPU, u.User, u.System = max(u.CPU+fix.CPU, 0), max(u.User+fix.User, 0), max(u.System+fix.System, 0)
	u.RateKnown = u.RateKnown && fix.RateKnown
	u.Rate = max(u.Rate+fix.Rate, 0)
	u.PSSKnown = u.PSSKnown && fix.PSSKnown
	u.PSS, u.Group = max(u.PSS+fix.PSS, 0), max(u.Group+fix.Group, 0)
	u.RSS, u.VMS = max(u.RSS+fix.RSS, 0), max(u.VMS+fix.VMS, 0)
	u.Threads, u.Processes = max(u.Threads+fix.Threads, 0), max(u.Processes+fix.Processes, 0)
}
