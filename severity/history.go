package severity

import (
	"errors"
	"fmt"
	"sync"
)

// HistorySize is how many transitions a [History] keeps.
const HistorySize = 4096

// ErrEvicted reports that transitions that were asked for are no longer kept.
var ErrEvicted = errors.New("severity: transitions evicted from the history")

// ErrFuture reports a sequence number that was not given out yet: it is another Engine's.
var ErrFuture = errors.New("severity: sequence number not reached yet")

// History keeps the last 4,096 transitions. The zero value is empty and ready. Its methods are safe for
// concurrent use and do not block.
type History struct {
	mu      sync.Mutex
	ring    []Transition  // grows to HistorySize; the transition of sequence q is at (q-1) % HistorySize
	last    uint64        // sequence of the newest
	changed chan struct{} // closed on the next Append; nil while nobody asked
}

// Append adds the next transition. It returns an error and changes nothing if the sequence does not follow
// that of the last one.
func (h *History) Append(t Transition) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t.Sequence != h.last+1 {
		return fmt.Errorf("severity: transition %d does not follow %d", t.Sequence, h.last)
	}
	h.last = t.Sequence
	if len(h.ring) < HistorySize {
		h.ring = append(h.ring, t)
	} else {
		h.ring[(t.Sequence-1)%HistorySize] = t
	}
	if h.changed != nil {
		close(h.changed)
		h.changed = nil
	}
	return nil
}

// After returns the transitions after the one of the sequence, oldest first, and a channel that is closed on
// the next Append. 0 asks for all since the start. It returns ErrEvicted when some of them are no longer
// kept, and ErrFuture for a sequence that is not reached yet. The caller owns the list and shares the
// evidence.
func (h *History) After(sequence uint64) ([]Transition, <-chan struct{}, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	oldest := h.last - uint64(len(h.ring)) // the one before the oldest kept
	switch {
	case sequence > h.last:
		return nil, nil, fmt.Errorf("%w: %d, the last is %d", ErrFuture, sequence, h.last)
	case sequence < oldest:
		return nil, nil, fmt.Errorf("%w: after %d, the oldest kept is %d", ErrEvicted, sequence, oldest+1)
	}
	list := make([]Transition, 0, h.last-sequence)
	for q := sequence + 1; q <= h.last; q++ {
		list = append(list, h.ring[(q-1)%HistorySize])
	}
	if h.changed == nil {
		h.changed = make(chan struct{})
	}
	return list, h.changed, nil
}

// Last returns the sequence of the newest transition, or 0.
func (h *History) Last() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last
}
