package server_test

import (
	"context"
	"errors"
	"net"
	"strconv"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/headroom-rpc/headroom/permit"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/server"
)

// bareService answers a release and does nothing.
type bareService struct {
	headroomv1.UnimplementedPermitServiceServer
}

func (bareService) ReleasePermit(context.Context, *headroomv1.ReleasePermitRequest) (*headroomv1.ReleasePermitResponse, error) {
	return &headroomv1.ReleasePermitResponse{}, nil
}

// dialBare returns a client of a bare grpc.Server.
func dialBare(t *testing.T) headroomv1.PermitServiceClient {
	t.Helper()
	lis := bufconn.Listen(1 << 20)
	srv := grpc.NewServer()
	headroomv1.RegisterPermitServiceServer(srv, bareService{})
	go srv.Serve(lis)
	t.Cleanup(srv.Stop)
	cc, err := grpc.NewClient("passthrough:///bufconn", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	return headroomv1.NewPermitServiceClient(cc)
}

// What a permit acquired and released by two calls allocates, in client and server together and with a journal, beyond
// two calls of a server that does nothing.
func TestAllocationsOfACall(t *testing.T) {
	if server.RaceEnabled {
		t.Skip("the race detector allocates too")
	}
	f := start(t, settings{server: func(c *server.Config) {
		c.Permits = server.PermitConfig{
			Resources: []permit.Resource{{Name: "api", Limit: 10}}, TTL: time.Second, Grace: 100 * time.Millisecond,
			StateDir: t.TempDir(),
		}
	}})
	client, bare := headroomv1.NewPermitServiceClient(f.conn), dialBare(t)
	release := func(client headroomv1.PermitServiceClient, id string) error {
		_, err := client.ReleasePermit(t.Context(), &headroomv1.ReleasePermitRequest{PermitId: id})
		return err
	}
	calls := 0
	pair := func() error {
		calls++
		resp, err := client.AcquirePermit(t.Context(), &headroomv1.AcquirePermitRequest{
			Resource: "api", RequestId: strconv.Itoa(calls),
		})
		if err != nil {
			return err
		}
		return release(client, resp.GetPermit().GetPermitId())
	}
	await(t, func() bool { return pair() == nil }) // the server starts, and charges for an earlier life for a while
	const runs = 500
	var faults []error
	permits := testing.AllocsPerRun(runs, func() { faults = append(faults, pair()) })
	floor := testing.AllocsPerRun(runs, func() { faults = append(faults, release(bare, "1"), release(bare, "1")) })
	if err := errors.Join(faults...); err != nil {
		t.Fatal(err)
	}
	t.Logf("%v allocations, %v of a bare server", permits, floor)
	if more := permits - floor; more > 60 {
		t.Errorf("%v allocations more than two calls of a bare server, want at most 60", more)
	}
}
