// Package socket reads and writes the sockets of connections that gRPC serves.
package socket

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"

	"google.golang.org/grpc/mem"
)

// Socket is that of a TCP connection or a unix stream. On Linux its calls do not tell Go's scheduler of their system
// calls, which never wait: the first one that it is told of after a sleep wakes the runtime's monitor, a thread that
// then looks around every 20 µs. Where a process wakes for one frame that costs about as much as the frame. Deadlines
// and Close of the connection hold, and its own calls may be mixed with these. As of the connection, the calls may be
// made concurrently: those that read follow one another, and so do those that write. Neither allocates.
type Socket struct {
	raw syscall.RawConn

	// What a call in progress reads to or writes from, and what came of it, and the function that does it: made for each
	// call they would be garbage. The locks are what the connection has inside, where what is kept cannot be set.
	reading struct {
		sync.Mutex
		size int
		pool mem.BufferPool
		buf  *[]byte
		n    int
		err  error
	}
	writing struct {
		sync.Mutex
		rest []byte
		err  error
	}
	readReady, writeReady func(fd uintptr) (done bool)
}

// Of returns the socket of a connection; ok is false where it has none, or the system is not Linux.
func Of(conn net.Conn) (s *Socket, ok bool) {
	if !supported {
		return nil, false
	}
	switch conn.(type) {
	case *net.TCPConn, *net.UnixConn:
		raw, err := conn.(syscall.Conn).SyscallConn()
		if err != nil {
			return nil, false
		}
		s = &Socket{raw: raw}
		s.readReady, s.writeReady = s.readOnce, s.writeAll
		return s, true
	default:
		return nil, false
	}
}

// ReadOnReady waits for input and only then takes a buffer of that size from pool. It returns at least one byte or an
// error, [io.EOF] where the other end closed. gRPC calls it where a connection has it.
func (s *Socket) ReadOnReady(size int, pool mem.BufferPool) (*[]byte, int, error) {
	r := &s.reading
	r.Lock()
	defer r.Unlock()
	r.size, r.pool, r.buf, r.n, r.err = size, pool, nil, 0, nil
	err := s.raw.Read(s.readReady)
	buf, n, readErr := r.buf, r.n, r.err
	r.pool, r.buf = nil, nil
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

func (s *Socket) readOnce(fd uintptr) (done bool) {
	r := &s.reading
	r.buf = r.pool.Get(r.size)
	for {
		if r.n, r.err = read(fd, *r.buf); r.err != syscall.EINTR {
			break
		}
	}
	if r.err == nil && r.n > 0 {
		return true
	}
	r.pool.Put(r.buf)
	r.buf = nil
	return r.err != syscall.EAGAIN
}

// Write writes all of b, or returns an error.
func (s *Socket) Write(b []byte) (n int, err error) {
	w := &s.writing
	w.Lock()
	defer w.Unlock()
	w.rest, w.err = b, nil
	err = s.raw.Write(s.writeReady)
	n, writeErr := len(b)-len(w.rest), w.err
	w.rest = nil
	if err == nil && writeErr != nil {
		err = os.NewSyscallError("write", writeErr)
	}
	return n, err
}

func (s *Socket) writeAll(fd uintptr) (done bool) {
	w := &s.writing
	for w.err = nil; len(w.rest) > 0 && (w.err == nil || w.err == syscall.EINTR); {
		var written int
		if written, w.err = write(fd, w.rest); w.err == nil {
			w.rest = w.rest[written:]
		}
	}
	return w.err != syscall.EAGAIN
}
