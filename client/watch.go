package client

import (
	"context"
	"iter"
	"time"

	"github.com/headroom-rpc/headroom/internal/wire"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/snapshot"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
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

// Snapshots follows the load: it yields the present state at once, then each newer one. Who is slow in
// taking states misses some but never sees an older one after a newer one of the same instance, and never
// delays the server.
//
// When the stream breaks or falls silent it yields the last known state as stale, with the cause, and once
// more for each new cause while it tries again, waiting 0.1 s on average at first and up to 5 s later, or
// for as long as the server asks, at most a minute. It yields an error, once and last, when asking again is
// in vain: UNIMPLEMENTED, INVALID_ARGUMENT, PERMISSION_DENIED, UNAUTHENTICATED or NOT_FOUND, or [ErrClosed]. It ends
// without one when ctx is done or the loop is left; nothing that it started outlives it.
//
// The iterator may be used more than once; each time is a stream of its own.
func (c *Client) Snapshots(ctx context.Context, o WatchOptions) iter.Seq2[State, error] {
	return func(yield func(State, error) bool) {
		w := &watch{client: c, box: newMailbox(func(_, _ delivery) bool { return true })}
		iterate(ctx, w.box, w.subscribe(watchRequest(o)).receive, func(d delivery, err error) bool {
			if err != nil {
				return yield(State{}, err)
			}
			return yield(d.state(), nil)
		})
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

// watch is one iteration. Only its receiver uses it, but for box.
type watch struct {
	client *Client
	box    *mailbox[delivery] // holds the newest at most
	newest delivery
}

func (w *watch) subscribe(req *headroomv1.WatchSnapshotsRequest) *subscription[headroomv1.WatchSnapshotsResponse] {
	type stream = grpc.ServerStreamingClient[headroomv1.WatchSnapshotsResponse]
	return &subscription[headroomv1.WatchSnapshotsResponse]{
		client: w.client,
		what:   "snapshots",
		open: func(ctx context.Context, o ...grpc.CallOption) (stream, error) {
			return w.client.service.WatchSnapshots(ctx, req, o...)
		},
		started: func(m *headroomv1.WatchSnapshotsResponse) *Started {
			if m.GetStarted() == nil {
				return nil
			}
			s := startedFrom(m.GetStarted())
			s.Interval = m.GetStarted().GetInterval().AsDuration()
			return s
		},
		accept: w.accept,
		broken: w.broken,
	}
}

// accept keeps what is not older than the newest of the same instance.
func (w *watch) accept(m *headroomv1.WatchSnapshotsResponse, started *Started) (news bool, _ error) {
	if started.InstanceID == w.newest.started.InstanceID && m.GetSequence() < w.newest.message.GetSequence() {
		return false, nil
	}
	w.newest = delivery{message: m, started: *started, received: time.Now(), at: w.client.Now()}
	w.box.put(w.newest)
	return true, nil
}

// broken makes the newest stale. The same cause again is no news.
func (w *watch) broken(cause error) {
	if was := w.newest.cause; was != nil && was.Error() == cause.Error() {
		return
	}
	w.newest.cause = cause
	w.box.put(w.newest)
}

// delivery is one message and what is known of it. It is translated only if somebody takes it.
type delivery struct {
	message  *headroomv1.WatchSnapshotsResponse // nil where nothing ever came
	started  Started
	received time.Time
	at       time.Duration // the same, by Client.Now
	cause    error         // why it is stale, else nil
}

// state translates d.
func (d delivery) state() State {
	s := State{Started: d.started, Received: d.received, Stale: d.cause != nil, Cause: d.cause}
	m := d.message
	if m == nil {
		s.Current.State, s.Historical.State = snapshot.StateUnknown, snapshot.StateUnknown
		return s
	}
	s.Sequence = m.GetSequence()
	if t := m.GetSendTime(); t != nil {
		s.SendTime = t.AsTime()
	}
	s.Snapshots = make([]snapshot.Snapshot, len(m.GetSnapshots()))
	for i, p := range m.GetSnapshots() {
		s.Snapshots[i] = wire.SnapshotFrom(p, d.at)
	}
	s.Current, s.Historical = wire.StatusFrom(m.GetCurrent()), wire.StatusFrom(m.GetHistorical())
	return s
}
