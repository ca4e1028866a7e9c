package server

import (
	"cmp"
	"container/list"
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

// line is what a queue has and wants of one resource.
type line struct {
	queue    *queue
	resource string

	version, target int64
	contended       bool
	mode            permit.Mode
	wait            time.Duration // for one more permit, by the ledger
	hasWait         bool
	ceiling         int64 // given under the version, where yielded
	yielded         bool
	fences, fence   int64 // the base of the block, and the next

	held    int64
	waiting list.List     // of *claim
	wanted  int64         // the sum of their counts
	tickets int64         // given to claims
	hold    time.Duration // how long a permit is held, on average; 0 while unknown
}

// claim is a request for permits, of one call or of several with one request_id.
type claim struct {
	line    *line
	element *list.Element // in line.waiting; nil once it waits no longer
	ticket  int64
	owner   permit.Party
	count   int64
	request string
	client  string
	ttl     time.Duration
	since   time.Duration
	joined  int // calls that wait for it

	taken bool // a call has it
	lease *held
	err   error
	done  chan struct{} // closed when lease or err is set, and what lease rests on is written down
}

// room is how many more permits the line may take.
func (l *line) room() int64 {
	most := l.target
	if l.yielded {
		most = min(most, l.ceiling)
	}
	return most - l.held
}

// report returns what the line says to the ledger.
func (l *line) report(now time.Duration) permit.Report {
	r := permit.Report{
		Resource: l.resource, Version: l.version, Held: l.held, Want: l.held + l.wanted,
		Ceiling: l.ceiling, HasCeiling: l.yielded, Priority: l.queue.key.priority, MeanHold: l.hold,
	}
	if front := l.waiting.Front(); front != nil {
		first := front.Value.(*claim)
		r.Need, r.OldestWait = first.count, now-first.since
	}
	return r
}

// take puts a target in force. It reports whether the ledger frees something by hearing of that.
func (l *line) take(t *permit.Target) (frees bool) {
	if t.Version <= l.version {
		return false
	}
	frees = t.Target < l.target || l.yielded
	if t.Fence != l.fences {
		l.fences, l.fence = t.Fence, t.Fence
	}
	l.version, l.target, l.contended, l.mode, l.yielded = t.Version, t.Target, t.Contended, t.Mode, false
	l.wait, l.hasWait = t.Wait, t.HasWait
	return frees
}

// next takes the count of fences and returns the first.
func (l *line) next(count int64) int64 {
	first, last := l.fence, l.fences+permit.FenceBlock-1
	l.fence = min(l.fence+count, last)
	return first
}

// ended notes that permits ended which were held for that long.
func (l *line) ended(count int64, lasted time.Duration) {
	l.held -= count
	const share = 8 // of the newest, one part in so many
	if l.hold == 0 {
		l.hold = max(lasted, 1)
	} else {
		l.hold = max(l.hold+(lasted-l.hold)/share, 1)
	}
	if l.contended || l.held < l.target && l.wanted == 0 && l.mode != permit.ModeNormal {
		l.yield()
	}
}

// yield gives back what is not used.
func (l *line) yield() {
	if ceiling := max(l.held, 0); !l.yielded || ceiling < l.ceiling {
		l.ceiling, l.yielded = ceiling, true
	}
}

// add puts a claim at the end of the line.
func (l *line) add(c *claim) {
	l.tickets++
	c.line, c.ticket = l, l.tickets
	c.element = l.waiting.PushBack(c)
	l.wanted += c.count
}

// remove takes a claim out of the line.
func (l *line) remove(c *claim) {
	if c.element == nil {
		return
	}
	l.waiting.Remove(c.element)
	c.element = nil
	l.wanted -= c.count
}

// ahead is how many claims stand before c at most: those that gave up meanwhile count.
func (l *line) ahead(c *claim) int64 {
	front := l.waiting.Front()
	if c.element == nil || front == nil {
		return 0
	}
	return c.ticket - front.Value.(*claim).ticket
}

// estimate is how long a claim of that count waits if it stands behind ahead permits of the line, if that can
// be told.
func (l *line) estimate(ahead, count int64) (time.Duration, bool) {
	need := ahead + count - max(l.room(), 0)
	switch {
	case need <= 0:
		return 0, true
	case l.hold == 0 || l.version == 0:
		return l.wait, l.hasWait
	case l.target < 1:
		return cmp.Or(l.wait, l.hold), l.hasWait
	}
	// With so many in use, one ends in each such part of the time that one is held.
	return time.Duration(min(float64(need)*float64(l.hold)/float64(l.target), float64(longestEstimate))), true
}
