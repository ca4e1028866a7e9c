package server

import (
	"net"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/mem"

	"github.com/headroom-rpc/headroom/internal/socket"
)

// guardedConn is a connection that a guard counts until it is closed.
type guardedConn struct {
	net.Conn
	guard   *guard
	origin  origin
	peer    peerProcess // of a unix socket
	local   bool        // the other end is on this host
	refusal error       // a *connectionLimitError if every call is to be refused with it

	closed  atomic.Bool
	cut     atomic.Bool // the guard closed it
	expiry  *time.Timer // of a refused one; else nil
	stalls  atomic.Int32
	waiters atomic.Int32 // calls that wait for a permit
	resets  resetCounter
	socket  *socket.Socket
	direct  bool // whether it is read and written by its socket
}

// closeLater closes the connection after d.
func (c *guardedConn) closeLater(d time.Duration) {
	c.expiry = time.AfterFunc(d, func() { c.Close() })
}

// Close closes the connection. Only then it no longer counts.
func (c *guardedConn) Close() error {
	first := c.closed.CompareAndSwap(false, true)
	err := c.Conn.Close()
	if first {
		if c.expiry != nil {
			c.expiry.Stop()
		}
		c.guard.untrack(c)
		c.guard.release(c.origin, c.refusal != nil)
	}
	return err
}

// abort closes the connection without waiting for what was not sent, which a peer that does not read would
// keep in memory.
func (c *guardedConn) abort() {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // fails on a closed connection only
	}
	c.Close()
}

// ReadOnReady waits for input and only then takes a buffer of that size from pool. It returns at least one
// byte or an error. grpc-go calls it, if a connection has it, in place of holding a read buffer of 32 KiB
// for each that is idle.
func (c *guardedConn) ReadOnReady(size int, pool mem.BufferPool) (*[]byte, int, error) {
	if c.direct {
		return c.socket.ReadOnReady(size, pool)
	}
	buf := pool.Get(size)
	n, err := c.Conn.Read(*buf)
	if n == 0 && err != nil {
		pool.Put(buf)
		return nil, 0, err
	}
	return buf, n, nil
}

// Write writes all of b, or returns an error.
func (c *guardedConn) Write(b []byte) (int, error) {
	if c.direct {
		return c.socket.Write(b)
	}
	return c.Conn.Write(b)
}
