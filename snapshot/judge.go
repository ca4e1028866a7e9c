package snapshot

import (
	"strconv"
	"time"
)

// judgement is the verdict on one signal over one window.
type judgement struct {
	state  State
	actual float64
	count  int
}

// staleIntervals is the number of intervals after which a reading is too old to judge by, and after which
// the time between two readings is a gap.
const staleIntervals = 3

// evidence is what the verdict on one signal rests on.
type evidence struct {
	history  *history
	interval time.Duration
	limit    float64 // the threshold: strictly over it is overloaded
	stale    StalePolicy
	since    time.Duration // when sampling began

	// good is when the newest good reading was made, where hasGood is true, and held the verdicts then.
	good    time.Duration
	hasGood bool
	held    [windows]judgement

	tallies [windows]tally // of history
}

// window is one of the two spans of time that are judged.
type window int

const (
	current window = iota
	historical
	windows // their number
)

// window returns the length of a window. The historical one of the crawlee profiles is the whole history,
// which is no longer than that.
func (c *Config) window(w window) time.Duration {
	if w == current {
		return c.CurrentWindow
	}
	return c.History
}

// judge returns the verdict at now over a window of the length by the rules of the profile. It does not
// allocate.
func (e *evidence) judge(p Profile, w window, length, now time.Duration) judgement {
	switch p {
	case ProfileCrawleePython:
		actual, count := e.history.ratioAtNewest(length, 0)
		actual = roundToThousandths(actual)
		return judgement{verdictOf(actual > e.limit), actual, count}
	case ProfileCrawleeJS:
		actual, count := e.history.ratioAtNewest(length, time.Millisecond)
		return judgement{verdictOf(actual > e.limit), actual, count}
	default:
		return e.judgeAtNow(w, length, now)
	}
}

// isStale reports whether the newest good reading is too old at now; without one, whether sampling has gone
// on for so long.
func (e *evidence) isStale(now time.Duration) bool {
	return now-e.lastHeard() > staleIntervals*e.interval
}

// lastHeard returns when the newest good reading was made, or when sampling began.
func (e *evidence) lastHeard() time.Duration {
	if e.hasGood {
		return e.good
	}
	return e.since
}

func (e *evidence) judgeAtNow(w window, length, now time.Duration) judgement {
	actual, count, known := e.history.ratioAtNow(&e.tallies[w], length, now)
	if e.isStale(now) {
		switch {
		case e.stale == StaleOverloaded:
			return judgement{StateOverloaded, 1, count}
		case e.stale == StaleHold && e.hasGood && now-e.good <= e.history.keep:
			return judgement{e.held[w].state, e.held[w].actual, count}
		default:
			return judgement{StateUnknown, 0, count}
		}
	}
	if !known {
		return judgement{StateUnknown, 0, count}
	}
	return judgement{verdictOf(actual > e.limit), actual, count}
}

func verdictOf(overloaded bool) State {
	if overloaded {
		return StateOverloaded
	}
	return StateIdle
}

// ratioAtNewest returns the share of overloaded time between the first and the last of the snapshots that
// are at most window older than the newest, and their number. The time between two snapshots is billed to
// the later one and counts as at least floor. One snapshot alone gives its own verdict; none, or no time
// between them, gives 0.
func (h *history) ratioAtNewest(window, floor time.Duration) (ratio float64, count int) {
	if h.n == 0 {
		return 0, 0
	}
	oldest := h.newest() - window
	var over, total time.Duration
	later := h.slot(h.n - 1)
	for count = 1; count < h.n; count++ {
		slot := h.slot(h.n - 1 - count)
		if h.at[slot] < oldest {
			break
		}
		d := max(h.at[later]-h.at[slot], floor)
		total += d
		if h.flags[later]&flagOverloaded != 0 {
			over += d
		}
		later = slot
	}
	if count == 1 {
		return asRatio(h.flags[later]), 1
	}
	if total == 0 {
		return 0, count
	}
	return float64(over) / float64(total), count
}

// ratioAtNow returns the share of overloaded time within the window that ends at now, and the number of
// snapshots in it. The time between two snapshots is billed to the later one, as far as it lies in the
// window, unless the later one is unknown or follows a gap. Without any such time the newest good snapshot
// gives its own verdict; known is false when there is none. Of the last window asked for the sums are kept in t.
func (h *history) ratioAtNow(t *tally, window, now time.Duration) (ratio float64, count int, known bool) {
	if h.n == 0 {
		return 0, 0, false
	}
	// A clock that stepped back must not cut off the newest snapshots.
	begin := max(now, h.newest()) - window
	t.follow(h, window, begin)
	over, total := t.over, t.total
	if first := t.first - h.gone; first > 0 && first < h.n {
		// Of the time before the first one only a part lies in the window.
		if slot := h.slot(first); h.flags[slot]&flagsUnjudged == 0 {
			d := h.at[slot] - max(h.at[h.slot(first-1)], begin)
			total += d
			if h.flags[slot]&flagOverloaded != 0 {
				over += d
			}
		}
	}
	count = h.n - (t.first - h.gone)
	if total > 0 {
		return float64(over) / float64(total), count, true
	}
	for i := h.n - 1; i >= 0; i-- {
		if f := h.flags[h.slot(i)]; f&flagUnknown == 0 {
			return asRatio(f), count, true
		}
	}
	return 0, count, false
}

// tally holds the sums of a window, so that a judgement costs as much as there are new snapshots and not as there are
// in the window. The zero value holds none. Snapshots count from the first one that the history ever had.
type tally struct {
	edits       int           // of the history, when the sums were made; they do not hold after another one
	window      time.Duration // its length
	begin       time.Duration // where it began
	first, end  int           // the first snapshot in it, and behind the last
	over, total time.Duration // between two snapshots that are both in it
}

// follow brings the sums up to date for the window that begins at begin.
func (t *tally) follow(h *history, window, begin time.Duration) {
	// What was dropped lately is still in its slot.
	overwritten := h.gone+h.n-t.first >= len(h.at)
	if t.edits != h.edits || t.window != window || begin < t.begin || overwritten {
		*t = tally{edits: h.edits, window: window, first: h.gone, end: h.gone}
	}
	t.begin = begin
	for ; t.end < h.gone+h.n; t.end++ {
		t.add(h, t.end, 1)
	}
	for t.first < t.end && (t.first < h.gone || h.at[h.slot(t.first-h.gone)] < begin) {
		t.first++
		t.add(h, t.first, -1)
	}
}

// add adds the time between a snapshot and the one before it, or takes it away again, if both are in the window.
func (t *tally) add(h *history, snapshot int, sign time.Duration) {
	i := snapshot - h.gone
	if i <= t.first-h.gone && sign > 0 || i >= h.n {
		return
	}
	slot := h.slot(i)
	if h.flags[slot]&flagsUnjudged != 0 {
		return
	}
	d := sign * (h.at[slot] - h.at[h.slot(i-1)])
	t.total += d
	if h.flags[slot]&flagOverloaded != 0 {
		t.over += d
	}
}

func asRatio(f flags) float64 {
	if f&flagOverloaded != 0 {
		return 1
	}
	return 0
}

// roundToThousandths rounds a ratio in [0, 1] to three decimals as Python does: correctly on the exact
// binary value, ties to even. Scaling by 1000 before rounding would flip verdicts.
func roundToThousandths(ratio float64) float64 {
	var buf [8]byte
	n := 0
	for _, b := range strconv.AppendFloat(buf[:0], ratio, 'f', 3, 64) {
		if b != '.' {
			n = n*10 + int(b-'0')
		}
	}
	return float64(n) / 1000
}
