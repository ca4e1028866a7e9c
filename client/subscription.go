package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
)

// The bounds of the max_silence that a server may state, and the one that holds until it did.
const (
	minSilence     = 100 * time.Millisecond
	maxSilence     = time.Hour
	defaultSilence = 10 * time.Second
)

// Started is what a server states at the start of a stream.
type Started struct {
	// InstanceID identifies one run of the server. A new one means that the sequence began again.
	InstanceID string

	// ServerVersion names the server's version, such as "0.1.0".
	ServerVersion string

	// Interval is the interval in force after rounding; 0 for a stream that has none.
	Interval time.Duration

	// MaxSilence is the longest time between two messages. The Client takes a stream for broken that is
	// silent for half as long again.
	MaxSilence time.Duration
}

// startMessage is the message by which a stream of any kind starts.
type startMessage interface {
	GetInstanceId() string
	GetServerVersion() string
	GetMaxSilence() *durationpb.Duration
}

func startedFrom(p startMessage) *Started {
	s := &Started{
		InstanceID:    p.GetInstanceId(),
		ServerVersion: p.GetServerVersion(),
		MaxSilence:    p.GetMaxSilence().AsDuration(),
	}
	if s.MaxSilence <= 0 {
		s.MaxSilence = defaultSilence
	}
	return s
}

// subscription is a stream of messages that is opened again whenever it ends. Only its receiver uses it.
type subscription[M any] struct {
	client *Client
	what   string // for people, such as "snapshots"

	open func(context.Context, ...grpc.CallOption) (grpc.ServerStreamingClient[M], error)

	// started returns what a message states of its stream, or nil if it states nothing.
	started func(*M) *Started

	// accept takes a message, and says whether it is news. An error ends the stream.
	accept func(*M, *Started) (news bool, err error)

	// broken takes the cause when the stream broke.
	broken func(cause error)

	// again reports whether an end of the stream is to be answered by opening it at once, and may wait
	// before. nil means never.
	again func(ctx context.Context, received bool, err error) bool
}

// receive has messages accepted until ctx is done, and then returns nil, or until to go on is in vain.
func (s *subscription[M]) receive(ctx context.Context) error {
	retry := backoff{jitter: s.client.jitter}
	broken := false
	for {
		// While all was well a dead server is news, so the call fails fast and says why. Later it waits:
		// the connection has its own backoff, and a second one on top would only delay the return.
		received, err := s.stream(ctx, broken)
		switch {
		case ctx.Err() != nil:
			return nil
		case s.client.isDone() || permanent(err):
			return s.client.callError(ctx, "watch "+s.what, err)
		case received:
			retry.reset()
			broken = false
		}
		if s.again != nil && s.again(ctx, received, err) {
			continue
		}
		broken = true
		err = s.client.callError(ctx, "watch "+s.what, err)
		s.broken(err)
		delay := retry.delay()
		if asked, ok := retryDelay(err); ok {
			delay = max(delay, asked)
		}
		s.client.log.Info("stream of "+s.what+" broken", "err", err, "retry_in", delay)
		pause(ctx, s.client.closed, delay)
	}
}

// stream receives one stream to its end and reports whether news came.
func (s *subscription[M]) stream(ctx context.Context, restoring bool) (received bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stream, err := s.open(ctx, grpc.WaitForReady(restoring))
	if err != nil {
		return false, err
	}
	silence := defaultSilence * 3 / 2
	timer := time.AfterFunc(silence, func() { cancel(errSilent) })
	defer timer.Stop()
	var started *Started
	for {
		m, err := stream.Recv()
		switch {
		case context.Cause(ctx) == errSilent:
			return received, fmt.Errorf("%w: nothing came for %v", errSilent, silence)
		case errors.Is(err, io.EOF):
			return received, errEnded
		case err != nil:
			return received, err
		}
		if first := s.started(m); first != nil {
			started = first
			silence = max(minSilence, min(started.MaxSilence, maxSilence)) * 3 / 2
			s.client.heard(started.InstanceID, started.ServerVersion)
		}
		if started == nil {
			return received, errNotStarted
		}
		timer.Reset(silence)
		news, err := s.accept(m, started)
		if err != nil {
			return received || news, err
		}
		if news && restoring && !received {
			s.client.log.Info("stream of "+s.what+" restored", "instance", started.InstanceID)
		}
		received = received || news
	}
}

// iterate yields what receive puts into the box until the loop is left, ctx is done or receive returns, whose
// error is the last that it yields. The goroutine on which receive runs does not outlive it.
func iterate[T any](
	ctx context.Context, box *mailbox[T], receive func(context.Context) error, yield func(T, error) bool,
) {
	// Without the deadline of ctx, of which the server would be told: its answer to that would pass for
	// a broken stream.
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer context.AfterFunc(ctx, cancel)()
	var end error
	done := make(chan struct{}) // closed when the receiver has returned and set end
	go func() {
		defer close(done)
		end = receive(inner)
	}()
	defer func() {
		cancel()
		<-done
	}()
	for ended := false; !ended; {
		select {
		case <-box.changed:
		case <-done:
			ended = true
		}
		for {
			if ctx.Err() != nil {
				return
			}
			next, ok := box.take()
			if !ok {
				break
			}
			if !yield(next, nil) {
				return
			}
		}
	}
	if end != nil {
		var none T
		yield(none, end)
	}
}
