package permit

import (
	"errors"
	"iter"
	"time"
)

// The errors of a Ledger. Those of callers name the bad value and the accepted range besides.
var (
	ErrNoResource  = errors.New("permit: no such resource")
	ErrNoSession   = errors.New("permit: no such session")
	ErrNotOwner    = errors.New("permit: the session belongs to another identity")
	ErrSessions    = errors.New("permit: too many sessions")
	ErrUnsupported = errors.New("permit: the limit of the resource follows a law")
)

// Ledger is the exact account of resources, sessions, targets and charges of one server. It is not safe for
// concurrent use. Nothing is granted between two calls of [Ledger.Advance].
type Ledger struct{}

// NewLedger returns a Ledger at the time now. It reports every fault of c at once.
func NewLedger(now time.Duration, c Config) (*Ledger, error) { return nil, errors.ErrUnsupported }

// Attach begins a session, or resumes or adopts the one that h names. It returns ErrNotOwner for a session of
// another identity, whose charge is not touched, and ErrSessions when there are too many.
func (l *Ledger) Attach(now time.Duration, who Party, h Hello) (Welcome, error) {
	return Welcome{}, errors.ErrUnsupported
}

// Receive takes a frame of a session; its Hello is ignored. A frame that is not newer than the newest one of the
// stream changes nothing.
func (l *Ledger) Receive(now time.Duration, id SessionID, f WorkerFrame) error {
	return errors.ErrUnsupported
}

// Detach says that the stream of the session broke. Its charge stays until it is resumed or expires.
func (l *Ledger) Detach(now time.Duration, id SessionID) {}

// End ends a session whose worker said goodbye or is proven to be dead: what it held is free.
func (l *Ledger) End(now time.Duration, id SessionID) {}

// Kick ends the session of that public name as far as its worker is concerned: it gets no more targets, and its
// charge stays until it expires. It returns what the session was.
func (l *Ledger) Kick(now time.Duration, name, reason string) (SessionAccount, SessionID, error) {
	return SessionAccount{}, SessionID{}, ErrNoSession
}

// SetLimit sets the limit of a resource, and what people are told binds it. Lowering it takes nothing from
// anybody: charges fall as work ends.
func (l *Ledger) SetLimit(now time.Duration, resource string, limit int64, binding string) error {
	return ErrNoResource
}

// SetMode sets what becomes of work above a target of the resource, and why. Drain and cancel set all targets to
// 0 while they last, whatever the limit.
func (l *Ledger) SetMode(now time.Duration, resource string, mode Mode, cancelAfter time.Duration, reason string) error {
	return ErrNoResource
}

// Advance brings the account to the time: it expires sessions, reclaims what is not used, and shares what is
// free. Call it after other calls, and at the time that [Ledger.Next] names.
func (l *Ledger) Advance(now time.Duration) {}

// Next returns when Advance has something to do without any other call.
func (l *Ledger) Next() (at time.Duration, ok bool) { return 0, false }

// TakeRecords appends to dst the records that must be written down before the targets of [Ledger.TakeTargets]
// are sent, and forgets them.
func (l *Ledger) TakeRecords(dst []Record) []Record { return dst }

// Dirty yields the live sessions that have targets to be sent.
func (l *Ledger) Dirty() iter.Seq[SessionID] { return func(func(SessionID) bool) {} }

// TakeTargets appends to dst the targets of the session that changed since the last call, and takes them for
// sent.
func (l *Ledger) TakeTargets(id SessionID, dst []Target) []Target { return dst }

// Recovery returns how much longer something may be charged as unknown, or 0.
func (l *Ledger) Recovery(now time.Duration) time.Duration { return 0 }

// Check returns an error that names every invariant that does not hold: the conserved sum, the order of
// versions, and the sums that are kept beside their parts. It costs as much as a look at every session.
func (l *Ledger) Check() error { return nil }
