// Package socket reads and writes the sockets of connections that gRPC serves.
package socket

import (
	"io"
	"net"
	"os"
	"syscall"

	"google.golang.org/grpc/mem"
)

// Socket is that of a TCP connection or a unix stream. On Linux its calls do not tell Go's scheduler of their system
// calls, which never wait: the first one that it is told of after a sleep wakes the runtime's monitor, a thread that
// then looks around every 20 µs. Where a process wakes for one frame that costs about as much as the frame. Deadlines
// and Close of the connection hold, and its own calls may be mixed with these.
type Socket struct{ raw syscall.RawConn }

// Of returns the socket of a connection; ok is false where it has none, or the system is not Linux.
func Of(conn net.Conn) (s Socket, ok bool) {
	if !supported {
		return Socket{}, false
	}
	switch conn.(type) {
	case *net.TCPConn, *net.UnixConn:
		raw, err := conn.(syscall.Conn).SyscallConn()
		return Socket{raw}, err == nil
	default:
		return Socket{}, false
	}
}

// ReadOnReady waits for input and only then takes a buffer of that size from pool. It returns at least one byte or an
// error, [io.EOF] where the other end closed. gRPC calls it where a connection has it.
func (s Socket) ReadOnReady(size int, pool mem.BufferPool) (*[]byte, int, error) {
	var (
		buf     *[]byte
		n       int
		readErr error
	)
	err := s.raw.Read(func(fd uintptr) bool {
		buf = pool.Get(size)
		for {
			if n, readErr = read(fd, *buf); readErr != syscall.EINTR {
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

// Write writes all of b, or returns an error.
func (s Socket) Write(b []byte) (n int, err error) {
	var writeErr error
	err = s.raw.Write(func(fd uintptr) bool {
		for writeErr = nil; n < len(b) && (writeErr == nil || writeErr == syscall.EINTR); {
			var written int
			if written, writeErr = write(fd, b[n:]); writeErr == nil {
				n += written
			}
		}
		return writeErr != syscall.EAGAIN
	})
	if err == nil && writeErr != nil {
		err = os.NewSyscallError("write", writeErr)
	}
	return n, err
}
