package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/headroom-rpc/headroom/internal/wire"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/snapshot"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
)

// The bounds of the max_silence that a server may state, and the one that holds until it did.
const (
	minSilence     = 100 * time.Millisecond
	maxSilence     = time.Hour
	defaultSilence = 10 * time.Second
)

// WatchOptions says what to follow. The zero value follows everything.
type WatchOptions struct {
	// Interval bounds how often states come, from 0 to 1 h; 0 means 1 s. The server rounds it; see
	// [Started.Interval]. A change of a verdict comes at once.
	Interval time.Duration

	// Resources limits State.Snapshots to these; none is all. The judgements are always of all.
	Resources []snapshot.Resource
}

// State is everything that the server told at one instant. It belongs to who received it.
type State struct {
	// Started is what holds for the stream that the state came on.
	Started Started

	// Sequence is the position of the state in the order of its instance; it grows, with gaps.
	Sequence int64

	// SendTime is when the server sent the state, by its wall clock; for people.
	SendTime time.Time

	// Received is when the state arrived, by this host's clocks.
	Received time.Time

	// Snapshots holds the newest snapshot of each signal asked for; At is by the clock of [Client.Now].
	Snapshots []snapshot.Snapshot

	// Current and Historical are the judgements over the last seconds and over the whole history.
	Current, Historical snapshot.Status

	// Stale is whether the stream is broken: all else is what was last known, or zero where nothing was.
	Stale bool

	// Cause is why the state is stale, else nil.
	Cause error
}

// Started is what a server states at the start of a stream.
type Started struct {
	// InstanceID identifies one run of the server. A new one means that the sequence began again.
	InstanceID string

	// ServerVersion names the server's version, such as "0.1.0".
	ServerVersion string

	// Interval is the interval in force after rounding.
	Interval time.Duration

	// MaxSilence is the longest time between two states. The Client takes a stream for broken that is
	// silent for half as long again.
	MaxSilence time.Duration
}

// Snapshots follows the load: it yields the present state at once, then each newer one. Who is slow in
// taking states misses some but never sees an older one after a newer one of the same instance, and never
// delays the server.
//
// When the stream breaks or falls silent it yields the last known state as stale, with the cause, and once
// more for each new cause while it tries again, waiting 0.1 s on average at first and up to 5 s later, or
// for as long as the server asks, at most a minute. It yields an error, once and last, when asking again is
// in vain: UNIMPLEMENTED, INVALID_ARGUMENT, PERMISSION_DENIED or UNAUTHENTICATED, or [ErrClosed]. It ends
// without one when ctx is done or the loop is left; nothing that it started outlives it.
//
// The iterator may be used more than once; each time is a stream of its own.
func (c *Client) Snapshots(ctx context.Context, o WatchOptions) iter.Seq2[State, error] {
	return func(yield func(State, error) bool) {
		w := &watch{client: c, req: watchRequest(o), latest: newLatest()}
		// Without the deadline of ctx, of which the server would be told: its answer to that would pass for
		// a broken stream.
		inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
		defer context.AfterFunc(ctx, cancel)()
		var end error
		done := make(chan struct{}) // closed when the receiver has returned and set end
		go func() {
			defer close(done)
			end = w.receive(inner)
		}()
		defer func() {
			cancel()
			<-done
		}()
		for ended := false; !ended; {
			select {
			case <-w.latest.changed:
			case <-done:
				ended = true
			}
			if ctx.Err() != nil {
				return
			}
			if d, ok := w.latest.take(); ok && !yield(d.state(), nil) {
				return
			}
		}
		if end != nil {
			yield(State{}, end)
		}
	}
}

func watchRequest(o WatchOptions) *headroomv1.WatchSnapshotsRequest {
	req := &headroomv1.WatchSnapshotsRequest{}
	if o.Interval != 0 {
		req.Interval = durationpb.New(o.Interval)
	}
	for _, r := range o.Resources {
		req.Resources = append(req.Resources, wire.Resource(r))
	}
	return req
}

// watch is one iteration. Only its receiver uses it, but for latest.
type watch struct {
	client *Client
	req    *headroomv1.WatchSnapshotsRequest
	latest *latest

	instance string // of the newest state
	sequence int64
}

// receive keeps latest up to date until ctx is done, and then returns nil, or until to go on is in vain.
func (w *watch) receive(ctx context.Context) error {
	const op = "watch snapshots"
	retry := backoff{jitter: w.client.jitter}
	broken := false
	for {
		// While all was well a dead server is news, so the call fails fast and says why. Later it waits:
		// the connection has its own backoff, and a second one on top would only delay the return.
		received, err := w.stream(ctx, broken)
		switch {
		case ctx.Err() != nil:
			return nil
		case w.client.isDone() || permanent(err):
			return w.client.callError(ctx, op, err)
		case received:
			retry.reset()
		}
		broken = true
		err = w.client.callError(ctx, op, err)
		w.latest.breakOff(err)
		delay := retry.delay()
		if asked, ok := retryDelay(err); ok {
			delay = max(delay, asked)
		}
		w.client.log.Info("stream of snapshots broken", "err", err, "retry_in", delay)
		pause(ctx, w.client.closed, delay)
	}
}

// stream receives one stream to its end and reports whether a state came.
func (w *watch) stream(ctx context.Context, waitForReady bool) (received bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stream, err := w.client.service.WatchSnapshots(ctx, w.req, grpc.WaitForReady(waitForReady))
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
		now, at := time.Now(), w.client.Now()
		if m.GetStarted() != nil {
			started = startedFrom(m.GetStarted())
			silence = max(minSilence, min(started.MaxSilence, maxSilence)) * 3 / 2
			w.client.heard(started.InstanceID, started.ServerVersion)
		}
		if started == nil {
			return received, errNotStarted
		}
		timer.Reset(silence)
		if started.InstanceID == w.instance && m.GetSequence() < w.sequence {
			continue
		}
		if waitForReady && !received {
			w.client.log.Info("stream of snapshots restored", "instance", started.InstanceID)
		}
		received = true
		w.instance, w.sequence = started.InstanceID, m.GetSequence()
		w.latest.put(delivery{message: m, started: *started, received: now, at: at})
	}
}

func startedFrom(p *headroomv1.Started) *Started {
	s := &Started{
		InstanceID:    p.GetInstanceId(),
		ServerVersion: p.GetServerVersion(),
		Interval:      p.GetInterval().AsDuration(),
		MaxSilence:    p.GetMaxSilence().AsDuration(),
	}
	if s.MaxSilence <= 0 {
		s.MaxSilence = defaultSilence
	}
	return s
}
