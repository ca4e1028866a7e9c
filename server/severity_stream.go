package server

import (
	"context"
	"errors"
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

// severityStream is one stream of transitions. Only its handler uses it.
type severityStream struct {
	stream grpc.ServerStream
	source *severitySource
	hub    *hub
	ended  <-chan struct{} // closed when the stream is to end with OK
	failed <-chan error    // tells why it is to end otherwise; may be nil

	sent  chan error  // of capacity 1: how the Send in flight went
	timer *time.Timer // of the Send in flight, or else of the silence
}

// errEnded ends a stream with OK.
var errEnded = errors.New("server: the stream has ended")

// follow sends the present severity and then every transition after the one of the sequence, or after the
// present one if it is nil, until the stream ends.
func (s *severityService) follow(
	stream grpc.ServerStream, source *severitySource, after *uint64, ended <-chan struct{}, failed <-chan error,
) error {
	w := &severityStream{
		stream: transportStream(stream), source: source, hub: s.hub, ended: ended, failed: failed,
		sent: make(chan error, 1), timer: time.NewTimer(severitySilence),
	}
	defer w.timer.Stop()
	err := w.run(s.started(), after)
	if errors.Is(err, errEnded) {
		return nil
	}
	return err
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
			if err := w.wait(changed); err != nil {
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

// wait returns when there is more to send, and sends the severity before the silence lasts too long.
func (w *severityStream) wait(changed <-chan struct{}) error {
	w.timer.Reset(severitySilence * 3 / 4) // which leaves the rest for the way
	select {
	case <-changed:
		return nil
	case <-w.timer.C:
		return w.tell(nil)
	case <-w.ended:
		return errEnded
	case err := <-w.failed:
		return err
	case <-w.stream.Context().Done():
		return context.Cause(w.stream.Context())
	}
}

// send sends a message on a goroutine of its own, which ends with the stream if not before: the handler of a
// reader that does not read can return, and while there is nothing to send, its stack stays small.
func (w *severityStream) send(f *frame) error {
	go func() { w.sent <- w.stream.SendMsg(f) }()
	w.timer.Reset(w.hub.sendTimeout)
	select {
	case err := <-w.sent:
		if err == nil {
			w.hub.sent.Add(1)
		}
		return err
	case <-w.timer.C:
		w.hub.slow.Add(1)
		w.hub.stalled(w.stream.Context())
		return &slowReaderError{timeout: w.hub.sendTimeout}
	case <-w.ended:
		return errEnded
	case err := <-w.failed:
		return err
	case <-w.stream.Context().Done():
		return context.Cause(w.stream.Context())
	}
}
