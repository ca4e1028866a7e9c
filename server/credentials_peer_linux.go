package server

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// peerOf asks the kernel who connected.
func peerOf(conn *net.UnixConn) (peerProcess, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return peerProcess{}, err
	}
	var (
		cred   *unix.Ucred
		groups []int
	)
	control := raw.Control(func(fd uintptr) {
		if cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			groups, err = peerGroups(fd)
		}
	})
	if err := errors.Join(control, err); err != nil {
		return peerProcess{}, fmt.Errorf("peer credentials: %w", err)
	}
	p := peerProcess{uid: int(cred.Uid), gid: int(cred.Gid), pid: int(cred.Pid), groups: groups}
	p.unmapped = p.uid == overflowID && !allMapped()
	return p, nil
}

// peerGroups returns the supplementary groups that the peer had when it connected. The files under
// /proc/PID would be those of whoever has the pid now, and /etc/group those of its next login.
func peerGroups(fd uintptr) ([]int, error) {
	ids := make([]uint32, 64)
	for {
		size := uint32(len(ids)) * 4
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&ids[0])), uintptr(unsafe.Pointer(&size)), 0)
		if errno == unix.ERANGE && int(size/4) > len(ids) {
			ids = make([]uint32, size/4) // at most 65,536, the kernel's bound
			continue
		}
		if errno == unix.ENOPROTOOPT || errno == unix.EOPNOTSUPP {
			return nil, nil // before Linux 4.13, and under some sandboxes: the primary group decides
		}
		if errno != 0 {
			return nil, os.NewSyscallError("getsockopt", errno)
		}
		groups := make([]int, size/4)
		for i := range groups {
			groups[i] = int(ids[i])
		}
		return groups, nil
	}
}

// overflowID is what the kernel gives for an id that has no name in the reader's user namespace.
const overflowID = 65534

// allMapped reports whether this process's user namespace knows every user, as the first one does. Where it
// does, overflowID is the real user nobody.
var allMapped = sync.OnceValue(func() bool {
	text, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return false
	}
	fields := strings.Fields(string(text))
	return len(fields) == 3 && fields[2] == "4294967295"
})
