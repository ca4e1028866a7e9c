package client_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/client"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/durationpb"
)

// script is a headroom server that does what the test says. A nil function is one that a server does not
// have, but GetStatus, which then answers at once.
type script struct {
	headroomv1.UnimplementedStatusServiceServer
	headroomv1.UnimplementedSeverityServiceServer

	getStatus func(context.Context) (*headroomv1.GetStatusResponse, error)
	getSample func(*headroomv1.GetSampleRequest) (*headroomv1.GetSampleResponse, error)
	report    func(*headroomv1.ReportLoadRequest) (*headroomv1.ReportLoadResponse, error)
	watch     func(*headroomv1.WatchSnapshotsRequest, stream) error

	getSeverity   func(*headroomv1.GetSeverityRequest) (*headroomv1.GetSeverityResponse, error)
	watchSeverity func(*headroomv1.WatchSeverityRequest, severityStream) error

	permits headroomv1.PermitServiceServer
	tasks   headroomv1.TaskServiceServer
}

type (
	stream         = grpc.ServerStreamingServer[headroomv1.WatchSnapshotsResponse]
	severityStream = grpc.ServerStreamingServer[headroomv1.WatchSeverityResponse]
)

func (s *script) GetStatus(ctx context.Context, _ *headroomv1.GetStatusRequest) (*headroomv1.GetStatusResponse, error) {
	if s.getStatus == nil {
		return &headroomv1.GetStatusResponse{InstanceId: "a", ServerVersion: "0.1.0"}, nil
	}
	return s.getStatus(ctx)
}

func (s *script) GetSample(ctx context.Context, req *headroomv1.GetSampleRequest) (*headroomv1.GetSampleResponse, error) {
	if s.getSample == nil {
		return s.UnimplementedStatusServiceServer.GetSample(ctx, req)
	}
	return s.getSample(req)
}

func (s *script) ReportLoad(ctx context.Context, req *headroomv1.ReportLoadRequest) (*headroomv1.ReportLoadResponse, error) {
	if s.report == nil {
		return s.UnimplementedStatusServiceServer.ReportLoad(ctx, req)
	}
	return s.report(req)
}

func (s *script) WatchSnapshots(req *headroomv1.WatchSnapshotsRequest, st stream) error {
	if s.watch == nil {
		return s.UnimplementedStatusServiceServer.WatchSnapshots(req, st)
	}
	return s.watch(req, st)
}

func (s *script) GetSeverity(ctx context.Context, req *headroomv1.GetSeverityRequest) (*headroomv1.GetSeverityResponse, error) {
	if s.getSeverity == nil {
		return s.UnimplementedSeverityServiceServer.GetSeverity(ctx, req)
	}
	return s.getSeverity(req)
}

func (s *script) WatchSeverity(req *headroomv1.WatchSeverityRequest, st severityStream) error {
	if s.watchSeverity == nil {
		return s.UnimplementedSeverityServiceServer.WatchSeverity(req, st)
	}
	return s.watchSeverity(req, st)
}

// machine is a host on which a server runs or does not.
type machine struct {
	start time.Time

	mu    sync.Mutex
	lis   *bufconn.Listener // nil while nothing listens
	dials []time.Duration   // when connections were tried, since start
	away  time.Duration     // how long it was suspended
}

func newMachine() *machine { return &machine{start: time.Now()} }

// serve runs s until the returned function is called, which cuts all connections.
func (m *machine) serve(s *script, opts ...grpc.ServerOption) (stop func()) {
	lis := bufconn.Listen(64 << 10)
	srv := grpc.NewServer(append(opts, grpc.WaitForHandlers(true))...)
	headroomv1.RegisterStatusServiceServer(srv, s)
	headroomv1.RegisterSeverityServiceServer(srv, s)
	if s.permits != nil {
		headroomv1.RegisterPermitServiceServer(srv, s.permits)
	}
	if s.tasks != nil {
		headroomv1.RegisterTaskServiceServer(srv, s.tasks)
	}
	m.mu.Lock()
	m.lis = lis
	m.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(lis)
	}()
	return func() {
		m.mu.Lock()
		m.lis = nil
		m.mu.Unlock()
		srv.Stop()
		<-done
	}
}

func (m *machine) dial(ctx context.Context, _ string) (net.Conn, error) {
	m.mu.Lock()
	lis := m.lis
	m.dials = append(m.dials, time.Since(m.start))
	m.mu.Unlock()
	if lis == nil {
		return nil, errors.New("connection refused")
	}
	return lis.DialContext(ctx)
}

// clock is the time since the machine was made.
func (m *machine) clock() time.Duration { return time.Since(m.start) }

// suspend has passed d for the clock that runs through suspend, and nothing for the others.
func (m *machine) suspend(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.away += d
}

func (m *machine) suspended() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.away
}

func (m *machine) dialed() []time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dials
}

// client dials the machine and closes the client when the test ends.
func (m *machine) client(t *testing.T, opts ...client.Option) *client.Client {
	t.Helper()
	c, err := client.Dial(t.Context(), append([]client.Option{
		client.WithDialer(m.dial), client.WithoutJitter(), client.WithClock(m.clock),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// state is the message of one state of an instance; the first of a stream states max_silence.
func state(instance string, sequence int64, first bool) *headroomv1.WatchSnapshotsResponse {
	m := &headroomv1.WatchSnapshotsResponse{Sequence: sequence}
	if first {
		m.Started = &headroomv1.Started{
			InstanceId:    instance,
			ServerVersion: "0.1.0",
			Interval:      durationpb.New(time.Second),
			MaxSilence:    durationpb.New(10 * time.Second),
		}
	}
	return m
}

// sendAll sends the states of an instance in order.
func sendAll(st stream, instance string, sequences ...int64) error {
	for i, n := range sequences {
		if err := st.Send(state(instance, n, i == 0)); err != nil {
			return err
		}
	}
	return nil
}

// sendFor is sendAll, but keeps the stream open for d after.
func sendFor(d time.Duration, st stream, instance string, sequences ...int64) error {
	defer time.Sleep(d)
	return sendAll(st, instance, sequences...)
}

func unavailable() error { return status.Error(codes.Unavailable, "not now") }
