package permit_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

// In the steady state, and where scarce permits go from hand to hand, nothing is allocated.
func TestLedgerAllocatesNothing(t *testing.T) {
	w := newWorld(t, config(8))
	for range 32 {
		w.join(party("uid:1"), permit.Report{Want: 1}).send()
	}
	w.step(0)
	w.use()
	w.step(0)
	frames := make([]permit.WorkerFrame, len(w.workers))
	reports := make([]permit.Report, len(w.workers))
	var targets []permit.Target
	var records []permit.Record
	round := func() {
		w.now += time.Millisecond
		for i, k := range w.workers {
			k.sequence++
			reports[i] = k.report
			reports[i].Version = k.target.Version
			if i%2 == 0 && k.target.Target > 0 {
				reports[i].HasCeiling = true // gives its permit back
			}
			frames[i] = permit.WorkerFrame{Sequence: k.sequence, Reports: reports[i : i+1]}
			if err := w.ledger.Receive(w.now, k.id, frames[i]); err != nil {
				t.Error(err)
			}
		}
		w.ledger.Advance(w.now)
		w.ledger.Next()
		records = w.ledger.TakeRecords(records[:0])
		for id := range w.ledger.Dirty() {
			targets = w.ledger.TakeTargets(id, targets[:0])
			for _, k := range w.workers {
				if k.id == id {
					k.target = targets[0]
				}
			}
		}
	}
	for range 50 {
		round()
	}
	if n := testing.AllocsPerRun(500, round); n != 0 {
		t.Errorf("a round of reports allocates %v times, want none", n)
	}
}

// What sessions leave behind is nothing, and what one costs is bounded.
func TestLedgerForgetsSessions(t *testing.T) {
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	c := config(1000)
	c.MaxSessionsPerIdentity = 2000
	w := newWorld(t, c)
	round := func() {
		for range 1000 {
			welcome, err := w.ledger.Attach(w.now, party("uid:1"), permit.Hello{})
			if err != nil {
				t.Fatal(err)
			}
			err = w.ledger.Receive(w.now, welcome.Session, permit.WorkerFrame{Sequence: 1, Reports: []permit.Report{
				{Resource: "r", Want: 5}, {Resource: "none"}}})
			if err != nil {
				t.Fatal(err)
			}
		}
		w.ledger.Advance(w.now)
		w.ledger.TakeRecords(nil)
		for id := range w.ledger.Dirty() {
			w.ledger.TakeTargets(id, nil)
		}
	}
	over := func() {
		w.now += time.Minute
		w.ledger.Advance(w.now)
		w.ledger.TakeRecords(nil)
	}
	round()
	over()
	before := heap()
	round()
	if each := (heap() - before) / 1000; each > 4096 {
		t.Errorf("a session takes %d bytes, want 4 KiB at most", each)
	}
	over()
	for range 20 {
		round()
		over()
	}
	if after := heap(); after > before+100<<10 {
		t.Errorf("%d KiB more after 20,000 sessions came and went", (after-before)>>10)
	}
	runtime.KeepAlive(w)
}
