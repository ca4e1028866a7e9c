package host

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const pressureAdvice = "boot with psi=1 on the kernel's command line, of a kernel with CONFIG_PSI; headroom does without"

// The namespaces that the kernel begins with have these numbers (PROC_PID_INIT_INO and PROC_CGROUP_INIT_INO).
const (
	firstPIDNamespace    = "pid:[4026531836]"
	firstCgroupNamespace = "cgroup:[4026531835]"
)

// groups tells of each controller which cgroup holds, or why none can be seen.
func (in *inspection) groups(c Config) {
	proc := procOf(c.Root)
	if !isProc(proc) {
		return // processes says so
	}
	seen := map[string]string{}
	for _, controller := range []string{"memory", "cpu", "cpuset"} {
		name := "cgroup " + controller
		groups, err := findGroups(c.Root, proc, c.Cgroup, controller)
		switch {
		case errors.Is(err, errNoGroup) && !hasCgroups(proc):
			in.add(AreaLimits, name, FindingGood, "none: the kernel has no cgroups", "")
		case errors.Is(err, errNoGroup):
			in.add(AreaLimits, name, FindingLimited, "none can be seen: "+strings.TrimPrefix(err.Error(), errNoGroup.Error()+": "),
				"a limit that is there is not known: mount the cgroups of the host where they were, read-only")
		case err != nil && (in.memoryErr != nil || in.cpuErr != nil):
			in.add(AreaLimits, name, FindingMissing, "not known", "")
		case err != nil:
			in.add(AreaLimits, name, FindingMissing, err.Error(), "")
		case len(groups) == 0:
			in.add(AreaLimits, name, FindingGood, "none, as was asked for", "")
		default:
			detail := fmt.Sprintf("v%d, %s", groups[0].version, groups[0].path)
			if n := len(groups) - 1; n > 0 {
				detail += fmt.Sprintf(", and %d above it", n)
			}
			if first, ok := seen[detail]; ok {
				detail = "that of " + first
			} else {
				seen[detail] = controller
			}
			in.add(AreaLimits, name, FindingGood, detail, "")
		}
	}
	if own, err := os.Readlink(filepath.Join(proc, "self", "ns", "cgroup")); err == nil && own != firstCgroupNamespace &&
		c.Cgroup != NoCgroup {
		in.add(AreaLimits, "cgroups above", FindingLimited, "cannot be seen from this cgroup namespace, nor their limits",
			"where those are tighter, start the container in the cgroup namespace of the host (cgroupns=host)")
	}
}

// isProc reports whether there is a /proc in the directory.
func isProc(proc string) bool { return exists(filepath.Join(proc, "self", "mountinfo")) }

// hasCgroups reports whether the kernel has cgroups at all.
func hasCgroups(proc string) bool { return exists(filepath.Join(proc, "self", "cgroup")) }

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// ownUnit returns what to do where a limit seems to be that of a systemd unit for headroom alone.
func ownUnit(c Config, limit string) string {
	if c.Cgroup != "" || !strings.HasSuffix(path.Base(limit), ".service") {
		return ""
	}
	return "if this limit is for headroom alone and not for the workers, start it with --cgroup host"
}

// absent tells of signals that this kernel does not have.
func (in *inspection) absent(h *Host) {
	for _, s := range h.signals {
		if s.Name == signalRunQueue {
			return
		}
	}
	in.add(AreaSignals, signalRunQueue, FindingMissing, "the kernel has no /proc/schedstat (CONFIG_SCHEDSTATS)",
		"none is needed: pressure_cpu tells of the same")
}

// processes tells how much of the processes of the host can be seen.
func (in *inspection) processes(c Config) {
	proc := procOf(c.Root)
	if !isProc(proc) {
		in.add(AreaProcesses, "visibility", FindingMissing, "there is no procfs at "+proc,
			"mount the /proc of the host there, read-only")
		return
	}
	own, err := os.Readlink(filepath.Join(proc, "self", "ns", "pid"))
	contained := err == nil && own != firstPIDNamespace
	switch {
	case !exists(filepath.Join(proc, "1", "stat")):
		in.add(AreaProcesses, "visibility", FindingLimited,
			"the processes of other users are hidden (hidepid), so only the memory of one's own trees is known",
			"run as root, or as a member of the group that the gid= of the mount of /proc names")
	case contained:
		in.add(AreaProcesses, "visibility", FindingLimited, "only the processes of this pid namespace, as in a container",
			"for those of others share the pid namespace of the host (pid=host, hostPID), or of the pod")
	default:
		in.add(AreaProcesses, "visibility", FindingGood, "all processes of this host", "")
	}

	if _, err := readPSS(filepath.Join(proc, "1")); err != nil {
		in.add(AreaProcesses, "PSS of others", FindingLimited,
			"the memory of processes of other users counts by RSS, with what they share counted twice",
			"give headroom CAP_SYS_PTRACE, or the user that the workers run as")
	} else {
		in.add(AreaProcesses, "PSS of others", FindingGood, "can be read", "")
	}

	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		in.add(AreaProcesses, "pidfd", FindingLimited, "not to be had: "+err.Error(),
			"with Linux 5.3 or later the permits of a worker that was killed are back at once, not after its lease")
		return
	}
	_ = unix.Close(fd)
	in.add(AreaProcesses, "pidfd", FindingGood, "a worker that was killed is noticed at once", "")
	in.children(c, proc)
}

// children tells whether cgroups can be made below one's own.
func (in *inspection) children(c Config, proc string) {
	groups, err := findGroups(c.Root, proc, "", "memory")
	if err != nil || len(groups) == 0 {
		return
	}
	dir := groups[0].dir
	if err := unix.Access(dir, unix.W_OK); err != nil {
		in.add(AreaProcesses, "own cgroups", FindingLimited, "none can be made in "+strconv.Quote(groups[0].path)+": "+err.Error(),
			"delegate the cgroup (systemd: Delegate=yes) to have tasks in cgroups of their own")
		return
	}
	in.add(AreaProcesses, "own cgroups", FindingGood, "can be made in "+strconv.Quote(groups[0].path), "")
}

// procOf returns the procfs that a Host with the root reads.
func procOf(root string) string {
	if root != "" && root != "/" {
		return filepath.Join(root, procfs)
	}
	return cmp.Or(os.Getenv("HOST_PROC"), procfs)
}
