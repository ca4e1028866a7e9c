package server

import (
	"io"
	"net"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/mem"
)

// socket reads and writes a socket once it is ready.
type socket struct{ raw syscall.RawConn }

// initSocket chooses how the connection is read and written. Call it before the connection is used.
func (c *guardedConn) initSocket() {
	switch conn := c.Conn.(type) {
	case *net.TCPConn:
		c.socket.raw, _ = conn.SyscallConn()
	case *net.UnixConn:
		c.socket.raw, _ = conn.SyscallConn()
	}
}

func (s socket) read(size int, pool mem.BufferPool) (*[]byte, int, error) {
	var (
		buf     *[]byte
		n       int
		readErr error
	)
	err := s.raw.Read(func(fd uintptr) bool {
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

// write does not tell Go's scheduler of its system call, which never waits: else each wakes the runtime's monitor, a
// thread that then looks around for a while.
func (s socket) write(b []byte) (n int, err error) {
	var errno syscall.Errno
	err = s.raw.Write(func(fd uintptr) bool {
		for errno = 0; n < len(b) && (errno == 0 || errno == unix.EINTR); {
			var written uintptr
			written, _, errno = unix.RawSyscall(unix.SYS_WRITE, fd, uintptr(unsafe.Pointer(&b[n])), uintptr(len(b)-n))
			if errno == 0 {
				n += int(written)
			}
		}
		return errno != unix.EAGAIN
	})
	if err == nil && errno != 0 {
		err = os.NewSyscallError("write", errno)
	}
	return n, err
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
