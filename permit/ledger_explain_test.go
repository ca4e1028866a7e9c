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
	a := w.join(party("uid:1"), permit.Report{Want: 20, MeanHold: 2 * time.Second, OldestWait: time.Hour})
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
		{a, 6, "others have the rest of the limit of 10", true},
		{b, 3, "it has all that it wants: 3", false},
		{d, 1, "the quota of its identity", true},
	} {
		e := explain(tt.worker.name)
		if e.Share.Target != tt.target || !slices.Equal(e.Reasons, []string{tt.reason}) || e.HasWait != tt.wait {
			t.Errorf("%s: %+v, want target %d because %q", tt.worker.name, e, tt.target, tt.reason)
		}
	}
	e := explain("uid:1")
	if got := e.Account.OldestWait; got <= 0 || got > w.now {
		t.Errorf("oldest wait %v, want no more than the %v since its session began", got, w.now)
	}
	if e.Account.Held != 10 || e.Account.Want != 25 || e.Account.Sessions != 3 {
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

// Whoever waits is told what for, in words that stay true while it waits.
func TestWhyThereIsNoMore(t *testing.T) {
	tests := []struct {
		name   string
		limit  int64
		reason string // of the limit
		other  permit.Report
		waits  permit.Report
		want   string
	}{
		{"in use", 1, "", permit.Report{Want: 1}, permit.Report{Want: 1}, "others have all of the limit of 1"},
		{"some", 5, "memory", permit.Report{Want: 9}, permit.Report{Want: 9}, "others have the rest of the limit of 5: memory"},
		{"all", 5, "", permit.Report{}, permit.Report{Want: 9}, "it has all of the limit of 5"},
		{"none", 0, "paused", permit.Report{}, permit.Report{Want: 1}, "the limit is 0: paused"},
		{"too many at once", 2, "", permit.Report{}, permit.Report{Want: 3, Need: 3}, "it needs 3 at once, and the limit is 2"},
		{"more at once than the quota", 9, "", permit.Report{}, permit.Report{Want: 8, Need: 8},
			"it needs 8 at once, and the quota of its identity is 7"},
		{"guaranteed to others", 2, "", permit.Report{Want: 3, Guarantee: 2}, permit.Report{Want: 1},
			"the rest of the limit is guaranteed to others"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := config(0)
			c.Resources[0].Default.MaxGuarantee = 9
			c.Resources[0].Grants = map[string]permit.Grant{"uid:2": {Max: 7}}
			w := newWorld(t, c)
			if err := w.ledger.SetLimit(0, "r", tt.limit, tt.reason); err != nil {
				t.Fatal(err)
			}
			w.join(party("uid:1"), tt.other)
			w.use()
			w.step(0)
			w.use()
			k := w.join(party("uid:2"), tt.waits)
			k.send()
			w.step(time.Millisecond)
			w.drain()
			if e, err := w.ledger.Explain(w.now, "r", only("uid:2")); err != nil || !slices.Equal(e.Reasons, []string{tt.want}) {
				t.Errorf("%q, %v, want %q", e.Reasons, err, tt.want)
			}
			if k.target.Version == 0 || k.target.Target == 0 && k.target.Binding != tt.want {
				t.Errorf("target %+v, want it with the reason", k.target)
			}
		})
	}
	t.Run("unknown", func(t *testing.T) {
		c := config(1)
		c.Amnesia = true
		w := newWorld(t, c)
		k := w.join(party("uid:1"), permit.Report{Want: 1})
		k.send()
		w.step(0)
		if want := "workers from before the server's restart may still hold permits"; k.target.Binding != want {
			t.Errorf("binding %q, want %q", k.target.Binding, want)
		}
	})
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

// Commands that each hold a permit once say nothing of how long: those that ended tell for the rest.
func TestWaitForCommandsIsMeasured(t *testing.T) {
	w := newWorld(t, config(2))
	w.join(party("uid:1"), permit.Report{}).send()
	command := func() *worker { return w.join(party("uid:1"), permit.Report{Want: 1}) }
	running := []*worker{command(), command(), command()}
	for range 20 {
		w.use()
		w.step(0)
		w.use()
		w.step(4 * time.Second)
		for range 2 {
			i := slices.IndexFunc(running, func(k *worker) bool { return k.held > 0 })
			w.ledger.End(w.now, running[i].id)
			w.workers = slices.DeleteFunc(w.workers, func(k *worker) bool { return k == running[i] })
			running[i] = command()
		}
	}
	w.use()
	w.step(0)
	w.use()
	w.step(time.Millisecond)
	e, err := w.ledger.Explain(w.now, "r", only("uid:1"))
	if err != nil || !e.HasWait || e.Wait < 1500*time.Millisecond || e.Wait > 2500*time.Millisecond {
		t.Errorf("wait %v %t, %v, want about 2 s: 2 permits that are held 4 s each", e.Wait, e.HasWait, err)
	}
	if want := []string{"it has all of the limit of 2"}; !slices.Equal(e.Reasons, want) {
		t.Errorf("reasons %q, want %q: nobody else has any", e.Reasons, want)
	}
}
