package host_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A hierarchy is the real one that has a controller, and how its version names things.
type hierarchy struct {
	version int
	top     string // its mount

	limit, usage      string // the files of memory
	cache, activeFile string // in memory.stat: those of the cgroup and of all below it
}

// realHierarchy returns the hierarchy of the controller where this machine mounts it as is usual.
func realHierarchy(t testing.TB, controller string) hierarchy {
	t.Helper()
	const v2 = "/sys/fs/cgroup"
	v1 := filepath.Join(v2, controller)
	if at, err := filepath.EvalSymlinks(v1); err == nil {
		v1 = at // as of cpu and cpuacct that are mounted together
	}
	if _, err := os.Stat(filepath.Join(v1, "cgroup.procs")); err == nil {
		return hierarchy{1, v1, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_cache", "total_active_file"}
	}
	text, err := os.ReadFile(filepath.Join(v2, "cgroup.subtree_control"))
	if err != nil {
		t.Skipf("no controller %s of cgroup v1 at %s, and no cgroup v2: %v", controller, v1, err)
	}
	if !slices.Contains(strings.Fields(string(text)), controller) {
		t.Skipf("the cgroup v2 at %s does not give its children the controller %s", v2, controller)
	}
	return hierarchy{2, v2, "memory.max", "memory.current", "file", "active_file"}
}

// realGroup makes cgroups in the hierarchy of the controller, each below the one before it, and removes them after the
// test. It returns their directories.
func realGroup(t testing.TB, controller, name string, below ...string) (h hierarchy, dirs []string) {
	t.Helper()
	h = realHierarchy(t, controller)
	above := h.top
	for _, name := range append([]string{fmt.Sprintf("headroom-test-%d-%s", os.Getpid(), name)}, below...) {
		above = filepath.Join(above, name)
		dirs = append(dirs, above)
	}
	t.Cleanup(func() {
		for _, dir := range slices.Backward(dirs) {
			if err := unix.Rmdir(dir); err != nil && err != unix.ENOENT {
				t.Errorf("remove %s: %v", dir, err)
			}
		}
	})
	h.make(t, dirs)
	return h, dirs
}

// make makes cgroups, of which each has those controllers that the first of them was given.
func (h hierarchy) make(t testing.TB, dirs []string) {
	t.Helper()
	for i, dir := range dirs {
		err := os.Mkdir(dir, 0o700)
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
			t.Skipf("cannot make a cgroup: %v", err)
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.version == 1 || i == len(dirs)-1 {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
		if err != nil {
			t.Fatal(err)
		}
		for _, controller := range strings.Fields(string(text)) {
			if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+controller), 0); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// path returns how people name the cgroup in the directory.
func (h hierarchy) path(dir string) string { return strings.TrimPrefix(dir, h.top) }

func (h hierarchy) set(t testing.TB, dir, file string, n int64) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, file), []byte(amount(n)), 0); err != nil {
		t.Fatal(err)
	}
}

// activeFileOf returns the page cache of the cgroup that was used lately, which its working set holds.
func (h hierarchy) activeFileOf(t *testing.T, dir string) int64 { return statOf(t, dir, h.activeFile) }

// statOf returns what memory.stat of the cgroup says.
func statOf(t *testing.T, dir, name string) int64 {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "memory.stat"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(rest), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("memory.stat of %s has no %s", dir, name)
	return 0
}

// awaitSum waits until the topmost of the cgroups counts the page cache of the lowest, which the kernel adds up
// every 2 s at the latest. Its usage counts it at once.
func (h hierarchy) awaitSum(t *testing.T, dirs []string) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		top, leaf := statOf(t, dirs[0], h.cache), statOf(t, dirs[len(dirs)-1], h.cache)
		if top >= leaf {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s counts %d bytes of page cache, and %d are below it", dirs[0], top, leaf)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
