package sim

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"

	"google.golang.org/grpc/test/bufconn"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/server"
	"github.com/headroom-rpc/headroom/snapshot"
)

// service is a headroom server on a made-up host that can be stopped and started again, and the wire that
// clients reach it by.
type service struct {
	t       *testing.T
	host    *host
	budget  int64                   // Config.MaxMemory of the next start
	sources func() snapshot.Sources // nil: of host
	permits server.PermitConfig
	mu      sync.Mutex
	lis     *bufconn.Listener
	stop    context.CancelFunc
	stopped chan error
}

func newService(t *testing.T) *service {
	s := &service{t: t, host: newHost()}
	s.start()
	t.Cleanup(s.end)
	return s
}

// start runs a new server.
func (s *service) start() {
	s.t.Helper()
	reports, err := snapshot.NewReports(16, 16)
	if err != nil {
		s.t.Fatal(err)
	}
	sources := s.host.sources
	if s.sources != nil {
		sources = s.sources
	}
	snapshotter, err := snapshot.New(snapshot.Config{
		Scope:   snapshot.ScopeHost,
		Sources: sources(),

		MaxMemory: s.budget,
		Reports:   reports,
		Clock:     s.host.clock,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	lis := bufconn.Listen(64 << 10)
	srv, err := server.New(server.Config{
		Snapshotter: snapshotter,
		Listeners:   []*server.Listener{server.NewListener(lis, server.Identity{Name: "sim", Role: server.RoleOperator})},
		Permits:     s.permits,
		Version:     "0.1.0",
		Log:         slog.New(slog.DiscardHandler),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- srv.Run(ctx) }()
	s.mu.Lock()
	s.lis, s.stop, s.stopped = lis, stop, stopped
	s.mu.Unlock()
}

// end drains the server and waits for it.
func (s *service) end() {
	s.mu.Lock()
	stop, stopped := s.stop, s.stopped
	s.lis = nil
	s.stopped = nil
	s.mu.Unlock()
	if stopped == nil {
		return
	}
	stop()
	if err := <-stopped; err != nil {
		s.t.Errorf("Run = %v, want nil", err)
	}
}

func (s *service) dial(ctx context.Context, _ string) (net.Conn, error) {
	s.mu.Lock()
	lis := s.lis
	s.mu.Unlock()
	if lis == nil {
		return nil, errors.New("connection refused")
	}
	return lis.DialContext(ctx)
}

// client returns a client that is ready.
func (s *service) client() *client.Client {
	s.t.Helper()
	c, err := client.Dial(s.t.Context(), client.WithAddress("sim:7070"), client.WithDialer(s.dial))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	return c
}
