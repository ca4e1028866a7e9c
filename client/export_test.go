package client

import (
	"context"
	"time"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

// WithoutJitter makes every backoff its mean.
func WithoutJitter() Option { return func(c *config) { c.jitter = 0 } }

// WithClock replaces the clock that runs through suspend.
func WithClock(clock func() time.Duration) Option { return func(c *config) { c.clock = clock } }

// WithTCP replaces the address at which a server listens on TCP by default.
func WithTCP(address string) Option { return func(c *config) { c.tcp = address } }

// Discover returns the addresses that are tried for a user in an environment.
func Discover(getenv func(string) string, uid int) []string {
	var found []string
	for _, e := range discover(getenv, uid, defaultTCP) {
		found = append(found, e.String())
	}
	return found
}

// DefaultSocketOf is DefaultSocket for a user in an environment.
func DefaultSocketOf(getenv func(string) string, uid int) string { return defaultSocket(getenv, uid) }

// The functions that the client itself uses.
var (
	CheckOwner   = checkOwner
	VersionSkew  = skew
	BuildVersion = buildVersion
	NextLocal    = nextLocal
	ProgramName  = programName
	Sampled      = sampled
)

// RunSocket is where the server of the system listens, or "".
const RunSocket = runSocket

// Backoffs returns the first n waits with the given jitter.
func Backoffs(n int, jitter float64) []time.Duration {
	b := backoff{jitter: jitter}
	var waits []time.Duration
	for range n {
		waits = append(waits, b.delay())
	}
	return waits
}

// CallError returns what a call that got err with ctx returns.
func CallError(ctx context.Context, err error) error { return new(Client).callError(ctx, "call", err) }

// Receiver returns what an iteration does with one message, and with it when its consumer takes it.
func Receiver() func(m *headroomv1.WatchSnapshotsResponse, taken bool) {
	box := newMailbox(func(_, _ delivery) bool { return true })
	return func(m *headroomv1.WatchSnapshotsResponse, taken bool) {
		box.put(delivery{message: m, received: time.Now()})
		if !taken {
			return
		}
		if d, ok := box.take(); ok {
			d.state()
		}
	}
}

// InForce returns the context of a permit that is taken now.
func (h *Permits) InForce() context.Context { return h.share.lease.Load().ctx }
