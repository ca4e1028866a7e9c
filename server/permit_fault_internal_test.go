package server

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/headroom-rpc/headroom/permit"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/snapshot"
)

// runPermits runs a server that leases 4 permits of "api", waits until it knows what it may grant, and returns
// it with a client of an operator and a channel with what Run returned.
func runPermits(t *testing.T, change func(*Config)) (*Server, headroomv1.PermitServiceClient, <-chan error) {
	t.Helper()
	lis := bufconn.Listen(1 << 20)
	snapshotter, err := snapshot.New(snapshot.Config{Sources: snapshot.Sources{
		CPU: func(context.Context) (snapshot.CPUReading, error) { return snapshot.CPUReading{Cores: 2}, nil },
		Memory: func(context.Context) (snapshot.MemoryReading, error) {
			return snapshot.MemoryReading{Total: 1 << 30}, nil
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	c := Config{
		Snapshotter: snapshotter, Listeners: []*Listener{NewListener(lis, Identity{Name: "tester", Role: RoleOperator})},
		Permits: PermitConfig{
			Resources: []permit.Resource{{Name: "api", Limit: 4}}, TTL: time.Second, Grace: 100 * time.Millisecond,
		},
	}
	if change != nil {
		change(&c)
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

// brokenAccount is set in the process that ends because its account is broken.
const brokenAccount = "HEADROOM_TEST_BROKEN_ACCOUNT"

// A panic while the account of permits changes ends the process: an account that may not hold must grant nothing.
func TestBrokenAccountEndsTheProcess(t *testing.T) {
	if call := os.Getenv(brokenAccount); call != "" {
		srv, client, _ := runPermits(t, nil)
		a := srv.permits.running.Load()
		a.mu.Lock()
		a.ledger = nil
		a.mu.Unlock()
		if call == "unary" {
			_, err := client.AcquirePermit(t.Context(), &headroomv1.AcquirePermitRequest{Resource: "api", RequestId: "1"})
			t.Fatalf("AcquirePermit = %v", err)
		}
		stream, err := client.Attach(t.Context())
		if err == nil {
			stream.Send(&headroomv1.AttachRequest{Sequence: 1, Hello: &headroomv1.Hello{Client: "w", InstanceId: make([]byte, 16)}})
			_, err = stream.Recv()
		}
		t.Fatalf("Attach = %v", err)
	}
	for _, call := range []string{"unary", "attach"} {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), callTimeout)
			defer cancel()
			cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestBrokenAccountEndsTheProcess$")
			cmd.Env = append(os.Environ(), brokenAccount+"="+call)
			text, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(string(text), "nil pointer") {
				t.Errorf("%v, want exit code 2 by the panic:\n%s", err, text)
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
	srv, client, done := runPermits(t, func(c *Config) { c.Permits.StateDir = t.TempDir() })
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

// Once the journal can no longer be written, leases are no longer than the next life of the server waits for.
func TestLostJournalShortensLeases(t *testing.T) {
	srv, client, _ := runPermits(t, func(c *Config) { c.Permits.StateDir = t.TempDir() })
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
	a := srv.permits.running.Load()
	a.mu.Lock()
	a.journal.file.Close()
	a.mu.Unlock()
	if got := acquire("2").GetTtl().AsDuration(); got > 2*time.Second {
		t.Errorf("the lease that could not be written down is for %v, want 1s", got)
	}
	renewed, err := client.RenewPermit(t.Context(), &headroomv1.RenewPermitRequest{PermitId: before.GetPermitId()})
	if got := renewed.GetPermit().GetTtl().AsDuration(); err != nil || got > 2*time.Second {
		t.Errorf("RenewPermit = %v, %v, want 1s", renewed, err)
	}
}
