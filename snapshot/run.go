package snapshot

import (
	"context"
	"slices"
	"sync"
	"time"
)

// keepInterval is how often signals that workers report are sampled, and verdicts are looked over for what
// the passage of time changed.
const keepInterval = time.Second

// Run samples until ctx is done, waits for its goroutines, and returns nil. While it runs, a second call
// returns ErrActive. After it returned it may be called again; the history begins anew. A source that goes
// on after ctx is done delays the return.
func (s *Snapshotter) Run(ctx context.Context) error {
	signals, begun, err := s.begin()
	if err != nil {
		return err
	}
	defer s.end()

	var wg sync.WaitGroup
	defer wg.Wait()
	if s.prober != nil {
		wg.Go(func() { s.prober.run(ctx) })
	}
	r := newRota(ctx, s, &wg, signals, begun)
	context.AfterFunc(ctx, r.ticks.Stop)
	r.start()
	s.keep(ctx, r.kept)
	return nil
}

// begin makes the Snapshotter active with no past and returns the signals to sample, and when their first snapshots
// are due.
func (s *Snapshotter) begin() (enabled []*signal, begun time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.active {
		return nil, begun, ErrActive
	}
	now, begun := s.cfg.Clock(), time.Now()
	s.active, s.isReady = true, false
	s.overdue, s.waiting = time.AfterFunc(time.Hour, s.tell), false
	s.round, s.untold = false, false
	s.shared = View{}
	s.overdue.Stop()
	s.warning = memoryWarning{cooldown: s.cfg.MemoryWarningCooldown}
	s.prober = nil
	for _, sig := range s.signals {
		if sig.disabled {
			continue
		}
		sig.begin(now)
		sig.sampler, sig.due = s.newSampler(sig), begun
		sig.reading, sig.apart = false, true // the first reading of some takes its time
		sig.rejudge(&s.cfg, now)
		enabled = append(enabled, sig)
	}
	s.publishVerdictLocked()
	s.checkReadyLocked(now)
	return enabled, begun, nil
}

func (s *Snapshotter) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active = false
	s.dropReportedLocked()
	s.ready = make(chan struct{})
	s.version++
	s.judged.tell()
	s.later.tell()
	s.tellLocked()
}

// dropReportedLocked removes the signals that exist only because workers report them.
func (s *Snapshotter) dropReportedLocked() {
	s.signals = slices.DeleteFunc(s.signals, func(sig *signal) bool { return sig.reported })
}

// nextTick returns the first tick of a grid after now; due is the last one.
func nextTick(due, now time.Time, interval time.Duration) time.Time {
	missed := now.Sub(due) / interval
	return due.Add((missed + 1) * interval)
}

// take takes one snapshot, keeps it and logs it.
func (s *Snapshotter) take(ctx context.Context, sig *signal) {
	snap := &sig.taken
	*snap = Snapshot{Signal: sig.name, Resource: sig.resource}
	err := fetch(ctx, sig.sampler, snap)
	if ctx.Err() != nil {
		return
	}
	// In this order, for a clock that is a system call can lose the CPU on its return, and both are compared.
	snap.Time, snap.At = time.Now(), s.cfg.Clock()
	err = sig.complete(snap, err)
	wasKnown := s.record(sig, snap)
	s.suspectLoad(snap)
	s.logSnapshot(ctx, snap, wasKnown, err)
}

// record keeps a snapshot, publishes it, alone where it changed a verdict and else with the others of its tick, and
// reports whether the one before it was known; the first one counts as having followed a known one.
func (s *Snapshotter) record(sig *signal, snap *Snapshot) (wasKnown bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	wasKnown = !sig.tried || sig.newest.Known()
	sig.note(snap, &s.cfg)
	sig.due = time.Time{}
	if sig.rejudge(&s.cfg, snap.At) {
		s.publishVerdictLocked()
	} else {
		s.version++
		s.untold = true
		s.tellTogetherLocked(snap.Time)
	}
	s.checkReadyLocked(snap.At)
	return wasKnown
}

// maxCompany is how long a snapshot waits for the others of its tick to be told of together.
const maxCompany = 2 * time.Millisecond

// tellTogetherLocked tells watchers of what was recorded once nothing more is to come of this tick, or after
// maxCompany. While a round goes on that is at its end.
func (s *Snapshotter) tellTogetherLocked(now time.Time) {
	switch {
	case !s.untold || s.round:
	case !s.expectsLocked(now):
		s.tellLocked()
	case (s.newer.waited || s.later.waited) && !s.waiting:
		s.overdue.Reset(maxCompany)
		s.waiting = true
	}
}

// expectsLocked reports whether a snapshot is due that may still come soon: a source that takes long is not
// waited for.
func (s *Snapshotter) expectsLocked(now time.Time) bool {
	for _, sig := range s.signals {
		if !sig.due.IsZero() && !sig.due.After(now) && now.Sub(sig.due) < maxCompany {
			return true
		}
	}
	return false
}

// tell tells watchers of what was recorded.
func (s *Snapshotter) tell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tellLocked()
}

func (s *Snapshotter) tellLocked() {
	if s.waiting {
		s.overdue.Stop()
		s.waiting = false
	}
	s.untold = false
	s.newer.tell()
	if s.later.waited && s.cfg.Clock() >= s.laterAt {
		s.later.tell()
	}
}

// suspectLoad lets the prober look closer while the CPUs are nearly over their limit.
func (s *Snapshotter) suspectLoad(snap *Snapshot) {
	if s.prober != nil && snap.Resource == CPU && snap.Known() && snap.Value > suspectRatio*snap.Limit {
		s.prober.suspect(snap.At)
	}
}

// keep samples what workers report, notices what the passage of time changed, and logs the status, at first and
// at each tick, until ctx is done.
func (s *Snapshotter) keep(ctx context.Context, tick <-chan struct{}) {
	soon := time.NewTimer(0) // for signals that are new
	soon.Stop()
	var added <-chan struct{}
	if s.cfg.Reports != nil {
		added = s.cfg.Reports.added
	}
	var sampled, logged time.Time
	for {
		s.sampleReported(ctx, false)
		sampled = time.Now()
		if now, ready := s.look(); ready && (logged.IsZero() || now.Sub(logged) >= DefaultLogInterval) {
			s.logStatus(ctx)
			logged = now
		}
		for ticked := false; !ticked; {
			select {
			case <-ctx.Done():
				return
			case <-tick:
				ticked = true
			case <-added:
				// Workers who invent names must not set the pace.
				soon.Reset(max(0, minReportTTL-time.Since(sampled)))
			case <-soon.C:
				s.sampleReported(ctx, true)
				sampled = time.Now()
			}
		}
	}
}

// sampleReported takes a snapshot of each signal that only workers report, or of those that are new.
func (s *Snapshotter) sampleReported(ctx context.Context, onlyNew bool) {
	if s.cfg.Reports == nil {
		return
	}
	now := s.cfg.Clock()
	for _, sig := range s.reportedSignals(s.cfg.Reports.signalNames(now), now) {
		if !onlyNew || !sig.tried {
			s.take(ctx, sig)
		}
	}
}

// look brings verdicts up to date and reports whether every signal was tried.
func (s *Snapshotter) look() (now time.Time, ready bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rejudgeLocked(s.cfg.Clock())
	return time.Now(), s.isReady
}

// reportedSignals returns the signals that only workers report, after adding those of names that are new
// and removing those that were silent for the whole history. There are never more than Reports allows.
func (s *Snapshotter) reportedSignals(names []string, now time.Duration) []*signal {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.signals)
	s.signals = slices.DeleteFunc(s.signals, func(sig *signal) bool {
		return sig.reported && !slices.Contains(names, sig.name) && now-sig.lastHeard() > s.cfg.History
	})
	changed := len(s.signals) != before
	for _, name := range names {
		if slices.ContainsFunc(s.signals, func(sig *signal) bool { return sig.name == name }) {
			continue
		}
		sig := s.newReportedSignal(name, s.evictSilentLocked(names))
		sig.begin(now)
		s.signals = append(s.signals, sig)
		changed = true
	}
	if changed {
		orderSignals(s.signals)
		s.publishVerdictLocked()
	}
	var reported []*signal
	for _, sig := range s.signals {
		if sig.reported {
			reported = append(reported, sig)
		}
	}
	return reported
}

// evictSilentLocked makes room for one more reported signal by removing the one that has been silent for
// the longest, and returns its history, or nil where there was room. A long history is megabytes, so workers
// who invent names must not have a new one each time.
func (s *Snapshotter) evictSilentLocked(names []string) *history {
	reported, oldest := 0, -1
	for i, sig := range s.signals {
		if !sig.reported {
			continue
		}
		reported++
		if slices.Contains(names, sig.name) {
			continue
		}
		if oldest < 0 || sig.lastHeard() < s.signals[oldest].lastHeard() {
			oldest = i
		}
	}
	if reported < s.cfg.Reports.maxSignals || oldest < 0 {
		return nil
	}
	evicted := s.signals[oldest].history
	s.signals = slices.Delete(s.signals, oldest, oldest+1)
	return evicted
}
