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

// groups tells of each controller which cgroup holds, or why none can be seen.
func (in *inspection) groups(c Config) {
	proc := procOf(c.Root)
	for _, controller := range []string{"memory", "cpu", "cpuset"} {
		name := "cgroup " + controller
		groups, err := findGroups(c.Root, proc, c.Cgroup, controller)
		switch {
		case errors.Is(err, errNoGroup):
			in.add(AreaLimits, name, FindingGood, "none holds: "+strings.TrimPrefix(err.Error(), errNoGroup.Error()+": "), "")
		case err != nil:
			in.add(AreaLimits, name, FindingMissing, err.Error(), "")
		case len(groups) == 0:
			in.add(AreaLimits, name, FindingGood, "none, as was asked for", "")
		default:
			detail := fmt.Sprintf("v%d, %s", groups[0].version, groups[0].path)
			if n := len(groups) - 1; n > 0 {
				detail += fmt.Sprintf(", and %d above it", n)
			}
			in.add(AreaLimits, name, FindingGood, detail, "")
		}
	}
}

// ownUnit returns what to do where the limits seem to be those of a systemd unit for headroom alone.
func (in *inspection) ownUnit(c Config) string {
	if c.Cgroup != "" || in.cpuErr != nil || in.memoryErr != nil {
		return ""
	}
	for _, limit := range []string{in.cpu.Limit, in.memory.Limit} {
		if strings.HasSuffix(path.Base(limit), ".service") {
			return "if these limits are for headroom alone and not for the workers, start it with --cgroup host"
		}
	}
	return ""
}

// processes tells how much of the processes of the host can be seen.
func (in *inspection) processes(c Config) {
	proc := procOf(c.Root)
	if _, err := os.Stat(filepath.Join(proc, "1", "stat")); err != nil {
		in.add(AreaProcesses, "visibility", FindingLimited,
			"the processes of other users are hidden (hidepid), so only the memory of one's own trees is known",
			"run as root, or as a member of the group that the gid= of the mount of /proc names")
	} else {
		in.add(AreaProcesses, "visibility", FindingGood, "all processes of this pid namespace", "")
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
