package snapshot

import (
	"math/bits"
	"slices"
	"time"
)

// history is the recent snapshots of one signal in time order, in a ring of fixed size. What a judgement
// needs lies in arrays of its own, so that judging does not walk the payload. It has one writer; the owner
// guards it.
type history struct {
	keep  time.Duration // how much older than the newest a snapshot may be
	at    []time.Duration
	flags []flags
	snaps []Snapshot
	mask  int // len-1; the length is a power of two
	head  int // the slot of the oldest
	n     int

	gone  int // how many were dropped at the head
	edits int // how often it changed other than at the head and by a newest one
}

// flags is what a judgement needs of one snapshot beside its time.
type flags uint8

const (
	flagOverloaded flags = 1 << iota
	flagUnknown
	flagDiscontinuity

	// flagsUnjudged are those of a snapshot before which the time is nobody's.
	flagsUnjudged = flagUnknown | flagDiscontinuity
)

func flagsOf(s *Snapshot) flags {
	var f flags
	if s.Overloaded {
		f |= flagOverloaded
	}
	if !s.Known() {
		f |= flagUnknown
	}
	if s.Discontinuity {
		f |= flagDiscontinuity
	}
	return f
}

// historyMargin is the room beyond keep/interval: both ends of the window, and timers that fire early.
const historyMargin = 8

// newHistory returns an empty history for snapshots that come at the interval and are kept as long as they
// are at most keep older than the newest.
func newHistory(keep, interval time.Duration) *history {
	size := 1 << bits.Len(uint(keep/interval)+historyMargin-1)
	return &history{
		keep:  keep,
		at:    make([]time.Duration, size),
		flags: make([]flags, size),
		snaps: make([]Snapshot, size),
		mask:  size - 1,
	}
}

// clear forgets every snapshot.
func (h *history) clear() {
	h.head, h.n = 0, 0
	h.edits++
}

func (h *history) slot(i int) int { return (h.head + i) & h.mask }

// newest returns the time of the newest snapshot; there must be one.
func (h *history) newest() time.Duration { return h.at[h.slot(h.n-1)] }

// insert copies s to its place in time, behind those of the same time, and drops what is then too old. It
// reports whether s was kept: one that is itself too old is not. When the ring is full the oldest goes.
func (h *history) insert(s *Snapshot) bool {
	if h.n > 0 && h.newest()-s.At > h.keep {
		return false
	}
	if h.n == len(h.at) {
		if s.At < h.at[h.head] {
			return false
		}
		h.drop()
	}
	i := h.n
	h.n++
	if i > 0 && h.at[h.slot(i-1)] > s.At {
		h.edits++
	}
	for ; i > 0; i-- {
		from := h.slot(i - 1)
		if h.at[from] <= s.At {
			break
		}
		to := h.slot(i)
		h.at[to], h.flags[to], h.snaps[to] = h.at[from], h.flags[from], h.snaps[from]
	}
	to := h.slot(i)
	h.at[to], h.flags[to], h.snaps[to] = s.At, flagsOf(s), *s

	oldest := h.newest() - h.keep
	for h.at[h.head] < oldest {
		h.drop()
	}
	return true
}

// drop drops the oldest.
func (h *history) drop() {
	h.head = h.slot(1)
	h.n--
	h.gone++
}

// dropAfter drops the snapshots that are later than at.
func (h *history) dropAfter(at time.Duration) {
	for h.n > 0 && h.newest() > at {
		h.n--
		h.edits++
	}
}

// sample appends to dst the snapshots that are at most d older than the newest, oldest first; all of them
// for d of zero or less.
func (h *history) sample(dst []Snapshot, d time.Duration) []Snapshot {
	if h.n == 0 {
		return dst
	}
	first := 0
	if d > 0 && d < h.keep {
		oldest := h.newest() - d
		for first = h.n; first > 0 && h.at[h.slot(first-1)] >= oldest; first-- {
		}
	}
	dst = slices.Grow(dst, h.n-first)
	for i := first; i < h.n; i++ {
		dst = append(dst, h.snaps[h.slot(i)])
	}
	return dst
}
