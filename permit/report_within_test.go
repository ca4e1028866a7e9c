package permit_test

import (
	"slices"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

// A site is a ledger and workers between which frames take no time.
type site struct {
	t       *testing.T
	ledger  *permit.Ledger
	now     time.Duration
	workers []*siteWorker
	byID    map[permit.SessionID]*siteWorker
}

type siteWorker struct {
	*permit.Lessee
	id   permit.SessionID
	sent time.Duration // of its newest frame
	told permit.Target // its newest
}

func newSite(t *testing.T, limit int64, rate int) *site {
	t.Helper()
	c := config(limit)
	c.ReportRate = rate
	l, err := permit.NewLedger(0, c)
	if err != nil {
		t.Fatal(err)
	}
	return &site{t: t, ledger: l, byID: make(map[permit.SessionID]*siteWorker)}
}

// attach attaches a worker that could use so many.
func (s *site) attach(wants int64) {
	s.t.Helper()
	w := &siteWorker{Lessee: permit.NewLessee(permit.LesseeConfig{Client: "w"})}
	w.Gate("r")
	w.Demand("r", permit.Demand{Waiting: wants})
	w.Connect(s.now)
	f, _ := w.Frame(s.now)
	welcome, err := s.ledger.Attach(s.now, permit.Party{Identity: "uid:1", Unbounded: true}, *f.Hello)
	if err != nil {
		s.t.Fatal(err)
	}
	w.id, w.sent = welcome.Session, f.Sent
	s.workers, s.byID[w.id] = append(s.workers, w), w
	w.Receive(s.now, permit.ServerFrame{Epoch: welcome.Epoch, Echo: f.Sent, Welcome: &welcome})
	s.speak()
}

// speak delivers what the workers have to say, and returns how many frames that were.
func (s *site) speak() (frames int) {
	s.t.Helper()
	for _, w := range s.workers {
		f, ok := w.Frame(s.now)
		if !ok {
			continue
		}
		frames++
		w.sent = f.Sent
		if err := s.ledger.Receive(s.now, w.id, f); err != nil {
			s.t.Fatal(err)
		}
	}
	return frames
}

// tell lets the ledger decide, and delivers its targets.
func (s *site) tell() {
	s.ledger.Advance(s.now)
	s.ledger.TakeRecords(nil)
	for id := range s.ledger.Dirty() {
		w, targets := s.byID[id], s.ledger.TakeTargets(id, nil)
		w.told = targets[0]
		w.Receive(s.now, permit.ServerFrame{Epoch: 1, Echo: w.sent, Targets: targets})
	}
}

func (s *site) limit(n int64) {
	s.t.Helper()
	if err := s.ledger.SetLimit(s.now, "r", n, ""); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) charge() int64 {
	s.t.Helper()
	a, err := s.ledger.Account(s.now, "r")
	if err != nil {
		s.t.Fatal(err)
	}
	return a.Charge
}

// Where a cut lowers many targets and nobody waits for what it takes back, the workers take their time, but no longer
// than they are given, or than to their next beats.
func TestReportsArePutOff(t *testing.T) {
	const beat = permit.DefaultHeartbeat
	tests := []struct {
		name     string
		sessions int
		rate     int
		newcomer bool // at the instant of the cut
		within   time.Duration
		back     time.Duration // when all that was taken back is free
	}{
		{"nobody waits", 120, 0, false, 12 * time.Millisecond, 12 * time.Millisecond},
		{"so few that it takes no time", 90, 0, false, 0, 0},
		{"one waits for its part", 120, 0, true, 0, 0},
		{"they beat before", 120, 100, false, 1200 * time.Millisecond, beat},
		{"there is a most", 120, 1, false, permit.DefaultTTL / 3, beat},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := int64(tt.sessions)
			s := newSite(t, 3*n, tt.rate)
			for range n {
				s.attach(3)
			}
			s.tell()
			for _, w := range s.workers {
				if _, ok := w.Gate("r").TryAcquire(s.now, 1); !ok {
					t.Fatal("a worker cannot start what it wants")
				}
				w.Demand("r", permit.Demand{Waiting: 2})
			}
			for s.now += 100 * time.Millisecond; s.speak() > 0; s.tell() { // until all is said
			}
			cut, limit := s.now, n
			if tt.newcomer {
				limit++
				s.attach(3)
			}
			s.limit(limit)
			s.tell()
			for i, w := range s.workers[:n] {
				if told := w.told; told.ReportWithin != tt.within || told.Target > 1 {
					t.Fatalf("worker %d was told %d, to be reported within %v, want 1 at most, within %v",
						i, told.Target, told.ReportWithin, tt.within)
				}
			}
			charge := s.charge()
			for s.speak(); s.charge() > limit; s.speak() {
				if got := s.charge(); tt.within == 0 || got > charge {
					t.Fatalf("%v after the cut: charge %d after %d", s.now-cut, got, charge)
				}
				next := s.now + time.Hour
				for _, w := range s.workers {
					at, _ := w.Next()
					next = min(next, at)
				}
				s.now = max(next, s.now+1)
			}
			if got := s.now - cut; got > tt.back || got < tt.back-beat/5 {
				t.Errorf("all is free %v after the cut, want %v", got, tt.back)
			}
		})
	}
}

// Reports are put off for one cut only, and not for targets that were not sent yet when somebody came to wait.
func TestReportsAreNotPutOffOnceSomebodyWaits(t *testing.T) {
	s := newSite(t, 500, 0)
	for range 100 {
		s.attach(5)
	}
	s.tell()
	s.now++
	s.speak()
	s.limit(300)
	s.tell()
	s.limit(299)
	s.tell()
	next := slices.IndexFunc(s.workers, func(w *siteWorker) bool { return w.told.Target == 2 })
	if next < 0 || s.workers[next].told.ReportWithin != 0 {
		t.Fatalf("worker %d was told 2 by the next cut, to be reported within %v, want one at once", next, s.workers[max(next, 0)].told.ReportWithin)
	}
	s.limit(101)
	s.ledger.Advance(s.now)
	s.attach(3)
	s.tell()
	for i, w := range s.workers[:100] {
		if told := w.told; told.ReportWithin != 0 || told.Target > 1 {
			t.Fatalf("worker %d was told %d, to be reported within %v, want 1 at most, at once", i, told.Target, told.ReportWithin)
		}
	}
}

// A worker that puts off a report sends it with any other.
func TestLesseeReportsWhatItPutOff(t *testing.T) {
	a := attach(t, permit.LesseeConfig{})
	a.targets(target(1, 4))
	a.Gate(room).TryAcquire(a.now, 1)
	a.Lessee.Demand(room, permit.Demand{Waiting: 3})
	a.frame(t)
	lowered := target(2, 2)
	lowered.ReportWithin = 300 * time.Millisecond
	a.targets(lowered)
	a.silent(t)
	if at, ok := a.Next(); !ok || at != a.now+300*time.Millisecond {
		t.Errorf("Next() = %v, %v, want %v", at, ok, a.now+300*time.Millisecond)
	}
	a.Lessee.Demand(room, permit.Demand{Waiting: 9})
	if r := a.frame(t).Reports; len(r) != 1 || r[0].Version != 2 {
		t.Errorf("reports %+v, want one of version 2", r)
	}
	lowered.Version, lowered.Target, lowered.ReportWithin = 3, 1, -1
	a.targets(lowered)
	if r := a.frame(t).Reports; len(r) != 1 || r[0].Version != 3 {
		t.Errorf("reports %+v, want one of version 3 at once", r)
	}
}
