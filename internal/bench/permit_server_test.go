package bench

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/headroom-rpc/headroom/internal/boottime"
	"github.com/headroom-rpc/headroom/internal/garbage"
	"github.com/headroom-rpc/headroom/permit"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/server"
	"github.com/headroom-rpc/headroom/severity"
	"github.com/headroom-rpc/headroom/snapshot"
)

func init() {
	roles["permitserver"] = runPermitServer
	roles["bareserver"] = runBareServer
}

// The resources of the server, and their limits.
const (
	oneResource    = "one"
	scarceResource = "scarce"
	plentyResource = "plenty"

	scarceLimit = 8
	plentyLimit = 1_000_000
)

// runPermitServer leases permits on loopback TCP, with a journal, and collects garbage as serve does. After "serve" and
// the TTL in milliseconds, 0 for the default, it prints its port, and then answers "cpu" with its CPU time, and "memory"
// with its resident bytes and those of its heap and stacks after a collection.
func runPermitServer(p *peer) error {
	words, err := p.receive()
	if err != nil {
		return err
	}
	ms, err := strconv.Atoi(words[1])
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "headroom-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ttl := time.Duration(ms) * time.Millisecond
	garbage.Pace()
	srv, port, err := newPermitServer(server.PermitConfig{
		Resources: []permit.Resource{
			{Name: oneResource, Limit: 1}, {Name: scarceResource, Limit: scarceLimit}, {Name: plentyResource, Limit: plentyLimit},
		},
		StateDir: dir, TTL: ttl, Grace: ttl / 10,
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	err = p.send(port)
	for err == nil {
		if words, err = p.receive(); err != nil {
			break
		}
		switch words[0] {
		case "cpu":
			err = p.send(cpuNanos())
		case "memory":
			debug.FreeOSMemory()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			err = p.send(residentBytes(), m.HeapAlloc, m.StackInuse)
		}
	}
	cancel()
	if failed := <-done; failed != nil {
		return failed
	}
	return err
}

// madeUp is a machine of two cores and 4 GiB of memory, of which a quarter is used, and three while full says so.
type madeUp struct {
	full  atomic.Bool
	every time.Duration // between two readings of the memory; 0 for the default
}

func (m *madeUp) snapshotter() (*snapshot.Snapshotter, error) {
	return snapshot.New(snapshot.Config{
		Scope: snapshot.ScopeHost,
		Clock: boottime.Now,
		Sources: snapshot.Sources{
			CPU: func(context.Context) (snapshot.CPUReading, error) {
				return snapshot.CPUReading{Used: 0.1, Cores: 2, Source: "made up"}, nil
			},
			Memory: func(context.Context) (snapshot.MemoryReading, error) {
				reading := snapshot.MemoryReading{Used: 1 << 30, Total: 4 << 30, Definition: "made up", Source: "made up"}
				if m.full.Load() {
					reading.Used *= 3
				}
				return reading, nil
			},
		},
		MemoryInterval: m.every,
	})
}

// newServer returns a server of the machine on a port of loopback TCP, with c otherwise.
func (m *madeUp) newServer(c server.Config) (srv *server.Server, port int, err error) {
	if c.Snapshotter, err = m.snapshotter(); err != nil {
		return nil, 0, err
	}
	lis, err := server.ListenTCP("127.0.0.1:0", nil, false)
	if err != nil {
		return nil, 0, err
	}
	c.Listeners = []*server.Listener{lis}
	c.Version, c.Log = "bench", slog.New(slog.DiscardHandler)
	srv, err = server.New(c)
	return srv, lis.Addr().(*net.TCPAddr).Port, err
}

func newPermitServer(permits server.PermitConfig) (srv *server.Server, port int, err error) {
	return new(madeUp).newServer(server.Config{
		Levels:  []severity.Level{},
		Permits: permits,
		Access:  server.Access{LoopbackRole: server.RoleOperator},
		Limits: server.Limits{
			MaxConnections: 1 << 16, MaxWaitersPerConnection: 1 << 10, MaxStreamsPerConnection: 1 << 10,
		},
		DrainTimeout: time.Second,
	})
}

// bareService is the floor: unary calls and streams that do nothing, on a bare grpc.Server.
type bareService struct {
	headroomv1.UnimplementedPermitServiceServer

	mu      sync.Mutex
	waiting *relay // of the stream that waits for the other of its pair
	ring    []attachment
}

func (*bareService) ReleasePermit(context.Context, *headroomv1.ReleasePermitRequest) (*headroomv1.ReleasePermitResponse, error) {
	return &headroomv1.ReleasePermitResponse{}, nil
}

// Attach answers each message, or passes it on to another stream where the first one of both says so.
func (s *bareService) Attach(stream attachment) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	switch first.GetHello().GetClient() {
	case relayed:
		return s.relay(stream)
	case ringed:
		return s.pass(stream)
	}
	for {
		if err := stream.Send(&headroomv1.AttachResponse{}); err != nil {
			return err
		}
		if _, err := stream.Recv(); err != nil {
			return end(err)
		}
	}
}

// relayed is the client of the streams that are joined in pairs.
const relayed = "relayed"

type attachment = grpc.BidiStreamingServer[headroomv1.AttachRequest, headroomv1.AttachResponse]

// relay joins two streams.
type relay struct {
	streams [2]attachment
	joined  chan struct{}
}

// relay passes each message on to the other stream of the pair. Both are told first that it stands.
func (s *bareService) relay(stream attachment) error {
	s.mu.Lock()
	r, other := s.waiting, 0
	if r == nil {
		r, other = &relay{joined: make(chan struct{})}, 1
		s.waiting = r
	} else {
		s.waiting = nil
	}
	r.streams[1-other] = stream
	s.mu.Unlock()
	if err := stream.Send(&headroomv1.AttachResponse{}); err != nil {
		return err
	}
	if other == 0 {
		close(r.joined)
	}
	select {
	case <-r.joined:
	case <-stream.Context().Done():
		return stream.Context().Err()
	}
	for {
		if _, err := stream.Recv(); err != nil {
			return end(err)
		}
		if err := r.streams[other].Send(&headroomv1.AttachResponse{}); err != nil {
			return err
		}
	}
}

// ringed is the client of the streams that are joined in a ring.
const ringed = "ringed"

// pass adds the stream to the ring, and passes each message of it on to the next one there. No message may come before
// the last stream was told that it is in it.
func (s *bareService) pass(stream attachment) error {
	s.mu.Lock()
	i := len(s.ring)
	s.ring = append(s.ring, stream)
	s.mu.Unlock()
	if err := stream.Send(&headroomv1.AttachResponse{}); err != nil {
		return err
	}
	for {
		if _, err := stream.Recv(); err != nil {
			return end(err)
		}
		s.mu.Lock()
		next := s.ring[(i+1)%len(s.ring)]
		s.mu.Unlock()
		if err := next.Send(&headroomv1.AttachResponse{}); err != nil {
			return err
		}
	}
}

func end(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// runBareServer serves bareService on loopback TCP. It prints its port, and answers "cpu" with its CPU time.
func runBareServer(p *peer) error {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := grpc.NewServer()
	headroomv1.RegisterPermitServiceServer(srv, &bareService{})
	go srv.Serve(lis)
	if err := p.send(lis.Addr().(*net.TCPAddr).Port); err != nil {
		return err
	}
	for {
		if _, err := p.receive(); err != nil {
			return err
		}
		if err := p.send(cpuNanos()); err != nil {
			return err
		}
	}
}
