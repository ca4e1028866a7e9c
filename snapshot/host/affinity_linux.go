package host

import (
	"bytes"
	"path/filepath"
	"time"
)

// An affinity is the set of CPUs that a process may run on: by its own mask, which the cpuset narrows, or by the
// cpuset of its cgroup alone. The zero readAt is one that was never read. It is not safe for concurrent use.
type affinity struct {
	root, proc, cgroup string // see findGroups
	own                bool   // the mask of this process counts

	set    []bool // by the number of the CPU; nil where it is not known, and all are usable
	size   int    // how many are in it, where it is that of a cpuset, which has no CPU that is offline
	limit  string // says what the set is
	readAt time.Time
}

// has reports whether the CPU is usable.
func (a *affinity) has(cpu int) bool { return a.set == nil || cpu < len(a.set) && a.set[cpu] }

// refresh brings the set up to date where it is time to.
func (a *affinity) refresh(now time.Time) {
	if a.readAt.IsZero() || now.Sub(a.readAt) >= groupsAfter {
		a.read()
		a.readAt = now
	}
}

// count returns how many of the CPUs online are usable. All are where the set has none of them, as it is out of date
// then, or as many: LXCFS shows a container only the CPUs that it may use, and counts them from 0.
func (a *affinity) count(online []bool) int {
	all, usable := 0, 0
	for cpu, there := range online {
		if !there {
			continue
		}
		all++
		if a.has(cpu) {
			usable++
		}
	}
	if usable == 0 || a.size >= all {
		return all
	}
	return usable
}

// read reads the set. What cannot be read limits nothing that is known.
func (a *affinity) read() {
	a.set, a.size, a.limit = nil, 0, ""
	if a.cgroup == "" && a.own {
		text, err := readOnce(newKernelFile(filepath.Join(a.proc, "self", "status")))
		if err != nil {
			return
		}
		for line := range bytes.Lines(text) {
			if list, ok := bytes.CutPrefix(line, []byte("Cpus_allowed_list:\t")); ok {
				a.parse(list, "cpuset")
				return
			}
		}
		return
	}
	groups, _ := findGroups(a.root, a.proc, a.cgroup, "cpuset")
	for _, g := range groups {
		// What was asked for stands in cpuset.cpus. It has to do where what is had of it is not told.
		for _, name := range [...]string{effectiveCPUs(g.version), "cpuset.cpus"} {
			text, err := readOnce(newKernelFile(filepath.Join(g.dir, name)))
			if err != nil || !a.parse(text, name+" of "+g.path) {
				continue
			}
			for _, in := range a.set {
				if in {
					a.size++
				}
			}
			return
		}
	}
}

// effectiveCPUs names the file of a cpuset with the CPUs that it has.
func effectiveCPUs(version int) string {
	if version == 1 {
		return "cpuset.effective_cpus"
	}
	return "cpuset.cpus.effective"
}

// parse reports whether the list has CPUs.
func (a *affinity) parse(list []byte, limit string) bool {
	set, err := parseCPUList(list, nil)
	if err != nil || len(set) == 0 {
		return false
	}
	a.set, a.limit = set, limit
	return true
}
