package client_test

import (
	"errors"
	"sync"
	"time"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/severity"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// pressure is one run of a server whose severity the test sets.
type pressure struct {
	instance string
	history  severity.History

	mu       sync.Mutex
	level    int
	requests []*headroomv1.WatchSeverityRequest
	kick     chan struct{}
}

func newPressure(instance string) *pressure {
	return &pressure{instance: instance, kick: make(chan struct{})}
}

// move goes to the level step by step.
func (p *pressure) move(level int) {
	for p.present().Level != int32(level) {
		p.mu.Lock()
		t := severity.Transition{From: p.level, To: p.level + 1, Sequence: p.history.Last() + 1, Time: time.Now()}
		if level < p.level {
			t.To = p.level - 1
		}
		p.level = t.To
		err := p.history.Append(t)
		p.mu.Unlock()
		if err != nil {
			panic(err)
		}
	}
}

// cut ends all streams with UNAVAILABLE.
func (p *pressure) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.kick)
	p.kick = make(chan struct{})
}

func (p *pressure) present() *headroomv1.Severity {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &headroomv1.Severity{Level: int32(p.level), Sequence: int64(p.history.Last()), MaxLevel: 3}
	for level := p.level; level > 0; level-- {
		s.LevelsInEffect = append(s.LevelsInEffect, int32(level))
	}
	return s
}

// asked returns the requests so far.
func (p *pressure) asked() []*headroomv1.WatchSeverityRequest {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests
}

func (p *pressure) watch(req *headroomv1.WatchSeverityRequest, st severityStream) error {
	const silence = 10 * time.Second
	p.mu.Lock()
	p.requests = append(p.requests, req)
	kick := p.kick
	p.mu.Unlock()
	first := &headroomv1.WatchSeverityResponse{
		Started: &headroomv1.SeverityStarted{
			InstanceId: p.instance, ServerVersion: "0.1.0", MaxSilence: durationpb.New(silence),
		},
		Severity: p.present(),
	}
	at := uint64(first.Severity.Sequence)
	if after := req.GetAfter(); after != nil {
		at = uint64(after.GetSequence())
		if after.GetInstanceId() != p.instance {
			return outOfRange("INSTANCE_CHANGED")
		}
	}
	for sent := false; ; sent = true {
		list, changed, err := p.history.After(at)
		if errors.Is(err, severity.ErrEvicted) {
			return outOfRange("HISTORY_EVICTED")
		}
		if err != nil {
			return err
		}
		if !sent {
			if err := st.Send(first); err != nil {
				return err
			}
		}
		for _, t := range list {
			m := &headroomv1.WatchSeverityResponse{Severity: p.present(), Transition: transition(t)}
			if err := st.Send(m); err != nil {
				return err
			}
			at = t.Sequence
		}
		select {
		case <-changed:
		case <-time.After(silence):
			if err := st.Send(&headroomv1.WatchSeverityResponse{Severity: p.present()}); err != nil {
				return err
			}
		case <-kick:
			return unavailable()
		case <-st.Context().Done():
			return nil
		}
	}
}

func transition(t severity.Transition) *headroomv1.Transition {
	return &headroomv1.Transition{
		FromLevel: int32(t.From), ToLevel: int32(t.To), Sequence: int64(t.Sequence), Time: timestamppb.New(t.Time),
		Evidence: []*headroomv1.Evidence{{Condition: "available < 25%", Level: int32(max(t.From, t.To))}},
	}
}

func outOfRange(reason string) error {
	s, err := status.New(codes.OutOfRange, "cannot be resumed there").WithDetails(
		&errdetails.ErrorInfo{Domain: "headroom.v1", Reason: reason})
	if err != nil {
		return err
	}
	return s.Err()
}
