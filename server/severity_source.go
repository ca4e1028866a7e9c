package server

import (
	"errors"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/headroom-rpc/headroom/internal/wire"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/severity"
)

// severitySource is one engine and the messages that its subscribers have in common.
type severitySource struct {
	runner       *severity.Runner
	maxLevel     int
	maxSendBytes int

	mu     sync.Mutex
	recent [16]encodedMessage // one evaluation makes several when it moves by several levels
	oldest int                // the one to replace next
}

// encodedMessage is a message that every subscriber is sent who is told of the transition while the report is
// the newest.
type encodedMessage struct {
	transition uint64 // 0 for a message without one
	report     time.Duration
	failing    bool
	frame      *frame
}

func newSeveritySource(runner *severity.Runner, limits Limits) *severitySource {
	return &severitySource{runner: runner, maxLevel: len(runner.Config().Levels), maxSendBytes: limits.MaxSendBytes}
}

// latest returns the newest report and up to the last n transitions that led to it, oldest first; n is at most
// severity.HistorySize.
func (s *severitySource) latest(n uint64) (severity.Report, []severity.Transition, error) {
	for {
		report, _ := s.runner.Latest()
		if report.Time.IsZero() {
			return report, nil, errStarting
		}
		n := min(n, report.Sequence)
		list, _, err := s.runner.History().After(report.Sequence - n)
		if errors.Is(err, severity.ErrEvicted) {
			continue // there were more since the report
		}
		if err != nil {
			return report, nil, err
		}
		return report, list[:min(n, uint64(len(list)))], nil
	}
}

// message returns the report as a message.
func (s *severitySource) message(report *severity.Report) *headroomv1.Severity {
	var last *severity.Transition
	if report.Sequence > 0 {
		if list, _, err := s.runner.History().After(report.Sequence - 1); err == nil && len(list) > 0 {
			last = &list[0]
		}
	}
	return wire.Severity(report, s.maxLevel, last)
}

// frame returns the message that tells of a transition, or of none if that is nil, and of the severity now.
func (s *severitySource) frame(t *severity.Transition) (*frame, error) {
	report, _ := s.runner.Latest()
	want := encodedMessage{report: report.At, failing: report.Err != nil}
	if t != nil {
		want.transition = t.Sequence
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.recent {
		if want.frame = s.recent[i].frame; want.frame != nil && s.recent[i] == want {
			return want.frame, nil
		}
	}
	resp := &headroomv1.WatchSeverityResponse{Severity: s.message(&report)}
	if t != nil {
		resp.Transition = wire.Transition(t)
	}
	encoded, err := s.encode(resp)
	if err != nil {
		return nil, err
	}
	want.frame = newFrame(int64(want.transition), encoded)
	s.recent[s.oldest] = want
	s.oldest = (s.oldest + 1) % len(s.recent)
	return want.frame, nil
}

func (s *severitySource) encode(resp *headroomv1.WatchSeverityResponse) ([]byte, error) {
	encoded, err := proto.Marshal(resp)
	if err == nil && len(encoded) > s.maxSendBytes {
		err = &tooLargeError{max: s.maxSendBytes}
	}
	return encoded, err
}
