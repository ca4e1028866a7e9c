package server

import (
	"context"
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// bindPrivate binds a socket that has mode 0600 from its first instant. Linux gives the file the mode of the
// socket's own inode, which can be set before there is a file; a chmod after bind leaves a window in which
// others can connect, and a umask is the whole process's.
func bindPrivate(path string) (net.Listener, error) {
	config := net.ListenConfig{Control: func(_, _ string, conn syscall.RawConn) error {
		var err error
		control := conn.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) })
		return errors.Join(control, err)
	}}
	return config.Listen(context.Background(), "unix", path)
}
