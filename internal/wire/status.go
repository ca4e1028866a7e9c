package wire

import (
	"time"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/snapshot"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Status returns the judgement as a message. Its binding evidence names the signal as condition, and the
// newest good reading and its bound in the unit of the resource; the share of the window that decided
// stands in the entry of the signal.
func Status(s *snapshot.Status) *headroomv1.Status {
	p := &headroomv1.Status{
		Window:    durationpb.New(s.Window),
		State:     loadState(s.State),
		Resources: make([]*headroomv1.ResourceStatus, len(s.Signals)),
	}
	for i := range s.Signals {
		p.Resources[i] = signalStatus(&s.Signals[i])
	}
	for _, sig := range s.Binding() {
		p.Binding = append(p.Binding, evidence(&sig))
	}
	return p
}

// StatusFrom returns the judgement of a message. Its binding evidence is not read, since
// [snapshot.Status.Binding] follows from the rest. No message is an unknown status.
func StatusFrom(p *headroomv1.Status) snapshot.Status {
	s := snapshot.Status{
		Window: p.GetWindow().AsDuration(),
		State:  loadStateFrom(p.GetState()),
	}
	if n := len(p.GetResources()); n > 0 {
		s.Signals = make([]snapshot.SignalStatus, n)
	}
	for i, r := range p.GetResources() {
		s.Signals[i] = signalStatusFrom(r)
	}
	return s
}

func signalStatus(s *snapshot.SignalStatus) *headroomv1.ResourceStatus {
	p := &headroomv1.ResourceStatus{
		Resource:      Resource(s.Resource),
		Signal:        text(s.Signal),
		State:         loadState(s.State),
		LimitRatio:    s.Limit,
		UnknownReason: text(s.Reason),
		SnapshotCount: int32Of(s.Count),
	}
	if s.State == snapshot.StateIdle || s.State == snapshot.StateOverloaded {
		p.ActualRatio = proto.Float64(s.Actual)
	}
	if s.HasValue {
		p.Value, p.Limit = proto.Float64(s.Value), proto.Float64(s.Bound)
		p.Age = nonNegative(s.Age)
	}
	return p
}

func signalStatusFrom(p *headroomv1.ResourceStatus) snapshot.SignalStatus {
	s := snapshot.SignalStatus{
		Signal:   p.GetSignal(),
		Resource: ResourceFrom(p.GetResource()),
		State:    loadStateFrom(p.GetState()),
		Limit:    p.GetLimitRatio(),
		Reason:   p.GetUnknownReason(),
		Count:    count(p.GetSnapshotCount()),
	}
	if s.State == snapshot.StateIdle || s.State == snapshot.StateOverloaded {
		s.Actual = p.GetActualRatio()
	}
	if p != nil && p.Value != nil && p.Limit != nil {
		s.Value, s.Bound, s.HasValue = p.GetValue(), p.GetLimit(), true
		s.Age = max(p.GetAge().AsDuration(), 0)
	}
	return s
}

func evidence(s *snapshot.SignalStatus) *headroomv1.Evidence {
	p := &headroomv1.Evidence{
		Resource:  Resource(s.Resource),
		Condition: text(s.Signal),
		Unit:      s.Resource.Unit(),
	}
	if s.HasValue {
		p.Value, p.Bound = proto.Float64(s.Value), proto.Float64(s.Bound)
		p.Age = nonNegative(s.Age)
	}
	return p
}

// loadState relies on the numbers being equal, which they are by contract.
func loadState(s snapshot.State) headroomv1.LoadState {
	if s > snapshot.StateDisabled {
		return headroomv1.LoadState_LOAD_STATE_OVERLOADED
	}
	return headroomv1.LoadState(s)
}

// loadStateFrom takes a verdict that was not sent for unknown, and one that this version does not know for
// overloaded.
func loadStateFrom(p headroomv1.LoadState) snapshot.State {
	switch {
	case p == headroomv1.LoadState_LOAD_STATE_UNSPECIFIED:
		return snapshot.StateUnknown
	case p < 0 || p > headroomv1.LoadState_LOAD_STATE_DISABLED:
		return snapshot.StateOverloaded
	default:
		return snapshot.State(p)
	}
}

func nonNegative(d time.Duration) *durationpb.Duration { return durationpb.New(max(d, 0)) }
