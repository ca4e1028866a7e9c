package permit_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

// A part bounds what a session gets, whatever is free and whatever it wants.
func TestParts(t *testing.T) {
	const none = permit.MaxLimit
	for _, tt := range []struct {
		name    string
		workers []permit.Report
		parts   []int64
		want    []int64
	}{
		{"no part", []permit.Report{{Want: 20}, {Want: 20}}, []int64{none, none}, []int64{6, 6}},
		{"parts that fill the limit", []permit.Report{{Want: 20}, {Want: 20}}, []int64{9, 3}, []int64{9, 3}},
		{"what a part leaves is for others", []permit.Report{{Want: 20}, {Want: 20}}, []int64{2, none}, []int64{2, 10}},
		{"what nobody may have is had by nobody", []permit.Report{{Want: 20}, {Want: 20}}, []int64{2, 3}, []int64{2, 3}},
		{"no more than the part, though nobody waits", []permit.Report{{Want: 2}, {Want: 1}}, []int64{2, 1}, []int64{2, 1}},
		{"parts over the limit are shared", []permit.Report{{Want: 20}, {Want: 20}}, []int64{50, 50}, []int64{6, 6}},
		{"a part of 0", []permit.Report{{Want: 20}, {Want: 20}}, []int64{0, none}, []int64{0, 12}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, config(12))
			for i, r := range tt.workers {
				k := w.join(party("uid:0"), r)
				k.send()
				w.ledger.SetPart(w.now, "r", k.id, tt.parts[i], "cpu")
			}
			for range 5 {
				w.step(300 * time.Millisecond)
				w.use()
			}
			var got []int64
			for _, k := range w.workers {
				got = append(got, k.target.Target)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("targets = %d, want %d", got, tt.want)
			}
		})
	}
}

// A part that falls takes nothing from what runs, and says why it binds.
func TestPartFalls(t *testing.T) {
	w := newWorld(t, config(10))
	k := w.attach("uid:0")
	k.want(20)
	w.step(time.Millisecond)
	w.use()
	w.ledger.SetPart(w.now, "r", k.id, 4, "cpu binds")
	w.step(time.Millisecond)
	w.use()
	account, err := w.ledger.Account(w.now, "r")
	if err != nil {
		t.Fatal(err)
	}
	if k.target.Target != 4 || account.Charge != 10 {
		t.Errorf("target %d, charge %d, want 4 and 10 while 10 run", k.target.Target, account.Charge)
	}
	if want := "its part of the limit is 4: cpu binds"; !strings.Contains(k.target.Binding, want) {
		t.Errorf("binding %q, want %q", k.target.Binding, want)
	}
	k.end(10)
	k.send()
	w.step(time.Millisecond)
	if account, _ = w.ledger.Account(w.now, "r"); account.Charge != 4 {
		t.Errorf("charge %d once nothing runs, want 4", account.Charge)
	}
}

// What is guaranteed is had beside the part.
func TestPartLeavesGuarantee(t *testing.T) {
	c := config(10)
	c.Resources[0].Default = permit.Grant{MaxGuarantee: 5}
	w := newWorld(t, c)
	k := w.join(party("uid:0"), permit.Report{Want: 8, Guarantee: 5})
	k.send()
	w.ledger.SetPart(w.now, "r", k.id, 2, "")
	w.step(time.Millisecond)
	if k.target.Target != 5 {
		t.Errorf("target %d, want the 5 that are guaranteed", k.target.Target)
	}
}

// A task that needs more at once than the part gathers nothing that it could never have.
func TestPartUnderNeed(t *testing.T) {
	w := newWorld(t, config(10))
	big := w.join(party("uid:0"), permit.Report{Want: 6, Need: 6})
	other := w.join(party("uid:1"), permit.Report{Want: 20})
	big.send()
	other.send()
	w.ledger.SetPart(w.now, "r", big.id, 3, "")
	for range 5 {
		w.step(300 * time.Millisecond)
		other.start(20)
		other.send()
	}
	if other.target.Target < 7 {
		t.Errorf("the other has %d, want at least the 7 beside the part", other.target.Target)
	}
}

func TestUsers(t *testing.T) {
	w := newWorld(t, config(10))
	used := permit.Usage{Uptime: 9 * time.Second, CPU: 3 * time.Second, Runnable: -1, Memory: 1 << 20, Completions: 7}
	busy := w.join(party("uid:0"), permit.Report{Want: 4, Weight: 3, Need: 2, Usage: used, HasUsage: true})
	w.attach("uid:1").send() // it wants nothing
	w.step(time.Second)
	busy.send()
	w.step(time.Millisecond)
	busy.start(2)
	busy.report.HasUsage = false // it stays
	busy.send()

	users, err := w.ledger.Users(w.now, "r", nil)
	want := []permit.User{{
		Session: busy.id, Party: party("uid:0"), Weight: 3, Held: 2, Charge: 4, Want: 4, Need: 2,
		Usage: used, First: used, Reported: time.Second, HasUsage: true,
	}}
	if err == nil && len(users) == 1 {
		if got := users[0].PermitSeconds; got != 0 {
			t.Errorf("PermitSeconds = %v before time passed", got)
		}
		want[0].Charge = users[0].Charge // what it has beside what it wants is not the point
	}
	if err != nil || !slices.Equal(users, want) {
		t.Errorf("Users = %+v, %v, want %+v", users, err, want)
	}
	w.step(time.Second)
	busy.held = 1
	busy.report.Usage, busy.report.HasUsage = permit.Usage{Uptime: 10 * time.Second, CPU: 4 * time.Second}, true
	busy.send()
	w.step(500 * time.Millisecond)
	if users, _ = w.ledger.Users(w.now, "r", nil); users[0].PermitSeconds != 2.5 {
		t.Errorf("PermitSeconds = %v after two for 1 s and one for 0.5 s, want 2.5", users[0].PermitSeconds)
	}
	if users[0].First != used || users[0].Usage != busy.report.Usage {
		t.Errorf("the first usage is %+v and the newest %+v, want %+v and %+v", users[0].First, users[0].Usage, used, busy.report.Usage)
	}
	if _, err := w.ledger.Users(w.now, "none", nil); !errors.Is(err, permit.ErrNoResource) {
		t.Errorf("Users of no resource: %v", err)
	}
}

// A session begins with the part for new ones.
func TestNewPart(t *testing.T) {
	w := newWorld(t, config(10))
	first := w.attach("uid:0")
	first.want(2)
	w.ledger.SetNewPart("r", 3, "new")
	w.ledger.SetNewPart("r", -1, "")
	w.ledger.SetNewPart("none", 1, "")
	second := w.attach("uid:1")
	second.want(20)
	first.want(5)
	w.step(time.Millisecond)
	if first.target.Target < 5 || second.target.Target != 3 {
		t.Errorf("targets %d and %d, want at least the 5 that are wanted, and 3", first.target.Target, second.target.Target)
	}
}
