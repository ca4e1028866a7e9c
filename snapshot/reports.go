package snapshot

import (
	"errors"
	"time"
)

// Report is what one worker knows of its own load.
type Report struct {
	// EventLoopDelay is how late the worker's event loop is, where HasEventLoop is true.
	EventLoopDelay time.Duration
	HasEventLoop   bool

	// ClientErrors counts rate-limit errors since the worker started, by retry index. nil says nothing
	// about them.
	ClientErrors map[int]int64

	// Signals are the worker's own, by name.
	Signals map[string]ReportedSignal

	// TTL is how long the report holds without a new one, from 100 ms to 1 minute. 0 means 5 s.
	TTL time.Duration
}

// ReportedSignal is one value of a worker's own signal and its bound, in the same unit.
type ReportedSignal struct{ Value, Limit float64 }

// Reporter names one worker: its identity, as the transport knows it, and its own name within that.
type Reporter struct{ Identity, Name string }

// ErrReporters reports that a limit of [Reports] is reached; nothing was stored.
var ErrReporters = errors.New("snapshot: too many reporters or signals")

// Reports keeps the last report of each worker and combines them. Memory is bounded by its limits. It
// reads no clock. It is safe for concurrent use.
//
// The rule, for each of event-loop delay, new client errors and every custom signal: of one identity's
// workers the worst counts, so that one blocked worker is seen; of several identities the upper median
// counts, so that a minority of identities cannot set the verdict for all. What the program measures itself
// counts beside it: the worse of the two is judged.
type Reports struct{}

// NewReports returns an empty account of at most maxReporters workers (1 to 65536) and maxSignals distinct
// custom signals (0 to 256) over all of them.
func NewReports(maxReporters, maxSignals int) (*Reports, error) {
	return nil, errors.ErrUnsupported
}

// Put replaces the last report of r, at the time now of the Snapshotter's clock, and returns the TTL in
// force. It reports every fault of the report at once; a report that is refused changes nothing.
func (r *Reports) Put(now time.Duration, from Reporter, report Report) (time.Duration, error) {
	return 0, errors.ErrUnsupported
}
