package permit_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

func everybody(string, permit.Party) bool { return true }

func only(identity string) func(string, permit.Party) bool {
	return func(_ string, p permit.Party) bool { return p.Identity == identity }
}

func TestExplain(t *testing.T) {
	c := config(10)
	c.Resources[0].Grants = map[string]permit.Grant{"uid:3": {Max: 1}}
	w := newWorld(t, c)
	a := w.join(party("uid:1"), permit.Report{Want: 20, MeanHold: 2 * time.Second, OldestWait: time.Second})
	b := w.join(party("uid:2"), permit.Report{Want: 3, MeanHold: 2 * time.Second})
	d := w.join(party("uid:3"), permit.Report{Want: 2, MeanHold: 2 * time.Second})
	w.use()
	w.step(0)
	w.drain()
	w.step(time.Millisecond)
	explain := func(identity string) permit.Explanation {
		e, err := w.ledger.Explain(w.now, "r", only(identity))
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	for _, tt := range []struct {
		worker *worker
		target int64
		reason string
		wait   bool
	}{
		{a, 6, "the limit of 10", true},
		{b, 3, "it has all that it wants: 3", false},
		{d, 1, "the quota of its identity", true},
	} {
		e := explain(tt.worker.name)
		if e.Share.Target != tt.target || !slices.Equal(e.Reasons, []string{tt.reason}) || e.HasWait != tt.wait {
			t.Errorf("%s: %+v, want target %d because %q", tt.worker.name, e, tt.target, tt.reason)
		}
	}
	e := explain("uid:1")
	if e.Account.OldestWait < time.Second || e.Account.Held != 10 || e.Account.Want != 25 || e.Account.Sessions != 3 {
		t.Errorf("account %+v, want 10 held, 25 wanted by 3", e.Account)
	}
	if e.Wait <= 0 || e.Wait > 2*time.Second { // 10 permits that are held 2 s each
		t.Errorf("wait %v, want some of 2 s", e.Wait)
	}
	if err := w.ledger.SetMode(w.now, "r", permit.ModeDrain, 0, "severity: critical"); err != nil {
		t.Fatal(err)
	}
	w.step(0)
	if e := explain("uid:1"); !slices.Equal(e.Reasons, []string{"severity: critical"}) || e.Account.Binding != "severity: critical" {
		t.Errorf("while it drains: %+v, want the reason of the mode", e)
	}
	if _, err := w.ledger.Explain(w.now, "none", everybody); !errors.Is(err, permit.ErrNoResource) {
		t.Errorf("Explain of a resource that is not there = %v, want ErrNoResource", err)
	}
	names := []string{}
	for _, s := range w.ledger.Sessions(w.now, nil) {
		names = append(names, s.Name)
	}
	if len(names) != 3 || !slices.IsSorted(names) {
		t.Errorf("sessions %v, want 3 in order", names)
	}
	if got := w.ledger.Resources(); !slices.Equal(got, []string{"r"}) {
		t.Errorf("resources %v, want r", got)
	}
}

// Whoever says that it holds its permits for ever makes nobody else's wait look longer than it is.
func TestWaitIsNotALiarsToSay(t *testing.T) {
	w := newWorld(t, config(10))
	w.join(party("uid:1"), permit.Report{Want: 50, MeanHold: time.Second})
	w.join(party("uid:2"), permit.Report{Want: 50, MeanHold: 1000 * time.Hour})
	w.use()
	w.step(0)
	w.drain()
	w.step(time.Millisecond)
	e, err := w.ledger.Explain(w.now, "r", only("uid:1"))
	if err != nil || !e.HasWait || e.Wait > 10*time.Second {
		t.Errorf("wait %v %t, %v, want some seconds", e.Wait, e.HasWait, err)
	}
}
