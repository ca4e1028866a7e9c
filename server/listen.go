package server

import (
	"crypto/tls"
	"net"
	"sync"
)

// workerGroup is the group whose members are workers on the unix socket.
const workerGroup = "headroom"

// class is the kind of transport behind a Listener.
type class uint8

const (
	classUnix  class = iota + 1 // the kernel says who connects
	classTCP                    // loopback or not is decided for each connection
	classFixed                  // every caller is the same, given by the embedder
)

func (c class) String() string {
	switch c {
	case classUnix:
		return "unix"
	case classTCP:
		return "tcp"
	default:
		return "fixed"
	}
}

// A Listener is a place where a Server is reached, together with how its callers are identified. Make one
// with [ListenUnix], [ListenTCP] or [NewListener]; a Server closes those that it serves.
type Listener struct {
	listener net.Listener
	class    class
	tls      *tls.Config // nil for plaintext
	identity Identity    // of every caller; for classFixed only
	ownUID   int         // the user that the server runs as; for classUnix only
	workers  int         // the group whose members are workers, or -1; for classUnix only
	closing  func()      // releases what stands beside the socket; may be nil

	closeOnce sync.Once
	closeErr  error
}

// NewListener returns a Listener whose callers are all id, whatever the transport says. It is for
// connections that never leave the process, as in tests, and for transports that an embedding program
// has authenticated itself.
func NewListener(l net.Listener, id Identity) *Listener {
	return &Listener{listener: l, class: classFixed, identity: id}
}

// Addr returns the address that is listened on. For port 0 it holds the port that was chosen.
func (l *Listener) Addr() net.Addr { return l.listener.Addr() }

// Close stops listening and, on a unix socket, removes the socket. Connections that were accepted stay. It
// may be called more than once and from any goroutine.
func (l *Listener) Close() error {
	l.closeOnce.Do(func() {
		if l.closing != nil {
			l.closing()
		}
		l.closeErr = l.listener.Close()
	})
	return l.closeErr
}

// remote reports whether connections from other hosts can come in.
func (l *Listener) remote() bool {
	addr, ok := l.Addr().(*net.TCPAddr)
	return l.class == classTCP && ok && !addr.IP.IsLoopback()
}
