package permit

import (
	"errors"
	"fmt"
	"time"

	"github.com/headroom-rpc/headroom/internal/mistake"
)

// An identity is who owns sessions.
type identity struct {
	name     string
	sessions int
}

// A session is one attached worker.
type session struct {
	id        SessionID
	name      string // public
	party     Party
	identity  *identity
	client    string
	instance  InstanceID
	live      bool
	kicked    string // why it was kicked, or empty
	begun     time.Duration
	heard     time.Duration
	expires   time.Duration
	place     int   // in the expiry heap
	sequence  int64 // of the newest frame of the stream
	shares    []*share
	heirOf    SessionID // the session whose place it took, or zero
	refused   []Target  // to be sent
	unsettled bool      // whether it is among those that may have targets to be sent
}

// served reports whether the session may be given anything.
func (s *session) served() bool { return s.live && s.kicked == "" }

func (s *session) share(resource string) *share {
	for _, sh := range s.shares {
		if sh.resource.name == resource {
			return sh
		}
	}
	return nil
}

// Attach begins a session, or resumes or adopts the one that h names. It returns ErrNotOwner for a session of
// another identity, whose charge is not touched, and a [SessionsError] when there are too many. A session that is not
// known, such as a forged one, is not resumed: the worker gets a new one, which adopts nothing.
//
// From then on no frame of an earlier stream of the session may be given to [Ledger.Receive].
func (l *Ledger) Attach(now time.Duration, who Party, h Hello) (Welcome, error) {
	l.clock(now)
	if h.Resume {
		// A map lookup tells by its time at most whether an id hashes as another does, by a seed of the
		// process; to resume takes the identity besides.
		s := l.sessions[h.Session]
		if h.Epoch != l.epoch {
			s = nil
		}
		left, owner := s, ""
		if left == nil {
			left = l.heirs[h.Session]
			if left != nil && left.identity.name != who.Identity && l.config.Amnesia {
				left = nil // nothing was known of the session, so either may be right
			}
		}
		if left != nil {
			owner = left.identity.name
		} else if e := l.recovery.entries[h.Session]; e != nil && h.Epoch != l.epoch {
			owner = e.identity
		}
		switch {
		case owner != "" && owner != who.Identity && !mistake.Planted(mistake.ResumeOther):
			return Welcome{}, fmt.Errorf("%w: session %s is not of %s", ErrNotOwner, h.Session.Name(), who.Identity)
		case left == nil:
		case left.instance != h.Instance: // another process has the id: what it holds is its own
		case s != nil && s.kicked == "":
			l.resume(s, h)
			return l.welcome(s, true), nil
		default:
			return l.replace(left, who, h)
		}
	}
	s, err := l.begin(who, h)
	if err != nil {
		return Welcome{}, err
	}
	if h.Resume && h.Epoch != l.epoch {
		l.recover(s, h)
	}
	return l.welcome(s, false), nil
}

// replace begins a session in place of one that its worker cannot go on with: it was kicked, or its welcome
// never came. What the old one was charged for, as far as the worker says that it holds it, goes with it.
func (l *Ledger) replace(old *session, who Party, h Hello) (Welcome, error) {
	s, err := l.begin(who, h)
	if err != nil {
		return Welcome{}, err
	}
	s.begun = old.begun
	l.succeed(old, s, h)
	l.inherit(s, h.Session)
	return l.welcome(s, false), nil
}

// inherit notes that s is what became of the session of that id, for a worker that asks for it again because
// the welcome was lost.
func (l *Ledger) inherit(s *session, id SessionID) {
	s.heirOf = id
	l.heirs[id] = s
}

func (l *Ledger) welcome(s *session, resumed bool) Welcome {
	return Welcome{
		Session:   s.id,
		Epoch:     l.epoch,
		Instance:  l.config.Instance,
		Version:   l.config.Version,
		TTL:       l.config.TTL,
		Heartbeat: l.heartbeat(),
		Grace:     l.config.Grace,
		Resumed:   resumed,
		Recovery:  l.Recovery(l.now),
	}
}

// freeBeats is how many sessions may beat every second.
const freeBeats = 500

// heartbeat returns how often a session that begins now is to be heard: the more there are the more seldom, so that
// their beats do not take the server's time for themselves, but three times in a TTL.
func (l *Ledger) heartbeat() time.Duration {
	stretched := time.Duration(len(l.sessions)) * (time.Second / freeBeats)
	return max(l.config.Heartbeat, min(stretched, l.config.TTL/3))
}

func (l *Ledger) begin(who Party, h Hello) (*session, error) {
	if len(l.sessions) >= l.config.MaxSessions && !who.Resident {
		return nil, &SessionsError{Most: l.config.MaxSessions}
	}
	owner := l.identities[who.Identity]
	if owner == nil {
		owner = &identity{name: who.Identity}
	}
	if most := l.config.MaxSessionsPerIdentity; owner.sessions >= most && !who.Unbounded && !who.Resident {
		return nil, &SessionsError{who.Identity, most}
	}
	s := &session{party: who, identity: owner, client: h.Client, instance: h.Instance, live: true}
	for range 3 {
		if s.id = l.config.NewSession(); l.sessions[s.id] == nil && s.id != (SessionID{}) {
			break
		}
	}
	if l.sessions[s.id] != nil {
		return nil, errors.New("permit: NewSession makes ids that exist")
	}
	s.name = s.id.Name()
	owner.sessions++
	l.identities[owner.name] = owner
	l.sessions[s.id] = s
	s.begun, s.heard = l.now, l.now
	l.expiry.push(s, l.expires(s, l.now))
	return s, nil
}

// resume lets the session go on in a new stream. Its frames are counted from the start again, and every target
// is sent again, since the last ones may be lost.
func (l *Ledger) resume(s *session, h Hello) {
	s.live, s.sequence = true, 0
	s.client = h.Client
	s.heard = l.now
	l.expiry.move(s, l.expires(s, l.now))
	for _, sh := range s.shares {
		sh.sequence = 0
		sh.served = true
		l.touch(sh.resource)
		l.unsettle(sh)
	}
	for _, held := range h.Held[:min(len(h.Held), MaxReports)] {
		if sh := s.share(held.Resource); sh != nil {
			l.hear(sh, held.Version, held.Held, held.Ceiling, held.HasCeiling)
		}
	}
}

// Receive takes a frame of a session; its Hello is ignored. A report that is not newer than the newest one of
// its resource in the stream changes nothing, and a frame that is not newer than the newest one does not prolong
// the lease. It returns ErrNoSession when the session is not known or no longer attached. Only frames that it
// took may be echoed.
func (l *Ledger) Receive(now time.Duration, id SessionID, f WorkerFrame) error {
	l.clock(now)
	s := l.sessions[id]
	if s == nil || !s.live || l.now >= s.expires {
		return ErrNoSession
	}
	if f.Goodbye && !(mistake.Planted(mistake.IgnoreGoodbye) && s.inFlight()) {
		l.end(s)
		return nil
	}
	if f.Sequence > s.sequence {
		s.sequence = f.Sequence
		s.heard = l.now
		from := l.now
		if mistake.Planted(mistake.ExpireFromSend) {
			from = f.Sent
		}
		l.expiry.move(s, l.expires(s, from))
	}
	for i := range f.Reports[:min(len(f.Reports), MaxReports)] {
		l.report(s, f.Sequence, &f.Reports[i])
	}
	return nil
}

func (s *session) inFlight() bool {
	for _, sh := range s.shares {
		if !sh.charge.acknowledged() {
			return true
		}
	}
	return false
}

// Detach says that the stream of the session broke. Its charge stays until it is resumed or expires.
func (l *Ledger) Detach(now time.Duration, id SessionID) {
	l.clock(now)
	if s := l.sessions[id]; s != nil && s.live {
		s.live = false
		for _, sh := range s.shares {
			sh.served = false
			l.touch(sh.resource)
		}
	}
}

// End ends a session whose worker said goodbye or is proven to be dead: what it held is free.
func (l *Ledger) End(now time.Duration, id SessionID) {
	l.clock(now)
	if s := l.sessions[id]; s != nil {
		l.end(s)
	}
}

// Kick ends the session of that public name as far as its worker is concerned: its targets go to 0 for good, and
// its charge stays until its reports lower it or it expires. It returns what the session was. A worker that
// comes back gets a new session, which is charged for what the old one was.
func (l *Ledger) Kick(now time.Duration, name, reason string) (SessionAccount, SessionID, error) {
	l.clock(now)
	for _, s := range l.sessions {
		if s.name != name {
			continue
		}
		was := l.sessionAccount(s)
		s.kicked = "kicked"
		if reason != "" {
			s.kicked = "kicked: " + reason
		}
		for _, sh := range s.shares {
			sh.served = false
			if mistake.Planted(mistake.KickFrees) {
				l.recharge(sh, func(c *charge) { c.forget(0) })
			}
			l.aim(sh, 0)
			l.touch(sh.resource)
		}
		return was, s.id, nil
	}
	return SessionAccount{}, SessionID{}, fmt.Errorf("%w: %q", ErrNoSession, name)
}

// end forgets a session and frees all of it.
func (l *Ledger) end(s *session) {
	for _, sh := range s.shares {
		l.leave(sh)
	}
	s.shares = nil
	s.refused = nil
	s.live = false
	l.expiry.remove(s)
	delete(l.sessions, s.id)
	if l.heirs[s.heirOf] == s {
		delete(l.heirs, s.heirOf)
	}
	if s.identity.sessions--; s.identity.sessions == 0 {
		delete(l.identities, s.identity.name)
	}
}

// expires returns when a session that was heard then is taken for ended if nothing more is heard.
func (l *Ledger) expires(s *session, heard time.Duration) time.Duration {
	if s.party.Resident {
		return never
	}
	return heard + l.config.TTL + l.config.Grace
}

func (l *Ledger) expire() {
	for len(l.expiry) > 0 && l.expiry[0].expires <= l.now {
		l.end(l.expiry[0])
		l.expired++
	}
}
