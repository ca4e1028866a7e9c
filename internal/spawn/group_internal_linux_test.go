package spawn

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
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
	RemoveGroup(dir)
	if _, err := os.Stat(dir); err == nil {
		free.Stop()
		_ = os.Remove(below)
		t.Errorf("%s is left (%v)", dir, os.Remove(dir))
	}
}

// What an earlier process with the pid left is not used again: the kernel may kill all that is begun in it. Where
// something is in it there is no cgroup.
func TestNewGroupIsNew(t *testing.T) {
	var own string
	for _, m := range readOwnGroups() {
		if m.controllers == nil {
			own = m.dir
		}
	}
	dir, folder, err := NewGroup(own)
	if err != nil {
		t.Skipf("make a cgroup of version 2: %v", err)
	}
	defer RemoveGroup(dir)
	start := func() *exec.Cmd {
		c := exec.Command("cat")
		if _, err := c.StdinPipe(); err != nil {
			t.Fatal(err)
		}
		c.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(folder.Fd())}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		return c
	}
	earlier := start()
	if _, _, err := NewGroup(own); !errors.Is(err, fs.ErrExist) {
		t.Errorf("where one is left with a process: %v, want %v", err, fs.ErrExist)
	}
	if err := os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	if err := earlier.Wait(); err == nil {
		t.Error("the process was not killed")
	}
	if err := folder.Close(); err != nil {
		t.Error(err)
	}

	if _, folder, err = NewGroup(own); err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	c := exec.Command("true")
	c.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(folder.Fd())}
	if err := c.Run(); err != nil {
		t.Errorf("true in a new cgroup: %v", err)
	}
}

// Where somebody removes the cgroup, in whose namespace no process has the pid, what is started runs all the same.
func TestStartWithoutTheGroup(t *testing.T) {
	first := Open()
	defer first.Close()
	if first.groups.folder == nil {
		t.Skip("no cgroup of version 2 can be made")
	}
	start := func() {
		p, err := first.Start(&Command{Path: "/bin/sh", Args: []string{"sh", "-c", ":"}})
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Exit(); got.Code != 0 {
			t.Errorf("%+v, want code 0", got)
		}
	}
	start()
	second := Open() // which makes one of the same name
	defer second.Close()
	start()
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
	cleanStale(dir)
	after, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, gone)); err == nil || len(after) != len(before)-1 {
		t.Errorf("%v are left, want all but %s", after, gone)
	}
}
