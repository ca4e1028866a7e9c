package permit_test

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

// A world is a ledger with workers that do as the protocol says, in steps of time.
type world struct {
	t       *testing.T
	ledger  *permit.Ledger
	now     time.Duration
	records []permit.Record
	workers []*worker
}

// A worker is one that keeps to the protocol, with one resource.
type worker struct {
	*world
	name     string
	id       permit.SessionID
	epoch    int64
	instance permit.InstanceID
	sequence int64
	sent     time.Duration
	silent   bool
	target   permit.Target // the newest applied
	ceiling  int64         // -1 is none
	held     int64
	report   permit.Report
	all      []permit.Target
}

func config(limit int64) permit.Config {
	var count uint64
	return permit.Config{
		Epoch:     1,
		Resources: []permit.Resource{{Name: "r", Limit: limit, Law: "fixed"}},
		NewSession: func() (id permit.SessionID) {
			count++
			binary.BigEndian.PutUint64(id[8:], count)
			return id
		},
	}
}

func newWorld(t *testing.T, c permit.Config) *world {
	t.Helper()
	w := &world{t: t}
	var err error
	if w.ledger, err = permit.NewLedger(0, c); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) attach(identity string) *worker {
	w.t.Helper()
	return w.join(permit.Party{Identity: identity}, permit.Report{Resource: "r"})
}

func (w *world) join(who permit.Party, report permit.Report) *worker {
	w.t.Helper()
	k := &worker{world: w, name: who.Identity, ceiling: -1, report: report}
	k.report.Resource = "r"
	k.instance[0], k.instance[1] = byte(len(w.workers)>>8), byte(len(w.workers))+1
	k.attach(who, permit.Hello{Client: "w", Instance: k.instance})
	w.workers = append(w.workers, k)
	return k
}

func (k *worker) attach(who permit.Party, h permit.Hello) permit.Welcome {
	k.t.Helper()
	welcome, err := k.ledger.Attach(k.now, who, h)
	if err != nil {
		k.t.Fatal(err)
	}
	k.id, k.epoch, k.sequence = welcome.Session, welcome.Epoch, 0
	if !welcome.Resumed {
		k.target = permit.Target{Target: k.target.Target}
		k.ceiling = -1
	}
	return welcome
}

// send reports what the worker holds and wants.
func (k *worker) send() {
	k.t.Helper()
	k.sequence++
	k.sent = k.now
	r := k.report
	r.Version, r.Held = k.target.Version, k.held
	if k.ceiling >= 0 {
		r.Ceiling, r.HasCeiling = k.ceiling, true
	}
	f := permit.WorkerFrame{Sequence: k.sequence, Sent: k.now, Reports: []permit.Report{r}}
	if err := k.ledger.Receive(k.now, k.id, f); err != nil {
		k.t.Fatalf("Receive: %v", err)
	}
}

// want reports that the worker could use n.
func (k *worker) want(n int64) {
	k.t.Helper()
	k.report.Want = n
	k.send()
}

// room is how many more the worker may start.
func (k *worker) room() int64 {
	most := k.target.Target
	if k.ceiling >= 0 {
		most = min(most, k.ceiling)
	}
	return max(most-k.held, 0)
}

// start starts up to n.
func (k *worker) start(n int64) { k.held += min(n, k.room()) }

// end ends n, and gives them back at once where others wait.
func (k *worker) end(n int64) {
	k.t.Helper()
	k.held -= n
	if k.target.Contended || k.held+n > k.target.Target {
		if k.target.Contended {
			k.ceiling = k.held
		}
		k.send()
	}
}

// step passes time and delivers every target at once, with an answer where it lowers or frees something.
func (w *world) step(d time.Duration) {
	w.t.Helper()
	w.now += d
	for _, k := range w.workers {
		if w.now >= k.sent+permit.DefaultHeartbeat && !k.silent {
			k.send()
		}
	}
	for range 3 {
		w.ledger.Advance(w.now)
		w.records = w.ledger.TakeRecords(w.records)
		for id := range w.ledger.Dirty() {
			targets := w.ledger.TakeTargets(id, nil)
			for _, k := range w.workers {
				if k.id == id {
					k.apply(targets)
				}
			}
		}
		if err := w.ledger.Check(); err != nil {
			w.t.Fatal(err)
		}
	}
	var may int64
	for _, k := range w.workers {
		may += max(k.held, k.held+k.room())
	}
	if a := w.account(); may > a.Charge+a.Unknown {
		w.t.Fatalf("at %v workers may hold %d, and %d is charged", w.now, may, a.Charge+a.Unknown)
	}
}

func (k *worker) apply(targets []permit.Target) {
	for _, target := range targets {
		k.all = append(k.all, target)
		if target.Version > k.target.Version {
			k.target, k.ceiling = target, -1
			k.send()
		}
	}
}

func (w *world) account() permit.ResourceAccount {
	w.t.Helper()
	a, err := w.ledger.Account(w.now, "r")
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

func targets(workers ...*worker) (all []int64) {
	for _, k := range workers {
		all = append(all, k.target.Target)
	}
	return all
}
