package host

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// groups makes a cgroup in each hierarchy that counts CPU time, memory and tasks, as far as that can be done.
func groups(t testing.TB) (path string, join func(pid int)) {
	t.Helper()
	path = fmt.Sprintf("/headroom-test-%d-%d", os.Getpid(), time.Now().UnixNano())
	var dirs []string
	mounts, err := readMounts("/proc/self/mountinfo")
	if err != nil {
		t.Skip(err)
	}
	for _, m := range mounts {
		if slices.Contains(m.controllers, "cpuset") {
			continue // nothing can join a new one
		}
		dir := filepath.Join(m.point, path)
		if os.Mkdir(dir, 0o755) == nil {
			dirs = append(dirs, dir)
			t.Cleanup(func() {
				for range 100 {
					if os.Remove(dir) == nil {
						return
					}
					time.Sleep(time.Millisecond) // a killed process leaves a little later
				}
			})
		}
	}
	if len(dirs) == 0 {
		t.Skip("no cgroup can be made")
	}
	return path, func(pid int) {
		t.Helper()
		for _, dir := range dirs {
			if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestGroup(t *testing.T) {
	path, join := groups(t)
	pid, said, stdin := shell(t, `read x; i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo done; read x`)
	join(pid)
	g, err := OpenGroup(path)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if !g.OwnedBy(os.Geteuid()) || g.OwnedBy(os.Geteuid()+1) {
		t.Error("the group is not told to be ours and nobody else's")
	}
	before, err := g.Read(true)
	if err != nil || !before.CPUKnown {
		t.Fatalf("Read = %+v, %v, want CPU time", before, err)
	}
	fmt.Fprintln(stdin)
	line(t, said)
	for _, keep := range []bool{true, false} {
		after, err := g.Read(keep)
		if err != nil || after.CPU-before.CPU < 20*time.Millisecond || after.CPU-before.CPU > time.Minute {
			t.Errorf("keep=%v: CPU %v after %v, %v", keep, after.CPU, before.CPU, err)
		}
		if after.MemoryKnown && after.Memory <= 0 || after.TasksKnown && after.Tasks != 1 {
			t.Errorf("keep=%v: %+v, want some memory and one task", keep, after)
		}
	}
	if pids, err := g.PIDs(nil); err != nil || len(pids) != 1 || pids[0] != int32(pid) {
		t.Errorf("PIDs = %v, %v, want %d", pids, err, pid)
	}
	freezer := filepath.Join("/sys/fs/cgroup/freezer", path, "freezer.state")
	if os.WriteFile(freezer, []byte("FROZEN"), 0) == nil {
		r, err := g.Read(true)
		for patience := time.Now().Add(2 * time.Minute); err == nil && !r.Frozen && time.Now().Before(patience); {
			r, err = g.Read(true) // first it is freezing
		}
		if err != nil || !r.Frozen {
			t.Errorf("frozen: %+v, %v", r, err)
		}
		os.WriteFile(freezer, []byte("THAWED"), 0)
	}
	if r, err := g.Read(true); err != nil || r.Frozen {
		t.Errorf("thawed: %+v, %v", r, err)
	}
	if n := testing.AllocsPerRun(100, func() { g.Read(true) }); n > 0 {
		t.Errorf("%v allocations a reading, want 0", n)
	}
	bare, err := OpenGroup(path)
	if err != nil {
		t.Fatal(err)
	}
	bare.stat = groupFile{} // as where the controller is not there
	bare.Close()
	if _, err := unix.FcntlInt(0, unix.F_GETFD, 0); err != nil {
		t.Errorf("closing a group closed the standard input: %v", err)
	}
	if _, err := OpenGroup("/"); err == nil {
		t.Error("the root was opened")
	}
	if _, err := OpenGroup(path + "/../none"); err == nil {
		t.Error("a group that does not exist was opened")
	}
}

func BenchmarkGroup(b *testing.B) {
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprintf("processes=%d", n), func(b *testing.B) {
			path, join := groups(b)
			pid, said, stdin := shell(b, fmt.Sprintf(`read x; i=1; while [ $i -lt %d ]; do sleep 600 & i=$((i+1)); done; echo on; read x`, n))
			join(pid)
			fmt.Fprintln(stdin)
			line(b, said)
			g, err := OpenGroup(path)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(g.Close)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := g.Read(true); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
