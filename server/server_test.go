package server_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/server"
	"github.com/headroom-rpc/headroom/snapshot"
)

// machine is a scripted machine.
type machine struct {
	mu       sync.Mutex
	cpu      float64
	memory   float64 // share of 4 GiB; 0 is a quarter
	panicked bool
	broken   error

	memoryBroken error
}

func (m *machine) set(cpu float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cpu = cpu
}

func (m *machine) setMemory(share float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.memory = share
}

func (m *machine) sources() snapshot.Sources {
	return snapshot.Sources{
		CPU: func(context.Context) (snapshot.CPUReading, error) {
			m.mu.Lock()
			defer m.mu.Unlock()
			if m.panicked {
				panic("the source is out of order")
			}
			return snapshot.CPUReading{Used: m.cpu, Cores: 2, Source: "script"}, m.broken
		},
		Memory: func(context.Context) (snapshot.MemoryReading, error) {
			m.mu.Lock()
			defer m.mu.Unlock()
			used := int64(cmp.Or(m.memory, 0.25) * (4 << 30))
			return snapshot.MemoryReading{Used: used, Total: 4 << 30, Definition: "script", Source: "script"}, m.memoryBroken
		},
	}
}

// fixture is a running server with a client of role operator.
type fixture struct {
	*server.Server
	machine  *machine
	listener *bufconn.Listener
	client   headroomv1.StatusServiceClient
	conn     *grpc.ClientConn
	shutdown func() error // ends Run and returns its error
}

// settings changes what a fixture is made of.
type settings struct {
	server   func(*server.Config)
	sampling func(*snapshot.Config)
	identity server.Identity
	interval time.Duration // of CPU and memory; 0 is 1 s
}

func start(t testing.TB, set settings) *fixture {
	t.Helper()
	f := &fixture{machine: &machine{cpu: 0.25}, listener: bufconn.Listen(1 << 20)}
	begin := time.Now()
	clock := func() time.Duration { return time.Since(begin) }
	reports, err := snapshot.NewReports(64, 16)
	if err != nil {
		t.Fatal(err)
	}
	sampling := snapshot.Config{
		Sources: f.machine.sources(), Scope: snapshot.ScopeHost, Clock: clock, Reports: reports,
		CPUInterval: set.interval, MemoryInterval: set.interval,
	}
	if set.sampling != nil {
		set.sampling(&sampling)
	}
	snapshotter, err := snapshot.New(sampling)
	if err != nil {
		t.Fatal(err)
	}
	if set.identity.Name == "" {
		set.identity = server.Identity{Name: "tester", Role: server.RoleOperator, UID: -1, PID: -1, Local: true}
	}
	config := server.Config{
		Snapshotter: snapshotter, Version: "1.2.3",
		Listeners: []*server.Listener{server.NewListener(f.listener, set.identity)},
	}
	if set.server != nil {
		set.server(&config)
	}
	f.Server, err = server.New(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	f.shutdown = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	f.conn = f.dial(t)
	f.client = headroomv1.NewStatusServiceClient(f.conn)
	t.Cleanup(func() {
		f.conn.Close()
		if err := f.shutdown(); err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	})
	return f
}

func (f *fixture) dial(t testing.TB, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	options = append(options,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return f.listener.DialContext(ctx) }))
	conn, err := grpc.NewClient("passthrough:///bufconn", options...)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// serving starts a fixture and waits until the first sample was taken. Use it inside a bubble.
func serving(t *testing.T, set settings) *fixture {
	t.Helper()
	f := start(t, set)
	time.Sleep(50 * time.Millisecond)
	synctest.Wait()
	return f
}

// reason returns the reason of an error of the service.
func reason(err error) string {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetDomain() == "headroom.v1" {
			return info.GetReason()
		}
	}
	return ""
}

// eofIsOK returns nil for the end of a stream whose status is OK.
func eofIsOK(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func checkError(t *testing.T, err error, code codes.Code, want string) {
	t.Helper()
	if status.Code(err) != code || reason(err) != want {
		t.Errorf("error = %v with reason %q, want %v with reason %s", err, reason(err), code, want)
	}
}

func TestNewReportsEveryFault(t *testing.T) {
	_, err := server.New(server.Config{
		Listeners:    []*server.Listener{nil},
		DrainTimeout: time.Millisecond,
		Version:      fmt.Sprintf("%065d", 1),
		Limits:       server.Limits{MaxSubscribers: -1},
		Access:       server.Access{LoopbackRole: 99},
	})
	if err == nil {
		t.Fatal("New = nil, want an error")
	}
	for _, want := range []string{"Snapshotter", "number 0 is nil", "DrainTimeout", "Version", "MaxSubscribers", "LoopbackRole"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("New = %q, want it to name %s", err, want)
		}
	}
	if _, err := server.New(server.Config{}); err == nil || !strings.Contains(err.Error(), "Listeners") {
		t.Errorf("New without listeners = %v, want an error that names Listeners", err)
	}
}

func TestRunTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := serving(t, settings{})
		if err := f.Run(t.Context()); err == nil {
			t.Error("a second Run = nil, want an error")
		}
	})
}

func TestInstanceID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := start(t, settings{}), start(t, settings{})
		if len(a.InstanceID()) != 32 || a.InstanceID() == b.InstanceID() {
			t.Errorf("instance ids %q and %q, want 32 hex digits that differ", a.InstanceID(), b.InstanceID())
		}
	})
}

func TestHealthFollowsTheFirstSample(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, settings{sampling: func(c *snapshot.Config) {
			cpu := c.Sources.CPU
			c.Sources.CPU = func(ctx context.Context) (snapshot.CPUReading, error) {
				time.Sleep(time.Second)
				return cpu(ctx)
			}
		}})
		health := healthv1.NewHealthClient(f.conn)
		check := func(want healthv1.HealthCheckResponse_ServingStatus) {
			t.Helper()
			for _, service := range []string{"", "headroom.v1.StatusService", "headroom.v1.SeverityService"} {
				resp, err := health.Check(t.Context(), &healthv1.HealthCheckRequest{Service: service})
				if err != nil || resp.GetStatus() != want {
					t.Errorf("health of %q = %v, %v, want %v", service, resp.GetStatus(), err, want)
				}
			}
		}
		time.Sleep(500 * time.Millisecond)
		check(healthv1.HealthCheckResponse_NOT_SERVING)
		_, err := f.client.GetStatus(t.Context(), &headroomv1.GetStatusRequest{})
		checkError(t, err, codes.Unavailable, "STARTING")
		_, err = f.client.GetSample(t.Context(), &headroomv1.GetSampleRequest{})
		checkError(t, err, codes.Unavailable, "STARTING")
		time.Sleep(600 * time.Millisecond)
		check(healthv1.HealthCheckResponse_SERVING)
		if _, err := f.client.GetStatus(t.Context(), &headroomv1.GetStatusRequest{}); err != nil {
			t.Errorf("GetStatus after the first sample = %v", err)
		}
	})
}

// Health says NOT_SERVING first; 100 ms later streams end with OK, calls in flight finish, and Run returns nil.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := serving(t, settings{})
		states, err := f.client.WatchSnapshots(t.Context(), &headroomv1.WatchSnapshotsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		watch, err := healthv1.NewHealthClient(f.conn).Watch(t.Context(), &healthv1.HealthCheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := watch.Recv(); err != nil || resp.GetStatus() != healthv1.HealthCheckResponse_SERVING {
			t.Fatalf("first health = %v, %v, want SERVING", resp, err)
		}
		ended := make(chan time.Time, 1)
		go func() {
			defer close(ended)
			for {
				if _, err := states.Recv(); err != nil {
					if status.Code(eofIsOK(err)) != codes.OK {
						t.Errorf("the stream of states ended with %v, want OK", err)
					}
					ended <- time.Now()
					return
				}
			}
		}()
		time.Sleep(2 * time.Second)
		begin := time.Now()
		done := make(chan error, 1)
		go func() { done <- f.shutdown() }()
		resp, err := watch.Recv()
		if err != nil || resp.GetStatus() != healthv1.HealthCheckResponse_NOT_SERVING || time.Since(begin) != 0 {
			t.Errorf("health after %v = %v, %v, want NOT_SERVING at once", time.Since(begin), resp, err)
		}
		if _, err := watch.Recv(); status.Code(eofIsOK(err)) != codes.OK {
			t.Errorf("the health stream ended with %v, want OK", err)
		}
		if took := (<-ended).Sub(begin); took != 100*time.Millisecond {
			t.Errorf("states ended after %v, want 100ms", took)
		}
		if err := <-done; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
		if took := time.Since(begin); took > time.Second {
			t.Errorf("the drain took %v, want it to end with the last call", took)
		}
	})
}

// A connection that never says anything is cut off at DrainTimeout too, however long its handshake may take.
func TestDrainDeadlineOfASilentConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := serving(t, settings{server: func(c *server.Config) {
			c.DrainTimeout = 3 * time.Second
			c.Limits.HandshakeTimeout = time.Minute
		}})
		conn, err := f.listener.DialContext(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		time.Sleep(time.Second)
		begin := time.Now()
		if err := f.shutdown(); err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
		if took := time.Since(begin); took > 3200*time.Millisecond {
			t.Errorf("the drain took %v, want at most DrainTimeout, 3s", took)
		}
	})
}

// A call that does not end is cut off at DrainTimeout.
func TestDrainDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := serving(t, settings{server: func(c *server.Config) { c.DrainTimeout = 3 * time.Second }})
		stream, err := f.conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true},
			"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		begin := time.Now()
		if err := f.shutdown(); err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
		if took := time.Since(begin); took < 3*time.Second || took > 3200*time.Millisecond {
			t.Errorf("the drain took %v, want DrainTimeout, 3s", took)
		}
		if err := stream.RecvMsg(&headroomv1.GetStatusResponse{}); err == nil {
			t.Error("the open stream goes on, want it cut")
		}
	})
}

// failingListener fails after a while, as one does whose socket was taken away.
type failingListener struct{ net.Listener }

func (l failingListener) Accept() (net.Conn, error) {
	time.Sleep(time.Second)
	return nil, errors.New("the socket is gone")
}

func TestRunEndsWithAFailingListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good := bufconn.Listen(1 << 10)
		snapshotter, err := snapshot.New(snapshot.Config{Sources: (&machine{}).sources()})
		if err != nil {
			t.Fatal(err)
		}
		id := server.Identity{Name: "tester", Role: server.RoleReader}
		srv, err := server.New(server.Config{
			Snapshotter: snapshotter,
			Listeners: []*server.Listener{
				server.NewListener(good, id), server.NewListener(failingListener{bufconn.Listen(1)}, id),
			},
			Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := srv.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "the socket is gone") {
			t.Errorf("Run = %v, want the listener's error", err)
		}
		if _, err := good.Dial(); err == nil {
			t.Error("the other listener is still open")
		}
	})
}
