package host

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/headroom-rpc/headroom/snapshot"
)

// An account is taken for the usage of a folder only where a walk found the same.
func TestProjectIsTheFolder(t *testing.T) {
	walk := func(bytes, entries int64) snapshot.DiskReading {
		return snapshot.DiskReading{State: snapshot.DiskOK, Bytes: bytes, Entries: entries}
	}
	partial := walk(4096, 1)
	partial.State = snapshot.DiskPartial
	for name, tt := range map[string]struct {
		walk          snapshot.DiskReading
		before, after project
		want          bool
	}{
		"the same":                    {walk(8192, 2), project{7, 8192, 2}, project{7, 8192, 2}, true},
		"grew meanwhile":              {walk(8192, 2), project{7, 4096, 1}, project{7, 16384, 4}, true},
		"shrank meanwhile":            {walk(8192, 2), project{7, 16384, 4}, project{7, 4096, 1}, true},
		"shared with another folder":  {walk(8192, 2), project{7, 12288, 3}, project{7, 12288, 3}, false},
		"an empty file elsewhere":     {walk(8192, 2), project{7, 8192, 3}, project{7, 8192, 3}, false},
		"files of other projects":     {walk(8192, 2), project{7, 4096, 1}, project{7, 4096, 1}, false},
		"as many files, other blocks": {walk(8192, 2), project{7, 4096, 2}, project{7, 4096, 2}, false},
		"another project meanwhile":   {walk(8192, 2), project{7, 8192, 2}, project{8, 8192, 2}, false},
		"not all was walked":          {partial, project{7, 4096, 1}, project{7, 4096, 1}, false},
	} {
		if got := isWhole(tt.walk, tt.before, tt.after); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

func TestProjectCheckHolds(t *testing.T) {
	at := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	folder := fileID{1, 2}
	last := projectCheck{folder, 7, at}
	for name, tt := range map[string]struct {
		last, now projectCheck
		want      bool
	}{
		"a minute later":  {last, projectCheck{folder, 7, at.Add(time.Minute)}, true},
		"an hour later":   {last, projectCheck{folder, 7, at.Add(time.Hour)}, false},
		"another project": {last, projectCheck{folder, 8, at.Add(time.Minute)}, false},
		"another folder":  {last, projectCheck{fileID{1, 3}, 7, at.Add(time.Minute)}, false},
		"another disk":    {last, projectCheck{fileID{2, 2}, 7, at.Add(time.Minute)}, false},
		"never":           {projectCheck{}, projectCheck{folder, 7, at}, false},
	} {
		if got := tt.last.holds(tt.now); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

// Of which folders it is known that they are projects is bounded.
func TestProjectChecksAreBounded(t *testing.T) {
	d := NewDiskWalker(DiskConfig{})
	for i := range 3 * maxProjectChecks {
		w := &folderWalk{DiskRequest: DiskRequest{Path: fmt.Sprint(i)}, check: projectCheck{project: 7}}
		d.keepLocked(w)
		if n := len(d.checks); n > maxProjectChecks || d.checks[w.DiskRequest] != w.check {
			t.Fatalf("%d checks are kept, want at most %d and the newest", n, maxProjectChecks)
		}
	}
	w := &folderWalk{DiskRequest: DiskRequest{Path: fmt.Sprint(3*maxProjectChecks - 1)}}
	d.keepLocked(w)
	if _, ok := d.checks[w.DiskRequest]; ok {
		t.Error("a folder that is no project any more is still taken for one")
	}
}

// projectMount mounts a file system of the kind that accounts for projects.
func projectMount(t *testing.T, mkfs []string, option string) string {
	t.Helper()
	image, dir := filepath.Join(t.TempDir(), "image"), t.TempDir()
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 320<<20); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(mkfs[0], append(mkfs[1:], image)...).CombinedOutput(); err != nil {
		t.Skipf("no file system with project quota can be made: %v %s", err, out)
	}
	if out, err := exec.Command("mount", "-o", "loop,"+option, image, dir).CombinedOutput(); err != nil {
		t.Skipf("none can be mounted with project quota: %v %s", err, out)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// setProject makes the folder, and what is made in it from now on, one of the project; or a file, which inherits
// nothing.
func setProject(t *testing.T, name string, id, flags uint32) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var attr fsxattr
	if !ioctl(int(f.Fd()), fsGetXattr, unsafe.Pointer(&attr)) {
		t.Fatalf("%s has no project", name)
	}
	attr.project, attr.flags = id, attr.flags|flags
	const fsSetXattr = fsGetXattr&^0xe0000000 | unix.FS_IOC_SETFLAGS&0xe0000000 + 1
	if !ioctl(int(f.Fd()), fsSetXattr, unsafe.Pointer(&attr)) {
		t.Fatalf("%s takes no project", name)
	}
}

// duOf returns what du says of the folder.
func duOf(t *testing.T, dir string) (bytes int64) {
	t.Helper()
	out, err := exec.Command("du", "-s", "--block-size=1", dir).Output()
	if err != nil {
		t.Skip(err)
	}
	fmt.Sscan(string(out), &bytes)
	return bytes
}

// awaitAccount waits until the project has what du says of the folder: XFS frees files a little after they were removed.
func awaitAccount(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want := duOf(t, dir)
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if p, ok := readProject(int(f.Fd())); ok && p.bytes == want {
			return
		} else if time.Now().After(deadline) {
			t.Fatalf("the account has %d bytes, and du %d", p.bytes, want)
		}
	}
}

func TestDiskByProjectQuota(t *testing.T) {
	for _, tt := range []struct {
		name, option string
		mkfs         []string
	}{
		{"ext4", "prjquota", []string{"mkfs.ext4", "-q", "-O", "project,quota"}},
		{"accounting alone", "rw", []string{"mkfs.ext4", "-q", "-O", "project,quota", "-E", "quotatype=prjquota"}},
		{"xfs", "prjquota", []string{"mkfs.xfs", "-q"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			mount := projectMount(t, tt.mkfs, tt.option)
			dir, aside := filepath.Join(mount, "sandbox"), filepath.Join(mount, "aside")
			os.Mkdir(dir, 0o700)
			os.Mkdir(aside, 0o700)
			setProject(t, dir, 7, projectInherit)
			fill(t, dir, 40, 5)
			d := NewDiskWalker(DiskConfig{Share: 1})
			defer d.Close()
			request := DiskRequest{Path: dir, UID: -1}
			want := func(when string, source snapshot.DiskSource) snapshot.DiskReading {
				t.Helper()
				got := waitWalk(d, request)
				if du := duOf(t, dir); got.State != snapshot.DiskOK || got.Source != source || got.Bytes != du {
					t.Fatalf("%s: %+v, want %d bytes as du says, by %v", when, got, du, source)
				}
				return got
			}
			walk := want("first", snapshot.DiskWalked)
			if got := want("then", snapshot.DiskAccounted); got.Entries != walk.Entries {
				t.Errorf("the account has %d entries, and the walk found %d", got.Entries, walk.Entries)
			}

			os.WriteFile(filepath.Join(dir, "d0", "more"), make([]byte, 3<<20), 0o600)
			os.RemoveAll(filepath.Join(dir, "d1"))
			awaitAccount(t, dir)
			want("of files that come and go", snapshot.DiskAccounted)

			if err := os.WriteFile(filepath.Join(aside, "foreign"), []byte("1"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(filepath.Join(aside, "foreign"), filepath.Join(dir, "foreign")); err == nil {
				t.Error("the kernel lets a file that counts for no project be moved in")
			}

			// The same project elsewhere is seen by the next walk, at the latest after an hour.
			setProject(t, aside, 7, projectInherit)
			os.WriteFile(filepath.Join(aside, "file"), make([]byte, 1<<20), 0o600)
			d.checks[request] = projectCheck{
				d.checks[request].folder, 7, d.checks[request].walked.Add(-projectWalk),
			}
			want("shared, after an hour", snapshot.DiskWalked)
			want("still shared", snapshot.DiskWalked)
			os.RemoveAll(aside)
			awaitAccount(t, dir)
			want("no more shared", snapshot.DiskWalked)
			want("and then", snapshot.DiskAccounted)

			setProject(t, dir, 8, 0)
			want("of another project than its files", snapshot.DiskWalked)
			want("as ever", snapshot.DiskWalked)
		})
	}
}

// Without project, right or account, a folder is walked.
func TestDiskWithoutProjectQuota(t *testing.T) {
	dir := t.TempDir()
	d := NewDiskWalker(DiskConfig{Share: 1})
	defer d.Close()
	for range 2 {
		got := waitWalk(d, DiskRequest{Path: dir, UID: -1})
		if got.State != snapshot.DiskOK || got.Source != snapshot.DiskWalked {
			t.Errorf("%+v, want it walked", got)
		}
	}
	if got := waitWalk(d, DiskRequest{Path: strings.Repeat("/no", 3), UID: -1}); got.Source != snapshot.DiskSourceUnknown {
		t.Errorf("of no folder: %+v, want no source", got)
	}
}
