package host

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

// allCPUs is what a capacity is limited by that is not limited.
const allCPUs = "CPUs of the host"

// NoCgroup as [Config.Cgroup] reads the host, whatever cgroup this process is in.
const NoCgroup = "host"

// Config says what a [Host] reads. The zero value is complete: this process and its descendants, within the
// limits of its own cgroups.
type Config struct {
	// Scope says whose memory is read, and whose CPUs: ScopeProcess goes by the CPU affinity of this process,
	// ScopeHost by the cpuset of the cgroup.
	Scope snapshot.Scope

	// Cgroup is the cgroup whose limits hold: "" for that of this process, [NoCgroup] for the host without any,
	// or a path below the mounted hierarchies such as "/kubepods/pod1". Linux only.
	Cgroup string

	// Root is the directory in which proc and sys are found: that of the host, where a container has it mounted
	// elsewhere. The default is "/", and there the environment variable HOST_PROC names the directory that is
	// read for /proc. Linux only.
	Root string
}

func (c Config) validate() error {
	var errs []error
	if c.Scope != snapshot.ScopeProcess && c.Scope != snapshot.ScopeHost {
		errs = append(errs, fmt.Errorf("host: Scope: %d is neither ScopeProcess nor ScopeHost", c.Scope))
	}
	if g := c.Cgroup; g != "" && g != NoCgroup && (!strings.HasPrefix(g, "/") || path.Clean(g) != g) {
		errs = append(errs, fmt.Errorf("host: Cgroup: %q is neither %q nor a path that begins with / and has no . or .. in it", g, NoCgroup))
	}
	if c.Root != "" && !filepath.IsAbs(c.Root) {
		errs = append(errs, fmt.Errorf("host: Root: %q is not an absolute path", c.Root))
	}
	if runtime.GOOS != "linux" && (c.Root != "" || c.Cgroup != "" && c.Cgroup != NoCgroup) {
		errs = append(errs, fmt.Errorf("host: Root, Cgroup: %w on %s", errors.ErrUnsupported, runtime.GOOS))
	}
	return errors.Join(errs...)
}

// A Host reads the load of this host, and what the cgroups leave of it, from files that it keeps open. Its
// methods are safe for concurrent use, and so are the functions that they return: no source waits for another.
type Host struct {
	sources  snapshot.Sources
	signals  []snapshot.Signal
	counters func(context.Context) (Counters, error)
	costs    []*cost
	closers  []func()
}

// Open returns a Host, to be closed by the caller. It reads nothing itself: a file that is missing or denied
// makes its own source unknown, with the reason, and is tried again every 30 s. An error names what is wrong
// with c.
func Open(c Config) (*Host, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	return open(c), nil
}

// NewSources returns the sources of a [Host] of the scope that is never closed. An unknown scope is the process.
func NewSources(scope snapshot.Scope) snapshot.Sources {
	return open(Config{Scope: scope}).Sources()
}

// Sources returns the functions for a snapshot.Snapshotter. Each returns the error of its context when that ends
// first. For memory see the package.
//
// CPU on Linux is the greatest of these shares: the time in which the CPUs of the host were not idle; of those that
// the cpuset leaves, instead, where it leaves fewer; and for the cgroup and each ancestor with a CPU quota, the CPU
// time that it used of what the quota gave. Cores is the least of what the host, the cpuset and the quotas give, and
// Limit says which. Waiting for I/O is idle, time stolen by the hypervisor is busy, a guest's time counts once, and
// a counter that goes back counts as no time. The kernel counts the times of the host in steps of 10 ms, so they are
// compared over about a second, or as long as there is, and where that file is big, as with many CPUs, it is read no
// more than about once a second; the use of a quota is exact since the previous call. What a group bursts over its
// quota is cut off at 1. Quotas are read anew once a second, in turn where ancestors have some: that of the cgroup
// itself every 3 s, those of up to three ancestors every 5 s; in version 1 the period is looked at every other time
// where the quota stays the same. The cpuset and the membership are read every 30 s. It is an error when there is a
// quota and its use cannot be read; without the times of the host the quota stands alone, and HostKnown is false. It
// is an error too when the times of the host did not move, and the next call covers that time as well. Elsewhere
// than on Linux, CPU is the time in which the host was not idle since the previous call, and Cores its logical CPUs.
//
// Pressure is there on Linux only, nil elsewhere. It is the growth of the kernel's totals since the previous call: of
// the cgroup's own where it is of version 2 and has a limit on CPU time or memory, itself or by an ancestor, as the
// host's would tell of others; else of the host. The kernel knows no Full for the CPUs of the host. Where it
// does not tell pressure, the error says what to do, and it is asked again every 30 s.
//
// The first call of CPU and of Pressure takes two readings 100 ms apart, and so does the first after a move to another
// cgroup with a quota.
func (h *Host) Sources() snapshot.Sources { return h.sources }

// Signals returns further signals of the host for snapshot.Config.Signals, none elsewhere than on Linux. All
// are ignored while they are stale.
//
// "cpu_throttled" is the share of the periods of the CPU quota, since the previous reading, in which it was used
// up before the end: of the cgroup or an ancestor, whichever was throttled most; 0 without a quota. Over 0.5 is
// overloaded.
//
// "run_queue_wait" is how long tasks waited for a CPU, in task-seconds a second for each CPU of the host. Over 1 is
// overloaded. It is there where the kernel has /proc/schedstat.
//
// The first reading of each looks at 100 ms.
func (h *Host) Signals() []snapshot.Signal {
	return append([]snapshot.Signal(nil), h.signals...)
}

// Costs returns what each source has cost since Open, in an order that does not change.
func (h *Host) Costs() []Cost {
	costs := make([]Cost, len(h.costs))
	for i, c := range h.costs {
		costs[i] = c.get()
	}
	return costs
}

// Counters returns the disk and network counters of the host since boot. What could not be read is not Known, and
// the error says why. Elsewhere than on Linux that is all of it, and the error is errors.ErrUnsupported.
func (h *Host) Counters(ctx context.Context) (Counters, error) { return h.counters(ctx) }

// Close releases the files, after the readings in progress. Each later reading is an error. It returns nil.
func (h *Host) Close() error {
	for _, c := range h.closers {
		c()
	}
	return nil
}

// Counters are what the disks and the network interfaces of the host did since boot. All of them only grow, until
// a device is replaced.
type Counters struct {
	// Disk is the sum over the disks, where DiskKnown is true. Partitions, and what is stored on other disks or in
	// memory (dm, md, bcache, drbd, zd, loop, ram and zram devices), do not count again.
	Disk      DiskCounters
	DiskKnown bool

	// Disks are the disks by name, and those of dm, md, bcache, drbd and zd: the first 64 that the kernel names.
	Disks []Disk

	// Net is the sum over the network interfaces but the loopback, where NetKnown is true. What passes a bridge, a
	// bond or a tunnel counts there and at the interfaces below it.
	Net      NetCounters
	NetKnown bool

	// Interfaces are the network interfaces by name, the loopback too: the first 64 that the kernel names.
	Interfaces []Interface

	// Omitted counts the disks and interfaces over 64 each. They are in the sums.
	Omitted int
}

// Disk is one disk.
type Disk struct {
	Name string
	DiskCounters
}

// DiskCounters count the input and output of disks.
type DiskCounters struct {
	Reads, Writes           uint64 // completed
	ReadBytes, WrittenBytes uint64
	ReadTime, WriteTime     time.Duration // summed over the requests
	BusyTime                time.Duration // with a request in progress; of the sum, added up over the disks
}

// Interface is one network interface.
type Interface struct {
	Name string
	NetCounters
}

// NetCounters count what network interfaces received and sent.
type NetCounters struct {
	ReceivedBytes, ReceivedPackets, ReceiveErrors, ReceiveDrops uint64
	SentBytes, SentPackets, SendErrors, SendDrops               uint64
}
