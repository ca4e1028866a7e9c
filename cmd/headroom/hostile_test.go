package main

import (
	"context"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

// scripted is a server that says what it is told to.
type scripted struct {
	headroomv1.UnimplementedStatusServiceServer
	headroomv1.UnimplementedSeverityServiceServer
	status *headroomv1.GetStatusResponse
	sample *headroomv1.GetSampleResponse
	states []*headroomv1.WatchSnapshotsResponse
	err    error

	permits headroomv1.PermitServiceServer // nil for none

	severity    *headroomv1.GetSeverityResponse
	updates     []*headroomv1.WatchSeverityResponse
	severityErr error // of a call
	updatesEnd  error // of a stream, after updates

	beforeState  func(sequence int64) // called before each state is sent, if not nil
	beforeUpdate func(index int)      // the same for updates
}

func (s *scripted) GetSeverity(context.Context, *headroomv1.GetSeverityRequest) (*headroomv1.GetSeverityResponse, error) {
	return s.severity, s.severityErr
}

func (s *scripted) WatchSeverity(_ *headroomv1.WatchSeverityRequest, stream grpc.ServerStreamingServer[headroomv1.WatchSeverityResponse]) error {
	if s.severityErr != nil {
		return s.severityErr
	}
	for i, m := range s.updates {
		if s.beforeUpdate != nil {
			s.beforeUpdate(i)
		}
		if err := stream.Send(m); err != nil {
			return err
		}
	}
	if s.updatesEnd == nil {
		<-stream.Context().Done()
	}
	return s.updatesEnd
}

func (s *scripted) GetStatus(context.Context, *headroomv1.GetStatusRequest) (*headroomv1.GetStatusResponse, error) {
	return s.status, s.err
}

func (s *scripted) GetSample(context.Context, *headroomv1.GetSampleRequest) (*headroomv1.GetSampleResponse, error) {
	return s.sample, s.err
}

func (s *scripted) WatchSnapshots(_ *headroomv1.WatchSnapshotsRequest, stream grpc.ServerStreamingServer[headroomv1.WatchSnapshotsResponse]) error {
	for _, m := range s.states {
		if s.beforeState != nil {
			s.beforeState(m.GetSequence())
		}
		if err := stream.Send(m); err != nil {
			return err
		}
	}
	<-stream.Context().Done()
	return s.err
}

// start serves s and returns its address.
func (s *scripted) start(t *testing.T, serving healthv1.HealthCheckResponse_ServingStatus) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	headroomv1.RegisterStatusServiceServer(server, s)
	headroomv1.RegisterSeverityServiceServer(server, s)
	if s.permits != nil {
		headroomv1.RegisterPermitServiceServer(server, s.permits)
	}
	h := health.NewServer()
	h.SetServingStatus("", serving)
	healthv1.RegisterHealthServer(server, h)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return "unix://" + path
}

// ask runs the program and returns its exit code and output.
func ask(args ...string) (code int, stdout, stderr string) {
	var out, errs strings.Builder
	code = run(context.Background(), args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestHealthSaysNotServing(t *testing.T) {
	t.Parallel()
	idle := &headroomv1.GetStatusResponse{Current: &headroomv1.Status{}, Historical: &headroomv1.Status{}}
	starting, err := status.New(codes.Unavailable, "no sample was taken yet").WithDetails(
		&errdetails.ErrorInfo{Domain: "headroom.v1", Reason: "STARTING"},
		&errdetails.RetryInfo{RetryDelay: durationpb.New(time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		server  *scripted
		serving healthv1.HealthCheckResponse_ServingStatus
		timeout string
		want    int
	}{
		{"serving", &scripted{status: idle}, healthv1.HealthCheckResponse_SERVING, "10s", 0},
		{"draining", &scripted{status: idle}, healthv1.HealthCheckResponse_NOT_SERVING, "10s", 1},
		{"starting", &scripted{err: starting.Err()}, healthv1.HealthCheckResponse_NOT_SERVING, "10s", 1},
		{"denied", &scripted{err: status.Error(codes.PermissionDenied, "no")}, healthv1.HealthCheckResponse_SERVING, "10s", 77},
		{"no headroom server", &scripted{err: status.Error(codes.Unimplemented, "no")}, healthv1.HealthCheckResponse_SERVING, "10s", 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, _, stderr := ask("health", "--timeout="+tt.timeout, "--addr="+tt.server.start(t, tt.serving))
			if got != tt.want {
				t.Errorf("exits with %d, want %d: %s", got, tt.want, stderr)
			}
		})
	}
}

func TestWhatAServerSaysCannotSteerTheTerminal(t *testing.T) {
	const evil = "a\x1b]0;owned\x07\u009b2J\u202eb\r"
	value := 0.5
	judged := &headroomv1.Status{
		State: headroomv1.LoadState_LOAD_STATE_OVERLOADED,
		Resources: []*headroomv1.ResourceStatus{{
			Resource: headroomv1.ResourceKind_RESOURCE_KIND_CUSTOM, Signal: evil, UnknownReason: evil,
			State: headroomv1.LoadState_LOAD_STATE_OVERLOADED, ActualRatio: &value, LimitRatio: 0.3, Value: &value, Limit: &value,
		}},
	}
	snapshots := []*headroomv1.Snapshot{
		{Resource: headroomv1.ResourceKind_RESOURCE_KIND_CUSTOM, Signal: evil, Source: evil, Value: &value, Limit: &value},
		{Resource: headroomv1.ResourceKind_RESOURCE_KIND_CPU, Signal: "cpu", Unknown: &headroomv1.Unknown{Reason: evil}},
	}
	s := &scripted{
		status: &headroomv1.GetStatusResponse{Current: judged, Historical: judged, ServerVersion: evil},
		sample: &headroomv1.GetSampleResponse{Snapshots: snapshots},
		states: []*headroomv1.WatchSnapshotsResponse{{
			Started:  &headroomv1.Started{InstanceId: evil, ServerVersion: "9.9.9" + evil, MaxSilence: durationpb.New(1e9)},
			Sequence: 1, Snapshots: snapshots, Current: judged, Historical: judged,
		}},
	}
	found := []*headroomv1.Evidence{{
		Condition: evil, Signal: evil, Unit: evil, UnknownReason: evil, Value: &value, Bound: &value, Holds: new(bool),
	}, {Condition: evil, Signal: evil, Unit: evil, Value: &value, Bound: &value}}
	pressed := &headroomv1.Severity{Level: 1, MaxLevel: 2, Evidence: found, Unknown: found}
	moved := &headroomv1.Transition{ToLevel: 1, Sequence: 1, Evidence: found}
	s.severity = &headroomv1.GetSeverityResponse{Severity: pressed, Transitions: []*headroomv1.Transition{moved}, ServerVersion: evil}
	s.updates = []*headroomv1.WatchSeverityResponse{
		{Started: &headroomv1.SeverityStarted{InstanceId: evil, ServerVersion: evil}, Severity: pressed},
		{Severity: &headroomv1.Severity{}, Transition: moved},
	}
	share := &headroomv1.SessionShare{Resource: evil}
	account := &headroomv1.ResourceAccount{Resource: evil, Law: evil, Binding: evil}
	session := &headroomv1.SessionAccount{Session: evil, Client: evil, Identity: evil, Shares: []*headroomv1.SessionShare{share, {Charge: 1}}}
	s.permits = &leasing{
		pages: []*headroomv1.ListSessionsResponse{{
			Resources: []*headroomv1.ResourceAccount{account}, Sessions: []*headroomv1.SessionAccount{session},
		}},
		explain: &headroomv1.ExplainResponse{Account: account, Share: share, Reasons: []string{evil}},
		limit:   &headroomv1.SetLimitResponse{Account: account},
		kick:    &headroomv1.KickSessionResponse{Session: session},
	}
	address := s.start(t, healthv1.HealthCheckResponse_SERVING)
	refusing := &scripted{status: s.status, err: status.Error(codes.InvalidArgument, evil)}
	for _, args := range [][]string{
		{"status"}, {"sample"}, {"watch", "-n1"}, {"version", "--server"},
		{"status", "-o=json"}, {"sample", "-o=json"}, {"watch", "-n1", "-o=json"},
		{"severity"}, {"severity", "--watch", "-n1"}, {"severity", "-o=json"}, {"severity", "--watch", "-n1", "-o=json"},
		{"permits"}, {"permits", "-o=json"}, {"permits", "kick", "0123456789abcdef"}, {"permits", "limit", "api", "1"},
		{"permits", "kick", "0123456789abcdef", "-o=json"}, {"explain"}, {"explain", "-o=json"},
		{"sample", "--addr=" + refusing.start(t, healthv1.HealthCheckResponse_SERVING)},
	} {
		_, stdout, stderr := ask(withAddress(args, address)...)
		shown := stdout + stderr
		if shown == "" {
			t.Errorf("%q prints nothing", args)
		}
		if i := strings.IndexFunc(strings.ReplaceAll(shown, "\n", ""), dangerous); i >= 0 {
			t.Errorf("%q prints %q", args, shown)
		}
	}
}

// withAddress puts an address before the flags of args; one that is there already wins.
func withAddress(args []string, address string) []string {
	i := slices.IndexFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "-") })
	if i < 0 {
		i = len(args)
	}
	return slices.Insert(slices.Clone(args), i, "--addr="+address)
}

func TestSkewIsReported(t *testing.T) {
	s := &scripted{status: &headroomv1.GetStatusResponse{
		Current: &headroomv1.Status{}, Historical: &headroomv1.Status{}, ServerVersion: "9.9.9",
	}}
	_, stdout, stderr := ask("version", "--server", "--addr="+s.start(t, healthv1.HealthCheckResponse_SERVING))
	if !strings.Contains(stdout, "server 9.9.9 at unix://") || !strings.Contains(stderr, "warning: the server is version 9.9.9") {
		t.Errorf("stdout %q, stderr %q", stdout, stderr)
	}
}
