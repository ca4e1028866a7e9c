package permit

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"
)

// The errors of a Ledger. Those of callers name the bad value and the accepted range besides.
var (
	ErrNoResource = errors.New("permit: no such resource")
	ErrNoSession  = errors.New("permit: no such session")
	ErrNotOwner   = errors.New("permit: the session belongs to another identity")
	ErrSessions   = errors.New("permit: too many sessions")
)

// A SessionsError is an ErrSessions that says of whom there are too many.
type SessionsError struct {
	// Identity is whose sessions are as many as they may be; empty for those of all.
	Identity string

	// Most is how many there may be.
	Most int
}

// Error names whose sessions there are too many of, the bound and the setting that states it.
func (e *SessionsError) Error() string {
	if e.Identity == "" {
		return fmt.Sprintf("%v: there are %d, which is the most (MaxSessions)", ErrSessions, e.Most)
	}
	return fmt.Sprintf("%v: %s has %d, which is the most (MaxSessionsPerIdentity)", ErrSessions, e.Identity, e.Most)
}

// Unwrap returns ErrSessions.
func (e *SessionsError) Unwrap() error { return ErrSessions }

// Ledger is the exact account of resources, sessions, targets and charges of one server. It is not safe for
// concurrent use. Nothing is granted between two calls of [Ledger.Advance].
type Ledger struct {
	config     Config
	epoch      int64
	now        time.Duration
	sessions   map[SessionID]*session
	identities map[string]*identity
	heirs      map[SessionID]*session // by the session whose place they took
	resources  []*resource            // by name
	byName     map[string]*resource
	expiry     expiry
	recovery   recovery
	dirty      []*resource // to be shared out again
	unsettled  []*session  // that may have targets to be sent
	records    []Record
	pass       pass
	expired    uint64 // sessions
}

// NewLedger returns a Ledger at the time now. It reports every fault of c at once.
func NewLedger(now time.Duration, c Config) (*Ledger, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	l := &Ledger{
		config:     c,
		epoch:      c.Epoch,
		now:        now,
		sessions:   make(map[SessionID]*session),
		identities: make(map[string]*identity),
		heirs:      make(map[SessionID]*session),
		byName:     make(map[string]*resource),
	}
	for _, in := range c.Resources {
		r := &resource{name: in.Name, config: in, mode: ModeNormal, holders: make(map[string]*holder), since: now,
			newPart: MaxLimit}
		r.limit = in.Limit
		r.bindBy("")
		l.resources = append(l.resources, r)
		l.byName[r.name] = r
	}
	slices.SortFunc(l.resources, func(a, b *resource) int { return cmp.Compare(a.name, b.name) })
	l.startRecovery()
	l.config.Recovered = nil
	return l, nil
}

// clock takes the time, which does not go back.
func (l *Ledger) clock(now time.Duration) { l.now = max(l.now, now) }

// SetLimit sets the limit of a resource, and what people are told binds it. Lowering it takes nothing from
// anybody: charges fall as work ends.
func (l *Ledger) SetLimit(now time.Duration, resource string, limit int64, binding string) error {
	l.clock(now)
	r := l.byName[resource]
	if r == nil {
		return fmt.Errorf("%w: %q", ErrNoResource, resource)
	}
	if limit < 0 || limit > MaxLimit {
		return fmt.Errorf("permit: limit: %d is not within 0 to %d", limit, MaxLimit)
	}
	if limit == r.limit {
		if binding != r.binding {
			r.bindBy(binding)
		}
		return nil
	}
	if l.config.Amnesia && l.recovery.open && limit > r.limit {
		// The earlier life may have granted that too.
		r.unknown += max(min(limit-r.limit, limit-r.charge-r.unknown), 0)
		r.claimable = max(r.claimable, limit)
	}
	r.limit = limit
	r.bindBy(binding)
	l.touch(r)
	return nil
}

// SetMode sets what becomes of work above a target of the resource, and why. Drain and cancel set all targets to
// 0 while they last, and 0 is the limit that accounts state, whatever [Ledger.SetLimit] says. It holds again after them.
func (l *Ledger) SetMode(now time.Duration, resource string, mode Mode, cancelAfter time.Duration, reason string) error {
	l.clock(now)
	r := l.byName[resource]
	switch {
	case r == nil:
		return fmt.Errorf("%w: %q", ErrNoResource, resource)
	case mode < ModeNormal || mode > ModeCancel:
		return fmt.Errorf("permit: mode: %d is not within %d to %d", mode, ModeNormal, ModeCancel)
	case cancelAfter < 0:
		return fmt.Errorf("permit: cancelAfter: %v is negative", cancelAfter)
	case r.mode == mode && r.cancelAfter == cancelAfter && r.reason == reason:
		return nil
	}
	r.mode, r.cancelAfter, r.reason = mode, cancelAfter, reason
	r.stance++
	l.touch(r)
	return nil
}

// Advance brings the account to the time: it expires sessions, reclaims what is not used, and shares what is
// free. Call it after other calls, and at the time that [Ledger.Next] names.
func (l *Ledger) Advance(now time.Duration) {
	l.clock(now)
	l.expire()
	l.endRecovery()
	for _, r := range l.resources {
		if r.reviewing && r.review <= l.now {
			l.touch(r)
		}
	}
	dirty := l.dirty
	l.dirty = l.dirty[:0]
	for _, r := range dirty {
		r.dirty = false
		if r.changed || !l.handOff(r) {
			l.shareOut(r)
		}
	}
	if len(l.unsettled) > 2*len(l.sessions)+64 {
		for range l.Dirty() { // drops those that ended
		}
	}
}

// Expired returns how many sessions ended because nothing was heard of them.
func (l *Ledger) Expired() uint64 { return l.expired }

// Next returns when Advance has something to do without any other call.
func (l *Ledger) Next() (at time.Duration, ok bool) {
	earliest := func(t time.Duration) {
		if !ok || t < at {
			at, ok = t, true
		}
	}
	if len(l.expiry) > 0 && l.expiry[0].expires < never {
		earliest(l.expiry[0].expires)
	}
	if l.recovery.open {
		earliest(l.recovery.until)
	}
	for _, r := range l.resources {
		switch {
		case r.dirty:
			earliest(l.now)
		case r.reviewing:
			earliest(r.review)
		}
	}
	return at, ok
}
