package main

import (
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

func TestCgroupDir(t *testing.T) {
	const unified = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"
	const hybrid = "30 23 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n" +
		"31 23 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
	for _, tt := range []struct{ name, groups, mounts, want string }{
		{"unified", "0::/user.slice/a.scope\n", unified, "/sys/fs/cgroup/user.slice/a.scope"},
		{"the root", "0::/\n", unified, "/sys/fs/cgroup"},
		{"hybrid", "9:memory:/a\n0::/b\n", hybrid, "/sys/fs/cgroup/unified/b"},
		{"mounted from within", "0::/pod/c\n", "30 23 0:26 /pod /cg rw - cgroup2 none rw\n", "/cg/c"},
		{"not below the mount", "0::/other\n", "30 23 0:26 /pod /cg rw - cgroup2 none rw\n", ""},
		{"v1 alone", "9:memory:/a\n", "30 23 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n", ""},
		{"no mount", "0::/a\n", "", ""},
		{"half a line", "0::/a\n", "30 23 - cgroup2\n", ""},
	} {
		got, err := cgroupDir(tt.groups, tt.mounts)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%s: %q, %v, want %q", tt.name, got, err, tt.want)
		}
	}
}

// What left the process group of the command is ended all the same where it has a cgroup.
func TestRunEndsWhatLeftTheGroup(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	r := startShell(t, 100*time.Millisecond, "setsid sh -c 'echo $$ > $0; sleep 1000' $0 & sleep 1000", file)
	pid := awaitFile(t, file)
	if r.cgroup == nil {
		if leader, err := strconv.Atoi(pid); err == nil {
			signalGroup(leader, syscall.SIGKILL) // else it would outlive the tests, with their output open
		}
		t.Skip("no cgroup v2 can be made here")
	}
	r.lose(nil)
	if got := r.code(); got != exitRun {
		t.Errorf("%d, want %d", got, exitRun)
	}
	awaitGone(t, pid)
}
