package server_test

import (
	"context"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/durationpb"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/server"
	"github.com/headroom-rpc/headroom/snapshot"
)

// emptyService answers GetStatus with nothing: the least that a unary RPC can do.
type emptyService struct {
	headroomv1.UnimplementedStatusServiceServer
}

func (emptyService) GetStatus(context.Context, *headroomv1.GetStatusRequest) (*headroomv1.GetStatusResponse, error) {
	return &headroomv1.GetStatusResponse{}, nil
}

// sampleSpan holds as many snapshots at the intervals of benchServer as 30 s do at the defaults: 154.
const sampleSpan = 1880 * time.Millisecond

// BenchmarkGetSample compares GetSample of 30 s and GetStatus with an empty unary RPC of a bare grpc.Server,
// one call at a time, over memory and over loopback TCP.
func BenchmarkGetSample(b *testing.B) {
	sample := &headroomv1.GetSampleRequest{Duration: durationpb.New(sampleSpan)}
	for _, network := range []string{"bufconn", "tcp"} {
		b.Run("net="+network, func(b *testing.B) {
			l, dial := benchListener(b, network)
			bare := grpc.NewServer()
			headroomv1.RegisterStatusServiceServer(bare, emptyService{})
			go bare.Serve(l)
			b.Cleanup(bare.Stop)
			empty := benchClient(b, dial)
			full := benchServer(b, network)

			b.Run("rpc=empty", func(b *testing.B) {
				for b.Loop() {
					if _, err := empty.GetStatus(b.Context(), &headroomv1.GetStatusRequest{}); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run("rpc=GetStatus", func(b *testing.B) {
				for b.Loop() {
					if _, err := full.GetStatus(b.Context(), &headroomv1.GetStatusRequest{}); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run("rpc=GetSample", func(b *testing.B) {
				var snapshots int
				for b.Loop() {
					resp, err := full.GetSample(b.Context(), sample)
					if err != nil {
						b.Fatal(err)
					}
					snapshots = len(resp.GetSnapshots())
				}
				b.ReportMetric(float64(snapshots), "snapshots")
			})
		})
	}
}

func benchListener(b *testing.B, network string) (net.Listener, func(context.Context) (net.Conn, error)) {
	b.Helper()
	if network == "bufconn" {
		l := bufconn.Listen(1 << 20)
		return l, l.DialContext
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	return l, func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
	}
}

func benchClient(b *testing.B, dial func(context.Context) (net.Conn, error)) headroomv1.StatusServiceClient {
	b.Helper()
	conn, err := grpc.NewClient("passthrough:///bench",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) }))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	return headroomv1.NewStatusServiceClient(conn)
}

// benchServer returns a client of a server that samples every 50 ms, once it has sampleSpan of history.
func benchServer(b *testing.B, network string) headroomv1.StatusServiceClient {
	b.Helper()
	const often = 50 * time.Millisecond
	begin := time.Now()
	clock := func() time.Duration { return time.Since(begin) }
	snapshotter, err := snapshot.New(snapshot.Config{
		Sources: (&machine{cpu: 0.5}).sources(), Clock: clock, History: 5 * time.Second,
		CPUInterval: often, MemoryInterval: often, EventLoopInterval: often, ClientInterval: often,
	})
	if err != nil {
		b.Fatal(err)
	}
	l, dial := benchListener(b, network)
	srv, err := server.New(server.Config{
		Snapshotter: snapshotter,
		Listeners:   []*server.Listener{server.NewListener(l, server.Identity{Name: "bench", Role: server.RoleReader})},
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		<-done
	})
	<-time.After(sampleSpan + 500*time.Millisecond) // the benchmark needs the history that time makes
	return benchClient(b, dial)
}
