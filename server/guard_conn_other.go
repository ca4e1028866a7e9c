//go:build !linux

package server

import (
	"errors"
	"net"
	"syscall"
	"time"

	"google.golang.org/grpc/mem"
)

// readiness reads a socket once it is readable; here it is not used.
type readiness struct{ raw syscall.RawConn }

func (c *guardedConn) initReads() {}

func (readiness) read(int, mem.BufferPool) (*[]byte, int, error) {
	return nil, 0, errors.ErrUnsupported
}

func setUserTimeout(net.Conn, time.Duration) {}
