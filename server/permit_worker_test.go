package server_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/headroom-rpc/headroom/permit"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/server"
)

// leasing is a running server that leases permits of "api", whose limit is 4, to callers of several identities.
type leasing struct {
	*fixture
	permits headroomv1.PermitServiceClient // of the operator
	others  map[string]*bufconn.Listener
}

// lease starts a server in which each of the names is a worker, with a listener of its own, and lets the window
// of caution of its first start pass. Use it inside a bubble.
func lease(t *testing.T, config func(*server.Config), names ...string) *leasing {
	t.Helper()
	l := leaseFrom(t, config, names...)
	time.Sleep(8 * time.Second)
	synctest.Wait()
	return l
}

// bubbleClock returns a clock that goes on over the servers of a test.
func bubbleClock() func() time.Duration {
	begin := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	return func() time.Duration { return time.Since(begin) }
}

// leaseFrom is lease without the wait.
func leaseFrom(t *testing.T, config func(*server.Config), names ...string) *leasing {
	t.Helper()
	l := &leasing{others: make(map[string]*bufconn.Listener)}
	l.fixture = serving(t, settings{server: func(c *server.Config) {
		c.Permits = server.PermitConfig{
			Resources: []permit.Resource{{Name: "api", Limit: 4}}, Clock: bubbleClock(),
		}
		for _, name := range names {
			listener := bufconn.Listen(1 << 20)
			l.others[name] = listener
			id := server.Identity{Name: name, Role: server.RoleWorker, UID: -1, PID: -1}
			c.Listeners = append(c.Listeners, server.NewListener(listener, id))
		}
		if config != nil {
			config(c)
		}
	}})
	l.permits = headroomv1.NewPermitServiceClient(l.conn)
	return l
}

// as returns a client of that identity, on a connection of its own.
func (l *leasing) as(t *testing.T, name string) headroomv1.PermitServiceClient {
	t.Helper()
	_, client := l.connect(t, name)
	return client
}

func (l *leasing) connect(t *testing.T, name string) (*grpc.ClientConn, headroomv1.PermitServiceClient) {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///bufconn",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithStaticStreamWindowSize(64<<10), // those of the client; others grow while nothing is read
		grpc.WithStaticConnWindowSize(256<<10),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return l.others[name].DialContext(ctx)
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn, headroomv1.NewPermitServiceClient(conn)
}

// account returns the account of "api".
func (l *leasing) account(t *testing.T) *headroomv1.ResourceAccount {
	t.Helper()
	synctest.Wait()
	resp, err := l.permits.ListSessions(t.Context(), &headroomv1.ListSessionsRequest{Resource: "api"})
	if err != nil || len(resp.GetResources()) != 1 {
		t.Fatalf("ListSessions = %v, %v, want one resource", resp, err)
	}
	return resp.GetResources()[0]
}

// worker is a stream of Attach that is spoken by hand.
type worker struct {
	t        *testing.T
	stream   grpc.BidiStreamingClient[headroomv1.AttachRequest, headroomv1.AttachResponse]
	instance []byte
	sequence int64
	cancel   context.CancelFunc

	mu      sync.Mutex
	welcome *headroomv1.Welcome
	targets map[string]*headroomv1.Target
	frames  int
	echo    int64
	drain   *headroomv1.Drain
	kicked  *headroomv1.Kicked
	err     error // how the stream ended; io.EOF for OK
}

// instanceOf returns an instance id that is always the same for a name.
func instanceOf(name string) []byte {
	sum := sha256.Sum256([]byte(name))
	return sum[:16]
}

// open opens a stream on which nothing is said yet.
func open(t *testing.T, client headroomv1.PermitServiceClient, name string) *worker {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	stream, err := client.Attach(ctx)
	if err != nil {
		t.Fatal(err)
	}
	w := &worker{
		t: t, stream: stream, instance: instanceOf(name), cancel: cancel, targets: make(map[string]*headroomv1.Target),
	}
	go w.read()
	return w
}

// attach opens a stream with a Hello and reports.
func attach(
	t *testing.T, client headroomv1.PermitServiceClient, name string, reports ...*headroomv1.PermitReport,
) *worker {
	t.Helper()
	w := open(t, client, name)
	w.hello(&headroomv1.Hello{}, reports...)
	synctest.Wait()
	return w
}

func (w *worker) hello(h *headroomv1.Hello, reports ...*headroomv1.PermitReport) {
	w.t.Helper()
	h.Client, h.InstanceId = "worker", w.instance
	w.send(&headroomv1.AttachRequest{Hello: h, Reports: reports})
}

func (w *worker) send(req *headroomv1.AttachRequest) {
	w.t.Helper()
	w.sequence++
	req.Sequence, req.SendNanos = w.sequence, w.sequence*1000
	if err := w.stream.Send(req); err != nil && !errors.Is(err, io.EOF) {
		w.t.Fatal(err)
	}
}

// report sends reports and waits until the server has answered.
func (w *worker) report(reports ...*headroomv1.PermitReport) {
	w.t.Helper()
	w.send(&headroomv1.AttachRequest{Reports: reports})
	synctest.Wait()
}

func (w *worker) read() {
	for {
		resp, err := w.stream.Recv()
		w.mu.Lock()
		if err != nil {
			w.err = err
			w.mu.Unlock()
			return
		}
		w.frames++
		w.echo = resp.GetEchoNanos()
		if resp.GetWelcome() != nil {
			w.welcome = resp.GetWelcome()
		}
		for _, target := range resp.GetTargets() {
			w.targets[target.GetResource()] = target
		}
		if resp.GetDrain() != nil {
			w.drain = resp.GetDrain()
		}
		if resp.GetKicked() != nil {
			w.kicked = resp.GetKicked()
		}
		w.mu.Unlock()
	}
}

// ended returns how the stream ended, or nil while it lasts.
func (w *worker) ended() error {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// target returns the newest target of "api".
func (w *worker) target() *headroomv1.Target { return w.targetOf("api") }

// targetOf returns the newest target of a resource.
func (w *worker) targetOf(resource string) *headroomv1.Target {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.targets[resource]
}

func (w *worker) session() *headroomv1.SessionToken {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.welcome.GetSession()
}

// beat sends a heartbeat every second until the stream or the test ends.
func (w *worker) beat() {
	go func() {
		for {
			select {
			case <-time.After(time.Second):
			case <-w.stream.Context().Done():
				return
			}
			w.mu.Lock()
			w.sequence++
			req := &headroomv1.AttachRequest{Sequence: w.sequence, SendNanos: w.sequence * 1000}
			w.mu.Unlock()
			if w.stream.Send(req) != nil {
				return
			}
		}
	}()
}

func want(n int64) *headroomv1.PermitReport {
	return &headroomv1.PermitReport{Resource: "api", Want: n}
}

func holds(version, held, want int64) *headroomv1.PermitReport {
	return &headroomv1.PermitReport{Resource: "api", Version: version, Held: held, Want: want}
}
