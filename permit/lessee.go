package permit

import (
	"math"
	"time"
)

// reportDelay is how long a change that nobody waits for is held back, for others to share its frame.
const reportDelay = 100 * time.Millisecond

// usageDelay is the same for the first firstUsages changes of the usage: in three seconds, while the law of a server knows
// little of the work and looks nearly as often.
const (
	usageDelay  = 200 * time.Millisecond
	firstUsages = 15
)

// atOnce is before every time, and never after every one.
const (
	atOnce = time.Duration(math.MinInt64)
	never  = time.Duration(math.MaxInt64)
)

// LesseeConfig says who a worker is.
type LesseeConfig struct {
	// Client names the worker for people, and Instance identifies this run of its process.
	Client   string
	Instance InstanceID

	// Exclusive is whether no other process has the worker's connections, and Process is the worker's own.
	Exclusive bool
	Process   Process

	// Changed is called with the name of a resource after its target, or whether there is a lease, changed:
	// then more or less may be taken than before. It is called by the methods of the Lessee, and must not
	// call them. May be nil.
	Changed func(resource string)

	// Lost is called when the lease has ended: by time, because somebody else ended the session, or by
	// [Lessee.Goodbye]. What runs under it is no longer accounted for. It comes once, before the calls of
	// Changed, until there is a lease again. It must not call the Lessee. May be nil.
	Lost func()
}

// Demand is what a worker wants of one resource.
type Demand struct {
	// Waiting counts the permits that work waits for beside those that are held.
	Waiting int64

	// Weight, Priority, Guarantee, Need, OldestWait, MeanHold and Usage are those of [Report].
	Weight, Priority     int
	Guarantee, Need      int64
	OldestWait, MeanHold time.Duration
	Usage                Usage
	HasUsage             bool
}

// Lessee is the worker's side of the protocol: what it was granted, what it may do, and what it has to say. It
// is not safe for concurrent use, but for its gates.
type Lessee struct {
	config LesseeConfig
	lease  lease
	live   bool // as Lost was told
	ended  bool // by Goodbye

	slots  []*slot // in the order of their first use
	byName map[string]*slot

	// The session, of which Welcome is the last one; zero while there is none.
	session    Welcome
	hasSession bool

	// The stream. Nothing that was sent before its Hello, and nothing that answers it, belongs to it.
	connected, greeted, welcomed bool
	sequence                     int64
	greetedAt                    time.Duration // Sent of the Hello
	lastSent                     time.Duration
	echo                         time.Duration // the newest one of the session
}

// slot is one resource of a Lessee.
type slot struct {
	name     string
	gate     *Gate
	demand   Demand
	asked    bool
	target   Target // the newest one applied; Version is 0 while there is none
	reported Report
	sent     time.Duration // when it was last reported
	usages   int           // how often another usage was while permits were held, up to firstUsages
	due      time.Duration // when a change is to be reported at the latest; never while there is none
}

// NewLessee returns a Lessee that has no session.
func NewLessee(c LesseeConfig) *Lessee {
	w := &Lessee{config: c, byName: make(map[string]*slot), lastSent: atOnce}
	w.lease.deadline.Store(noLease)
	return w
}

// Gate returns the gate of a resource, the same one each time. Nothing is asked for until [Lessee.Demand].
func (w *Lessee) Gate(resource string) *Gate { return w.slot(resource).gate }

func (w *Lessee) slot(resource string) *slot {
	s := w.byName[resource]
	if s == nil {
		s = &slot{name: resource, gate: newGate(&w.lease), due: never}
		w.byName[resource] = s
		w.slots = append(w.slots, s)
	}
	return s
}

// Demand states what the worker wants of a resource from now on. More than was reported, or something asked in
// another way, is due at once; another usage three quarters of a heartbeat after the last report, the first of work that
// holds permits at once and the next fourteen 200 ms after it; anything else with the next frame, or 100 ms after the last
// report.
func (w *Lessee) Demand(resource string, d Demand) {
	s := w.slot(resource)
	before, first := s.demand, !s.asked
	s.demand, s.asked = d, true
	switch {
	case first, s.gate.Held()+d.Waiting > s.reported.Want, d.Weight != before.Weight,
		d.Priority != before.Priority, d.Guarantee != before.Guarantee, d.Need > before.Need, s.idle(),
		d.HasUsage && d.Usage != before.Usage && s.usages == 0 && s.gate.Held() > 0: // the later ones are measured from it
		s.due = atOnce
	case d.Waiting != before.Waiting, d.Need != before.Need: // as when work that waited has started
		s.due = min(s.due, s.sent+reportDelay)
	case d.HasUsage && d.Usage != before.Usage:
		// One for each heartbeat is told when it is new, and is the heartbeat.
		wait := w.heartbeat() * 3 / 4
		if s.usages < firstUsages && s.gate.Held() > 0 { // while the server knows little of the work, each says much
			wait = min(wait, usageDelay)
		}
		s.due = min(s.due, s.sent+wait)
	}
}

// idle reports whether the worker may use more than it does of what others wait for, and has nothing to use it
// for.
func (s *slot) idle() bool {
	return s.target.Contended && s.demand.Waiting == 0 && max(s.gate.Held(), s.gate.keep.Load()) < s.gate.Limit()
}

// Target returns the newest target of a resource; ok is false while there is none. It stays after the lease has
// ended.
func (w *Lessee) Target(resource string) (t Target, ok bool) {
	s := w.byName[resource]
	if s == nil || s.target.Version == 0 {
		return Target{}, false
	}
	return s.target, true
}

// Session returns what holds for the session; ok is false while there is none.
func (w *Lessee) Session() (s Welcome, ok bool) { return w.session, w.hasSession }

// Deadline returns when the lease ends, by the clock of the worker; ok is false while there is none.
func (w *Lessee) Deadline() (at time.Duration, ok bool) {
	d := w.lease.deadline.Load()
	if d == noLease {
		return 0, false
	}
	return time.Duration(d), true
}

// Advance brings the Lessee to the time: when the lease has ended it says so. The gates need no call to be
// closed by then.
func (w *Lessee) Advance(now time.Duration) {
	if w.live && int64(now) >= w.lease.deadline.Load() {
		w.lose()
	}
}

// Next returns when [Lessee.Frame] is due without any other call, or the lease ends. A time that is over means
// now.
func (w *Lessee) Next() (at time.Duration, ok bool) {
	at = never
	if w.live {
		at = time.Duration(w.lease.deadline.Load())
	}
	at = min(at, max(w.frameDue(), w.lastSent))
	return at, at != never
}

func (w *Lessee) lose() {
	if !w.live {
		return
	}
	w.live = false
	if w.config.Lost != nil {
		w.config.Lost()
	}
	w.changedAll()
}

func (w *Lessee) changedAll() {
	for _, s := range w.slots {
		w.changed(s)
	}
}

func (w *Lessee) changed(s *slot) {
	if w.config.Changed != nil {
		w.config.Changed(s.name)
	}
}

// forget ends the session: nothing that was granted in it holds any more.
func (w *Lessee) forget() {
	w.session, w.hasSession = Welcome{}, false
	w.lease.deadline.Store(noLease)
	for _, s := range w.slots {
		s.revoke()
	}
	w.lose()
}

// revoke takes back what was granted in a session that is over.
func (s *slot) revoke() {
	s.target, s.reported = Target{}, Report{}
	s.gate.keep.Store(0)
	s.gate.set(0, false)
}
