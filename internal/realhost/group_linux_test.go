package realhost

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A group is a cgroup of version 1 in the hierarchies of CPU accounting and memory, with a limit on memory.
type group struct{ cpu, memory string }

// newGroup makes one below that of the test, or skips the test where it cannot.
func newGroup(t *testing.T, limit int64) *group {
	t.Helper()
	g := &group{}
	name := fmt.Sprintf("headroom-realhost-%d-%d", os.Getpid(), time.Now().UnixNano())
	for controller, dir := range map[string]*string{"cpuacct": &g.cpu, "memory": &g.memory} {
		own, err := ownGroup(controller)
		if err == nil {
			*dir = filepath.Join(own, name)
			err = os.Mkdir(*dir, 0o755)
		}
		if err != nil {
			t.Skipf("this test needs a cgroup of version 1 of its own with the controller %s: %v", controller, err)
		}
		t.Cleanup(func() { remove(t, *dir) })
	}
	if err := os.WriteFile(filepath.Join(g.memory, "memory.limit_in_bytes"), []byte(strconv.FormatInt(limit, 10)), 0); err != nil {
		t.Skipf("no limit on memory can be set: %v", err)
	}
	// Where there is swap it must be no way out; where there is none there may be no such file.
	_ = os.WriteFile(filepath.Join(g.memory, "memory.memsw.limit_in_bytes"), []byte(strconv.FormatInt(limit, 10)), 0)
	return g
}

func ownGroup(controller string) (string, error) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) == 3 && parts[1] == controller {
			return filepath.Join("/sys/fs/cgroup", controller, parts[2]), nil
		}
	}
	return "", errors.New("no hierarchy of its own")
}

// remove removes a cgroup once what ran in it has ended; what has not, it moves to the parent.
func remove(t *testing.T, dir string) {
	for range 100 {
		below, _ := filepath.Glob(filepath.Join(dir, "*", "tasks"))
		for _, tasks := range append(below, filepath.Join(dir, "tasks")) {
			ids, _ := os.ReadFile(tasks)
			for id := range strings.Lines(string(ids)) {
				_ = os.WriteFile(filepath.Join(filepath.Dir(dir), "tasks"), []byte(strings.TrimSpace(id)), 0) // it may have ended
			}
			_ = os.Remove(filepath.Dir(tasks)) // tried again below
		}
		if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("%s is left", dir)
}

// killAll kills all that runs in the group and below it.
func (g *group) killAll(t *testing.T) {
	t.Helper()
	for _, pattern := range []string{"cgroup.procs", "*/cgroup.procs"} {
		files, _ := filepath.Glob(filepath.Join(g.memory, pattern))
		for _, file := range files {
			ids, _ := os.ReadFile(file)
			for id := range strings.Lines(string(ids)) {
				if pid, err := strconv.Atoi(strings.TrimSpace(id)); err == nil {
					_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
				}
			}
		}
	}
}

// number returns what is in a file of the group, or the number after name there.
func (g *group) number(t *testing.T, dir, file, name string) int64 {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no %s in %s", name, file)
	return 0
}

// cpuTime returns the CPU time of all that ran in the group.
func (g *group) cpuTime(t *testing.T) time.Duration {
	return time.Duration(g.number(t, g.cpu, "cpuacct.usage", ""))
}

// peak returns the most memory that was in use, page cache too, in bytes.
func (g *group) peak(t *testing.T) int64 {
	return g.number(t, g.memory, "memory.max_usage_in_bytes", "")
}

// kills returns how often the kernel killed for want of memory in the group and in those below it.
func (g *group) kills(t *testing.T) int64 {
	n := g.number(t, g.memory, "memory.oom_control", "oom_kill ")
	below, _ := filepath.Glob(filepath.Join(g.memory, "*", "memory.oom_control"))
	for _, file := range below {
		n += g.number(t, filepath.Dir(file), "memory.oom_control", "oom_kill ")
	}
	return n
}
