package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/headroom-rpc/headroom/internal/socket"
)

// guard holds the bounds that grpc-go lacks, for all listeners of one Server together: how many connections
// there are and whose, which of them reset their streams for nothing, and which do not read. It is safe for
// concurrent use.
type guard struct {
	limits Limits
	log    *slog.Logger
	own    int // the user id that the server runs as; -1 where there is none
	lines  occasional

	refused, cutForResets, cutForStalls atomic.Int64
	calls                               atomic.Int64 // in flight

	mu      sync.Mutex
	open    int
	turned  int // connections that are over a limit and stand to be told so
	origins map[origin]int
	conns   map[*guardedConn]struct{} // all that are open
}

// newGuard returns a guard of limits, in which the defaults stand.
func newGuard(limits Limits, log *slog.Logger) *guard {
	return &guard{limits: limits, log: log, own: os.Geteuid(), origins: make(map[origin]int), conns: make(map[*guardedConn]struct{})}
}

// guardCounts are the numbers of a guard at one instant, for metrics.
type guardCounts struct {
	open         int   // connections now
	refused      int64 // connections over a limit, ever
	cutForResets int64 // connections closed for resetting streams, ever
	cutForStalls int64 // connections closed for not reading, ever
}

func (g *guard) counts() guardCounts {
	g.mu.Lock()
	open := g.open
	g.mu.Unlock()
	return guardCounts{open, g.refused.Load(), g.cutForResets.Load(), g.cutForStalls.Load()}
}

// origin is whom a connection is counted against beside the total. The zero origin is exempt.
type origin struct {
	uid     int // plus 1, so that 0 is none
	network netip.Prefix
}

func (o origin) String() string {
	switch {
	case o.uid != 0:
		return "uid " + strconv.Itoa(o.uid-1)
	case o.network.IsSingleIP():
		return "address " + o.network.Addr().String()
	case o.network.IsValid():
		return "network " + o.network.String()
	default:
		return "this host"
	}
}

// userOrigin counts against a user. The server's own is exempt, as it may do worse than fill a table.
func userOrigin(uid, own int) origin {
	if uid == own {
		return origin{}
	}
	return origin{uid: uid + 1}
}

// addressOrigin counts against an IPv4 address, or against an IPv6 /64, which is what one host is commonly
// given. Loopback is exempt.
func addressOrigin(addr netip.Addr) origin {
	addr = addr.Unmap().WithZone("")
	if !addr.IsValid() || addr.IsLoopback() {
		return origin{}
	}
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	network, _ := addr.Prefix(bits) // cannot fail: bits fit the address
	return origin{network: network}
}

// A connectionLimitError reports a connection that is one too many.
type connectionLimitError struct {
	whose string // total, or whom the limit is for
	limit int
	field string // of Limits
}

func (e *connectionLimitError) Error() string {
	return fmt.Sprintf("too many connections: %s has %d (%s); close some, or share one: it takes many calls",
		e.whose, e.limit, e.field)
}

// maxTurned bounds the connections over a limit that stand for turnedFor, so that a call on them can be told
// why. The others are closed at once.
const (
	maxTurned = 64
	turnedFor = 2 * time.Second
)

// admit counts one more connection of o. It returns an error if that is over a limit; then told says
// whether the connection was counted among those that stand to be told.
func (g *guard) admit(o origin) (told bool, err *connectionLimitError) {
	g.mu.Lock()
	defer g.mu.Unlock()
	most, field := g.limits.MaxConnectionsPerAddress, "MaxConnectionsPerAddress"
	if o.uid != 0 {
		most, field = g.limits.MaxConnectionsPerUser, "MaxConnectionsPerUser"
	}
	switch {
	case g.open >= g.limits.MaxConnections:
		err = &connectionLimitError{"the server", g.limits.MaxConnections, "MaxConnections"}
	case o != origin{} && g.origins[o] >= most:
		err = &connectionLimitError{o.String(), most, field}
	default:
		g.open++
		if (o != origin{}) {
			g.origins[o]++
		}
		return false, nil
	}
	if g.turned < maxTurned {
		g.turned++
		told = true
	}
	return told, err
}

// release undoes the admit of a connection: one that was counted, or one that stood to be told.
func (g *guard) release(o origin, told bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if told {
		g.turned--
		return
	}
	g.open--
	if g.origins[o]--; g.origins[o] <= 0 {
		delete(g.origins, o)
	}
}

func (g *guard) track(c *guardedConn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.conns[c] = struct{}{}
}

func (g *guard) untrack(c *guardedConn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, c)
}

// closeAll closes every connection, also those that gRPC does not know yet because they say nothing.
func (g *guard) closeAll() {
	g.mu.Lock()
	conns := slices.Collect(maps.Keys(g.conns))
	g.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
}

// wrap returns l's listener with the bounds on connections.
func (g *guard) wrap(l *Listener) net.Listener {
	return &guardedListener{Listener: l.listener, of: l, guard: g, closed: make(chan struct{})}
}

type guardedListener struct {
	net.Listener
	of    *Listener
	guard *guard

	closeOnce sync.Once
	closed    chan struct{} // closed by Close
}

func (l *guardedListener) Close() error {
	l.closeOnce.Do(func() { close(l.closed) })
	return l.of.Close()
}

// The waits while the process is out of file descriptors.
const (
	firstBackoff = 5 * time.Millisecond
	lastBackoff  = time.Second
)

// Accept returns the next connection that is within the limits, or that stands to be told that it is not.
// While the process or the system is out of file descriptors it waits: connections that stand go on.
func (l *guardedListener) Accept() (net.Conn, error) {
	for backoff := firstBackoff; ; {
		raw, err := l.Listener.Accept()
		switch {
		case err == nil:
			if conn := l.admit(raw); conn != nil {
				return conn, nil
			}
			backoff = firstBackoff
		case errors.Is(err, syscall.ECONNABORTED):
			// The client went away between its handshake and accept.
		case exhausted(err):
			if left, due := l.guard.lines.due(time.Now(), "accept"); due {
				l.guard.log.LogAttrs(context.Background(), slog.LevelError, "cannot accept connections",
					slog.String("listener", l.Addr().String()),
					slog.String("reason", err.Error()),
					slog.Duration("retry_in", backoff),
					slog.Int("unlogged", left))
			}
			if !l.sleep(backoff) {
				return nil, net.ErrClosed
			}
			backoff = min(2*backoff, lastBackoff)
		default:
			return nil, err
		}
	}
}

// sleep reports false if the listener was closed meanwhile.
func (l *guardedListener) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.closed:
		return false
	}
}

// exhausted reports whether accept may succeed once something else was closed.
func exhausted(err error) bool {
	for _, errno := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// admit returns the guarded connection, or nil if it was closed.
func (l *guardedListener) admit(raw net.Conn) *guardedConn {
	g := l.guard
	conn := &guardedConn{Conn: raw, guard: g, local: true}
	switch l.of.class {
	case classUnix:
		unixConn, ok := raw.(*net.UnixConn)
		if !ok {
			raw.Close()
			return nil
		}
		peer, err := peerOf(unixConn)
		if err != nil {
			g.log.Warn("refused a connection", "listener", l.Addr().String(), "reason", err.Error())
			raw.Close()
			return nil
		}
		conn.peer, conn.origin = peer, userOrigin(peer.uid, g.own)
	case classTCP:
		if addr, ok := raw.RemoteAddr().(*net.TCPAddr); ok {
			conn.origin = addressOrigin(addr.AddrPort().Addr())
			conn.local = addr.IP.IsLoopback()
		}
		setUserTimeout(raw, g.limits.KeepaliveTime+g.limits.KeepaliveTimeout)
	}
	told, over := g.admit(conn.origin)
	if over == nil {
		conn.socket, conn.direct = socket.Of(raw)
		g.track(conn)
		return conn
	}
	g.refused.Add(1)
	if left, due := g.lines.due(time.Now(), conn.origin.String()); due {
		g.log.LogAttrs(context.Background(), slog.LevelWarn, "refused a connection",
			slog.String("listener", l.Addr().String()),
			slog.String("reason", over.Error()),
			slog.Int("unlogged", left))
	}
	if !told {
		raw.Close()
		return nil
	}
	conn.refusal = over
	conn.socket, conn.direct = socket.Of(raw)
	g.track(conn)
	conn.closeLater(turnedFor)
	return conn
}

// stallsAllowed is how often a connection may make a Send wait for longer than Limits.SendTimeout.
const stallsAllowed = 1

// stalled notes that a message of the call of ctx waited longer than Limits.SendTimeout for its reader. The
// second time on one connection closes it.
func (g *guard) stalled(ctx context.Context) {
	c, ok := ctx.Value(callKey{}).(*call)
	if !ok || c.conn == nil || c.conn.stalls.Add(1) <= stallsAllowed {
		return
	}
	g.cut(ctx, c, &g.cutForStalls, "it does not read what it asked for")
}

// cut closes the connection of c, once, counts it and logs the reason.
func (g *guard) cut(ctx context.Context, c *call, count *atomic.Int64, reason string) {
	if c.conn.closed.Load() || !c.conn.cut.CompareAndSwap(false, true) {
		return
	}
	count.Add(1)
	c.conn.abort()
	if left, due := g.lines.due(time.Now(), "cut "+c.identity.Name); due {
		g.log.LogAttrs(ctx, slog.LevelWarn, "closed a connection",
			slog.String("identity", c.identity.Name),
			slog.Int("pid", c.identity.PID),
			slog.String("reason", reason),
			slog.Int("unlogged", left))
	}
}
