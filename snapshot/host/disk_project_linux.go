package host

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/headroom-rpc/headroom/snapshot"
)

// projectWalk is how long the account of a project is taken for the usage of its folder until the folder is walked
// again. Others may join the project meanwhile, and files leave it: who owns a file may change what it counts for.
const projectWalk = time.Hour

// A project is what a file system counts for the project quota of an id.
type project struct {
	id            uint32
	bytes, inodes int64
}

// reading returns the account as that of a folder.
func (p project) reading() snapshot.DiskReading {
	return snapshot.DiskReading{
		State: snapshot.DiskOK, Source: snapshot.DiskAccounted, Bytes: p.bytes, Entries: p.inodes,
	}
}

// A projectCheck is that a walk found in a folder what the kernel had counted for its project: all of the project is in
// the folder then, and all of the folder in the project. The zero value is none.
type projectCheck struct {
	folder  fileID
	project uint32
	walked  time.Time
}

// holds reports whether the check is still one of the folder and the project of now, whose time is that of now.
func (c projectCheck) holds(now projectCheck) bool {
	return c.project == now.project && c.folder == now.folder && now.walked.Sub(c.walked) < projectWalk
}

// isWhole reports whether a walk found what the project had before and after it, or something between. An account of
// more has files that are elsewhere, or that were removed and are open; one of less leaves files out.
func isWhole(walk snapshot.DiskReading, before, after project) bool {
	between := func(v, a, b int64) bool { return min(a, b) <= v && v <= max(a, b) }
	return walk.State == snapshot.DiskOK && before.id == after.id &&
		between(walk.Bytes, before.bytes, after.bytes) && between(walk.Entries, before.inodes, after.inodes)
}

// readProject returns the account of the project that the folder and what is made in it belong to. It is false where
// there is none or it may not be read.
func readProject(fd int) (project, bool) {
	var attr fsxattr
	if !ioctl(fd, fsGetXattr, unsafe.Pointer(&attr)) || attr.project == 0 || attr.flags&projectInherit == 0 {
		return project{}, false
	}
	var q diskQuota
	_, _, errno := unix.Syscall6(unix.SYS_QUOTACTL_FD, uintptr(fd), getQuota<<8|projectQuota, uintptr(attr.project),
		uintptr(unsafe.Pointer(&q)), 0, 0)
	if errno != 0 || q.valid&quotaUsage != quotaUsage {
		return project{}, false
	}
	return project{attr.project, int64(q.space), int64(q.inodes)}, true
}

func ioctl(fd int, request uintptr, to unsafe.Pointer) bool {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(to))
	return errno == 0
}

// These are of linux/fs.h and linux/quota.h. How an ioctl that reads is marked differs between architectures.
const (
	fsGetXattr     = unix.FS_IOC_GETFLAGS&0xe0000000 | unsafe.Sizeof(fsxattr{})<<16 | 'X'<<8 | 31
	projectInherit = 0x200

	getQuota     = 0x800007
	projectQuota = 2
	quotaUsage   = 2 | 8 // of space and of inodes
)

// fsxattr is struct fsxattr.
type fsxattr struct {
	flags, extentSize, extents, project, copyExtentSize uint32
	_                                                   [8]byte
}

// diskQuota is struct if_dqblk.
type diskQuota struct {
	hardSpace, softSpace, space    uint64
	hardInodes, softInodes, inodes uint64
	spaceTime, inodeTime           uint64
	valid                          uint32
	_                              uint32
}
