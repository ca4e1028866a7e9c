//go:build !linux

package server

import (
	"errors"
	"net"
	"syscall"
	"time"

	"google.golang.org/grpc/mem"
)

// socket reads and writes a socket once it is ready; here it is not used.
type socket struct{ raw syscall.RawConn }

func (c *guardedConn) initSocket() {}

func (socket) read(int, mem.BufferPool) (*[]byte, int, error) {
	return nil, 0, errors.ErrUnsupported
}

func (socket) write([]byte) (int, error) { return 0, errors.ErrUnsupported }

func setUserTimeout(net.Conn, time.Duration) {}
