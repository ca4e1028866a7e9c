package sim

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

// lease is the longest time that a silent session is charged for.
func (w *world) lease() time.Duration {
	return time.Duration(float64(permit.DefaultTTL+permit.DefaultGrace) * (1 + 2*w.drift))
}

// simServer does around a ledger what the server does, with crashes between its steps.
type simServer struct {
	world   *world
	life    int
	up      bool
	paused  bool
	inbox   []func()
	clock   simClock
	epoch   int64
	ledger  *permit.Ledger
	journal []permit.Record

	sessions []*simSession
	byID     map[permit.SessionID]*simSession
	byName   map[string]*simSession

	stepping  bool
	alarm     time.Duration // of the next step that the ledger asked for
	steps     int
	crashAt   fault // where the next step crashes, or crashed for nowhere
	amnesiac  bool  // this life began with no knowledge of an earlier one
	unknown   bool  // something is charged for an earlier life
	recoverBy time.Duration
}

// simSession is what the server keeps of a session beside the ledger.
type simSession struct {
	id       permit.SessionID
	name     string
	worker   *simWorker
	stream   *stream
	sequence int64
	echo     time.Duration
	welcome  *permit.Welcome
	owes     bool // an answer
	seen     bool // by the audit
	over     bool
	versions []int64
	targets  []int64
}

func newSimServer(w *world) *simServer {
	return &simServer{world: w, clock: w.clock(), crashAt: crashed}
}

// begin begins a life.
func (s *simServer) begin(amnesiac bool) {
	w := s.world
	s.life++
	if s.epoch == 0 || w.rig != rigSameEpoch {
		s.epoch++
	}
	config := permit.Config{
		Epoch: s.epoch, Amnesia: amnesiac, Instance: fmt.Sprint("life ", s.life), ReportRate: w.reportRate(),
		NewSession: func() (id permit.SessionID) {
			binary.LittleEndian.PutUint64(id[:8], w.random.Uint64())
			binary.LittleEndian.PutUint64(id[8:], w.random.Uint64())
			return id
		},
	}
	for _, r := range w.resources {
		config.Resources = append(config.Resources, permit.Resource{
			Name: r.name, Limit: r.limit, Law: "fixed",
			Default: permit.Grant{MaxPriority: permit.MaxPriority, MaxGuarantee: 2},
		})
	}
	if !amnesiac && w.rig != rigEmptyRecord {
		config.Recovered = s.newest()
	}
	s.journal = slices.Clone(config.Recovered)
	ledger, err := permit.NewLedger(s.clock.at(w.now), config)
	if err != nil {
		w.err = fmt.Errorf("begin life %d: %w", s.life, err)
		return
	}
	s.ledger, s.up, s.paused, s.inbox = ledger, true, false, nil
	s.sessions, s.byID, s.byName = nil, map[permit.SessionID]*simSession{}, map[string]*simSession{}
	s.stepping, s.alarm, s.crashAt = false, 0, crashed
	s.amnesiac, s.unknown, s.recoverBy = amnesiac, true, w.now+w.lease()
	forgot := int64(0)
	if amnesiac {
		forgot = 1
	}
	w.observe(event{kind: serverUp, n: s.epoch, m: forgot, until: s.recoverBy})
	if s.life > 1 {
		w.load.restarts++
	}
	for _, r := range w.resources {
		if r.mode != permit.ModeNormal {
			s.setMode(r)
		}
	}
	s.soon()
}

// newest returns the last ceiling that was recorded of each session and resource.
func (s *simServer) newest() []permit.Record {
	type key struct {
		session  permit.SessionID
		resource string
	}
	seen := map[key]bool{}
	var last []permit.Record
	for _, r := range slices.Backward(s.journal) {
		k := key{r.Session, r.Resource}
		if seen[k] {
			continue
		}
		seen[k] = true
		if r.Ceiling > 0 {
			last = append(last, r)
		}
	}
	slices.Reverse(last)
	return last
}

// crash ends the life. What was not recorded is lost.
func (s *simServer) crash(at fault) {
	w := s.world
	if !s.up {
		return
	}
	if !s.paused {
		s.account()
	}
	s.audit()
	w.reach(at)
	if s.unknown {
		w.reach(crashedInRecovery)
	}
	s.up, s.ledger = false, nil
	w.observe(event{kind: serverDown})
	for _, ss := range s.sessions {
		if ss.stream != nil {
			ss.stream.end(w.between(time.Millisecond, 2*time.Second), 0)
		}
	}
	forgets := !w.calm && !w.liars && w.chance(30)
	if s.amnesiac && s.unknown && w.rig != rigShortAmnesia {
		forgets = true // a journal that was begun with nothing in it is not to be trusted before that
	}
	if forgets && w.chance(40) { // and again, before it knows more
		w.after(w.between(2*time.Second, 5*time.Second), func() {
			if !w.calm {
				s.crash(crashed)
			}
		})
	}
	down := w.exp(500 * time.Millisecond)
	if w.chance(10) {
		down = w.between(time.Second, 10*time.Second)
	}
	w.after(down, func() {
		if forgets {
			w.reach(amnesia)
		}
		s.begin(forgets)
	})
}

// arrive runs what came from the network, when the server can.
func (s *simServer) arrive(do func(), life int) {
	switch {
	case !s.up || life != s.life:
	case s.paused:
		s.inbox = append(s.inbox, func() {
			if life == s.life {
				do()
			}
		})
	default:
		do()
	}
}

func (s *simServer) local() time.Duration { return s.clock.at(s.world.now) }

func (s *simServer) receive(st *stream, f permit.WorkerFrame) {
	w := s.world
	if f.Hello != nil && st.session == nil {
		s.greet(st, f)
	}
	ss := st.session
	if ss == nil || ss.stream != st {
		return
	}
	if err := s.ledger.Receive(s.local(), ss.id, f); err != nil {
		w.tell("frame of worker %d: %v", st.worker.index, err)
		s.broken(st)
		st.end(w.between(time.Millisecond, 50*time.Millisecond), 0)
		s.soon()
		return
	}
	ss.echo, ss.owes = max(ss.echo, f.Sent), true
	if (st.worker.state == dead || st.worker.leaving) && !f.Goodbye {
		w.observe(event{kind: died, worker: st.worker.index, until: w.now + w.lease()})
	}
	if f.Goodbye {
		s.over(ss)
	}
	s.soon()
}

func (s *simServer) greet(st *stream, f permit.WorkerFrame) {
	w := s.world
	welcome, err := s.ledger.Attach(s.local(), st.worker.party, *f.Hello)
	if err != nil {
		w.tell("hello of worker %d: %v", st.worker.index, err)
		w.load.refused++
		st.end(w.between(time.Millisecond, 50*time.Millisecond), 0)
		return
	}
	ss := s.byID[welcome.Session]
	if ss == nil {
		ss = &simSession{id: welcome.Session, name: welcome.Session.Name(), worker: st.worker,
			versions: make([]int64, len(w.resources)), targets: make([]int64, len(w.resources))}
		s.sessions = append(s.sessions, ss)
		s.byID[ss.id], s.byName[ss.name] = ss, ss
	}
	if welcome.Resumed {
		w.load.resumed++
	} else if f.Hello.Resume && f.Hello.Epoch < s.epoch && len(f.Hello.Held) > 0 {
		w.load.adopted++
	}
	if ss.stream != nil && ss.stream != st {
		ss.stream.dead = true
	}
	ss.stream, ss.sequence, ss.welcome, ss.echo = st, 0, &welcome, f.Sent
	st.session = ss
	st.worker.attachedIn = s.epoch
	if !welcome.Resumed {
		w.observe(event{kind: attached, worker: st.worker.index, n: s.epoch})
	}
}

func (s *simServer) broken(st *stream) {
	if ss := st.session; ss != nil && ss.stream == st {
		ss.stream = nil
		if s.world.rig == rigEarlyEnd {
			s.ledger.End(s.local(), ss.id)
		}
		s.ledger.Detach(s.local(), ss.id)
		s.soon()
	}
}

// soon takes the next step in a moment, for more to be in it.
func (s *simServer) soon() {
	if s.stepping {
		return
	}
	s.stepping = true
	life := s.life
	s.world.after(s.world.between(0, 300*time.Microsecond), func() {
		s.arrive(func() {
			s.stepping = false
			s.step()
		}, life)
	})
}

func (s *simServer) step() {
	w := s.world
	s.steps++
	s.ledger.Advance(s.local())
	records := s.ledger.TakeRecords(nil)
	if len(records) > 0 && s.crashAt == crashedBeforeRecord {
		s.crash(s.crashAt)
		return
	}
	s.journal = append(s.journal, records...)
	if len(records) > 0 && s.crashAt == crashedAfterRecord {
		s.crash(s.crashAt)
		return
	}
	for id := range s.ledger.Dirty() {
		if ss := s.byID[id]; ss != nil {
			ss.owes = true
		}
	}
	sent := 0
	for _, ss := range s.sessions {
		if !ss.owes || ss.stream == nil {
			continue
		}
		ss.owes = false
		targets := s.ledger.TakeTargets(ss.id, nil)
		s.grant(ss, targets)
		ss.sequence++
		ss.stream.down(permit.ServerFrame{Sequence: ss.sequence, Epoch: s.epoch, Echo: ss.echo, Welcome: ss.welcome, Targets: targets})
		ss.welcome = nil
		if sent += len(targets); sent > 0 && s.crashAt == crashedAmongSends {
			s.crash(s.crashAt)
			return
		}
	}
	s.account()
	if s.unknown && s.ledger.Recovery(s.local()) <= 0 {
		s.unknown = false
		w.observe(event{kind: recovered})
	}
	if s.steps%(4+len(s.sessions)/4) == 0 {
		s.audit()
	}
	if sent > 0 && s.crashAt == crashedAfterSends {
		s.crash(s.crashAt)
		return
	}
	s.rearm()
}

func (s *simServer) rearm() {
	w := s.world
	next, ok := s.ledger.Next()
	if !ok {
		return
	}
	at := max(s.clock.when(next), w.now+10*time.Microsecond)
	if s.alarm > w.now && s.alarm <= at {
		return
	}
	s.alarm = at
	life := s.life
	w.at(at, func() {
		s.arrive(func() {
			if s.alarm == at {
				s.step()
			}
		}, life)
	})
}

func (s *simServer) setLimit(i int, n int64) {
	w := s.world
	set := func() {
		w.resources[i].limit = n
		w.observe(event{kind: limitSet, resource: i, n: n})
		if !s.up {
			return
		}
		if err := s.ledger.SetLimit(s.local(), w.resources[i].name, n, "test"); err != nil {
			w.err = fmt.Errorf("set limit %d: %w", n, err)
		}
		s.ledger.Advance(s.local())
		s.account()
		s.soon()
	}
	if s.up {
		s.arrive(set, s.life)
	} else {
		set()
	}
}

func (s *simServer) setMode(r *simResource) {
	if s.up {
		if err := s.ledger.SetMode(s.local(), r.name, r.mode, 500*time.Millisecond, "test"); err != nil {
			s.world.err = fmt.Errorf("set mode %v: %w", r.mode, err)
		}
		s.soon()
	}
}
