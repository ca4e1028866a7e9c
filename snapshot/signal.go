package snapshot

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// signal is one sampled signal and what was seen of it since Run began. The Snapshotter's mutex guards what
// changes.
type signal struct {
	name     string
	resource Resource
	disabled bool
	reported bool    // it exists only because workers report it
	sampler  sampler // nil when disabled

	due     time.Time // when the next snapshot is, or that being taken; zero for one that keep takes
	reading bool      // a snapshot is being taken
	apart   bool      // the next one is taken on a goroutine of its own, as the last one took long
	taken   Snapshot  // the one being taken; of whoever takes it

	evidence
	newest    Snapshot // good or not, where tried is true
	tried     bool
	lastTry   time.Duration // by At, where tried is true
	goodValue float64       // of the newest good snapshot, where hasGood is true
	goodLimit float64
	verdicts  verdicts

	// judged are the judgements at judgedAt, where isJudged is true: of one instant there may be several looks.
	judged   [windows]judgement
	judgedAt time.Duration
	isJudged bool
}

// verdicts are those that a change of [View.Verdict] tells of.
type verdicts struct {
	newest State
	status [windows]State
}

// begin forgets what was seen.
func (s *signal) begin(now time.Duration) {
	if s.history != nil {
		s.history.clear()
	}
	s.evidence.since, s.evidence.hasGood = now, false
	s.newest, s.tried = Snapshot{}, false
	s.verdicts, s.isJudged = verdicts{}, false
}

// isGap reports whether too long passed between the last snapshot and the next one, or the clock went back.
// The event loop waits for nothing but its timer, so there the time is a gap only if the machine slept in
// it: else it is the delay itself, that of a program starved of the CPU.
func (s *signal) isGap(next *Snapshot) bool {
	gap := next.At - s.lastTry
	if !s.tried || gap >= 0 && gap <= staleIntervals*s.interval {
		return false
	}
	if gap < 0 || s.loop() == nil {
		return true
	}
	awake := next.Time.Sub(s.newest.Time) // by Go's monotonic clock, which stops in suspend
	return gap-awake > s.interval
}

// complete judges a reading that was made at snap.At, or could not be made for the reason err. It returns
// why the snapshot is unknown, or nil.
func (s *signal) complete(snap *Snapshot, err error) error {
	snap.Discontinuity = s.isGap(snap)
	if err == nil {
		err = s.sampler.judge(snap)
	}
	if err != nil {
		snap.Unknown = unknownReason(err)
	}
	return err
}

// note takes a snapshot into account, completing what it says of the last good one.
func (s *signal) note(snap *Snapshot, c *Config) {
	s.noteClock(snap.At, c.Profile)
	if !snap.Known() {
		*snap = Snapshot{
			Signal: snap.Signal, Resource: snap.Resource, Time: snap.Time, At: snap.At,
			Unknown: snap.Unknown, Discontinuity: snap.Discontinuity, Source: snap.Source,
		}
		if s.hasGood {
			snap.LastGood, snap.HasLastGood = s.good, true
		}
	}
	// In Crawlee a reading that failed leaves no snapshot.
	if snap.Known() || !c.Profile.crawlee() {
		s.history.insert(snap)
	}
	s.newest, s.tried, s.lastTry, s.isJudged = *snap, true, snap.At, false
	if snap.Known() {
		s.good, s.hasGood = snap.At, true
		s.goodValue, s.goodLimit = snap.Value, snap.Limit
		s.held = s.judgements(c, snap.At)
	}
}

// judgements returns those over each window at now.
func (s *signal) judgements(c *Config, now time.Duration) [windows]judgement {
	if !s.isJudged || s.judgedAt != now {
		for w := range windows {
			s.judged[w] = s.judge(c.Profile, w, c.window(w), now)
		}
		s.judgedAt, s.isJudged = now, true
	}
	return s.judged
}

// noteClock takes the time of a new snapshot into account. What a clock that went back seems to say of the
// future would be the verdict until it caught up, so it goes; the crawlee profiles keep it in its place in
// time, as long as the new snapshot is not too old to be kept itself.
func (s *signal) noteClock(at time.Duration, p Profile) {
	if !s.tried || at >= s.lastTry {
		return
	}
	if !p.crawlee() {
		s.history.dropAfter(at)
	} else if s.history.n > 0 && s.history.newest()-at > s.history.keep {
		s.history.clear()
	}
	s.since, s.good = min(s.since, at), min(s.good, at)
}

// status returns the verdict over a window, and what it rests on.
func (s *signal) status(c *Config, w window, now time.Duration) SignalStatus {
	st := SignalStatus{Signal: s.name, Resource: s.resource, State: StateDisabled}
	if s.disabled {
		return st
	}
	j := s.judgements(c, now)[w]
	st.State, st.Actual, st.Limit, st.Count = j.state, j.actual, s.limit, j.count
	if s.hasGood {
		st.Value, st.Bound, st.HasValue = s.goodValue, s.goodLimit, true
		st.Age = max(now-s.good, 0)
	}
	st.Reason = s.reason(now)
	return st
}

// rejudge brings the verdicts up to date and reports whether one changed.
func (s *signal) rejudge(c *Config, now time.Duration) bool {
	if s.disabled {
		return false
	}
	v := verdicts{newest: StateUnknown}
	if s.tried && s.newest.Known() {
		v.newest = verdictOf(s.newest.Overloaded)
	}
	for w, j := range s.judgements(c, now) {
		v.status[w] = j.state
	}
	changed := v != s.verdicts
	s.verdicts = v
	return changed
}

// reason says why the last reading could not be made, or that it is overdue, or why there is no verdict
// yet.
func (s *signal) reason(now time.Duration) string {
	switch last := s.lastAnswer(); {
	case now-last > staleIntervals*s.interval:
		return "no answer for " + (now - last).Truncate(100*time.Millisecond).String()
	case !s.tried:
		return "no reading yet"
	default:
		return s.newest.Unknown
	}
}

// lastAnswer returns when the source last gave a reading or failed to.
func (s *signal) lastAnswer() time.Duration {
	if s.tried {
		return s.lastTry
	}
	return s.since
}

// loop returns the sampler of the event loop if the signal is that, else nil.
func (s *signal) loop() *loopSampler {
	loop, _ := s.sampler.(*loopSampler)
	return loop
}

// next returns when the next snapshot is due; due is when the one that was taken by now was. In the Crawlees
// the event loop rests for its interval from one snapshot to the next.
func (s *signal) next(due, now time.Time) time.Time {
	loop := s.loop()
	if loop != nil && loop.profile.crawlee() {
		due = now
	}
	due = nextTick(due, now, s.interval)
	if loop != nil {
		loop.wait = due.Sub(now)
	}
	return due
}

// orderSignals sorts signals as a status lists them: the built-in ones in their order, then the others by
// name.
func orderSignals(signals []*signal) {
	rank := func(s *signal) int {
		if i := slices.Index(builtinSignals, s.name); i >= 0 {
			return i
		}
		return len(builtinSignals)
	}
	slices.SortFunc(signals, func(a, b *signal) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(a.name, b.name))
	})
}
