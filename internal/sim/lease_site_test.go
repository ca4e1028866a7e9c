package sim

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/test/bufconn"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/limit"
	"github.com/headroom-rpc/headroom/permit"
	"github.com/headroom-rpc/headroom/server"
	"github.com/headroom-rpc/headroom/severity"
	"github.com/headroom-rpc/headroom/snapshot"
)

// operator is the identity whose path only the death of a server cuts.
const operator = "operator"

// siteLimits are the limits that a server begins with.
var siteLimits = map[string]int64{"a": 4, "b": 2, server.HostResource: 3}

// A site is a server of permits that can be ended or killed and started again, with a listener for each identity.
// It is safe for concurrent use.
type site struct {
	t     *testing.T
	tally *tally
	host  *host

	mu        sync.Mutex
	dir       string // where the journal is
	listeners map[string]*bufconn.Listener
	stop      context.CancelFunc
	lives     sync.WaitGroup
	life      chan struct{} // closed when the server that runs has ended
}

// start runs a new server on what the last one left.
func (s *site) start() {
	for resource, n := range siteLimits {
		s.tally.limit(resource, n)
	}
	levels := []severity.Level{
		{Name: "low", Enter: severity.GlobalRelative(25), Stay: severity.GlobalRelative(30), Dwell: time.Second},
		{Name: "high", Enter: severity.GlobalRelative(15), Stay: severity.GlobalRelative(20), Dwell: time.Second},
		{Name: "critical", Enter: severity.GlobalRelative(5), Stay: severity.GlobalRelative(8), Dwell: time.Second},
	}
	snapshotter, err := snapshot.New(snapshot.Config{Scope: snapshot.ScopeHost, Sources: s.host.sources(), Clock: s.host.clock})
	if err != nil {
		s.t.Fatal(err)
	}
	law, err := limit.NewFixed(siteLimits[server.HostResource])
	if err != nil {
		s.t.Fatal(err)
	}
	listeners := make(map[string]*bufconn.Listener)
	config := server.Config{
		Snapshotter: snapshotter, Levels: levels, DrainTimeout: time.Second, Log: slog.New(slog.DiscardHandler),
		Permits: server.PermitConfig{
			Resources: []permit.Resource{{Name: "a", Limit: siteLimits["a"]}, {Name: "b", Limit: siteLimits["b"]}},
			Host: server.HostPermits{Law: law, Severity: []server.SeverityRule{
				{Level: 1, Action: server.SeverityCap, Limit: 1},
				{Level: 2, Action: server.SeverityDrain},
				{Level: 3, Action: server.SeverityCancel, CancelAfter: 500 * time.Millisecond},
			}},
			StateDir: s.dir, Clock: s.host.clock,
		},
	}
	for name, role := range map[string]server.Role{
		"red": server.RoleWorker, "green": server.RoleWorker, "blue": server.RoleWorker, operator: server.RoleOperator,
	} {
		listeners[name] = bufconn.Listen(64 << 10)
		identity := server.Identity{Name: name, Role: role, UID: -1, PID: -1}
		config.Listeners = append(config.Listeners, server.NewListener(listeners[name], identity))
	}
	srv, err := server.New(config)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	life := make(chan struct{})
	s.lives.Go(func() {
		defer close(life)
		if err := srv.Run(ctx); err != nil {
			s.tally.fail("Run = %v, want nil", err)
		}
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listeners, s.stop, s.life = listeners, stop, life
}

// end ends the server as a signal does, and waits for it.
func (s *site) end() {
	s.mu.Lock()
	stop, life := s.stop, s.life
	s.listeners = nil
	s.mu.Unlock()
	stop()
	<-life
}

// kill takes the server from the net, and what it has written down by now for the next one; what it does after
// that nobody hears of. sever ends all its connections.
func (s *site) kill(sever func()) {
	s.mu.Lock()
	stop := s.stop
	s.listeners = nil
	s.mu.Unlock()
	sever()
	next := s.t.TempDir()
	text, err := os.ReadFile(filepath.Join(s.dir, "permits.journal"))
	if err == nil {
		err = os.WriteFile(filepath.Join(next, "permits.journal"), text, 0o600)
	}
	if err != nil {
		s.t.Error(err)
	}
	s.dir = next
	stop()
}

// dial connects as that identity.
func (s *site) dial(ctx context.Context, identity string) (net.Conn, error) {
	s.mu.Lock()
	lis := s.listeners[identity]
	s.mu.Unlock()
	if lis == nil {
		return nil, errors.New("connection refused")
	}
	return lis.DialContext(ctx)
}

// client returns a client of the identity, on that path, or an error where none can be had before ctx is done.
func (s *site) client(ctx context.Context, identity, name string, p *path) (*client.Client, error) {
	for {
		c, err := client.Dial(ctx, client.WithAddress("sim:7070"), client.WithName(name),
			client.WithDialer(func(ctx context.Context, _ string) (net.Conn, error) { return s.reach(ctx, identity, p) }))
		if err == nil || ctx.Err() != nil {
			return c, err
		}
	}
}

// reach connects as that identity on that path.
func (s *site) reach(ctx context.Context, identity string, p *path) (net.Conn, error) {
	conn, err := s.dial(ctx, identity)
	if err != nil {
		return nil, err
	}
	return p.lay(conn)
}
