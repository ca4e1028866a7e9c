package host

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/headroom-rpc/headroom/snapshot"
)

// walked walks a folder and waits for the answer.
func walked(t *testing.T, c DiskConfig, r DiskRequest) snapshot.DiskReading {
	t.Helper()
	d := NewDiskWalker(c)
	t.Cleanup(d.Close)
	return waitWalk(d, r)
}

func waitWalk(d *DiskWalker, r DiskRequest) snapshot.DiskReading {
	answer := make(chan snapshot.DiskReading, 1)
	d.Start(r, func(r snapshot.DiskReading) { answer <- r })
	return <-answer
}

// fill makes a tree with what is hard to count: several names of a file, a sparse file, links, many folders.
func fill(t testing.TB, dir string, folders, files int) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range folders {
		sub := filepath.Join(dir, fmt.Sprintf("d%d", i%7), fmt.Sprintf("s%d", i))
		must(os.MkdirAll(sub, 0o755))
		for k := range files {
			must(os.WriteFile(filepath.Join(sub, fmt.Sprintf("f%d", k)), make([]byte, k%8*700), 0o644))
		}
	}
	must(os.WriteFile(filepath.Join(dir, "one"), make([]byte, 100<<10), 0o644))
	must(os.Link(filepath.Join(dir, "one"), filepath.Join(dir, "two")))
	must(os.Link(filepath.Join(dir, "one"), filepath.Join(dir, "d0", "three")))
	must(os.Symlink("/usr", filepath.Join(dir, "out")))
	must(os.Symlink(".", filepath.Join(dir, "d0", "loop")))
	must(os.WriteFile(filepath.Join(dir, "sparse"), nil, 0o644))
	must(os.Truncate(filepath.Join(dir, "sparse"), 1<<30))
	must(unix.Mkfifo(filepath.Join(dir, "fifo"), 0o644))
}

func TestDiskUsageIsThatOfDu(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 40, 5)
	out, err := exec.Command("du", "-s", "--block-size=1", dir).Output()
	if err != nil {
		t.Skip(err)
	}
	var want int64
	fmt.Sscan(string(out), &want)
	got := walked(t, DiskConfig{Share: 1}, DiskRequest{Path: dir, UID: -1})
	if got.State != snapshot.DiskOK || got.Bytes != want {
		t.Errorf("walk = %+v, want %d bytes as du says", got, want)
	}
}

func TestDiskUnknown(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	os.WriteFile(file, nil, 0o600)
	os.Symlink(dir, filepath.Join(dir, "link"))
	other := os.Geteuid() + 1
	ofAnother := "not a folder of user"
	if err := rightsOf(other); err != nil && os.Geteuid() == 0 {
		ofAnother = err.Error() // root, as in some containers: it looks at nothing with rights of its own
	}
	for name, tt := range map[string]struct {
		path, reason string
		uid          int
	}{
		"relative":      {"tmp", "no absolute path", -1},
		"not there yet": {filepath.Join(dir, "later"), "no such file", -1},
		"a file":        {file, "not a directory", -1},
		"a link":        {filepath.Join(dir, "link"), "symbolic link", -1},
		"of another":    {"/usr", ofAnother, other},
	} {
		got := walked(t, DiskConfig{}, DiskRequest{Path: tt.path, UID: tt.uid})
		if got.State != snapshot.DiskUnknown || got.Bytes != 0 || got.Reason == "" || !strings.Contains(got.Reason, tt.reason) {
			t.Errorf("%s: %+v, want unknown because of %q", name, got, tt.reason)
		}
	}
}

// rightsOf tries to take the rights of the user, as a walk does.
func rightsOf(uid int) error {
	tried := make(chan error)
	go func() {
		runtime.LockOSThread() // for ever: the thread ends with the goroutine
		tried <- takeRights(uid)
	}()
	return <-tried
}

// As root, a walk for a user sees what the user may see.
func TestDiskHasTheRightsOfTheUser(t *testing.T) {
	const uid = 61234
	if err := rightsOf(uid); err != nil {
		t.Skip("only root may take the rights of another user, and not in every container:", err)
	}
	dir, err := os.MkdirTemp("", "walk")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	secret := filepath.Join(dir, "secret")
	os.Mkdir(secret, 0o700)
	os.WriteFile(filepath.Join(secret, "big"), make([]byte, 1<<20), 0o600)
	os.Chown(dir, uid, uid)
	os.Chmod(dir, 0o755)
	got := walked(t, DiskConfig{}, DiskRequest{Path: dir, UID: uid})
	if got.State != snapshot.DiskPartial || got.Bytes >= 1<<20 || !strings.Contains(got.Reason, "permission denied") {
		t.Errorf("walk = %+v, want partial without what only root may see", got)
	}
	if got := walked(t, DiskConfig{}, DiskRequest{Path: dir, UID: -1}); got.State != snapshot.DiskOK || got.Bytes < 1<<20 {
		t.Errorf("walk by root afterwards = %+v, want all of it", got)
	}
}

func TestDiskStaysOnItsFileSystem(t *testing.T) {
	dir := t.TempDir()
	below := filepath.Join(dir, "below")
	os.Mkdir(below, 0o700)
	if err := unix.Mount("tmpfs", below, "tmpfs", 0, "size=4m"); err != nil {
		t.Skip(err)
	}
	defer unix.Unmount(below, unix.MNT_DETACH)
	os.WriteFile(filepath.Join(below, "file"), make([]byte, 2<<20), 0o600)
	if got := walked(t, DiskConfig{}, DiskRequest{Path: dir, UID: -1}); got.State != snapshot.DiskOK || got.Bytes >= 2<<20 {
		t.Errorf("walk = %+v, want it without the tmpfs", got)
	}
	if got := walked(t, DiskConfig{}, DiskRequest{Path: dir, UID: -1, AllMounts: true}); got.Bytes < 2<<20 {
		t.Errorf("walk of all mounts = %+v, want the tmpfs too", got)
	}
}

// Whoever swaps a folder and a link to elsewhere as fast as can be does not lead the walk out of its tree.
func TestDiskIsNotLedAstray(t *testing.T) {
	dir, out := quickDir(t), t.TempDir()
	os.WriteFile(filepath.Join(out, "canary"), make([]byte, 8<<20), 0o600)
	inside, aside := filepath.Join(dir, "in"), filepath.Join(dir, "aside")
	os.Mkdir(inside, 0o700)
	os.WriteFile(filepath.Join(inside, "small"), make([]byte, 4096), 0o600)
	os.Symlink(out, aside)
	var swaps atomic.Int64
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			default:
				if unix.Renameat2(unix.AT_FDCWD, inside, unix.AT_FDCWD, aside, unix.RENAME_EXCHANGE) == nil {
					swaps.Add(1)
				}
			}
		}
	}()
	d := NewDiskWalker(DiskConfig{Share: 1})
	defer d.Close()
	for swaps.Load() < 50_000 {
		if got := waitWalk(d, DiskRequest{Path: dir, UID: -1}); got.Bytes >= 8<<20 {
			t.Fatalf("walk = %+v after %d swaps: it left the tree", got, swaps.Load())
		}
	}
	close(stop)
	<-ended
}

// quickDir returns a folder in memory, where that can be had: for many entries a disk takes seconds.
func quickDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "walk")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// Links to a folder above or to each other make no loop, a file with several names counts once, and what is no file, as
// a pipe that nobody writes to, is not opened.
func TestDiskWithLoops(t *testing.T) {
	dir := quickDir(t)
	os.MkdirAll(filepath.Join(dir, "a", "b"), 0o700)
	os.WriteFile(filepath.Join(dir, "a", "file"), make([]byte, 1<<20), 0o600)
	os.Link(filepath.Join(dir, "a", "file"), filepath.Join(dir, "a", "b", "again"))
	for from, to := range map[string]string{"up": "..", "here": ".", "all": dir, "x": "y", "y": "x", "file": "a/file", "root": "/"} {
		if err := os.Symlink(to, filepath.Join(dir, "a", "b", from)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := walked(t, DiskConfig{}, DiskRequest{Path: dir, UID: -1})
	if got.State != snapshot.DiskOK || got.Bytes < 1<<20 || got.Bytes > 1<<20+64<<10 || got.Entries > 20 {
		t.Errorf("walk = %+v, want the one file once", got)
	}
}

func TestDiskDepthIsBounded(t *testing.T) {
	dir := quickDir(t)
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range 4000 {
		if err := unix.Mkdirat(fd, "d", 0o700); err != nil {
			t.Fatal(err)
		}
		next, err := unix.Openat(fd, "d", unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(fd)
		fd = next
	}
	unix.Close(fd)
	t.Cleanup(func() { exec.Command("rm", "-rf", filepath.Join(dir, "d")).Run() })
	got := walked(t, DiskConfig{}, DiskRequest{Path: dir, UID: -1})
	if got.State != snapshot.DiskPartial || got.Entries != maxDiskDepth || !strings.Contains(got.Reason, "deeper") {
		t.Errorf("walk = %+v, want %d entries and partial", got, maxDiskDepth)
	}
}

// A mount that hangs costs one walk and is left alone until that returns; the other mounts go on.
func TestDiskOfHungMount(t *testing.T) {
	proc := t.TempDir()
	t.Setenv("HOST_PROC", proc)
	os.MkdirAll(filepath.Join(proc, "self"), 0o700)
	os.WriteFile(filepath.Join(proc, "self", "mountinfo"), []byte("1 1 8:1 / / rw - ext4 a rw\n"+
		"2 1 8:2 / /a rw - ext4 b rw\n3 1 8:3 / /a/b\\040c rw - xfs c rw\n4 1 8:4 / /n rw - nfs4 d rw\n"), 0o600)
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		d := NewDiskWalker(DiskConfig{Deadline: time.Second})
		var walks atomic.Int64
		d.walk = func(w *folderWalk) snapshot.DiskReading {
			walks.Add(1)
			if w.Path == "/a/hangs" {
				<-hang
			}
			return snapshot.DiskReading{State: snapshot.DiskOK, Bytes: 1}
		}
		hung := make(chan snapshot.DiskReading, 8)
		for range 3 {
			d.Start(DiskRequest{Path: "/a/hangs"}, func(r snapshot.DiskReading) { hung <- r })
		}
		for _, path := range []string{"/a/b c/x", "/elsewhere", "/ab"} {
			if got := waitWalk(d, DiskRequest{Path: path}); got.State != snapshot.DiskOK {
				t.Errorf("%s: %+v, want ok beside a mount that hangs", path, got)
			}
		}
		if got := waitWalk(d, DiskRequest{Path: "/n/x"}); got.State != snapshot.DiskUnknown || !strings.Contains(got.Reason, "nfs4") {
			t.Errorf("on NFS: %+v, want unknown", got)
		}
		for range 3 {
			if got := <-hung; got.State != snapshot.DiskUnknown || !strings.Contains(got.Reason, "/a does not answer") {
				t.Errorf("of the mount that hangs: %+v, want unknown", got)
			}
		}
		before := walks.Load()
		if got := waitWalk(d, DiskRequest{Path: "/a/other"}); got.State != snapshot.DiskUnknown || walks.Load() != before {
			t.Errorf("another folder there: %+v and %d more walks, want unknown and none", got, walks.Load()-before)
		}
		if d.Hung() != 1 {
			t.Errorf("Hung = %d, want 1", d.Hung())
		}
		close(hang)
		synctest.Wait()
		if got := waitWalk(d, DiskRequest{Path: "/a/other"}); got.State != snapshot.DiskOK || d.Hung() != 0 {
			t.Errorf("once it answers: %+v, %d hung; want ok, 0", got, d.Hung())
		}
	})
}

// A walk that is stopped ends, and one whose turn has not come does not begin; the others of the mount go on.
func TestDiskStop(t *testing.T) {
	proc := t.TempDir()
	t.Setenv("HOST_PROC", proc)
	os.MkdirAll(filepath.Join(proc, "self"), 0o700)
	os.WriteFile(filepath.Join(proc, "self", "mountinfo"), []byte("1 1 8:1 / / rw - ext4 a rw\n"), 0o600)
	synctest.Test(t, func(t *testing.T) {
		d := NewDiskWalker(DiskConfig{Deadline: time.Minute})
		walked := ""
		d.walk = func(w *folderWalk) snapshot.DiskReading {
			walked += w.Path
			for w.Path != "/c" && w.over() == "" {
				time.Sleep(time.Millisecond)
			}
			return snapshot.DiskReading{State: snapshot.DiskPartial, Reason: w.over()}
		}
		answers := make(chan snapshot.DiskReading, 3)
		answer := func(r snapshot.DiskReading) { answers <- r }
		began := time.Now()
		first := d.Start(DiskRequest{Path: "/a"}, answer)
		second := d.Start(DiskRequest{Path: "/b"}, answer)
		d.Start(DiskRequest{Path: "/c"}, answer)
		time.Sleep(time.Second)
		second()
		first()
		for i, want := range []snapshot.DiskReading{
			{State: snapshot.DiskPartial, Reason: "the walk was stopped"},
			{Reason: "the walk was stopped"},
			{State: snapshot.DiskPartial},
		} {
			if got := <-answers; got != want {
				t.Errorf("answer %d = %+v, want %+v", i, got, want)
			}
		}
		if took := time.Since(began); took > 2*time.Second || walked != "/a/c" {
			t.Errorf("walked %s in %v, want /a/c within 2s", walked, took)
		}
		first() // once more
	})
}

func TestDiskDeadline(t *testing.T) {
	dir := quickDir(t)
	for i := range diskBatch + 10 {
		os.Symlink("nowhere", filepath.Join(dir, fmt.Sprint(i)))
	}
	got := walked(t, DiskConfig{Deadline: time.Nanosecond}, DiskRequest{Path: dir, UID: -1})
	if got.State != snapshot.DiskPartial || got.Entries < diskBatch/2 || !strings.Contains(got.Reason, "longer than") {
		t.Errorf("walk = %+v, want partial after a batch", got)
	}
}

// The walk of 100,000 files against du -s on the same tree, CPU time each: the first reads it from the disk.
func BenchmarkDiskWalk(b *testing.B) {
	dir := b.TempDir()
	fill(b, dir, 1000, 100)
	cpu := func(who int) time.Duration {
		var r unix.Rusage
		unix.Getrusage(who, &r)
		return time.Duration(r.Utime.Nano() + r.Stime.Nano())
	}
	var own, du time.Duration
	exec.Command("du", "-s", dir).Run()
	for b.Loop() {
		before := cpu(unix.RUSAGE_CHILDREN)
		if err := exec.Command("du", "-s", dir).Run(); err != nil {
			b.Skip(err)
		}
		du += cpu(unix.RUSAGE_CHILDREN) - before
		d := NewDiskWalker(DiskConfig{Share: 1})
		r := waitWalk(d, DiskRequest{Path: dir, UID: -1})
		if r.State != snapshot.DiskOK {
			b.Fatal(r)
		}
		own += r.CPU
	}
	b.ReportMetric(float64(own.Milliseconds())/float64(b.N), "cpu-ms/op")
	b.ReportMetric(float64(du.Milliseconds())/float64(b.N), "du-cpu-ms/op")
	b.ReportMetric(float64(own)/float64(du), "x-du")
}
