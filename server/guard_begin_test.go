package server

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

// Calls of any method and on any connection count, whether their request came or not; what ended does not.
func TestCallsOfAllConnectionsAreBounded(t *testing.T) {
	p := startProbe(t, listenLoopback(t), probeConfig{limits: Limits{MaxStreams: 3}})
	health := healthpb.NewHealthClient(p.dial(t))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	watch, err := health.Watch(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Fatal(err)
	}
	a, b := newAttacker(t, p), newAttacker(t, p)
	for _, attacker := range []*attacker{a, b} {
		if _, err := attacker.open(headers(checkPath)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "three calls in flight", func() bool { return p.guard.calls.Load() == 3 })
	_, err = health.Check(t.Context(), &healthpb.HealthCheckRequest{})
	if got := status.Code(err); got != codes.ResourceExhausted {
		t.Errorf("the fourth call: %v, want ResourceExhausted", err)
	}
	if len(status.Convert(err).Details()) != 2 {
		t.Errorf("the fourth call is refused with details %v, want ErrorInfo and RetryInfo", status.Convert(err).Details())
	}
	_, err = headroomv1.NewPermitServiceClient(p.dial(t)).ReleasePermit(t.Context(), &headroomv1.ReleasePermitRequest{PermitId: "1"})
	if got := status.Code(err); got == codes.ResourceExhausted {
		t.Errorf("a release as the fourth call: %v, want it to pass", err)
	}
	a.conn.Close()
	cancel()
	eventually(t, "one call in flight", func() bool { return p.guard.calls.Load() == 1 })
	if _, err := health.Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil {
		t.Errorf("after two have ended: %v, want an answer", err)
	}
}

// A call whose request does not come ends, whatever deadline it brought; one whose request came does not.
func TestHalfOpenCallsEnd(t *testing.T) {
	p := startProbe(t, listenLoopback(t), probeConfig{
		limits: Limits{UnaryTimeout: 100 * time.Millisecond},
		watch: func(ss grpc.ServerStreamingServer[headroomv1.WatchSnapshotsResponse]) error {
			<-ss.Context().Done()
			return ss.Context().Err()
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	open, err := healthpb.NewHealthClient(p.dial(t)).Watch(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open.Recv(); err != nil {
		t.Fatal(err)
	}
	a := newAttacker(t, p)
	far := append(headers(headroomv1.StatusService_GetStatus_FullMethodName), "grpc-timeout", "99H")
	for _, tt := range []struct {
		name    string
		fields  []string
		message []byte // of which the end does not come
	}{
		{"unary", headers(headroomv1.StatusService_GetStatus_FullMethodName), nil},
		{"unary with a far deadline", far, nil},
		{"unary with half a request", headers(headroomv1.StatusService_GetStatus_FullMethodName), []byte{0, 0, 0, 0, 9, 1}},
		{"stream", headers(headroomv1.StatusService_WatchSnapshots_FullMethodName), nil},
	} {
		id, err := a.open(tt.fields)
		if err != nil {
			t.Fatal(err)
		}
		if tt.message != nil {
			if err := a.framer.WriteData(id, false, tt.message); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := a.answer(id), "4"; got != want {
			t.Errorf("%s: status %s, want %s (DEADLINE_EXCEEDED)", tt.name, got, want)
		}
	}
	cancel()
	if _, err := open.Recv(); status.Code(err) != codes.Canceled {
		t.Errorf("a stream that is older than the timeout ended with %v, want the client's cancel", err)
	}
}
