package client

import (
	"sync"
	"time"

	"github.com/headroom-rpc/headroom/internal/wire"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/snapshot"
)

// delivery is one message and what is known of it. It is translated only if somebody takes it.
type delivery struct {
	message  *headroomv1.WatchSnapshotsResponse // nil where nothing ever came
	started  Started
	received time.Time
	at       time.Duration // the same, by Client.Now
	cause    error         // why it is stale, else nil
}

// latest holds the newest delivery between the receiver, which never waits, and the loop that takes.
type latest struct {
	changed chan struct{} // capacity 1: holds an element while there may be something to take

	mu      sync.Mutex
	newest  delivery
	pending bool
}

func newLatest() *latest { return &latest{changed: make(chan struct{}, 1)} }

// put replaces the newest delivery.
func (l *latest) put(d delivery) {
	l.mu.Lock()
	l.newest, l.pending = d, true
	l.mu.Unlock()
	l.wake()
}

// breakOff makes the newest delivery stale. The same cause again is no news.
func (l *latest) breakOff(cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.newest.cause != nil && l.newest.cause.Error() == cause.Error() {
		return
	}
	l.newest.cause, l.pending = cause, true
	l.wake()
}

// take returns the newest delivery unless it was taken before.
func (l *latest) take() (delivery, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.pending
	l.pending = false
	return l.newest, was
}

func (l *latest) wake() {
	select {
	case l.changed <- struct{}{}:
	default:
	}
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
