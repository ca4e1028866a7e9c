package spawn

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A mount is one hierarchy of cgroups and the place in it of this process.
type mount struct {
	dir         string   // of the own cgroup
	controllers []string // of version 1; nil for version 2
}

// ownGroups finds the own cgroups by the texts of /proc/self/cgroup and /proc/self/mountinfo (proc(5)).
func ownGroups(groups, mounts string) []mount {
	paths := map[string]string{} // by the controllers, as they stand there
	for line := range strings.Lines(groups) {
		// 4:cpu,cpuacct:/path
		if _, rest, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ":"); ok {
			controllers, path, _ := strings.Cut(rest, ":")
			paths[controllers] = path
		}
	}
	var all []mount
	for line := range strings.Lines(mounts) {
		// 36 35 98:0 /root /mount options - type source options
		fields, kind, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
		columns, of := strings.Fields(fields), strings.Fields(kind)
		if !ok || len(columns) < 5 || len(of) < 3 {
			continue
		}
		m := mount{}
		own, ok := paths[""]
		if of[0] == "cgroup" {
			own, ok = "", false
			for controllers, path := range paths {
				names := strings.Split(controllers, ",")
				if controllers != "" && !slices.ContainsFunc(names, func(name string) bool { return !slices.Contains(strings.Split(of[2], ","), name) }) {
					m.controllers, own, ok = names, path, true
				}
			}
		} else if of[0] != "cgroup2" {
			continue
		}
		if below, err := filepath.Rel(columns[3], own); ok && err == nil && filepath.IsLocal(below) {
			m.dir = filepath.Join(columns[4], below)
			all = append(all, m)
		}
	}
	return all
}

// readOwnGroups is ownGroups of this process; none where they cannot be read.
func readOwnGroups() []mount {
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	return ownGroups(string(groups), string(mounts))
}

const groupPrefix = "headroom-run-"

// groupName names the cgroups of a process with a Spawner.
func groupName(pid int) string { return groupPrefix + strconv.Itoa(pid) }

// cleanStale removes what processes that are no more left in the directory of a cgroup: empty cgroups with the name of
// those of a Spawner, older than a minute. It looks at a thousand entries at most.
func cleanStale(dir string) {
	folder, err := os.Open(dir)
	if err != nil {
		return
	}
	defer folder.Close()
	const most = 1000
	names, _ := folder.Readdirnames(most) // what was read is good
	for _, name := range names {
		number, ok := strings.CutPrefix(name, groupPrefix)
		pid, err := strconv.Atoi(number)
		if !ok || err != nil || pid < 1 || !errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			continue
		}
		path := filepath.Join(dir, name)
		if info, err := os.Lstat(path); err == nil && time.Since(info.ModTime()) > staleAfter {
			_ = unix.Rmdir(path) // it fails where something is in it
		}
	}
}

// staleAfter keeps off what is new, and perhaps of a process in another namespace, where pids are others.
const staleAfter = time.Minute

// Clean kills what is left in the cgroups of a Spawner whose process died without closing it, and removes them. The
// process had the pid, and was in the cgroups that this one is in.
func Clean(pid int) {
	for _, m := range readOwnGroups() {
		dir := filepath.Join(m.dir, groupName(pid))
		for range cleanLooks {
			ids, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
			if err != nil || len(ids) == 0 {
				break
			}
			for line := range strings.Lines(string(ids)) {
				if id, err := strconv.Atoi(strings.TrimSpace(line)); err == nil && id > 1 {
					_ = unix.Kill(id, unix.SIGKILL) // it may have ended
				}
			}
			time.Sleep(cleanPause)
		}
		RemoveGroup(dir)
	}
}

// It takes the kernel a moment to let go of what has ended.
const (
	cleanLooks = 100 // at a cgroup that is to be empty
	makeLooks  = 10  // at one that is in the way
	cleanPause = 10 * time.Millisecond
)

// groups are the cgroups in which what is started runs. Where one cannot be made, its directory is "".
type groups struct {
	cpu    string // version 1, cpuacct
	memory string // version 1
	all    string // version 2
	folder *os.File

	// ownMemory is the own cgroup where there is a controller for memory, whose limits hold for what is started too.
	ownMemory string
	ownIs2    bool
	thread    int // of the Spawner, where it is in the cgroups of version 1
}

// newGroups makes cgroups below the own ones and places the calling thread, which must be locked, in those of version 1.
//
// One that would change how CPUs are shared is not made: all that is started would have one share of them.
func newGroups() groups {
	var g groups
	for _, m := range readOwnGroups() {
		if m.controllers == nil {
			g.takeVersion2(m.dir)
			continue
		}
		dir := filepath.Join(m.dir, groupName(os.Getpid()))
		cleanStale(m.dir)
		switch {
		case slices.Contains(m.controllers, "memory"):
			g.ownMemory, g.ownIs2 = m.dir, false
			if enter(dir) {
				g.memory = dir
			}
		case slices.Contains(m.controllers, "cpuacct") && !slices.Contains(m.controllers, "cpu"):
			if enter(dir) {
				g.cpu = dir
			}
		}
	}
	return g
}

// takeVersion2 makes a cgroup below the own one, of version 2, and notes whether that has a controller for memory.
func (g *groups) takeVersion2(own string) {
	if g.ownMemory == "" && exists(own, "memory.events") {
		g.ownMemory, g.ownIs2 = own, true
	}
	if g.folder != nil {
		return // it is mounted twice
	}
	if dir, folder, err := NewGroup(own); err == nil { // else there is none
		g.all, g.folder = dir, folder
	}
}

// NewGroup makes a cgroup of version 2 below that of the directory parent, for what this process starts, and opens its
// directory. It can be killed, so there is none before Linux 5.14. Where one is left of an earlier process with the pid,
// and something is in it, there is none either. It removes from parent what is stale, and may block for 100 ms.
// RemoveGroup removes it.
func NewGroup(parent string) (dir string, folder *os.File, err error) {
	cleanStale(parent)
	dir = filepath.Join(parent, groupName(os.Getpid()))
	if err := makeNew(dir); err != nil {
		return "", nil, err
	}
	if _, err = os.Stat(filepath.Join(dir, "cgroup.kill")); err == nil {
		folder, err = os.Open(dir)
	}
	if err != nil {
		return "", nil, errors.Join(err, os.Remove(dir))
	}
	return dir, folder, nil
}

// makeNew makes the directory of a cgroup that was never killed: from where one ever was, newer kernels kill all that
// is begun in it. Linux 6.18 does.
func makeNew(dir string) error {
	for look := 0; ; look++ {
		err := os.Mkdir(dir, 0o755)
		if !errors.Is(err, fs.ErrExist) || look == makeLooks {
			return err
		}
		if os.Remove(dir) != nil { // what is in it may be about to end
			time.Sleep(cleanPause)
		}
	}
}

// there reports whether the cgroup of version 2 has not been removed.
func (g *groups) there() bool {
	opened, err := g.folder.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(g.all)
	return err == nil && os.SameFile(opened, named)
}

func exists(dir, name string) bool {
	_, err := os.Stat(filepath.Join(dir, name))
	return err == nil
}

// enter makes a cgroup of version 1 and places the calling thread in it.
func enter(dir string) bool {
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return false
	}
	if err := os.WriteFile(filepath.Join(dir, "tasks"), []byte("0"), 0); err != nil {
		_ = os.Remove(dir)
		return false
	}
	return true
}

// leave takes the calling thread out of the cgroups of version 1 and removes all of them. What still runs in one goes
// back to where this process is.
func (g *groups) leave() {
	if g.folder != nil {
		_ = g.folder.Close() // it was opened for reading
	}
	for _, dir := range []string{g.cpu, g.memory, g.all} {
		if dir != "" {
			RemoveGroup(dir)
		}
	}
}

// RemoveGroup removes the cgroup of a directory, and moves what still runs in it to the one above. It blocks while the
// kernel has not let go of what ended in it, and while there is another cgroup in it, for about a second at most.
func RemoveGroup(dir string) {
	list := "tasks"
	if !exists(dir, list) {
		list = "cgroup.procs"
	}
	for look := range cleanLooks {
		if err := os.Remove(dir); err == nil || errors.Is(err, fs.ErrNotExist) {
			return
		}
		ids, err := os.ReadFile(filepath.Join(dir, list))
		if err != nil {
			return
		}
		for id := range strings.Lines(string(ids)) {
			_ = os.WriteFile(filepath.Join(filepath.Dir(dir), list), []byte(strings.TrimSpace(id)), 0) // it may have ended
		}
		if look > 0 { // what ends is listed no more before the kernel lets go of the cgroup
			time.Sleep(cleanPause)
		}
	}
}

// kill kills everything in the cgroups.
func (g *groups) kill() {
	if g.all != "" {
		_ = os.WriteFile(filepath.Join(g.all, "cgroup.kill"), []byte("1"), 0) // it may be gone
		return
	}
	ids, _ := g.threads()
	for _, id := range ids {
		_ = unix.Kill(id, unix.SIGKILL) // it may have ended
	}
}

// used returns the CPU time of all that ran in the cgroups; ok is false where that is not known.
func (g *groups) used() (d time.Duration, ok bool) {
	if g.cpu != "" {
		n, err := readNumber(filepath.Join(g.cpu, "cpuacct.usage"))
		return time.Duration(n), err == nil
	}
	if g.all != "" {
		n, ok := readField(filepath.Join(g.all, "cpu.stat"), "usage_usec")
		return time.Duration(n) * time.Microsecond, ok
	}
	return 0, false
}

// workingSet returns the memory in use without page cache that was not used lately, in bytes.
func (g *groups) workingSet() (n int64, ok bool) {
	dir, usage, inactive := g.memory, "memory.usage_in_bytes", "total_inactive_file"
	if dir == "" {
		dir, usage, inactive = g.all, "memory.current", "inactive_file"
	}
	if dir == "" {
		return 0, false
	}
	used, err := readNumber(filepath.Join(dir, usage))
	if err != nil {
		return 0, false
	}
	cache, _ := readField(filepath.Join(dir, "memory.stat"), inactive)
	return max(0, used-cache), true
}

// kills returns how many processes the kernel killed for want of memory: in the cgroup in which they run if there is a
// controller for memory, else on this host.
func (g *groups) kills() int64 {
	for _, file := range []struct {
		dir, name string
		there     bool
	}{
		{g.memory, "memory.oom_control", g.memory != ""},
		{g.all, "memory.events", g.all != ""},
		{g.ownMemory, "memory.events", g.ownIs2},
		{g.ownMemory, "memory.oom_control", g.ownMemory != ""},
	} {
		if file.there {
			if n, ok := readField(filepath.Join(file.dir, file.name), "oom_kill"); ok {
				return n
			}
		}
	}
	n, _ := readField("/proc/vmstat", "oom_kill")
	return n
}

// threads returns the ids of what runs in the cgroups, but for the Spawner; ok is false where there is none.
func (g *groups) threads() (ids []int, ok bool) {
	file := ""
	switch {
	case g.cpu != "":
		file = filepath.Join(g.cpu, "tasks")
	case g.memory != "":
		file = filepath.Join(g.memory, "tasks")
	case g.all != "":
		// Not its threads: where no controller tells the memory, that of each process counts once.
		file = filepath.Join(g.all, "cgroup.procs")
	default:
		return nil, false
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, false
	}
	for line := range bytes.Lines(text) {
		if id, err := strconv.Atoi(string(bytes.TrimSpace(line))); err == nil && id != g.thread {
			ids = append(ids, id)
		}
	}
	return ids, true
}

func readNumber(file string) (int64, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64)
}

// readField returns the number after a name in a file of lines "name number".
func readField(file, name string) (n int64, ok bool) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	for line := range bytes.Lines(text) {
		if value, found := bytes.CutPrefix(line, []byte(name+" ")); found {
			n, err := strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}
