package spawn

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestOwnGroups(t *testing.T) {
	for _, tt := range []struct {
		name, groups, mounts string
		want                 string
	}{
		{"version 2", "0::/user.slice/a b\n", "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n",
			"[{/sys/fs/cgroup/user.slice/a b []}]"},
		{"version 1 and hybrid", "5:cpu,cpuacct:/job\n4:memory:/job/x\n1:name=systemd:/\n0::/\n",
			"31 30 0:1 / /cg/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n" +
				"32 30 0:2 / /cg/memory rw shared:9 - cgroup cgroup rw,memory\n" +
				"33 30 0:3 / /cg/unified rw - cgroup2 cgroup2 rw\n",
			"[{/cg/cpu,cpuacct/job [cpu cpuacct]} {/cg/memory/job/x [memory]} {/cg/unified []}]"},
		{"a part is mounted", "0::/pod/me/sub\n", "30 23 0:26 /pod/me /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
			"[{/sys/fs/cgroup/sub []}]"},
		{"another part is mounted", "0::/pod/me\n", "30 23 0:26 /pod/other /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "[]"},
		{"none is mounted", "4:memory:/x\n", "30 23 0:26 / /proc rw - proc proc rw\n", "[]"},
		{"no sense", "x\n\n4\n", "x - cgroup2\n\n1 2 3 4 5 - cgroup\n", "[]"},
	} {
		if got := fmt.Sprint(ownGroups(tt.groups, tt.mounts)); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

// A cgroup that the kernel does not let go of at once is removed all the same.
func TestRemoveWaits(t *testing.T) {
	own := readOwnGroups()
	if len(own) == 0 {
		t.Skip("there is no cgroup")
	}
	dir := filepath.Join(own[0].dir, fmt.Sprintf("headroom-test-%d", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skipf("make a cgroup: %v", err)
	}
	below := filepath.Join(dir, "below")
	if err := os.Mkdir(below, 0o755); err != nil {
		t.Error(err)
	}
	free := time.AfterFunc(5*cleanPause, func() { _ = os.Remove(below) })
	remove(dir)
	if _, err := os.Stat(dir); err == nil {
		free.Stop()
		_ = os.Remove(below)
		t.Errorf("%s is left (%v)", dir, os.Remove(dir))
	}
}

// What nobody has any more is removed, and nothing else.
func TestCleanStale(t *testing.T) {
	dir := t.TempDir()
	// A pid over the kernel's bound is nobody's.
	const gone = "headroom-run-1000000000"
	old := time.Now().Add(-2 * staleAfter)
	for _, name := range []string{
		gone, "headroom-run-1000000001/in", "headroom-run-1000000002", groupName(os.Getpid()), "headroom-run-", "headroom-run-1x", "other-1000000000",
	} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if name != "headroom-run-1000000002" { // new
			if err := os.Chtimes(filepath.Join(dir, strings.TrimSuffix(name, "/in")), old, old); err != nil {
				t.Fatal(err)
			}
		}
	}
	before, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	CleanStale(dir)
	after, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, gone)); err == nil || len(after) != len(before)-1 {
		t.Errorf("%v are left, want all but %s", after, gone)
	}
}
