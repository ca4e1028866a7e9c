package permit_test

import (
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

func TestLimitIsLoweredAndRaised(t *testing.T) {
	w := newWorld(t, config(100))
	a := w.join(party("uid:1"), permit.Report{Want: 1000})
	b := w.join(party("uid:2"), permit.Report{Want: 1000})
	w.use()
	w.step(0)
	w.use()
	limit := func(n int64) {
		t.Helper()
		if err := w.ledger.SetLimit(w.now, "r", n, ""); err != nil {
			t.Fatal(err)
		}
		w.step(time.Millisecond)
	}
	limit(10)
	charge := w.account().Charge
	if charge != 100 || a.target.Target != 5 || b.target.Target != 5 {
		t.Errorf("lowered: charge %d, targets %v, want 100, [5 5]", charge, targets(a, b))
	}
	for a.held > 0 || b.held > 0 {
		for _, k := range w.workers {
			k.end(min(k.held, 3))
		}
		w.step(time.Millisecond)
		if got := w.account().Charge; got > charge {
			t.Fatalf("charge rose from %d to %d", charge, got)
		} else {
			charge = got
		}
	}
	if charge > 10 {
		t.Errorf("when all ended: charge %d, want 10 at most", charge)
	}
	limit(0)
	if a.target.Target != 0 || b.target.Target != 0 || w.account().Charge != 0 {
		t.Errorf("limit 0: targets %v, charge %d, want none", targets(a, b), w.account().Charge)
	}
	limit(1000)
	if a.target.Target != 500 || b.target.Target != 500 {
		t.Errorf("limit 1,000: targets %v, want [500 500]", targets(a, b))
	}
	if err := w.ledger.SetLimit(w.now, "r", permit.MaxLimit+1, ""); err == nil {
		t.Error("a limit over MaxLimit is taken")
	}
}

func TestModes(t *testing.T) {
	for _, mode := range []permit.Mode{permit.ModeDrain, permit.ModeCancel} {
		t.Run(mode.String(), func(t *testing.T) {
			w := newWorld(t, config(10))
			a := w.join(party("uid:1"), permit.Report{Want: 20})
			w.use()
			w.step(0)
			w.use()
			if err := w.ledger.SetMode(w.now, "r", mode, time.Second, "severity: critical"); err != nil {
				t.Fatal(err)
			}
			w.step(time.Millisecond)
			got := a.target
			if got.Target != 0 || got.Mode != mode || got.Binding != "severity: critical" ||
				(got.CancelAfter == time.Second) != (mode == permit.ModeCancel) {
				t.Errorf("target %+v, want 0 with the mode", got)
			}
			if got := w.account(); got.Charge != 10 || got.Limit != 0 || got.Binding != "severity: critical" {
				t.Errorf("account %+v while the work runs, want a charge of 10 and the limit 0 by the mode", got)
			}
			e, err := w.ledger.Explain(w.now, "r", func(string, permit.Party) bool { return true })
			if err != nil || e.Account.Limit != 0 || e.Share.Limit != 0 {
				t.Errorf("explained as %+v, %v, want the limit 0", e, err)
			}
			a.end(10)
			if err := w.ledger.SetMode(w.now, "r", permit.ModeNormal, 0, ""); err != nil {
				t.Fatal(err)
			}
			w.step(time.Millisecond)
			if a.target.Target != 10 || a.target.Mode != permit.ModeNormal || w.account().Limit != 10 {
				t.Errorf("target %+v of %d, want 10 of 10 again", a.target, w.account().Limit)
			}
		})
	}
}

// Nobody is told to give back at once what nobody else waits for.
func TestContended(t *testing.T) {
	w := newWorld(t, config(10))
	a := w.join(party("uid:1"), permit.Report{Want: 5})
	b := w.join(party("uid:2"), permit.Report{Want: 5})
	w.use()
	w.step(0)
	if a.target.Contended || b.target.Contended {
		t.Error("contended while all have what they want")
	}
	a.start(5)
	b.start(5)
	b.want(20)
	w.step(time.Second)
	if !a.target.Contended {
		t.Error("not contended for who has all that it wants, while another waits")
	}
	a.want(20)
	w.step(time.Second)
	w.step(time.Second)
	if a.target.Contended || b.target.Contended {
		t.Error("contended for who has its own part and could use it again")
	}
}
