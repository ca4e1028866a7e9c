package snapshot

import (
	"errors"
	"fmt"
	"runtime/metrics"
	"slices"
	"sync"
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
type Snapshotter struct {
	cfg       Config
	scheduler func() func() *metrics.Float64Histogram // readScheduler

	mu      sync.Mutex
	active  bool
	signals []*signal // in the order of Status.Signals
	version uint64
	verdict uint64
	newer   notice        // of a newer snapshot or verdict, or that Run ended
	judged  notice        // of a newer verdict, or that Run ended
	later   notice        // of a newer snapshot from laterAt on, a newer verdict, or that Run ended
	laterAt time.Duration // the earliest of those who wait
	overdue *time.Timer   // of this Run: tells newer what waits for the others of its tick
	waiting bool          // overdue is set
	round   bool          // a round goes on, which tells of its snapshots at its end
	untold  bool          // something was recorded that newer did not tell of
	shared  View          // the last one made; empty for none
	ready   chan struct{} // closed once every signal was tried
	isReady bool
	warning memoryWarning
	prober  *prober // of this Run; nil unless the default profile measures the event loop
}

// New returns a Snapshotter that starts nothing. It reports every fault of c at once.
func New(c Config) (*Snapshotter, error) {
	c = c.WithDefaults()
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("snapshot: config: %w", err)
	}
	s := &Snapshotter{cfg: c, scheduler: readScheduler, ready: make(chan struct{})}
	s.signals = s.newSignals()
	return s, nil
}

// Active reports whether Run is running.
func (s *Snapshotter) Active() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.active
}

// Ready returns a channel that is closed once every enabled signal was tried once since Run began; a first
// reading that takes longer than three intervals counts as tried. It is a new channel for each Run: before
// Run it is that of the next one.
func (s *Snapshotter) Ready() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ready
}

// AppendSample appends to dst the snapshots of the signal that are at most d older than its newest one,
// oldest first, and returns the extended slice. d of zero or less, or longer than the history, is the whole
// history. It returns ErrNoSignal for a name that it does not have, or that is disabled, and ErrInactive
// while not running.
func (s *Snapshotter) AppendSample(dst []Snapshot, signal string, d time.Duration) ([]Snapshot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.active {
		return dst, ErrInactive
	}
	sig := s.findLocked(signal)
	if sig == nil {
		return dst, fmt.Errorf("%w: %q", ErrNoSignal, signal)
	}
	return sig.history.sample(dst, d), nil
}

// Signals returns the names of the enabled signals, in the order of Status.Signals: those of the Config,
// and while Run is running those that workers report.
func (s *Snapshotter) Signals() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := make([]string, 0, len(s.signals))
	for _, sig := range s.signals {
		if !sig.disabled {
			names = append(names, sig.name)
		}
	}
	return names
}

// Resource returns what the named signal measures, or 0 for a name that the Snapshotter does not have or
// that is disabled.
func (s *Snapshotter) Resource(signal string) Resource {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sig := s.findLocked(signal); sig != nil {
		return sig.resource
	}
	return 0
}

// sameInstant is how long a View is as good as a new one, where there is nothing newer: those who are told of a
// snapshot look at it together.
const sameInstant = 2 * time.Millisecond

// View returns everything at this instant, and a channel that is closed when a newer snapshot exists, when
// a verdict changed by the passage of time, or when Run ended: at once for a verdict, and within 2 ms for
// snapshots without one, so that those of one tick are told together; where a source begins to hang, with the next
// tick. A slow caller misses snapshots; it never delays the sampler. Those who ask within 2 ms are given the same
// View, so nobody may change it. It returns ErrInactive while not running.
func (s *Snapshotter) View() (View, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.active {
		return View{}, nil, ErrInactive
	}
	now := s.cfg.Clock()
	if v := &s.shared; v.Version != s.version || now < v.At || now-v.At > sameInstant {
		s.rejudgeLocked(now)
		s.shared = s.viewLocked(now)
	}
	return s.shared, s.newer.wait(), nil
}

// Verdict returns [View.Verdict], and a channel that is closed when there is a newer one, or when Run ended.
// It is for those who act on verdicts alone. It returns ErrInactive while not running.
func (s *Snapshotter) Verdict() (uint64, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.active {
		return 0, nil, ErrInactive
	}
	return s.verdict, s.judged.wait(), nil
}

// After returns a channel that is closed with the first newer snapshot at the time at or later, by the clock of the
// Snapshotter, when a verdict changed, or when Run ended; it may be closed earlier. It is for those who act now and
// then and would wait for no timer of their own: at a snapshot the machine is awake.
func (s *Snapshotter) After(at time.Duration) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.later.waited || at < s.laterAt {
		s.laterAt = at
	}
	return s.later.wait()
}

// Now returns the time by the clock of the Snapshotter, that of Snapshot.At and of [Reports.Put].
func (s *Snapshotter) Now() time.Duration { return s.cfg.Clock() }

// Scope is what the memory signal judges.
func (s *Snapshotter) Scope() Scope { return s.cfg.Scope }

// Reports returns where workers report to, or nil where nobody does.
func (s *Snapshotter) Reports() *Reports { return s.cfg.Reports }

// MaxMemory returns the memory budget in bytes that was set, or 0 where it is a share of the total.
func (s *Snapshotter) MaxMemory() int64 { return s.cfg.MaxMemory }

// History is how long snapshots are kept.
func (s *Snapshotter) History() time.Duration { return s.cfg.History }

func (s *Snapshotter) viewLocked(now time.Duration) View {
	v := View{
		Version: s.version, Verdict: s.verdict, Time: time.Now(), At: now,
		Newest:     make([]Snapshot, 0, len(s.signals)),
		Current:    s.statusLocked(current, now),
		Historical: s.statusLocked(historical, now),
	}
	for _, sig := range s.signals {
		if sig.tried {
			v.Newest = append(v.Newest, sig.newest)
		}
	}
	return v
}

func (s *Snapshotter) statusLocked(w window, now time.Duration) Status {
	st := Status{
		Window:  s.cfg.window(w),
		State:   StateUnknown,
		Signals: make([]SignalStatus, len(s.signals)),
	}
	missed := false
	for i, sig := range s.signals {
		st.Signals[i] = sig.status(&s.cfg, w, now)
		switch state := st.Signals[i].State; {
		case state == StateOverloaded:
			st.State = StateOverloaded
		case state == StateIdle && st.State == StateUnknown:
			st.State = StateIdle
		case state == StateUnknown && sig.stale != StaleIgnore:
			missed = true
		}
	}
	if missed && st.State == StateIdle {
		st.State = StateUnknown
	}
	return st
}

// findLocked returns the enabled signal of the name, or nil.
func (s *Snapshotter) findLocked(name string) *signal {
	i := slices.IndexFunc(s.signals, func(sig *signal) bool { return sig.name == name })
	if i < 0 || s.signals[i].disabled {
		return nil
	}
	return s.signals[i]
}

// rejudgeLocked finds verdicts that the passage of time changed.
func (s *Snapshotter) rejudgeLocked(now time.Duration) {
	changed := false
	for _, sig := range s.signals {
		changed = sig.rejudge(&s.cfg, now) || changed
	}
	if changed {
		s.publishVerdictLocked()
	}
	s.checkReadyLocked(now)
}

// publishVerdictLocked tells watchers at once that a verdict changed.
func (s *Snapshotter) publishVerdictLocked() {
	s.version++
	s.verdict++
	s.judged.tell()
	s.later.tell()
	s.tellLocked()
}

func (s *Snapshotter) checkReadyLocked(now time.Duration) {
	if s.isReady {
		return
	}
	for _, sig := range s.signals {
		if !sig.disabled && !sig.reported && !sig.tried && !sig.isStale(now) {
			return
		}
	}
	s.isReady = true
	close(s.ready)
}
