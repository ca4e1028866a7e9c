package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

const (
	// maxBatch bounds how many changes wait for one pass of the ledger.
	maxBatch = 64

	// endingDelay is how long the end of a lease may stay unwritten. Where leases come and go it is written with
	// the next one.
	endingDelay = 50 * time.Millisecond

	// longestWait is the longest time between two looks at the ledger; the host may have slept meanwhile.
	longestWait = time.Second
)

// arbiter owns the Ledger. Whoever has a change makes it between enter and leave; the last of those that came
// at the same time lets the ledger decide for all of them, has written down what must be, and tells the streams
// and queues that have new targets.
//
// A panic between the two may leave an account that no longer holds, so it ends the process and not the call
// alone: workers then go by their leases, and the next life of the server by the journal.
type arbiter struct {
	clock   func() time.Duration
	log     *slog.Logger
	journal *journal              // nil without one that can be trusted; used by whoever is in pass
	slow    func(context.Context) // told of every stream that is not read
	broken  func(any)             // told of a panic; does not return

	coming atomic.Int32  // those that wait to enter
	wake   chan struct{} // holds one token, for the loop
	writes sync.WaitGroup

	mu       sync.Mutex
	ledger   *permit.Ledger
	changed  bool  // the ledger has something to decide
	batch    int   // changes since the last pass
	passes   int   // begun
	passing  bool  // somebody is in pass
	writing  bool  // what the targets rest on is being written down: they must not be sent yet
	frozen   bool  // the server ends: nothing is granted any more
	failure  error // why it has to; or nil
	due      time.Duration
	streams  map[permit.SessionID]*attached
	queues   *queues
	records  []permit.Record
	entries  []journalEntry // to be written down before what was granted is told
	endings  []journalEntry // to be written down with them, or in endingDelay: without them too much is charged
	dirty    []permit.SessionID
	counters arbiterCounters
}

// arbiterCounters are the counters of an arbiter, for metrics.
type arbiterCounters struct {
	targets, grants, expiries, faults uint64
}

func newArbiter(ledger *permit.Ledger, j *journal, clock func() time.Duration, log *slog.Logger) *arbiter {
	a := &arbiter{
		clock: clock, log: log, journal: j, ledger: ledger,
		wake:    make(chan struct{}, 1),
		streams: make(map[permit.SessionID]*attached),
		changed: true,
	}
	a.broken = a.breaks
	return a
}

// enter gives the caller the ledger until leave, and returns the time.
func (a *arbiter) enter() (now time.Duration) {
	a.coming.Add(1)
	a.mu.Lock()
	a.coming.Add(-1)
	return a.clock()
}

// change notes, between enter and leave, that the ledger has something to decide.
func (a *arbiter) change() {
	a.changed = true
	a.batch++
}

// leave gives the ledger back. It lets it decide first, unless somebody else is about to. It must be deferred.
func (a *arbiter) leave() {
	if p := recover(); p != nil {
		a.broken(p)
	}
	defer func() {
		if p := recover(); p != nil {
			a.broken(p)
		}
	}()
	if a.changed && !a.passing && (a.batch >= maxBatch || a.coming.Load() == 0) {
		a.passLocked(false)
	}
	a.mu.Unlock()
}

// breaks ends the process, with exit code 2, because of a panic that a caller must not recover from. It keeps the
// ledger, so that nothing is granted meanwhile.
func (a *arbiter) breaks(p any) {
	a.log.LogAttrs(context.Background(), slog.LevelError, "the account of permits may be broken: the server ends at once",
		slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
	go panic(p)
	select {}
}

// passLocked lets the ledger decide until there is nothing left to decide. What is to be written down it leaves
// to a goroutine of its own, unless it may wait: whoever has a change must not wait for a disk.
func (a *arbiter) passLocked(wait bool) {
	a.passing = true
	for a.changed {
		a.changed, a.batch = false, 0
		a.passes++
		if now := a.clock(); !a.frozen {
			a.queues.beat(now)
			a.ledger.Advance(now)
		}
		if !wait && a.unwrittenLocked() || !a.tellLocked(wait) {
			a.writing = true // from now on
			a.writes.Go(a.writeOut)
			return
		}
	}
	a.passing = false
	if at, ok := a.ledger.Next(); ok && (a.due == 0 || at < a.due) {
		a.poke()
	}
}

// writeOut goes on with a pass that has something to write down.
func (a *arbiter) writeOut() {
	a.enter()
	defer a.mu.Unlock()
	a.writeLocked()
	a.writing = false
	a.tellLocked(true)
	a.passLocked(true)
}

// tellLocked tells what was decided, once it is written down. It reports false if it may not wait for that.
func (a *arbiter) tellLocked(wait bool) bool {
	a.writeLocked()
	a.tellTargets()
	if !wait && a.unwrittenLocked() {
		return false
	}
	a.writeLocked()
	if a.failure == nil {
		a.queues.tell()
	}
	return true
}

// tellTargets tells the streams and the queues that have new targets.
func (a *arbiter) tellTargets() {
	if a.frozen {
		return
	}
	now := a.clock()
	a.dirty = a.dirty[:0]
	for id := range a.ledger.Dirty() {
		a.dirty = append(a.dirty, id)
	}
	for _, id := range a.dirty {
		if w := a.streams[id]; w != nil {
			w.poke()
		} else {
			a.queues.apply(now, id)
		}
	}
}

// poke makes the loop look again.
func (a *arbiter) poke() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// ended notes, for the journal, that a lease is over.
func (a *arbiter) ended(now time.Duration, id leaseID) {
	if a.journal == nil {
		return
	}
	a.endings = append(a.endings, journalEntry{kind: entryEnd, end: id})
	if a.due > now+endingDelay {
		a.poke()
	}
}

// unwrittenLocked reports whether there is something to write down that others wait for.
func (a *arbiter) unwrittenLocked() bool {
	a.records = a.ledger.TakeRecords(a.records[:0])
	if a.journal == nil {
		a.entries, a.endings = nil, nil
	} else {
		for _, r := range a.records {
			a.entries = append(a.entries, journalEntry{kind: entryCeiling, ceiling: r})
		}
	}
	return len(a.entries) > 0
}

// writeLocked writes down what the ledger and the queues grant, until nothing is left. It gives the ledger to
// others meanwhile, who may change it but not send what it decided.
func (a *arbiter) writeLocked() {
	for a.failure == nil && a.unwrittenLocked() {
		j, entries := a.journal, a.entries
		a.writing = true
		if len(a.endings) > 0 {
			entries, a.endings = append(entries, a.endings...), a.endings[:0]
		}
		a.entries = nil
		a.mu.Unlock()
		err := j.write(entries)
		a.mu.Lock()
		a.writing = false
		if err == nil {
			continue
		}
		a.counters.faults++
		a.journal = nil
		if errors.Is(err, errJournalStale) {
			a.failure = fmt.Errorf("the journal: %w", err)
			a.frozen = true // what is not written down must not be told
			a.queues.drain()
			a.poke()
			return
		}
		a.log.LogAttrs(context.Background(), slog.LevelError, "the journal of permits cannot be written: the next "+
			"start of the server charges every resource in full for a while", slog.String("reason", err.Error()))
	}
}

// run lets the ledger decide when time alone has changed something, until ctx is done. It returns why it cannot
// go on before that.
func (a *arbiter) run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.wake:
		case <-timer.C:
		}
		wait, err := a.look()
		if err != nil {
			return err
		}
		timer.Reset(wait)
	}
}

// look lets the ledger decide what is due, and returns how long there is nothing to do, or why nothing can be done
// any more.
func (a *arbiter) look() (time.Duration, error) {
	now := a.enter()
	defer a.mu.Unlock()
	next := now + longestWait
	if !a.frozen {
		if !a.passing {
			if at, ok := a.ledger.Next(); ok && at <= now {
				a.changed = true
			}
			next = min(next, a.queues.advance(now))
			if len(a.endings) > 0 {
				a.entries, a.endings = append(a.entries, a.endings...), a.endings[:0]
				a.changed, next = true, min(next, now+endingDelay) // others may end soon
			}
			if a.changed {
				a.passLocked(true)
			}
		}
		if at, ok := a.ledger.Next(); ok {
			next = min(next, at)
		}
		if len(a.endings) > 0 {
			next = min(next, now+endingDelay)
		}
	}
	a.due = next
	return max(next-a.clock(), time.Millisecond), a.failure
}

// close writes down what is left and ends the use of the journal.
func (a *arbiter) close() {
	a.enter()
	defer a.mu.Unlock()
	a.frozen = true
	for a.passing {
		a.mu.Unlock()
		a.writes.Wait()
		a.mu.Lock()
	}
	a.entries, a.endings = append(a.entries, a.endings...), nil
	a.changed = true
	a.passLocked(true)
	a.journal = nil
}
