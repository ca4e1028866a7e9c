package server

import (
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/mem"
)

// readiness reads a socket once it is readable.
type readiness struct{ raw syscall.RawConn }

// initReads chooses how the connection is read. Call it before the connection is used.
func (c *guardedConn) initReads() {
	switch conn := c.Conn.(type) {
	case *net.TCPConn:
		c.reads.raw, _ = conn.SyscallConn()
	case *net.UnixConn:
		c.reads.raw, _ = conn.SyscallConn()
	}
}

func (r readiness) read(size int, pool mem.BufferPool) (*[]byte, int, error) {
	var (
		buf     *[]byte
		n       int
		readErr error
	)
	err := r.raw.Read(func(fd uintptr) bool {
		buf = pool.Get(size)
		for {
			// Not unix.Read: the race detector would take it and the net package's writes for a race.
			if n, readErr = syscall.Read(int(fd), *buf); readErr != syscall.EINTR {
				break
			}
		}
		if readErr == nil && n > 0 {
			return true
		}
		pool.Put(buf)
		buf = nil
		return readErr != syscall.EAGAIN
	})
	switch {
	case buf != nil:
		return buf, n, nil
	case err != nil:
		return nil, 0, err
	case readErr != nil:
		return nil, 0, os.NewSyscallError("read", readErr)
	default:
		return nil, 0, io.EOF
	}
}

// setUserTimeout bounds how long what was sent may stay unacknowledged: a host that vanished is noticed also
// once the server no longer asks, as after Limits.ConnectionAge. Without it the other bounds still hold.
func setUserTimeout(conn net.Conn, d time.Duration) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	if raw, err := tcp.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) {
			unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
		})
	}
}
