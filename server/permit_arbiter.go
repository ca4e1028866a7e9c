package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

const (
	// maxBatch bounds how many changes wait for one pass of the ledger.
	maxBatch = 64

	// mostPasses bounds how often the ledger decides anew on what the queues made of what it decided, which settles
	// after a few times. Should it not, others have their turn before it goes on.
	mostPasses = 64

	// mostSent bounds to how many streams who had a change sends itself what comes of it.
	mostSent = 2

	// endingDelay is how long the end of a lease may stay unwritten. Where leases come and go it is written with
	// the next one.
	endingDelay = 50 * time.Millisecond

	// longestWait is the longest time between two looks at a ledger in which time changes something; the host may
	// have slept meanwhile.
	longestWait = time.Second

	// never is when time alone changes something where it does not.
	never = time.Duration(math.MaxInt64)
)

// arbiter owns the Ledger. Whoever has a change makes it between enter and leave; the last of those that came
// at the same time lets the ledger decide for all of them, has written down what must be, and tells the streams
// and queues that have new targets.
//
// A panic between the two may leave an account that no longer holds. So the account is never used again, whoever
// asks is refused, and the server ends: workers then go by their leases, and the next life of the server by the
// journal.
type arbiter struct {
	clock   func() time.Duration
	log     *slog.Logger
	journal *journal              // nil without one; used by whoever is in pass
	slow    func(context.Context) // told of every stream that is not read

	coming atomic.Int32  // those that wait to enter
	wake   chan struct{} // holds one token, for the loop
	wanted chan struct{} // likewise, for the law of HostResource, once somebody wants what nobody used
	writes sync.WaitGroup

	mu        sync.Mutex
	now       time.Duration // when whoever has the ledger last looked at the clock
	ledger    *permit.Ledger
	changed   bool          // the ledger has something to decide
	batch     int           // changes since the last pass
	passes    int           // begun
	passing   bool          // somebody is in pass
	unsettled bool          // the last pass was broken off, to go on in a while
	writing   bool          // what the targets rest on is being written down: they must not be sent yet
	frozen    bool          // the server ends: nothing is granted any more
	failure   error         // why it has to; or nil
	broken    bool          // the account may not hold: it is not used any more
	unkept    bool          // the journal cannot be written
	due       time.Duration // when the loop looks next
	unused    bool          // nobody used HostResource when its law looked last
	streams   map[permit.SessionID]*attached
	queues    *queues
	records   []permit.Record
	entries   []journalEntry // to be written down before what was granted is told
	endings   []journalEntry // to be written down with them, or in endingDelay: without them too much is charged
	spare     []journalEntry // of no content, to be entries while those are written
	dirty     []permit.SessionID
	sending   bool // whoever is in pass sends on claimed once it has left
	claimed   []*attached
	counters  arbiterCounters
}

// arbiterCounters are the counters of an arbiter, for metrics.
type arbiterCounters struct {
	targets, grants, expiries, faults uint64
}

func newArbiter(ledger *permit.Ledger, j *journal, clock func() time.Duration, log *slog.Logger) *arbiter {
	return &arbiter{
		clock: clock, log: log, journal: j, ledger: ledger,
		wake:    make(chan struct{}, 1),
		wanted:  make(chan struct{}, 1),
		streams: make(map[permit.SessionID]*attached),
		changed: true,
	}
}

// errBroken reports that a panic came up while the account changed.
var errBroken = errors.New("the account of permits may be broken")

// enter gives the caller the ledger until leave, and returns the time; or an error, if the ledger must not be used any
// more.
func (a *arbiter) enter() (now time.Duration, err error) {
	if err := a.enterTimeless(); err != nil {
		return 0, err
	}
	a.now = a.clock()
	return a.now, nil
}

// enterTimeless is enter for what needs no time, for which some systems charge a system call.
func (a *arbiter) enterTimeless() error {
	a.coming.Add(1)
	a.mu.Lock()
	a.coming.Add(-1)
	if a.broken {
		a.mu.Unlock()
		return errDraining
	}
	return nil
}

// change notes, between enter and leave, that the ledger has something to decide.
func (a *arbiter) change() {
	a.changed = true
	a.batch++
}

// leave gives the ledger back. It lets it decide first, unless somebody else is about to. It must be deferred, with
// the error that the caller returns, or nil: a panic becomes that error.
func (a *arbiter) leave(err *error) { a.leaveLocked(recover(), err, false) }

// leaveWriting is leave for a goroutine that goes on when its change was decided on and written down: it does both
// itself, and spares the switch to another goroutine and back.
func (a *arbiter) leaveWriting(err *error) { a.leaveLocked(recover(), err, true) }

// leaveSending is leave for a goroutine that may send to others what its change made of their targets: that spares them
// another goroutine. It must not hold what they need for that.
func (a *arbiter) leaveSending(err *error) {
	p := recover()
	a.sending = true
	for _, w := range a.leaveLocked(p, err, false) {
		w.sendNext(w.patience)
	}
}

// leaveLocked is leave after the panic p, if that is not nil, of a goroutine that may wait for the journal or not. It
// returns the streams that the caller has to send on.
func (a *arbiter) leaveLocked(p any, err *error, wait bool) (streams []*attached) {
	defer a.mu.Unlock()
	defer func() { streams, a.sending, a.claimed = a.claimed, false, nil }()
	fault := error(nil)
	if p != nil {
		fault = a.breakLocked(p)
	} else if a.changed && !a.passing && (a.batch >= maxBatch || a.coming.Load() == 0) {
		a.writes.Add(1)
		fault = a.tryLocked(func() { a.passLocked(wait) })
		a.writes.Done()
	}
	if fault != nil && err != nil {
		*err = fault
	}
	return nil
}

// tryLocked calls f, which uses the ledger.
func (a *arbiter) tryLocked(f func()) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = a.breakLocked(p)
		}
	}()
	f()
	return nil
}

// breakLocked ends all use of the account because of a panic, and makes the loop end the server. It returns what the
// caller whose change it was is told.
func (a *arbiter) breakLocked(p any) error {
	a.log.LogAttrs(context.Background(), slog.LevelError, "the account of permits may be broken: the server ends at once",
		slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
	a.broken, a.frozen = true, true
	a.failure = fmt.Errorf("%w: %v", errBroken, p)
	a.poke()
	return errDraining
}

// passLocked lets the ledger decide until there is nothing left to decide. What is to be written down it leaves
// to a goroutine of its own, unless it may wait: a stream that has a change must not wait for a disk.
func (a *arbiter) passLocked(wait bool) {
	a.passing = true
	for pass := 0; a.changed; pass++ {
		if pass == mostPasses {
			a.unsettled = true
			break
		}
		a.changed, a.batch = false, 0
		a.passes++
		if !a.frozen {
			a.queues.beat(a.now)
			a.ledger.Advance(a.now)
			if a.unused && a.ledger.Wanted(HostResource) > 0 {
				a.unused = false
				select {
				case a.wanted <- struct{}{}:
				default:
				}
			}
			for _, o := range a.ledger.TakeOverclaims() {
				a.logOverclaim(&o)
			}
		}
		if !wait && a.unwrittenLocked() || !a.tellLocked(wait) {
			a.writing = true // from now on
			a.writes.Go(a.writeOut)
			return
		}
	}
	a.passing = false
	if a.unsettled {
		a.poke()
	}
	if at, ok := a.ledger.Next(); ok && (a.due == 0 || at < a.due) {
		a.poke()
	}
}

// logOverclaim says that not all claims to what was held before the start can be true.
func (a *arbiter) logOverclaim(o *permit.Overclaim) {
	claims := make([]string, len(o.Claims))
	for i, c := range o.Claims {
		claims[i] = fmt.Sprintf("%d by %s (%s, session %s)", c.Charge, clip(c.Client), c.Identity, c.Session)
	}
	a.log.LogAttrs(context.Background(), slog.LevelWarn, "workers claim to hold more from before the start of the server than "+
		"the limit: nothing more is granted until it is less", slog.String("resource", o.Resource),
		slog.Int64("limit", o.Limit), slog.Int64("charge", o.Charge), slog.String("claims", strings.Join(claims, ", ")))
}

// writeOut goes on with a pass that has something to write down.
func (a *arbiter) writeOut() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.broken {
		return
	}
	a.now = a.clock()
	_ = a.tryLocked(func() { // a.failure says it too
		a.writeLocked()
		a.writing = false
		a.tellLocked(true)
		a.passLocked(true)
	})
}

// tellLocked tells what was decided, once it is written down. It reports false if it may not wait for that.
func (a *arbiter) tellLocked(wait bool) bool {
	a.writeLocked()
	a.applyTargets()
	if !wait && a.unwrittenLocked() {
		return false
	}
	a.writeLocked() // before the streams are told: their senders take nothing while something is written
	a.tellStreams()
	if a.failure == nil {
		a.queues.tell()
	}
	return true
}

// applyTargets gives the queues their new targets.
func (a *arbiter) applyTargets() {
	if a.frozen {
		return
	}
	a.dirty = a.dirty[:0]
	for id := range a.ledger.Dirty() {
		if a.streams[id] == nil {
			a.dirty = append(a.dirty, id)
		}
	}
	for _, id := range a.dirty {
		a.queues.apply(a.now, id)
	}
}

// tellStreams tells the streams that have new targets.
func (a *arbiter) tellStreams() {
	if a.frozen {
		return
	}
	a.dirty = a.dirty[:0]
	for id := range a.ledger.Dirty() {
		if a.streams[id] != nil {
			a.dirty = append(a.dirty, id)
		}
	}
	for _, id := range a.dirty {
		w := a.streams[id]
		if a.sending && len(a.dirty) <= mostSent && w.claim() {
			a.claimed = append(a.claimed, w)
		} else {
			w.poke()
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

// keepsLocked reports whether the next life of the server will know what is granted now.
func (a *arbiter) keepsLocked() bool { return a.journal != nil && !a.unkept }

// writeLocked writes down what the ledger and the queues grant, until nothing is left. It gives the ledger to
// others meanwhile, who may change it but not send what it decided.
func (a *arbiter) writeLocked() {
	for a.failure == nil && a.unwrittenLocked() {
		entries := append(a.entries, a.endings...)
		a.entries, a.endings, a.spare = a.spare, a.endings[:0], nil
		a.keepLocked(entries)
		if cap(entries) <= maxBatch {
			clear(entries)
			a.spare = entries[:0]
		}
	}
}

// keepLocked writes entries to the journal, without the lock.
func (a *arbiter) keepLocked(entries []journalEntry) {
	j, now := a.journal, a.now
	a.writing = true
	err := a.unlocked(func() error { return j.write(now, entries) })
	a.writing = false
	switch {
	case errors.Is(err, errJournalStale):
		a.counters.faults++
		a.failure = fmt.Errorf("the journal: %w", err)
		a.frozen, a.unkept = true, true // what is not written down must not be told
		a.queues.drain()
		a.poke()
	case errors.Is(err, errJournalPause): // as before
	case err != nil:
		a.unkeep(err)
	case a.unkept:
		a.unkept = false
		a.log.LogAttrs(context.Background(), slog.LevelInfo, "the journal of permits is written again")
	}
}

// unkeep notes that the journal cannot be written.
func (a *arbiter) unkeep(err error) {
	a.counters.faults++
	if !a.unkept {
		a.log.LogAttrs(context.Background(), slog.LevelError, "the journal of permits cannot be written: until it can, a "+
			"start of the server charges every resource in full for a while", slog.String("reason", err.Error()))
		a.poke() // it is begun anew by the loop
	}
	a.unkept = true
}

// unlocked calls f without the lock.
func (a *arbiter) unlocked(f func() error) error {
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		a.now = a.clock()
	}()
	return f()
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
		timer.Stop()
		if wait < never {
			timer.Reset(wait)
		}
	}
}

// look lets the ledger decide what is due, and returns how long there is nothing to do, never if it needs no more
// looks, or why nothing can be done any more.
func (a *arbiter) look() (wait time.Duration, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.broken {
		a.now = a.clock()
		_ = a.tryLocked(func() { wait = a.lookLocked(a.now) }) // a.failure says it too
	}
	return wait, a.failure
}

func (a *arbiter) lookLocked(now time.Duration) time.Duration {
	next := never
	if !a.frozen {
		if a.passing {
			next = now + longestWait
		} else {
			if at, ok := a.ledger.Next(); ok && at <= now {
				a.changed = true
			}
			next = min(next, a.queues.advance(now))
			if len(a.endings) > 0 {
				a.entries, a.endings = append(a.entries, a.endings...), a.endings[:0]
				a.changed, next = true, min(next, now+endingDelay) // others may end soon
			}
			if a.unkept {
				a.passing, a.changed = true, true
				a.keepLocked(nil) // it may be begun anew
			}
			if a.changed {
				a.unsettled = false
				a.passLocked(true)
			}
			if a.unsettled {
				next = now
			}
			if a.unkept {
				next = min(next, now+longestWait)
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
	if next == never {
		return never
	}
	a.due = min(next, now+longestWait)
	return max(a.due-a.clock(), time.Millisecond)
}

// close writes down what is left and ends the use of the journal.
func (a *arbiter) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.frozen = true
	for a.passing && !a.broken {
		a.mu.Unlock()
		a.writes.Wait()
		a.mu.Lock()
	}
	if a.broken {
		return
	}
	a.entries, a.endings = append(a.entries, a.endings...), nil
	a.changed, a.now = true, a.clock()
	_ = a.tryLocked(func() { a.passLocked(true) }) // the journal stands as it is
	a.journal = nil
}
