package permit_test

import (
	"slices"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

// Where nothing is known of an earlier life, a false claim takes nothing from who holds something: both are charged, and
// nothing is granted until they are within the limit again. No claim is over the limit or the quota, and none is of
// what the identity may not lease.
func TestFalseClaimTakesNothing(t *testing.T) {
	c := config(10)
	c.Epoch, c.Amnesia = 2, true
	c.Resources[0].Grants = map[string]permit.Grant{"uid:4": {Max: 2}, "uid:5": {Denied: true}}
	l, err := permit.NewLedger(0, c)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Second
	claim := func(instance byte, identity string, held int64) permit.SessionID {
		t.Helper()
		welcome, err := l.Attach(now, party(identity), permit.Hello{
			Client: "worker", Instance: permit.InstanceID{instance}, Session: permit.SessionID{instance}, Epoch: 1, Resume: true,
			Held: []permit.Holding{{Resource: "r", Held: held, Version: 3, Target: held}},
		})
		if err != nil {
			t.Fatal(err)
		}
		return welcome.Session
	}
	sequences := make(map[permit.SessionID]int64)
	targets := make(map[permit.SessionID]permit.Target)
	report := func(id permit.SessionID, held, want int64) {
		t.Helper()
		sequences[id]++
		if err := l.Receive(now, id, permit.WorkerFrame{Sequence: sequences[id], Reports: []permit.Report{
			{Resource: "r", Version: targets[id].Version, Held: held, Want: want},
		}}); err != nil {
			t.Fatal(err)
		}
	}
	settle := func() {
		t.Helper()
		now += 10 * time.Millisecond
		l.Advance(now)
		for id := range l.Dirty() {
			for _, target := range l.TakeTargets(id, nil) {
				targets[id] = target
			}
		}
		if err := l.Check(); err != nil {
			t.Fatal(err)
		}
	}
	account := func(charge, unknown int64) {
		t.Helper()
		settle()
		a, err := l.Account(now, "r")
		if err != nil || a.Charge != charge || a.Unknown != unknown {
			t.Errorf("account %+v, %v, want %d charged and %d unknown", a, err, charge, unknown)
		}
	}
	liar := claim(1, "uid:1", permit.MaxLimit)
	account(10, 0)
	if over := l.TakeOverclaims(); len(over) != 0 {
		t.Errorf("claims %+v are told to be over the limit, and are not", over)
	}
	honest := claim(2, "uid:2", 10)
	bounded := claim(4, "uid:4", 5)
	claim(5, "uid:5", 5)
	account(22, 0)
	over := l.TakeOverclaims()
	if len(over) != 1 || over[0].Resource != "r" || over[0].Limit != 10 || over[0].Charge != 20 ||
		!slices.Equal([]int64{over[0].Claims[0].Charge, over[0].Claims[1].Charge}, []int64{10, 10}) ||
		over[0].Claims[0].Identity == over[0].Claims[1].Identity || len(l.TakeOverclaims()) != 0 {
		t.Errorf("told %+v, want once the two claims of 10 to a limit of 10", over)
	}
	welcome, err := l.Attach(now, party("uid:3"), permit.Hello{Instance: permit.InstanceID{3}})
	if err != nil {
		t.Fatal(err)
	}
	fresh := welcome.Session
	report(fresh, 0, 5)
	settle()
	report(liar, 10, 10)
	report(honest, 6, 6)
	l.End(now, bounded)
	account(16, 0)
	now = 7200 * time.Millisecond // nothing is unknown any more
	settle()
	if got := targets[fresh].Target; got != 0 {
		t.Errorf("target %d while 16 of 10 are charged, want 0", got)
	}
	if err := l.SetLimit(now, "r", 17, ""); err != nil {
		t.Fatal(err)
	}
	settle()
	report(fresh, 0, 5)
	settle()
	if got := targets[fresh].Target; got != 1 {
		t.Errorf("target %d once the limit is 1 over the claims, want 1", got)
	}
	l.End(now, liar)
	settle()
	report(fresh, 0, 5)
	settle()
	if got := targets[fresh].Target; got < 5 {
		t.Errorf("target %d once the liar has gone, want at least the 5 that are wanted", got)
	}
}

// A cut of the limit takes nothing from who comes back after it, and a limit that rose may have been that of before.
func TestClaimAfterTheLimitMoved(t *testing.T) {
	for _, limits := range [][]int64{{10, 0}, {0, 10}, {0, 10, 3}} {
		c := config(limits[0])
		c.Epoch, c.Amnesia = 2, true
		l, err := permit.NewLedger(0, c)
		if err != nil {
			t.Fatal(err)
		}
		for _, limit := range limits[1:] {
			if err := l.SetLimit(0, "r", limit, ""); err != nil {
				t.Fatal(err)
			}
		}
		for i := range byte(2) {
			if _, err := l.Attach(time.Second, party("uid:1"), permit.Hello{
				Client: "worker", Instance: permit.InstanceID{i + 1}, Session: permit.SessionID{i + 1}, Epoch: 1, Resume: true,
				Held: []permit.Holding{{Resource: "r", Held: 5, Version: 3, Target: 5}},
			}); err != nil {
				t.Fatal(err)
			}
		}
		l.Advance(time.Second)
		if a, err := l.Account(time.Second, "r"); err != nil || a.Charge != 10 || l.Check() != nil {
			t.Errorf("limits %v: account %+v, %v, %v, want 10 charged", limits, a, err, l.Check())
		}
	}
}
