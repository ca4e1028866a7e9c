package server

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"
)

// errEnded ends a stream with OK.
var errEnded = errors.New("server: the stream has ended")

// endOf returns what the handler of a stream returns for the error.
func endOf(err error) error {
	if errors.Is(err, errEnded) {
		return nil
	}
	return err
}

// An eventStream sends messages as things happen, and breaks the silence before it lasts too long. Only its handler
// uses it.
type eventStream struct {
	stream  grpc.ServerStream
	hub     *hub
	silence time.Duration   // the longest time between two messages
	ended   <-chan struct{} // closed when the stream is to end with OK
	failed  <-chan error    // tells why it is to end otherwise; may be nil

	sent  chan error  // of capacity 1: how the Send in flight went
	timer *time.Timer // of the Send in flight, or else of the silence
}

// newEventStream returns the stream, whose timer is to be stopped.
func newEventStream(
	stream grpc.ServerStream, h *hub, silence time.Duration, ended <-chan struct{}, failed <-chan error,
) eventStream {
	return eventStream{
		stream: transportStream(stream), hub: h, silence: silence, ended: ended, failed: failed,
		sent: make(chan error, 1), timer: time.NewTimer(silence),
	}
}

// wait returns when something changed, or, with again, when the silence must be broken.
func (w *eventStream) wait(changed <-chan struct{}) (again bool, err error) {
	w.timer.Reset(w.silence * 3 / 4) // which leaves the rest for the way
	select {
	case <-changed:
		return false, nil
	case <-w.timer.C:
		return true, nil
	case <-w.ended:
		return false, errEnded
	case err := <-w.failed:
		return false, err
	case <-w.stream.Context().Done():
		return false, context.Cause(w.stream.Context())
	}
}

// send sends a message on a goroutine of its own, which ends with the stream if not before: the handler of a
// reader that does not read can return, and while there is nothing to send, its stack stays small.
func (w *eventStream) send(message any) error {
	go func() { w.sent <- w.stream.SendMsg(message) }()
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
