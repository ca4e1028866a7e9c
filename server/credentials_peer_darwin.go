package server

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// peerOf asks the kernel who connected.
func peerOf(conn *net.UnixConn) (peerProcess, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return peerProcess{}, err
	}
	var (
		cred *unix.Xucred
		pid  int
	)
	control := raw.Control(func(fd uintptr) {
		if cred, err = unix.GetsockoptXucred(int(fd), unix.SOL_LOCAL, unix.LOCAL_PEERCRED); err == nil {
			pid, err = unix.GetsockoptInt(int(fd), unix.SOL_LOCAL, unix.LOCAL_PEERPID)
		}
	})
	if err := errors.Join(control, err); err != nil {
		return peerProcess{}, fmt.Errorf("peer credentials: %w", err)
	}
	p := peerProcess{uid: int(cred.Uid), gid: -1, pid: pid}
	for i := range min(int(cred.Ngroups), len(cred.Groups)) {
		p.groups = append(p.groups, int(cred.Groups[i]))
	}
	return p, nil
}
