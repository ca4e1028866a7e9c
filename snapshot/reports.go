package snapshot

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// Report is what one worker knows of its own load.
type Report struct {
	// EventLoopDelay is how late the worker's event loop is, from 0 to 1 h, where HasEventLoop is true.
	EventLoopDelay time.Duration
	HasEventLoop   bool

	// ClientErrors counts rate-limit errors since the worker started, by retry index: at most 32 of them,
	// each from 0 to 1000. nil says nothing about them. A count that falls, or one that is missing after
	// it was there, is taken for a restart of the worker: it counted from zero. What a worker counted
	// before its first report does not count, nor what it counted while none of its reports held.
	ClientErrors map[int]int64

	// Signals are the worker's own, by name: at most 16, and none with the name of a built-in signal.
	Signals map[string]ReportedSignal

	// Memory is that of the worker's process, where HasMemory is true. It is not combined with that of others;
	// see [Reports.Memory].
	Memory    ReportedMemory
	HasMemory bool

	// TTL is how long the report holds without a new one, from 100 ms to 1 minute. 0 means 5 s.
	TTL time.Duration
}

// ReportedSignal is one value of a worker's own signal and its bound, in the same unit; both are finite.
type ReportedSignal struct{ Value, Limit float64 }

// ReportedMemory is the memory of a worker's process in bytes: Used, at least 0, of Max, at least 1.
type ReportedMemory struct{ Used, Max int64 }

// Reporter names one worker: its identity, as the transport knows it, and its own name within that, which
// is 1 to 64 of letters, digits, '.', '_', ':', '/' and '-', beginning with a letter or a digit.
type Reporter struct{ Identity, Name string }

// ErrReporters reports that a limit of [Reports] is reached; nothing was stored.
var ErrReporters = errors.New("snapshot: too many reporters or signals")

const (
	defaultReportTTL   = 5 * time.Second
	minReportTTL       = 100 * time.Millisecond
	maxReportTTL       = time.Minute
	maxReportDelay     = time.Hour
	maxReportedRetries = 32
	maxReportedSignals = 16
	maxRetryIndex      = 1000
	mostReporters      = 65536

	// untakenLife is how long a worker that expired is remembered for errors that nobody took yet.
	untakenLife = time.Minute
)

// Reports keeps the last report of each worker and combines them. Memory is bounded by its limits. It
// reads no clock. It is safe for concurrent use. It belongs to one Snapshotter: each new client error is
// handed out once.
//
// The rule, for each of event-loop delay, new client errors and every custom signal: of one identity's
// workers the worst counts, so that one blocked worker is seen; of several identities the upper median
// counts, so that a minority of identities cannot set the verdict for all. The worst of custom signals is
// the one furthest over its own bound. What the program measures itself counts beside it: the worse of the
// two is judged.
type Reports struct {
	maxReporters, maxSignals int

	added chan struct{} // of capacity 1; filled when a custom signal is new

	mu      sync.Mutex
	workers map[Reporter]*worker
	signals map[string]map[*worker]struct{} // who reports each custom signal
	swept   time.Duration                   // when expired workers were last dropped
}

// NewReports returns an empty account of at most maxReporters workers (1 to 65536) and maxSignals distinct
// custom signals (0 to 256) over all of them.
func NewReports(maxReporters, maxSignals int) (*Reports, error) {
	var f faults
	f.integer("maxReporters", int64(maxReporters), 1, mostReporters)
	f.integer("maxSignals", int64(maxSignals), 0, mostSignals)
	if err := errors.Join(f...); err != nil {
		return nil, fmt.Errorf("snapshot: reports: %w", err)
	}
	return &Reports{
		maxReporters: maxReporters,
		maxSignals:   maxSignals,
		added:        make(chan struct{}, 1),
		workers:      map[Reporter]*worker{},
		signals:      map[string]map[*worker]struct{}{},
	}, nil
}

// Put replaces the last report of r, at the time now of the Snapshotter's clock, and returns the TTL in
// force. It reports every fault of the report at once, or ErrReporters when a limit is reached; a report
// that is refused changes nothing. It keeps nothing of the report's maps.
func (r *Reports) Put(now time.Duration, from Reporter, report Report) (time.Duration, error) {
	if err := report.validate(from); err != nil {
		return 0, fmt.Errorf("snapshot: report: %w", err)
	}
	ttl := cmp.Or(report.TTL, defaultReportTTL)

	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.workers[from]
	if err := r.roomLocked(now, w, &report); err != nil {
		return 0, err
	}
	switch {
	case w == nil:
		w = &worker{identity: from.Identity}
	case w.expired(now):
		w.began = false
	}
	r.workers[from] = w // again, for making room may have dropped it
	r.setSignalsLocked(w, report.Signals)
	w.expire = now + ttl
	w.delay, w.loop = report.EventLoopDelay, report.HasEventLoop
	w.memory, w.hasMemory, w.reported = report.Memory, report.HasMemory, now
	if report.ClientErrors != nil {
		w.count(report.ClientErrors)
	}
	return ttl, nil
}

// Memory returns the memory that the last report of a reporter states, and when it came by the Snapshotter's
// clock. It is false where there is no such report, or where it has expired at the time now.
func (r *Reports) Memory(now time.Duration, from Reporter) (m ReportedMemory, at time.Duration, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.workers[from]
	if w == nil || !w.hasMemory || w.expired(now) {
		return ReportedMemory{}, 0, false
	}
	return w.memory, w.reported, true
}

// validate reports every fault of the report and of the reporter's name.
func (report *Report) validate(from Reporter) error {
	var f faults
	if !validReporterName(from.Name) {
		f.add("Reporter.Name: %q is not 1 to 64 of letters, digits, '.', '_', ':', '/' and '-', beginning with a letter or a digit", from.Name)
	}
	f.duration("EventLoopDelay", report.EventLoopDelay, 0, maxReportDelay)
	if len(report.ClientErrors) > maxReportedRetries {
		f.add("ClientErrors: %d retry indexes are more than %d", len(report.ClientErrors), maxReportedRetries)
	} else {
		for _, index := range slices.Sorted(maps.Keys(report.ClientErrors)) {
			field := fmt.Sprintf("ClientErrors[%d]", index)
			if index < 0 || index > maxRetryIndex {
				f.add("%s: the retry index is outside 0 to %d", field, maxRetryIndex)
			}
			if count := report.ClientErrors[index]; count < 0 {
				f.add("%s: %d is negative", field, count)
			}
		}
	}
	if len(report.Signals) > maxReportedSignals {
		f.add("Signals: %d are more than %d", len(report.Signals), maxReportedSignals)
	} else {
		for _, name := range slices.Sorted(maps.Keys(report.Signals)) {
			field := fmt.Sprintf("Signals[%q]", name)
			switch {
			case !validSignalName(name):
				f.add("%s: the name is not 1 to 64 of a-z, 0-9, '_', '.' and '-', beginning with a letter", field)
			case slices.Contains(builtinSignals, name) || name == reservedName:
				f.add("%s: the name is that of a built-in signal", field)
			}
			sig := report.Signals[name]
			if !isFinite(sig.Value) {
				f.add("%s.Value: %v is not finite", field, sig.Value)
			}
			if !isFinite(sig.Limit) {
				f.add("%s.Limit: %v is not finite", field, sig.Limit)
			}
		}
	}
	if report.HasMemory {
		if report.Memory.Used < 0 {
			f.add("Memory.Used: %d bytes is negative", report.Memory.Used)
		}
		if report.Memory.Max < 1 {
			f.add("Memory.Max: %d bytes is less than 1", report.Memory.Max)
		}
	}
	if report.TTL != 0 {
		f.duration("TTL", report.TTL, minReportTTL, maxReportTTL)
	}
	return errors.Join(f...)
}

func validReporterName(name string) bool {
	if len(name) == 0 || len(name) > 64 {
		return false
	}
	for i := range len(name) {
		switch b := name[i]; {
		case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9':
		case i > 0 && (b == '.' || b == '_' || b == ':' || b == '/' || b == '-'):
		default:
			return false
		}
	}
	return true
}

// roomLocked returns ErrReporters unless the report of w, nil for a new worker, fits within the limits.
func (r *Reports) roomLocked(now time.Duration, w *worker, report *Report) error {
	full := func() bool {
		return w == nil && len(r.workers) >= r.maxReporters || r.distinctLocked(w, report) > r.maxSignals
	}
	// Sweeping costs the more the more workers there are, so those at the limit may not cause it at will.
	if full() && (now-r.swept >= minReportTTL || now < r.swept) {
		r.sweepLocked(now)
		maps.DeleteFunc(r.workers, func(_ Reporter, old *worker) bool { return old != w && old.expired(now) })
	}
	switch {
	case !full():
		return nil
	case w == nil && len(r.workers) >= r.maxReporters:
		return fmt.Errorf("%w: there are %d reporters already", ErrReporters, r.maxReporters)
	default:
		return fmt.Errorf("%w: the workers report %d distinct signals already", ErrReporters, r.maxSignals)
	}
}

// distinctLocked returns how many distinct signals there would be with the report of w.
func (r *Reports) distinctLocked(w *worker, report *Report) int {
	distinct := len(r.signals)
	if w != nil {
		for name := range w.signals {
			if _, again := report.Signals[name]; !again && len(r.signals[name]) == 1 {
				distinct--
			}
		}
	}
	for name := range report.Signals {
		if r.signals[name] == nil {
			distinct++
		}
	}
	return distinct
}

func (r *Reports) setSignalsLocked(w *worker, signals map[string]ReportedSignal) {
	for name := range w.signals {
		if delete(r.signals[name], w); len(r.signals[name]) == 0 {
			delete(r.signals, name)
		}
	}
	w.signals = maps.Clone(signals)
	for name := range w.signals {
		if r.signals[name] == nil {
			r.signals[name] = map[*worker]struct{}{}
			select {
			case r.added <- struct{}{}:
			default:
			}
		}
		r.signals[name][w] = struct{}{}
	}
}

// sweepLocked drops the workers that expired, but for those with errors that nobody took yet.
func (r *Reports) sweepLocked(now time.Duration) {
	r.swept = now
	for from, w := range r.workers {
		// A clock that stepped back must not keep a report for longer than it may live.
		w.expire = min(w.expire, now+maxReportTTL)
		if !w.expired(now) {
			continue
		}
		r.setSignalsLocked(w, nil)
		if !w.hasUntaken() || now >= w.expire+untakenLife {
			delete(r.workers, from)
		}
	}
}
