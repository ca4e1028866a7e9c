package snapshot

import (
	"context"
	"runtime/metrics"
	"time"
)

// What the tests of the pure parts need, without clocks and goroutines.

type Ring = history

func NewRing(keep, interval time.Duration) *Ring { return newHistory(keep, interval) }

func (h *history) Insert(s *Snapshot) bool                           { return h.insert(s) }
func (h *history) Sample(dst []Snapshot, d time.Duration) []Snapshot { return h.sample(dst, d) }
func (h *history) Cap() int                                          { return len(h.at) }

func (h *history) RatioAtNewest(window, floor time.Duration) (float64, int) {
	return h.ratioAtNewest(window, floor)
}

func (h *history) RatioAtNow(window, now time.Duration) (float64, int, bool) {
	return h.ratioAtNow(new(tally), window, now)
}

// A Tally keeps the sums of one window of a Ring.
type Tally = tally

func (t *tally) RatioAtNow(h *Ring, window, now time.Duration) (float64, int, bool) {
	return h.ratioAtNow(t, window, now)
}

func (h *history) DropAfter(at time.Duration) { h.dropAfter(at) }
func (h *history) Clear()                     { h.clear() }

var RoundToThousandths = roundToThousandths

// Track is one signal of a Snapshotter that does not run: the caller makes its readings and their times.
type Track struct {
	s    *Snapshotter
	sig  *signal
	snap Snapshot
}

// NewTrack returns the named signal of c, sampled from the time since on.
func NewTrack(c Config, name string, since time.Duration) (*Track, error) {
	s, err := New(c)
	if err != nil {
		return nil, err
	}
	s.WithoutScheduler()
	sig := s.findLocked(name)
	sig.begin(since)
	sig.sampler = s.newSampler(sig)
	return &Track{s: s, sig: sig}, nil
}

// Read takes the snapshot of a reading that was made at the time, or failed.
func (t *Track) Read(at time.Duration, raw Snapshot, err error) Snapshot {
	t.snap = raw
	t.snap.Signal, t.snap.Resource, t.snap.At = t.sig.name, t.sig.resource, at
	t.sig.complete(&t.snap, err)
	t.sig.note(&t.snap, &t.s.cfg)
	return t.snap
}

// Snapshot takes a whole snapshot as Run does, at the time that the Config's clock gives.
func (t *Track) Snapshot() {
	t.s.take(context.Background(), t.sig)
}

func (t *Track) Current(now time.Duration) SignalStatus {
	return t.sig.status(&t.s.cfg, current, now)
}

func (t *Track) Historical(now time.Duration) SignalStatus {
	return t.sig.status(&t.s.cfg, historical, now)
}

func (t *Track) Sample(d time.Duration) []Snapshot { return t.sig.history.sample(nil, d) }

// WithoutScheduler keeps the latency of the test's own scheduler out of what s measures.
func (s *Snapshotter) WithoutScheduler() *Snapshotter {
	return s.WithScheduler(func() *metrics.Float64Histogram { return nil })
}

// WithScheduler lets read stand in for the runtime's histogram.
func (s *Snapshotter) WithScheduler(read func() *metrics.Float64Histogram) *Snapshotter {
	s.scheduler = func() func() *metrics.Float64Histogram { return read }
	return s
}

// Prober is a prober without its goroutine.
type Prober struct{ p *prober }

func NewProber(clock func() time.Duration) Prober { return Prober{newProber(clock, false)} }

func (p Prober) Suspect(at time.Duration)                     { p.p.suspect(at) }
func (p Prober) Begin() bool                                  { return p.p.begin() }
func (p Prober) End()                                         { p.p.end() }
func (p Prober) Take(now time.Duration) (time.Duration, bool) { return p.p.take(now) }
func (p Prober) Discard()                                     { p.p.discard() }

var (
	Percentile99 = percentile99
	NextTick     = nextTick
)

// CriticalMemory returns the budget of c for a total, and the use over which it warns.
func CriticalMemory(c Config, total int64) (budget, critical float64) {
	c = c.WithDefaults()
	rules := c.memoryRules()
	budget = rules.budget(total)
	return budget, rules.critical(budget)
}

// PercentOfMemory returns the whole percent that a warning names.
func PercentOfMemory(c Config, used int64, budget float64) int {
	rules := c.memoryRules()
	return rules.percent(used, budget)
}

// WarnsOfMemory returns at which of the times a warning is due, with the same use at each.
func WarnsOfMemory(cooldown time.Duration, used int64, critical float64, at ...time.Duration) []time.Duration {
	w := memoryWarning{cooldown: cooldown}
	var due []time.Duration
	for _, t := range at {
		if w.due(t, used, critical) {
			due = append(due, t)
		}
	}
	return due
}

func (r *Reports) LoopDelay(now time.Duration) (time.Duration, int) { return r.loopDelay(now) }

func (r *Reports) TakeClientErrors(now time.Duration, index int) (errors, total int64, reporters int) {
	e := r.takeClientErrors(now, index)
	return e.errors, e.total, e.reporters
}

func (r *Reports) Signal(now time.Duration, name string) (ReportedSignal, int) {
	return r.signal(now, name)
}

func (r *Reports) SignalNames(now time.Duration) []string { return r.signalNames(now) }

// MostRetryIndexes returns how many retry indexes the worker with the most of them has.
func (r *Reports) MostRetryIndexes() (n int) {
	for _, w := range r.workers {
		n = max(n, len(w.errors))
	}
	return n
}

// Size returns how much r remembers.
func (r *Reports) Size() (workers, signals int) { return len(r.workers), len(r.signals) }
