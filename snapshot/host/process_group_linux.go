package host

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/headroom-rpc/headroom/snapshot"
)

// maxGroupDirs bounds how many cgroups are looked into for the processes of one.
const maxGroupDirs = 256

// Group is one cgroup with all below it, of the hierarchies that have it: what one does not tell, such as the
// memory where its controller is off, is unknown. It stays that group: one that is made later under its name is
// another. It is not safe for concurrent use.
type Group struct {
	path  string
	dirs  []string // of each hierarchy that has it, version 2 first
	inode uint64   // of the first
	ended bool

	cpu     groupFile // cpu.stat, or cpuacct.stat of version 1
	usage   groupFile // cpuacct.usage of version 1
	memory  groupFile
	stat    groupFile // memory.stat
	tasks   groupFile
	freezer groupFile // cgroup.events, or freezer.state of version 1
}

// groupFile is a file of a group; without a name where there is none.
type groupFile struct {
	kernelFile
	version int
}

// OpenGroup returns the cgroup of the path, as /proc/PID/cgroup names it, to be closed by the caller. The error is
// ErrNoGroup where no hierarchy has it, and for the root of all.
func OpenGroup(name string) (*Group, error) {
	name = path.Clean("/" + name)
	if name == "/" {
		return nil, fmt.Errorf("%w: the root is no task's", ErrNoGroup)
	}
	mounts, err := readMounts(filepath.Join(cmp.Or(os.Getenv("HOST_PROC"), procfs), "self", "mountinfo"))
	if err != nil {
		return nil, err
	}
	g := &Group{path: name}
	for _, m := range mounts {
		below, ok := m.below(name)
		if !ok {
			continue
		}
		dir := filepath.Join(m.point, below)
		if st, err := os.Lstat(dir); below == "/" || err != nil || !st.IsDir() {
			continue
		}
		if m.version == 2 {
			g.dirs = slices.Insert(g.dirs, 0, dir)
		} else {
			g.dirs = append(g.dirs, dir)
		}
	}
	if len(g.dirs) == 0 {
		return nil, fmt.Errorf("%w: %s", ErrNoGroup, name)
	}
	if g.inode = inodeOf(g.dirs[0]); g.inode == 0 {
		return nil, fmt.Errorf("%w: %s", ErrNoGroup, name)
	}
	for _, dir := range g.dirs {
		version := 1
		if exists(filepath.Join(dir, "cgroup.events")) {
			version = 2
		}
		g.find(dir, version)
	}
	return g, nil
}

// inodeOf returns the number that the kernel gives to a cgroup once only, or 0 where there is none.
func inodeOf(dir string) uint64 {
	var st unix.Stat_t
	if unix.Lstat(dir, &st) != nil {
		return 0
	}
	return st.Ino
}

// find takes up the files that the directory has. A controller is in one hierarchy only; CPU time is counted in
// both, finer in version 2.
func (g *Group) find(dir string, version int) {
	take := func(f *groupFile, size int, name string) bool {
		full := filepath.Join(dir, name)
		if f.name != "" || !exists(full) {
			return false
		}
		*f = groupFile{kernelFile{name: full, fd: -1, buf: make([]byte, size)}, version}
		return true
	}
	if version == 2 {
		take(&g.cpu, 1<<10, "cpu.stat")
		take(&g.memory, 64, "memory.current")
		take(&g.stat, 4<<10, "memory.stat")
		take(&g.tasks, 64, "pids.current")
		take(&g.freezer, 128, "cgroup.events")
		return
	}
	if exists(filepath.Join(dir, "cpuacct.usage")) && take(&g.cpu, 128, "cpuacct.stat") {
		take(&g.usage, 64, "cpuacct.usage")
	}
	if take(&g.memory, 64, "memory.usage_in_bytes") {
		take(&g.stat, 4<<10, "memory.stat")
	}
	take(&g.tasks, 64, "pids.current")
	if g.freezer.version != 1 && exists(filepath.Join(dir, "freezer.state")) {
		g.freezer = groupFile{} // both may freeze it; the one of the controller tells more
		take(&g.freezer, 64, "freezer.state")
	}
}

// Path returns the path as the kernel names it.
func (g *Group) Path() string { return g.path }

// OwnedBy reports whether the group is the user's in every hierarchy that has it.
func (g *Group) OwnedBy(uid int) bool {
	return !slices.ContainsFunc(g.dirs, func(dir string) bool {
		var st unix.Stat_t
		return unix.Lstat(dir, &st) != nil || int(st.Uid) != uid
	})
}

// Read returns what the group uses. It costs some 15 µs whatever runs in it, and allocates nothing. With keep its
// files stay open until the next Read or Close. The error is ErrNoGroup once the group is gone.
func (g *Group) Read(keep bool) (r snapshot.GroupReading, err error) {
	if g.ended {
		return r, ErrNoGroup
	}
	if !keep {
		defer g.release()
		if (g.cpu.name == "" || g.cpu.fd < 0) && inodeOf(g.dirs[0]) != g.inode { // a held file is bound to its group by itself
			g.ended = true
			return r, ErrNoGroup
		}
	}
	err = errors.Join(g.readCPU(&r), g.readMemory(&r), g.readTasks(&r))
	if err == nil {
		return r, nil
	}
	if deleted(err) {
		g.ended = true
		g.Close()
		return snapshot.GroupReading{}, ErrNoGroup
	}
	return r, err
}

func (g *Group) readCPU(r *snapshot.GroupReading) error {
	if g.cpu.name == "" {
		return nil
	}
	text, err := g.cpu.read()
	if err != nil {
		return err
	}
	user, system, total := "user_usec", "system_usec", "usage_usec"
	unit := time.Microsecond
	if g.cpu.version == 1 {
		user, system, unit = "user", "system", tick
	}
	for len(text) > 0 {
		var line []byte
		line, text = cutLine(text)
		name, rest := cutField(line)
		number, _ := cutField(rest)
		var into *time.Duration
		switch string(name) {
		case user:
			into = &r.User
		case system:
			into = &r.System
		case total:
			into, r.CPUKnown = &r.CPU, true
		default:
			continue
		}
		n, ok := digits(number)
		if !ok || n > 1<<63/uint64(tick) {
			return fmt.Errorf("parse %s: %s is no CPU time", g.cpu.name, quote(line))
		}
		*into = time.Duration(n) * unit
	}
	if g.usage.name == "" {
		return nil
	}
	if text, err = g.usage.read(); err != nil {
		return err
	}
	n, err := parseCount(text)
	if err != nil {
		return fmt.Errorf("parse %s: %w", g.usage.name, err)
	}
	r.CPU, r.CPUKnown = time.Duration(n), true
	return nil
}

func (g *Group) readMemory(r *snapshot.GroupReading) error {
	if g.memory.name == "" || g.stat.name == "" {
		return nil
	}
	text, err := g.memory.read()
	if err != nil {
		return err
	}
	used, err := parseUsage(text)
	if err != nil {
		return fmt.Errorf("parse %s: %w", g.memory.name, err)
	}
	if text, err = g.stat.read(); err != nil {
		return err
	}
	stat, err := parseMemoryStat(text, g.stat.version)
	if err != nil {
		return fmt.Errorf("parse %s: %w", g.stat.name, err)
	}
	r.Memory, r.MemoryKnown = max(used-stat.inactiveFile, 0), true
	return nil
}

// readTasks reads how many threads there are, and whether they are frozen.
func (g *Group) readTasks(r *snapshot.GroupReading) error {
	if g.tasks.name != "" {
		text, err := g.tasks.read()
		if err != nil {
			return err
		}
		n, err := parseUsage(text)
		if err != nil {
			return fmt.Errorf("parse %s: %w", g.tasks.name, err)
		}
		r.Tasks, r.TasksKnown = n, true
	}
	if g.freezer.name == "" {
		return nil
	}
	text, err := g.freezer.read()
	if err != nil {
		return err
	}
	for len(text) > 0 {
		var line []byte
		line, text = cutLine(text)
		r.Frozen = r.Frozen || string(line) == "frozen 1" || string(line) == "FROZEN"
	}
	return nil
}

// PIDs appends the processes of the group and of up to 255 groups below it, in no order. It costs 0.25 µs for each
// and more.
func (g *Group) PIDs(to []int32) ([]int32, error) {
	if g.ended {
		return to, ErrNoGroup
	}
	below := []string{g.dirs[0]}
	for i := 0; i < len(below); i++ {
		f := newKernelFile(filepath.Join(below[i], "cgroup.procs"))
		f.records = true
		text, err := readOnce(f)
		if err != nil {
			if i == 0 && (deleted(err) || errors.Is(err, fs.ErrNotExist)) {
				return to, ErrNoGroup
			}
			continue // one below is gone, or has threads only
		}
		for len(text) > 0 {
			var line []byte
			line, text = cutLine(text)
			if n, ok := digits(line); ok && n > 0 && n < 1<<31 { // 0 is outside of the pid namespace
				to = append(to, int32(n))
			}
		}
		entries, err := os.ReadDir(below[i])
		if err != nil {
			continue
		}
		for _, e := range entries {
			if e.IsDir() && len(below) < maxGroupDirs {
				below = append(below, filepath.Join(below[i], e.Name()))
			}
		}
	}
	return to, nil
}

func (g *Group) files() [6]*groupFile {
	return [...]*groupFile{&g.cpu, &g.usage, &g.memory, &g.stat, &g.tasks, &g.freezer}
}

func (g *Group) release() {
	for _, f := range g.files() {
		if f.name != "" { // one that is not there has no descriptor, not 0
			f.close()
		}
	}
}

// Close releases the files.
func (g *Group) Close() { g.release() }
