package task

import (
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

// Usage is what one process tree or cgroup uses, or a task by all of them.
type Usage struct {
	// Known is whether the processes could be read; otherwise the CPU times and PSS are the last ones that were,
	// and everything else is zero.
	Known bool

	// CPU is the CPU time, User and System its parts. What a tree had used when it was first seen is in it. It
	// never goes down. It is known once any of it was.
	CPU, User, System time.Duration
	CPUKnown          bool

	// Rate is CPU time a second, in cores, over the last second or more. It is known from the second sample on.
	Rate      float64
	RateKnown bool

	// RSS and VMS are sums over the processes in bytes: memory that they share counts for each of them.
	RSS, VMS int64

	// PSS counts shared memory by its part. It is read on demand only: PSSAt says when.
	PSS      int64
	PSSAt    time.Duration
	PSSKnown bool

	// Group is the working set that the kernel charges to the cgroup.
	Group      int64
	GroupKnown bool

	// Threads and Processes are counts; of a cgroup without a root, Threads is the kernel's.
	Threads, Processes int32

	// Status and Nice are those of the root process, where StatusKnown is true: it has not ended.
	Status      snapshot.ProcessStatus
	Nice        int8
	StatusKnown bool
}

// Memory returns the memory in use and how it is counted: "cgroup" where the task has one that counts memory, else
// "RSS". It is false where neither is known.
func (u *Usage) Memory() (bytes int64, definition string, ok bool) {
	switch {
	case u.GroupKnown:
		return u.Group, "cgroup", true
	case u.Known:
		return u.RSS, "RSS", true
	default:
		return 0, "", false
	}
}

// add adds another usage, for the sum of a task. The sum is known only where all parts are.
func (u *Usage) add(o *Usage) {
	u.Known = u.Known && o.Known
	u.CPU, u.User, u.System = u.CPU+o.CPU, u.User+o.User, u.System+o.System
	u.CPUKnown = u.CPUKnown && o.CPUKnown
	u.Rate, u.RateKnown = u.Rate+o.Rate, u.RateKnown && o.RateKnown
	u.RSS, u.VMS = u.RSS+o.RSS, u.VMS+o.VMS
	u.PSS, u.PSSKnown = u.PSS+o.PSS, u.PSSKnown && o.PSSKnown
	u.PSSAt = min(u.PSSAt, o.PSSAt)
	u.Group, u.GroupKnown = u.Group+o.Group, u.GroupKnown && o.GroupKnown
	u.Threads, u.Processes = u.Threads+o.Threads, u.Processes+o.Processes
}

// total returns the sum of the usages. Status and Nice are known of one process only.
func total(all []ProcessUsage) Usage {
	if len(all) == 0 {
		return Usage{}
	}
	sum := all[0].Usage
	for i := range all[1:] {
		sum.add(&all[1+i].Usage)
	}
	if len(all) > 1 {
		sum.Status, sum.Nice, sum.StatusKnown = 0, 0, false
	}
	return sum
}

// ProcessUsage is what one named process uses, with its descendants.
type ProcessUsage struct {
	Name   string
	Number uint64 // identifies the process of that name among all of the Monitor's
	PID    int32  // of the root; 0 for a cgroup without one
	Ended  bool   // the root and all its descendants have, or the cgroup is gone
	Usage
}
