package permit_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

// A server that took over what a worker holds, and ended before its welcome reached the worker, leaves a session
// that the worker does not know. What it holds is known all the same by the instance.
func TestRecoveryAfterALostWelcome(t *testing.T) {
	var sessions byte
	var journal []permit.Record
	life := func(epoch int64) *permit.Ledger {
		t.Helper()
		l, err := permit.NewLedger(0, permit.Config{
			Epoch:      epoch,
			Resources:  []permit.Resource{{Name: room, Limit: 3}},
			Recovered:  newest(journal),
			NewSession: func() permit.SessionID { sessions++; return permit.SessionID{sessions} },
		})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	party := permit.Party{Identity: "uid:1"}
	attach := func(l *permit.Ledger, h permit.Hello) permit.Welcome {
		t.Helper()
		welcome, err := l.Attach(time.Second, party, h)
		if err != nil {
			t.Fatal(err)
		}
		l.Advance(time.Second)
		journal = l.TakeRecords(journal)
		return welcome
	}

	first := life(1)
	hello := permit.Hello{Client: "worker", Instance: permit.InstanceID{7}}
	known := attach(first, hello)
	err := first.Receive(time.Second, known.Session, permit.WorkerFrame{
		Sequence: 1, Reports: []permit.Report{{Resource: room, Want: 2}},
	})
	if err != nil {
		t.Fatal(err)
	}
	first.Advance(time.Second)
	journal = first.TakeRecords(journal)
	targets := first.TakeTargets(known.Session, nil)
	if len(targets) != 1 || targets[0].Target < 2 {
		t.Fatalf("targets %+v, want one of at least 2", targets)
	}
	granted := targets[0]

	hello.Session, hello.Epoch, hello.Resume = known.Session, 1, true
	hello.Held = []permit.Holding{{Resource: room, Held: 2, Version: granted.Version, Target: granted.Target}}
	for epoch := int64(2); epoch <= 4; epoch++ { // no welcome comes before the last
		l := life(epoch)
		attach(l, hello)
		got, err := l.Account(time.Second, room)
		if err != nil {
			t.Fatal(err)
		}
		if got.Held != 2 || got.Charge != granted.Target || got.Unknown != 0 {
			t.Errorf("epoch %d: held %d, charge %d, unknown %d, want 2, %d and 0",
				epoch, got.Held, got.Charge, got.Unknown, granted.Target)
		}
	}
}

// newest returns the last record of each session and resource.
func newest(journal []permit.Record) []permit.Record {
	last := make(map[string]permit.Record)
	for _, r := range journal {
		last[fmt.Sprint(r.Session, r.Resource)] = r
	}
	var recovered []permit.Record
	for _, r := range last {
		if r.Ceiling > 0 {
			recovered = append(recovered, r)
		}
	}
	return recovered
}
