package server

import (
	"context"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/headroom-rpc/headroom/internal/wire"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/severity"
	"github.com/headroom-rpc/headroom/snapshot"
)

// severityService implements headroom.v1.SeverityService. Its methods return errors of this package and of
// severity; an interceptor turns them into statuses.
type severityService struct {
	headroomv1.UnimplementedSeverityServiceServer

	host          *severitySource
	metrics       *severityCollector
	processLevels []severity.Level
	processes     *processTable
	snapshotter   *snapshot.Snapshotter
	tasks         *taskService
	hub           *hub // counts the streams and ends them
	limits        Limits
	instanceID    string
	version       string
}

// newSeverityService returns the service of c, whose levels were validated.
func (s *Server) newSeverityService(c Config) (*severityService, error) {
	host, process := c.levels()
	runner, err := severity.NewRunner(severity.RunnerConfig{
		Config:        severity.Config{Levels: host, CheckInterval: severityInterval},
		View:          c.Snapshotter.View,
		Reader:        severity.ReaderConfig{Scope: c.Snapshotter.Scope(), MaxMemory: c.Snapshotter.MaxMemory()},
		EverySnapshot: true,
		Log:           s.log,
	})
	if err != nil {
		return nil, err
	}
	return &severityService{
		host:          newSeveritySource(runner, s.limits),
		metrics:       newSeverityCollector(runner),
		processLevels: process,
		processes:     newProcessTable(s.limits.MaxProcessSubscribers),
		snapshotter:   c.Snapshotter,
		hub:           s.hub,
		limits:        s.limits,
		instanceID:    s.service.instanceID,
		version:       c.Version,
	}, nil
}

// run judges the machine until ctx is done.
func (s *severityService) run(ctx context.Context) error {
	var counting sync.WaitGroup
	counting.Go(func() { s.metrics.count(ctx) })
	defer counting.Wait()
	return s.host.runner.Run(ctx)
}

// GetSeverity implements headroom.v1.SeverityService.
func (s *severityService) GetSeverity(
	_ context.Context, req *headroomv1.GetSeverityRequest,
) (*headroomv1.GetSeverityResponse, error) {
	report, transitions, err := s.host.latest(uint64(req.GetMaxTransitions()))
	if err != nil {
		return nil, err
	}
	resp := &headroomv1.GetSeverityResponse{
		Severity:      s.host.message(&report),
		InstanceId:    s.instanceID,
		ServerVersion: s.version,
	}
	for i := range transitions {
		resp.Transitions = append(resp.Transitions, wire.Transition(&transitions[i]))
	}
	if proto.Size(resp) > s.limits.MaxSendBytes {
		return nil, &tooLargeError{max: s.limits.MaxSendBytes}
	}
	return resp, nil
}

// WatchSeverity implements headroom.v1.SeverityService.
func (s *severityService) WatchSeverity(
	req *headroomv1.WatchSeverityRequest, stream grpc.ServerStreamingServer[headroomv1.WatchSeverityResponse],
) error {
	if scope := req.GetProcess(); scope != nil {
		return s.watchProcess(scope, stream)
	}
	after, err := s.position(req.GetAfter())
	if err != nil {
		return err
	}
	ended, err := s.hub.enter()
	if err != nil {
		return err
	}
	defer s.hub.exit()
	return s.follow(stream, s.host, after, ended, nil)
}

// ready reports whether the first sample was taken.
func (s *severityService) ready() bool {
	report, _ := s.host.runner.Latest()
	return s.snapshotter.Active() && !report.Time.IsZero()
}

// position returns the sequence to go on after, or nil for the present one.
func (s *severityService) position(after *headroomv1.SeverityPosition) (*uint64, error) {
	if after == nil {
		return nil, nil
	}
	if after.GetInstanceId() != s.instanceID {
		return nil, errInstanceChanged
	}
	sequence := wire.SequenceFrom(after.GetSequence())
	if last := s.host.runner.History().Last(); sequence > last {
		invalid := &invalidError{}
		invalid.add("after.sequence", "%d was not given out yet, the last is %d", sequence, last)
		return nil, invalid
	} else if last-sequence > severity.HistorySize {
		return nil, severity.ErrEvicted // before the first message, which would say that the stream goes on
	}
	return &sequence, nil
}

// started returns what the first message of a stream states.
func (s *severityService) started() *headroomv1.SeverityStarted {
	return &headroomv1.SeverityStarted{
		InstanceId:    s.instanceID,
		MaxSilence:    durationpb.New(severitySilence),
		ServerVersion: s.version,
	}
}
