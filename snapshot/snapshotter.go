package snapshot

import (
	"context"
	"errors"
	"time"
)

// ErrActive reports that Run was called while the Snapshotter runs.
var ErrActive = errors.New("snapshot: already active")

// ErrInactive reports that a sample or a status was asked for while the Snapshotter does not run.
var ErrInactive = errors.New("snapshot: not active")

// ErrNoSignal reports a signal that the Snapshotter does not have.
var ErrNoSignal = errors.New("snapshot: no such signal")

// Snapshotter samples the signals of its Config while it runs. Its methods are safe for concurrent use
// and, but for Run, do not block.
type Snapshotter struct{}

// New returns a Snapshotter that starts nothing. It reports every fault of c at once.
func New(c Config) (*Snapshotter, error) { return nil, errors.ErrUnsupported }

// Run samples until ctx is done, waits for its goroutines, and returns nil. While it runs, a second call
// returns ErrActive. After it returned it may be called again; the history begins anew.
func (s *Snapshotter) Run(ctx context.Context) error { return errors.ErrUnsupported }

// Active reports whether Run is running.
func (s *Snapshotter) Active() bool { return false }

// Ready returns a channel that is closed once every enabled signal was tried once since Run began. It is a
// new channel for each Run.
func (s *Snapshotter) Ready() <-chan struct{} { return nil }

// AppendSample appends to dst the snapshots of the signal that are at most d older than its newest one,
// oldest first, and returns the extended slice. d of zero or less, or longer than the history, is the whole
// history. It returns ErrNoSignal for a name that it does not have and ErrInactive while not running.
func (s *Snapshotter) AppendSample(dst []Snapshot, signal string, d time.Duration) ([]Snapshot, error) {
	return dst, errors.ErrUnsupported
}

// Signals returns the names of the enabled signals, in the order of Status.Signals.
func (s *Snapshotter) Signals() []string { return nil }

// Resource returns what the named signal measures, or 0 for a name that the Snapshotter does not have.
func (s *Snapshotter) Resource(signal string) Resource { return 0 }

// View returns everything at this instant, and a channel that is closed when a newer snapshot exists. A
// slow caller misses snapshots; it never delays the sampler. The caller owns the View. It returns
// ErrInactive while not running.
func (s *Snapshotter) View() (View, <-chan struct{}, error) {
	return View{}, nil, errors.ErrUnsupported
}

// History is how long snapshots are kept.
func (s *Snapshotter) History() time.Duration { return 0 }
