package host

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/headroom-rpc/headroom/snapshot"
)

const (
	// maxDiskDepth bounds the folders within folders, each of which is a descriptor.
	maxDiskDepth = 256

	// maxDiskNames bounds the names of folders that are yet to be walked, and maxLinks the files with several
	// names that are remembered.
	maxDiskNames = 64 << 20
	maxLinks     = 1 << 20

	// diskBatch is how many entries are looked at before a pause.
	diskBatch = 4096

	nobody = 65534
)

// diskWalk is a walk by descriptors: no path is resolved but that of the folder itself, so that whoever moves or
// replaces folders meanwhile cannot lead it elsewhere.
type diskWalk struct {
	*folderWalk
	reading snapshot.DiskReading
	dev     uint64
	links   map[fileID]struct{}
	buf     []byte
	names   []byte // of the folders to be walked, each with its end; those of the deepest last
	batch   int
	since   time.Time
	noatime int // O_NOATIME until the kernel refuses it
	beneath bool
}

type fileID struct{ dev, inode uint64 }

// walkDisk walks a folder on the calling goroutine, which must be its own: its thread may not be used again.
func walkDisk(w *folderWalk) snapshot.DiskReading {
	runtime.LockOSThread() // for good: the thread may have another user's rights
	d := &diskWalk{
		folderWalk: w, links: make(map[fileID]struct{}), buf: make([]byte, 64<<10),
		since: time.Now(), noatime: unix.O_NOATIME, beneath: true,
	}
	began := d.since
	cpu, _ := ThreadTime()
	d.read()
	now, _ := ThreadTime()
	d.reading.Took, d.reading.CPU = time.Since(began), now-cpu
	return d.reading
}

// read opens the folder, and takes its usage from its project's account, or walks it.
func (d *diskWalk) read() {
	last, began := d.check, d.since
	d.check = projectCheck{}
	var st unix.Statx_t
	fd, why := d.root(&st)
	if why != "" {
		d.reading.Reason = why
		return
	}
	defer unix.Close(fd)
	before, accounted := readProject(fd)
	if !accounted || d.AllMounts {
		d.walk(fd, &st)
		return
	}
	now := projectCheck{folder: fileID{deviceOf(&st), st.Ino}, project: before.id, walked: began}
	if last.holds(now) {
		d.check = last
		d.reading = before.reading()
		return
	}
	d.walk(fd, &st)
	if after, ok := readProject(fd); ok && isWhole(d.reading, before, after) {
		d.check = now
	}
}

// root opens the folder and looks at it, or says why that cannot be.
func (d *diskWalk) root(st *unix.Statx_t) (fd int, why string) {
	if d.UID >= 0 && d.UID != os.Geteuid() {
		if err := takeRights(d.UID); err != nil && os.Geteuid() == 0 {
			return -1, err.Error()
		}
	}
	fd, err := unix.Open(d.Path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		if _, no := os.Readlink(d.Path); no == nil {
			return -1, d.Path + " is a symbolic link, and no folder"
		}
		return -1, fmt.Sprintf("open %s: %v", d.Path, err)
	}
	if err := statx(fd, itself, st); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Sprintf("stat %s: %v", d.Path, err)
	}
	if d.UID >= 0 && int(st.Uid) != d.UID {
		_ = unix.Close(fd)
		return -1, fmt.Sprintf("%s is not a folder of user %d", d.Path, d.UID)
	}
	return fd, ""
}

// walk counts the folder and all that is in it.
func (d *diskWalk) walk(fd int, st *unix.Statx_t) {
	d.dev = deviceOf(st)
	d.count(st)
	reason := d.folder(fd, 1)
	d.reading.State, d.reading.Source, d.reading.Reason = snapshot.DiskOK, snapshot.DiskWalked, reason
	if reason != "" {
		d.reading.State = snapshot.DiskPartial
	}
}

// folder counts what is in the folder.
func (d *diskWalk) folder(fd, depth int) (reason string) {
	first := len(d.names)
	defer func() { d.names = d.names[:first] }()
	reason = d.list(fd)
	if depth == maxDiskDepth && len(d.names) > first {
		return firstOf(reason, fmt.Sprintf("folders deeper than %d were left out", maxDiskDepth))
	}
	for at := first; at < len(d.names); {
		end := at
		for d.names[end] != 0 {
			end++
		}
		name := d.names[at : end+1]
		at = end + 1
		if over := d.breathe(); over != "" {
			reason = firstOf(over, reason)
			break
		}
		child, why := d.enter(fd, name)
		reason = firstOf(reason, why)
		if child < 0 {
			continue
		}
		reason = firstOf(reason, d.folder(child, depth+1))
		_ = unix.Close(child)
	}
	return reason
}

// list counts the entries of a folder that are no folders, and takes up the names of those that are.
func (d *diskWalk) list(fd int) (reason string) {
	for {
		n, err := unix.Getdents(fd, d.buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return firstOf(reason, fmt.Sprintf("a folder could not be read: %v", err))
		}
		if n == 0 {
			return reason
		}
		for rest := d.buf[:n]; ; {
			var e dirent
			var ok bool
			if e, rest, ok = nextDirent(rest); !ok {
				break
			}
			if string(e.name) == "." || string(e.name) == ".." {
				continue
			}
			if why := d.entry(fd, e); why != "" && reason == "" {
				reason = why
			}
		}
		if over := d.breathe(); over != "" {
			return over
		}
	}
}

func (d *diskWalk) entry(fd int, e dirent) (reason string) {
	name := e.name[:len(e.name)+1] // the kernel ends it
	if e.kind != unix.DT_DIR {
		var st unix.Statx_t
		if err := statx(fd, name, &st); err != nil {
			if err == unix.ENOENT {
				return "" // it was removed meanwhile
			}
			return fmt.Sprintf("an entry could not be read: %v", err)
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			d.count(&st)
			return ""
		}
	}
	if len(d.names)+len(name) > maxDiskNames {
		return "there are too many folders side by side"
	}
	d.names = append(d.names, name...)
	return ""
}

// count counts one entry, a file with several names the first time only.
func (d *diskWalk) count(st *unix.Statx_t) {
	d.batch++
	if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		id := fileID{deviceOf(st), st.Ino}
		if _, ok := d.links[id]; ok {
			return
		}
		if len(d.links) < maxLinks {
			d.links[id] = struct{}{}
		}
	}
	d.reading.Entries++
	d.reading.Bytes += int64(st.Blocks) * 512 // in these units on every file system (stat(2))
}

// enter opens a folder of the folder, unless it is of another file system, and counts it.
func (d *diskWalk) enter(parent int, name []byte) (fd int, reason string) {
	fd, err := d.open(parent, name)
	switch {
	case err == unix.ENOENT, err == unix.ENOTDIR, err == unix.ELOOP, err == unix.EXDEV:
		return -1, "" // it was removed or replaced meanwhile, or is a mount
	case err != nil:
		return -1, fmt.Sprintf("a folder could not be opened: %v", err)
	}
	var st unix.Statx_t
	if err := statx(fd, itself, &st); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Sprintf("a folder could not be read: %v", err)
	}
	if deviceOf(&st) != d.dev && !d.AllMounts {
		_ = unix.Close(fd)
		return -1, ""
	}
	d.count(&st)
	return fd, ""
}

// open opens the folder without a look at a file system that is mounted there, which may hang, where the kernel can
// (Linux 5.6).
func (d *diskWalk) open(parent int, name []byte) (int, error) {
	for {
		flags := unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC | unix.O_NONBLOCK | d.noatime
		var fd uintptr
		var errno unix.Errno
		if d.beneath && !d.AllMounts {
			how := unix.OpenHow{Flags: uint64(flags), Resolve: unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_BENEATH}
			fd, _, errno = unix.Syscall6(unix.SYS_OPENAT2, uintptr(parent), uintptr(unsafe.Pointer(&name[0])),
				uintptr(unsafe.Pointer(&how)), unix.SizeofOpenHow, 0, 0)
		} else {
			fd, _, errno = unix.Syscall6(unix.SYS_OPENAT, uintptr(parent), uintptr(unsafe.Pointer(&name[0])),
				uintptr(flags), 0, 0, 0)
		}
		switch {
		case errno == 0:
			return int(fd), nil
		case errno == unix.EINTR, errno == unix.EAGAIN:
		case errno == unix.EPERM && d.noatime != 0:
			d.noatime = 0 // for a folder of somebody else
		case (errno == unix.ENOSYS || errno == unix.EPERM) && d.beneath:
			d.beneath = false // EPERM where a filter does not know the call
		default:
			return -1, errno
		}
	}
}

// breathe pauses now and then, and returns why the walk has to end.
func (d *diskWalk) breathe() string {
	if d.batch < diskBatch {
		return ""
	}
	d.batch = 0
	d.entries.Store(d.reading.Entries)
	if reason := d.over(); reason != "" {
		return reason
	}
	time.Sleep(d.pause(time.Since(d.since)))
	d.since = time.Now()
	return ""
}

// statx looks at an entry by its name, which ends with a zero byte and is not copied, or at the folder itself for an
// empty one (Linux 4.11).
func statx(fd int, name []byte, st *unix.Statx_t) error {
	const flags = unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT | unix.AT_STATX_DONT_SYNC | unix.AT_EMPTY_PATH
	const mask = unix.STATX_TYPE | unix.STATX_NLINK | unix.STATX_INO | unix.STATX_BLOCKS | unix.STATX_UID
	for {
		_, _, errno := unix.Syscall6(unix.SYS_STATX, uintptr(fd), uintptr(unsafe.Pointer(&name[0])),
			flags, mask, uintptr(unsafe.Pointer(st)), 0)
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return errno
		}
	}
}

var itself = []byte{0}

func deviceOf(st *unix.Statx_t) uint64 { return uint64(st.Dev_major)<<32 | uint64(st.Dev_minor) }

// takeRights gives the calling thread, for good, the rights of the user on files, and those of no group.
func takeRights(uid int) error {
	// The calls of package syscall would change every thread.
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); errno != 0 {
		return fmt.Errorf("leave the groups: %w", errno)
	}
	_ = unix.Setfsgid(nobody)
	_ = unix.Setfsuid(uid)
	if got, _ := unix.SetfsuidRetUid(-1); got != uid {
		return fmt.Errorf("take the rights of user %d: not permitted", uid)
	}
	return nil
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
