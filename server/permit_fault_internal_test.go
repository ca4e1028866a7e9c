package server

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/headroom-rpc/headroom/internal/boottime"
	"github.com/headroom-rpc/headroom/limit"
	"github.com/headroom-rpc/headroom/permit"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/snapshot"
)

// runServer runs a server on an idle machine until the test ends, and returns it with a channel that gets what Run
// returned.
func runServer(t *testing.T, c Config) (*Server, <-chan error) {
	t.Helper()
	var err error
	if c.Snapshotter, err = snapshot.New(snapshot.Config{Sources: snapshot.Sources{
		CPU: func(context.Context) (snapshot.CPUReading, error) { return snapshot.CPUReading{Cores: 2}, nil },
		Memory: func(context.Context) (snapshot.MemoryReading, error) {
			return snapshot.MemoryReading{Total: 1 << 30}, nil
		},
	}}); err != nil {
		t.Fatal(err)
	}
	srv, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done, ended := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(ended)
		done <- srv.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	eventually(t, "the account to be kept", func() bool { return srv.permits.running.Load() != nil })
	return srv, done
}

// runPermits runs a server that leases 4 permits of "api", waits until it knows what it may grant, and returns
// it with a client of an operator and a channel with what Run returned.
func runPermits(t *testing.T, change func(*Config)) (*Server, headroomv1.PermitServiceClient, <-chan error) {
	t.Helper()
	lis := bufconn.Listen(1 << 20)
	c := Config{
		Listeners: []*Listener{NewListener(lis, Identity{Name: "tester", Role: RoleOperator})},
		Permits: PermitConfig{
			Resources: []permit.Resource{{Name: "api", Limit: 4}}, TTL: time.Second, Grace: 100 * time.Millisecond,
		},
	}
	if change != nil {
		change(&c)
	}
	srv, done := runServer(t, c)
	cc, err := grpc.NewClient("passthrough:///bufconn", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	client := headroomv1.NewPermitServiceClient(cc)
	eventually(t, "nothing to be unknown", func() bool {
		resp, err := client.Explain(t.Context(), &headroomv1.ExplainRequest{Resource: "api"})
		return err == nil && resp.GetAccount().GetUnknown() == 0
	})
	return srv, client, done
}

// attachOnce begins a session on a stream of ctx, and returns once it is welcome.
func attachOnce(ctx context.Context, client headroomv1.PermitServiceClient) error {
	stream, err := client.Attach(ctx)
	if err != nil {
		return err
	}
	hello := &headroomv1.Hello{Client: "w", InstanceId: make([]byte, 16)}
	if err := stream.Send(&headroomv1.AttachRequest{Sequence: 1, Hello: hello}); err != nil {
		return err
	}
	_, err = stream.Recv()
	return err
}

// A panic while the account of permits changes refuses all calls, ends all streams and ends the server: an account
// that may not hold must grant nothing.
func TestBrokenAccountEndsTheServer(t *testing.T) {
	for name, call := range map[string]func(context.Context, headroomv1.PermitServiceClient) error{
		"unary": func(ctx context.Context, client headroomv1.PermitServiceClient) error {
			_, err := client.AcquirePermit(ctx, &headroomv1.AcquirePermitRequest{Resource: "api", RequestId: "1"})
			return err
		},
		"attach": attachOnce,
	} {
		t.Run(name, func(t *testing.T) {
			srv, client, done := runPermits(t, nil)
			waiting, err := client.HoldPermit(t.Context(), &headroomv1.HoldPermitRequest{Resource: "api", Count: 4})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := waiting.Recv(); err != nil {
				t.Fatal(err)
			}
			a := srv.permits.running.Load()
			a.mu.Lock()
			a.ledger = nil
			a.mu.Unlock()
			if err := call(t.Context(), client); status.Code(err) != codes.Unavailable {
				t.Errorf("the call = %v, want UNAVAILABLE", err)
			}
			if _, err := a.enter(); err == nil {
				t.Error("the account can still be used")
			}
			select {
			case err := <-done:
				if !errors.Is(err, errBroken) || !strings.Contains(err.Error(), "nil pointer") {
					t.Errorf("Run = %v, want errBroken with the panic", err)
				}
			case <-time.After(callTimeout):
				t.Error("the server goes on")
			}
		})
	}
}

// A panic in one stream of a worker that leaves the account alone is told to that stream, and the rest goes on.
func TestPanicOfAStream(t *testing.T) {
	srv, client, _ := runPermits(t, nil)
	deaths := srv.permits.deaths
	srv.permits.deaths = nil // a fault beside the account
	stream, err := client.Attach(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&headroomv1.AttachRequest{
		Sequence: 1, Hello: &headroomv1.Hello{Client: "w", InstanceId: make([]byte, 16)},
	}); err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.Internal || requestID(err) == "" {
		t.Errorf("the stream ended with %v, want INTERNAL with a request id", err)
	}
	srv.permits.deaths = deaths
	if _, err := client.AcquirePermit(t.Context(), &headroomv1.AcquirePermitRequest{Resource: "api", RequestId: "1"}); err != nil {
		t.Errorf("AcquirePermit = %v after it, want a permit", err)
	}
}

// A journal that can be neither written nor removed ends the server, before anybody is told of what is not written
// down.
func TestStaleJournalEndsTheServer(t *testing.T) {
	srv, client, done := runPermits(t, func(c *Config) { c.Permits.StateDir = stateDir(t) })
	a := srv.permits.running.Load()
	a.mu.Lock()
	a.journal.file.Close()
	a.journal.root.Close()
	a.mu.Unlock()
	_, err := client.AcquirePermit(t.Context(), &headroomv1.AcquirePermitRequest{Resource: "api", RequestId: "1"})
	if status.Code(err) != codes.Unavailable {
		t.Errorf("AcquirePermit = %v, want UNAVAILABLE", err)
	}
	select {
	case err := <-done:
		if !errors.Is(err, errJournalStale) {
			t.Errorf("Run = %v, want errJournalStale", err)
		}
	case <-time.After(callTimeout):
		t.Error("the server goes on")
	}
}

// A server that finds the disk full serves all the same, and grants what the next life need not know.
func TestStartOnAFullDisk(t *testing.T) {
	dir := stateDir(t)
	fillDisk(t, dir)
	srv, client, _ := runPermits(t, func(c *Config) { c.Permits.StateDir = dir })
	resp, err := client.AcquirePermit(t.Context(), &headroomv1.AcquirePermitRequest{Resource: "api", RequestId: "1"})
	if err != nil {
		t.Fatal(err)
	}
	if got := resp.GetPermit().GetTtl().AsDuration(); got > 2*time.Second {
		t.Errorf("the lease that could not be written down is for %v, want 1s", got)
	}
	a := srv.permits.running.Load()
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.unkept || a.counters.faults == 0 {
		t.Errorf("unkept: %v, after %d faults; want it to be tried again", a.unkept, a.counters.faults)
	}
}

// While the journal cannot be written, leases are no longer than the next life of the server waits for. It is begun
// anew, with all that there is, once it can be.
func TestJournalIsBegunAnew(t *testing.T) {
	dir := stateDir(t)
	var stopped atomic.Int64 // the time, once it passes no more by itself
	srv, client, _ := runPermits(t, func(c *Config) {
		c.Permits.StateDir = dir
		c.Permits.Clock = func() time.Duration { return cmp.Or(time.Duration(stopped.Load()), boottime.Now()) }
	})
	stopped.Store(int64(boottime.Now()))
	acquire := func(id string) *headroomv1.Permit {
		t.Helper()
		resp, err := client.AcquirePermit(t.Context(), &headroomv1.AcquirePermitRequest{Resource: "api", RequestId: id})
		if err != nil {
			t.Fatal(err)
		}
		return resp.GetPermit()
	}
	before := acquire("1")
	if got := before.GetTtl().AsDuration(); got < 29*time.Second {
		t.Errorf("the lease is for %v, want 30s", got)
	}
	// The disk is full: nothing can be written to the journal, and no other be begun.
	free := fillDisk(t, dir)
	a := srv.permits.running.Load()
	a.mu.Lock()
	a.journal.file.Close()
	a.mu.Unlock()
	if got := acquire("2").GetTtl().AsDuration(); got > 2*time.Second {
		t.Errorf("the lease that could not be written down is for %v, want 1s", got)
	}
	renew := func() time.Duration {
		t.Helper()
		resp, err := client.RenewPermit(t.Context(), &headroomv1.RenewPermitRequest{
			PermitId: before.GetPermitId(), Ttl: durationpb.New(30 * time.Second),
		})
		if err != nil {
			t.Fatal(err)
		}
		return resp.GetPermit().GetTtl().AsDuration()
	}
	if got := renew(); got > 2*time.Second {
		t.Errorf("renewed for %v, want 1s", got)
	}
	if _, err := os.Stat(filepath.Join(dir, journalName)); err == nil {
		t.Error("there is a journal that the next life would trust")
	}
	free()
	stopped.Add(int64(time.Second / 2)) // within the leases
	if got := renew(); got > 2*time.Second {
		t.Errorf("renewed for %v before it is tried again, want 1s", got)
	}
	for range 2 * int(journalRetry/time.Second) {
		stopped.Add(int64(time.Second / 2))
		renew()
	}
	eventually(t, "the journal to be begun anew", func() bool {
		stopped.Add(int64(10 * time.Millisecond))
		return renew() > 29*time.Second
	})
	after := acquire("3")
	text, err := os.ReadFile(filepath.Join(dir, journalName))
	if err != nil {
		t.Fatal(err)
	}
	content := readJournal(text)
	for _, p := range []*headroomv1.Permit{before, after} {
		id, err := hex.DecodeString(p.GetPermitId())
		if _, ok := content.leases[leaseID(id)]; err != nil || !ok {
			t.Errorf("the journal has no lease %s: %v", p.GetPermitId(), content.leases)
		}
	}
	if content.fault != nil || len(content.ceilings) == 0 {
		t.Errorf("fault %v, ceilings %v; want none, and what was granted", content.fault, content.ceilings)
	}
}

// Who comes back before the first look at the machine is charged for what it holds of a fixed limit of it; where what
// was granted is known, nothing is granted before that look.
func TestHostIsLimitedBeforeTheFirstSample(t *testing.T) {
	law, err := limit.NewFixed(8)
	if err != nil {
		t.Fatal(err)
	}
	srv, _, _ := runPermits(t, func(c *Config) { c.Permits.Host.Law = law })
	for amnesia, want := range map[string]int64{"": 0, "there is no journal": 8} {
		if got := srv.permits.ledgerConfig(recovered{epoch: 1, amnesia: amnesia}).Resources[0]; got.Limit != want {
			t.Errorf("with amnesia %q the host begins as %+v, want the limit %d", amnesia, got, want)
		}
	}
}
