package server

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/headroom-rpc/headroom/internal/wire"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/snapshot"
)

// statusService implements headroom.v1.StatusService. Its methods return errors of this package and of
// snapshot; an interceptor turns them into statuses.
type statusService struct {
	headroomv1.UnimplementedStatusServiceServer

	snapshotter  *snapshot.Snapshotter
	hub          *hub
	maxSendBytes int
	instanceID   string
	version      string

	samples sync.Pool // of *[]snapshot.Snapshot
}

// maxPooledSamples bounds the buffers that are kept between calls; a long history is not worth holding twice.
const maxPooledSamples = 1024

// leastSnapshotBytes is less than any snapshot takes on the wire, so that a response that is far too large is
// refused before it is built.
const leastSnapshotBytes = 24

// ready reports whether the first sample was taken.
func (s *statusService) ready() bool {
	if !s.snapshotter.Active() {
		return false
	}
	select {
	case <-s.snapshotter.Ready():
		return true
	default:
		return false
	}
}

// GetSample implements headroom.v1.StatusService.
func (s *statusService) GetSample(
	_ context.Context, req *headroomv1.GetSampleRequest,
) (*headroomv1.GetSampleResponse, error) {
	if !s.ready() {
		return nil, errStarting
	}
	signals, err := s.signals(req)
	if err != nil {
		return nil, err
	}
	resp := &headroomv1.GetSampleResponse{
		InstanceId: s.instanceID,
		History:    durationpb.New(s.snapshotter.History()),
	}
	buffer, _ := s.samples.Get().(*[]snapshot.Snapshot)
	if buffer == nil {
		buffer = new([]snapshot.Snapshot)
	}
	defer func() {
		if cap(*buffer) <= maxPooledSamples {
			s.samples.Put(buffer)
		}
	}()

	now := s.snapshotter.Now()
	for _, signal := range signals {
		*buffer, err = s.snapshotter.AppendSample((*buffer)[:0], signal, req.GetDuration().AsDuration())
		if errors.Is(err, snapshot.ErrNoSignal) {
			continue // it went away since it was listed
		}
		if err != nil {
			return nil, err
		}
		if (len(resp.Snapshots)+len(*buffer))*leastSnapshotBytes > s.maxSendBytes {
			return nil, &tooLargeError{max: s.maxSendBytes}
		}
		for i := range *buffer {
			resp.Snapshots = append(resp.Snapshots, wire.Snapshot(&(*buffer)[i], now))
		}
	}
	if proto.Size(resp) > s.maxSendBytes {
		return nil, &tooLargeError{max: s.maxSendBytes}
	}
	return resp, nil
}

// signals returns the names of the signals that req asks for.
func (s *statusService) signals(req *headroomv1.GetSampleRequest) ([]string, error) {
	if name := req.GetSignal(); name != "" {
		if s.snapshotter.Resource(name) != snapshot.Custom {
			return nil, &unknownSignalError{name: name}
		}
		return []string{name}, nil
	}
	all := s.snapshotter.Signals()
	if req.GetResource() == headroomv1.ResourceKind_RESOURCE_KIND_UNSPECIFIED {
		return all, nil
	}
	resource := wire.ResourceFrom(req.GetResource())
	var signals []string
	for _, name := range all {
		if s.snapshotter.Resource(name) == resource {
			signals = append(signals, name)
		}
	}
	return signals, nil
}

// GetStatus implements headroom.v1.StatusService.
func (s *statusService) GetStatus(context.Context, *headroomv1.GetStatusRequest) (*headroomv1.GetStatusResponse, error) {
	if !s.ready() {
		return nil, errStarting
	}
	view, _, err := s.snapshotter.View()
	if err != nil {
		return nil, err
	}
	return &headroomv1.GetStatusResponse{
		Current:       wire.Status(&view.Current),
		Historical:    wire.Status(&view.Historical),
		InstanceId:    s.instanceID,
		ServerVersion: s.version,
	}, nil
}

// ReportLoad implements headroom.v1.StatusService.
func (s *statusService) ReportLoad(
	ctx context.Context, req *headroomv1.ReportLoadRequest,
) (*headroomv1.ReportLoadResponse, error) {
	reports := s.snapshotter.Reports()
	if reports == nil {
		return nil, errReportsDisabled
	}
	identity, ok := IdentityFrom(ctx)
	if !ok {
		return nil, errors.New("a call without identity")
	}
	if err := duplicates(req); err != nil {
		return nil, err
	}
	from := snapshot.Reporter{Identity: identity.Name, Name: req.GetReporter()}
	ttl, err := reports.Put(s.snapshotter.Now(), from, wire.Report(req))
	switch {
	case errors.Is(err, snapshot.ErrReporters):
		return nil, err
	case err != nil:
		return nil, reportFaults(err)
	}
	return &headroomv1.ReportLoadResponse{
		Ttl:        durationpb.New(ttl),
		ExpireTime: timestamppb.New(time.Now().Add(ttl)),
	}, nil
}

// duplicates reports every retry index and every signal that req names twice: which of the two counts would
// be left to chance.
func duplicates(req *headroomv1.ReportLoadRequest) error {
	invalid := &invalidError{}
	indices := make(map[int32]int)
	for i, e := range req.GetClientErrors() {
		if first, ok := indices[e.GetRetryIndex()]; ok {
			invalid.add(fmt.Sprintf("client_errors[%d].retry_index", i),
				"%d is also that of client_errors[%d]", e.GetRetryIndex(), first)
			continue
		}
		indices[e.GetRetryIndex()] = i
	}
	names := make(map[string]int)
	for i, signal := range req.GetSignals() {
		if first, ok := names[signal.GetName()]; ok {
			invalid.add(fmt.Sprintf("signals[%d].name", i), "%q is also that of signals[%d]", signal.GetName(), first)
			continue
		}
		names[signal.GetName()] = i
	}
	if len(invalid.violations) == 0 {
		return nil
	}
	return invalid
}

// reportFaults turns the faults that Reports.Put joined into one violation each.
func reportFaults(err error) error {
	invalid := &invalidError{}
	faults := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		faults = joined.Unwrap()
	}
	for _, fault := range faults {
		invalid.add("", "%s", fault)
	}
	return invalid
}

// WatchSnapshots implements headroom.v1.StatusService.
func (s *statusService) WatchSnapshots(
	req *headroomv1.WatchSnapshotsRequest, stream grpc.ServerStreamingServer[headroomv1.WatchSnapshotsResponse],
) error {
	if !s.ready() {
		return errStarting
	}
	key := feedKey{interval: roundInterval(req.GetInterval().AsDuration()), kinds: kindsOf(req.GetResources())}
	first := func(st state) (*frame, error) {
		resp := watchResponse(st, key.kinds)
		resp.Started = &headroomv1.Started{
			InstanceId:    s.instanceID,
			Interval:      durationpb.New(key.interval),
			MaxSilence:    durationpb.New(maxSilence(key.interval)),
			ServerVersion: s.version,
		}
		encoded, err := s.encode(resp)
		return newFrame(st.sequence, encoded), err
	}
	return s.hub.serve(transportStream(stream), key, first)
}

// encodeState is what the hub sends for a state.
func (s *statusService) encodeState(st state, kinds kindSet) ([]byte, error) {
	return s.encode(watchResponse(st, kinds))
}

func (s *statusService) encode(resp *headroomv1.WatchSnapshotsResponse) ([]byte, error) {
	encoded, err := proto.Marshal(resp)
	if err == nil && len(encoded) > s.maxSendBytes {
		err = &tooLargeError{max: s.maxSendBytes}
	}
	return encoded, err
}

func watchResponse(st state, kinds kindSet) *headroomv1.WatchSnapshotsResponse {
	resp := &headroomv1.WatchSnapshotsResponse{
		Sequence:   st.sequence,
		SendTime:   timestamppb.New(st.Time),
		Current:    wire.Status(&st.Current),
		Historical: wire.Status(&st.Historical),
	}
	for i := range st.Newest {
		if kinds.has(st.Newest[i].Resource) {
			resp.Snapshots = append(resp.Snapshots, wire.Snapshot(&st.Newest[i], st.At))
		}
	}
	return resp
}

// kindsOf returns the set of the resources, where all of them are the same as none.
func kindsOf(resources []headroomv1.ResourceKind) kindSet {
	const all = 1<<snapshot.CPU | 1<<snapshot.Memory | 1<<snapshot.EventLoop | 1<<snapshot.Client |
		1<<snapshot.Pressure | 1<<snapshot.Custom
	var kinds kindSet
	for _, r := range resources {
		kinds |= 1 << wire.ResourceFrom(r)
	}
	if kinds&all == all {
		return 0
	}
	return kinds
}
