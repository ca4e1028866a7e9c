package server

import (
	"time"

	"google.golang.org/grpc"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/severity"
)

const (
	// severitySilence is the longest time between two messages of a stream of transitions.
	severitySilence = 10 * time.Second

	// maxUnsent bounds the transitions that a stream holds while its reader is slow. The others wait in the
	// history.
	maxUnsent = 32
)

// severityStream is one stream of transitions.
type severityStream struct {
	eventStream
	source *severitySource
}

// follow sends the present severity and then every transition after the one of the sequence, or after the
// present one if it is nil, until the stream ends.
func (s *severityService) follow(
	stream grpc.ServerStream, source *severitySource, after *uint64, ended <-chan struct{}, failed <-chan error,
) error {
	w := &severityStream{newEventStream(stream, s.hub, severitySilence, ended, failed), source}
	defer w.timer.Stop()
	return endOf(w.run(s.started(), after))
}

func (w *severityStream) run(started *headroomv1.SeverityStarted, after *uint64) error {
	last, err := w.begin(started)
	if err != nil {
		return err
	}
	if after != nil {
		last = *after
	}
	for {
		list, changed, err := w.next(last)
		if err != nil {
			return err
		}
		for i := range list {
			if err := w.tell(&list[i]); err != nil {
				return err
			}
			last = list[i].Sequence
		}
		if len(list) == 0 {
			again, err := w.wait(changed)
			if err == nil && again {
				err = w.tell(nil)
			}
			if err != nil {
				return err
			}
		}
	}
}

// begin sends the first message, and returns the sequence that it states.
func (w *severityStream) begin(started *headroomv1.SeverityStarted) (last uint64, err error) {
	report, _, err := w.source.latest(0)
	if err != nil {
		return 0, err
	}
	encoded, err := w.source.encode(&headroomv1.WatchSeverityResponse{
		Started: started, Severity: w.source.message(&report),
	})
	if err != nil {
		return 0, err
	}
	return report.Sequence, w.send(newFrame(0, encoded))
}

// next returns the transitions to send now, and the channel that tells of more if there are none.
func (w *severityStream) next(last uint64) ([]severity.Transition, <-chan struct{}, error) {
	list, changed, err := w.source.runner.History().After(last)
	if len(list) > maxUnsent {
		list = append([]severity.Transition(nil), list[:maxUnsent]...)
	}
	return list, changed, err
}

// tell sends a transition, or without one the severity alone.
func (w *severityStream) tell(t *severity.Transition) error {
	f, err := w.source.frame(t)
	if err != nil {
		return err
	}
	return w.send(f)
}
