// Package client talks to a headroom server: it reads how loaded a machine is, follows the load as it
// changes, and reports what a worker knows of its own.
//
// [Dial] finds the server of this host by itself, and returns only once that server has given a first
// judgement. [Client.Status] and [Client.Sample] ask once; [Client.Snapshots] follows the load and
// survives restarts of the server: it says when what it knows is stale, and never shows an older state
// after a newer one. [Client.Severity] asks for the severity, [Client.WatchSeverity] follows each step of
// it, and [Client.Handlers] calls functions of the program as levels change.
//
// [Client.Permits] leases the right to run work: as much as the server grants this program, whatever other
// programs do. A [Permit] is taken in the program's own memory and is good for as long as the server is heard
// of; its context ends when the permit is lost. [Client.Acquire] and [Client.AcquireAll] are for programs that
// need one now and then. What may run while there is no server is a choice; see [Offline].
//
// [Client.RegisterTask] has the server keep account of what processes use, and [Client.Tasks] and
// [Client.TaskSample] tell it.
package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/snapshot"
	"google.golang.org/grpc"
)

// tryTimeout bounds how long one address is tried, so that a hung server does not hide the next one. It is
// well over the second that a server takes for its first reading.
const tryTimeout = 10 * time.Second

// Client is a connection to one headroom server, which it re-establishes as needed. Its methods are safe
// for concurrent use.
type Client struct {
	conn     *grpc.ClientConn
	service  headroomv1.StatusServiceClient
	severity headroomv1.SeverityServiceClient
	permits  headroomv1.PermitServiceClient
	tasks    headroomv1.TaskServiceClient
	log      *slog.Logger
	jitter   float64
	version  string               // the client's own
	clock    func() time.Duration // runs through suspend
	start    time.Duration        // the zero of Now, by clock

	name      string // the program's own
	exclusive bool   // whether no other process can have the connection
	local     func() snapshot.Sources

	closeOnce sync.Once
	closed    chan struct{} // closed by Close

	mu     sync.Mutex
	server Server
	warned string // the server version that the log was last warned of

	attachment *attachment         // nil before the first handle
	plain      map[string]*Permits // the handles of Acquire
}

// Server is what is known of the server.
type Server struct {
	// Address is the address that Dial chose, in the form of [WithAddress].
	Address string

	// InstanceID identifies one run of the server, and Version names its version, such as "0.1.0"; both
	// as last heard.
	InstanceID, Version string
}

// Dial connects to a server and waits for its first judgement. Without [WithAddress] it tries, in this
// order, $HEADROOM_ADDR alone if it is set, else the unix socket at $HEADROOM_SOCKET or, where that is not
// set, at each of /run/headroom/headroom.sock (/var/run outside Linux), $XDG_RUNTIME_DIR/headroom.sock and
// $TMPDIR/headroom-UID/headroom.sock, and last TCP 127.0.0.1:7070. A socket in the temporary directory is
// used only if its folder belongs to root or to this user and nobody else may write there.
//
// Dial blocks until a server answered, every address was tried for at most 10 s, or ctx is done; ctx
// governs nothing after that. It reports all faults of the options at once. When nobody answered, the
// error is [ErrNoServer] and names each address and why.
func Dial(ctx context.Context, opts ...Option) (*Client, error) {
	cfg, err := newConfig(opts)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	var tries []error
	for _, e := range cfg.endpoints {
		c, err := connect(ctx, cfg, e)
		if err == nil {
			return c, nil
		}
		tries = append(tries, &tryError{address: e.String(), err: err})
		if ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("%w:\n%w", ErrNoServer, errors.Join(tries...))
}

// connect makes a client of the endpoint, or leaves nothing behind.
func connect(ctx context.Context, cfg *config, e endpoint) (_ *Client, err error) {
	if err := e.check(); err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient(cfg.target(e), cfg.dialOptions(e)...)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, conn.Close())
		}
	}()
	c := &Client{
		conn:     conn,
		service:  headroomv1.NewStatusServiceClient(conn),
		severity: headroomv1.NewSeverityServiceClient(conn),
		permits:  headroomv1.NewPermitServiceClient(conn),
		tasks:    headroomv1.NewTaskServiceClient(conn),
		log:      cfg.log,
		jitter:   cfg.jitter,
		clock:    cfg.clock,
		start:    cfg.clock(),
		closed:   make(chan struct{}),
		server:   Server{Address: e.String()},
		version:  cfg.version,

		name: cfg.name, exclusive: cfg.dial == nil, local: cfg.local, plain: make(map[string]*Permits),
	}
	// Not a deadline: the server would be told, and could answer with it before the cause is set.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer time.AfterFunc(tryTimeout, func() { cancel(fmt.Errorf("no answer within %v", tryTimeout)) }).Stop()
	for {
		_, err := c.Status(ctx)
		if err == nil {
			return c, nil
		}
		// A server that is there but has no first value yet says when to come back.
		delay, ok := retryDelay(err)
		if !ok {
			return nil, err
		}
		if !pause(ctx, nil, max(delay, retryBase)) {
			return nil, c.callError(ctx, "get status", err)
		}
	}
}

// Close ends the connection and with it every call and iteration, which return [ErrClosed]. It does not
// wait for them.
//
// If permits were leased it ends the contexts of those that are held with [ErrClosed] and gives all back at once,
// for which it blocks up to half a second: until they are released and the server took note. What is not released
// by then the server counts as in use until the lease is over. A second call does nothing.
func (c *Client) Close() error {
	var err error
	c.closeOnce.Do(func() {
		close(c.closed)
		c.mu.Lock()
		a := c.attachment
		c.mu.Unlock()
		if a != nil {
			a.close()
		}
		err = c.conn.Close()
	})
	return err
}

// isDone reports whether Close was called.
func (c *Client) isDone() bool {
	select {
	case <-c.closed:
		return true
	default:
		return false
	}
}

// Conn returns the connection, for RPCs that Client has no method for. It belongs to the Client.
func (c *Client) Conn() *grpc.ClientConn { return c.conn }

// Now returns the time by the clock of [snapshot.Snapshot.At] in what this Client returns: the time since
// Dial, that of a suspend included where the system has a clock for it. So the age of a snapshot s is
// c.Now() - s.At, plus the time that the transport took.
func (c *Client) Now() time.Duration { return c.clock() - c.start }

// Server returns what is known of the server. It does not ask it.
func (c *Client) Server() Server {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.server
}

// Skew says how the version of the server as last heard differs from the client's, or returns "" where the
// minor versions are the same or one of the two is a development build.
func (c *Client) Skew() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return skew(c.version, c.server.Version)
}

// heard keeps what the server says of itself, and warns once of each version that differs.
func (c *Client) heard(instanceID, version string) {
	c.mu.Lock()
	c.server.InstanceID, c.server.Version = instanceID, version
	text := skew(c.version, version)
	warn := text != "" && c.warned != version
	if warn {
		c.warned = version
	}
	address := c.server.Address
	c.mu.Unlock()
	if warn {
		c.log.Warn("version skew: "+text, "address", address)
	}
}

// pause waits for d, and reports whether neither ctx nor closed ended it first.
func pause(ctx context.Context, closed <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
	case <-closed:
	}
	return false
}
