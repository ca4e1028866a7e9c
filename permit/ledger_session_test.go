package permit_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/internal/mistake"
	"github.com/headroom-rpc/headroom/permit"
)

// busy is a world in which one worker holds 6 of 10.
func busy(t *testing.T) (*world, *worker) {
	t.Helper()
	w := newWorld(t, config(10))
	k := w.attach("uid:1")
	k.want(6)
	w.step(0)
	k.start(6)
	k.send()
	return w, k
}

func (k *worker) hello() permit.Hello {
	h := permit.Hello{Instance: k.instance, Session: k.id, Epoch: k.epoch, Resume: true}
	h.Held = []permit.Holding{{
		Resource: "r", Held: k.held, Version: k.target.Version, Target: k.target.Target,
		Ceiling: max(k.ceiling, 0), HasCeiling: k.ceiling >= 0,
	}}
	return h
}

func TestResume(t *testing.T) {
	w, k := busy(t)
	w.ledger.Detach(w.now, k.id)
	k.held = 4
	welcome, err := w.ledger.Attach(w.now, party("uid:1"), k.hello())
	if err != nil || !welcome.Resumed || welcome.Session != k.id {
		t.Fatalf("Attach = %+v, %v, want the session to be resumed", welcome, err)
	}
	k.sequence = 0
	k.send()
	w.step(0)
	if a := w.account(); a.Charge != k.target.Target || a.Held != 4 {
		t.Errorf("account %+v, want %d charged and 4 held", a, k.target.Target)
	}
}

func TestForgedSessionAdoptsNothing(t *testing.T) {
	w, k := busy(t)
	charge := w.account().Charge
	forged := k.hello()
	forged.Held[0].Held, forged.Held[0].Target = permit.MaxLimit, permit.MaxLimit

	other := forged
	if _, err := w.ledger.Attach(w.now, party("uid:2"), other); !errors.Is(err, permit.ErrNotOwner) {
		t.Errorf("Attach by another identity = %v, want ErrNotOwner", err)
	}
	random := rand.New(rand.NewPCG(1, 1))
	for range 100 {
		guess := forged
		for i := range guess.Session {
			guess.Session[i] = byte(random.Uint32())
		}
		welcome, err := w.ledger.Attach(w.now, party("uid:2"), guess)
		if err != nil || welcome.Resumed {
			t.Fatalf("Attach with a guessed id = %+v, %v, want a new session", welcome, err)
		}
		w.ledger.End(w.now, welcome.Session)
	}
	if err := w.ledger.Receive(w.now, permit.SessionID{1: 1}, permit.WorkerFrame{Sequence: 1}); !errors.Is(err, permit.ErrNoSession) {
		t.Errorf("Receive with a guessed id = %v, want ErrNoSession", err)
	}
	// Another process of the same identity that has the id does not answer for what the first one holds.
	another := forged
	another.Instance = permit.InstanceID{99}
	welcome, err := w.ledger.Attach(w.now, party("uid:1"), another)
	if err != nil || welcome.Resumed {
		t.Errorf("Attach of another process = %+v, %v, want a new session", welcome, err)
	}
	w.step(0)
	if got := w.account().Charge; got != charge {
		t.Errorf("charge %d, want %d as before", got, charge)
	}
}

func TestKick(t *testing.T) {
	w, k := busy(t)
	name := k.id.Name()
	was, id, err := w.ledger.Kick(w.now, name, "too loud")
	if err != nil || id != k.id || was.Name != name || was.Shares[0].Held != 6 {
		t.Fatalf("Kick = %+v, %v, %v", was, id, err)
	}
	w.step(0)
	if a := w.account(); k.target.Target != 0 || k.target.Binding != "kicked: too loud" || a.Charge != 6 {
		t.Errorf("target %+v, charge %d, want 0 and 6", k.target, a.Charge)
	}
	k.end(2)
	w.step(0)
	if a := w.account(); a.Charge != 4 {
		t.Errorf("when 2 ended: charge %d, want 4", a.Charge)
	}
	// It comes back as a new session, which is charged for what still runs.
	welcome := k.attach(party("uid:1"), k.hello())
	if a := w.account(); welcome.Resumed || a.Charge != 4 || a.Sessions != 1 {
		t.Errorf("when it came back: %+v, want 4 charged to one session", a)
	}
	if _, _, err := w.ledger.Kick(w.now, name, ""); !errors.Is(err, permit.ErrNoSession) {
		t.Errorf("Kick of a session that is gone = %v, want ErrNoSession", err)
	}
}

func TestSessionsAreBounded(t *testing.T) {
	c := config(10)
	c.MaxSessions, c.MaxSessionsPerIdentity = 5, 3
	w := newWorld(t, c)
	for range 3 {
		w.attach("uid:1")
	}
	var full *permit.SessionsError
	if _, err := w.ledger.Attach(0, party("uid:1"), permit.Hello{}); !errors.Is(err, permit.ErrSessions) ||
		!errors.As(err, &full) || *full != (permit.SessionsError{Identity: "uid:1", Most: 3}) {
		t.Errorf("a fourth session of an identity: %v, want ErrSessions with the 3 of it", err)
	}
	operator := permit.Party{Identity: "uid:1", Unbounded: true}
	for range 2 {
		w.join(operator, permit.Report{})
	}
	if _, err := w.ledger.Attach(0, operator, permit.Hello{}); !errors.As(err, &full) ||
		*full != (permit.SessionsError{Most: 5}) {
		t.Errorf("a sixth session: %v, want ErrSessions with the 5 of all", err)
	}
}

func TestRefusals(t *testing.T) {
	c := config(10)
	c.Resources = append(c.Resources, permit.Resource{Name: "denied", Limit: 5, Default: permit.Grant{Denied: true}})
	for i := range permit.MaxReports {
		c.Resources = append(c.Resources, permit.Resource{Name: fmt.Sprintf("x%d", i), Limit: 5})
	}
	w := newWorld(t, c)
	k := w.attach("uid:1")
	send := func(names ...string) map[string]permit.Refusal {
		k.sequence++
		f := permit.WorkerFrame{Sequence: k.sequence}
		for _, name := range names {
			f.Reports = append(f.Reports, permit.Report{Resource: name, Want: 1})
		}
		if err := w.ledger.Receive(w.now, k.id, f); err != nil {
			t.Fatal(err)
		}
		w.ledger.Advance(w.now)
		refused := make(map[string]permit.Refusal)
		for _, target := range w.ledger.TakeTargets(k.id, nil) {
			if target.Refused != "" {
				refused[target.Resource] = target.Refused
			}
		}
		return refused
	}
	want := map[string]permit.Refusal{"denied": permit.RefusedNotAllowed, "none": permit.RefusedNoResource}
	if got := send("r", "denied", "none"); !reflect.DeepEqual(got, want) {
		t.Errorf("refused %v, want %v", got, want)
	}
	for i := range permit.MaxReports - 1 {
		if got := send(fmt.Sprintf("x%d", i)); len(got) > 0 {
			t.Errorf("refused %v, want nothing", got)
		}
	}
	want = map[string]permit.Refusal{"x63": permit.RefusedTooMany}
	if got := send("x63"); !reflect.DeepEqual(got, want) {
		t.Errorf("refused %v, want %v", got, want)
	}
}

// What a worker says that it holds never raises its charge.
func TestMoreThanWasGrantedIsAMismatch(t *testing.T) {
	w, k := busy(t)
	charge := w.account().Charge
	k.held = permit.MaxLimit
	k.send()
	if a := w.account(); a.Charge != charge || a.Mismatches != 1 {
		t.Errorf("charge %d, %d mismatches, want %d and 1", a.Charge, a.Mismatches, charge)
	}
	k.held = 6
	k.target.Version += 100
	k.send()
	if a := w.account(); a.Mismatches != 2 {
		t.Errorf("a version that was not sent: %d mismatches, want 2", a.Mismatches)
	}
}

// A goodbye frees at once, whatever is under way.
func TestGoodbye(t *testing.T) {
	goodbye := func() int64 {
		w, k := busy(t)
		if err := w.ledger.SetLimit(w.now, "r", 2, ""); err != nil {
			t.Fatal(err)
		}
		w.ledger.Advance(w.now)
		w.ledger.TakeTargets(k.id, nil) // a target that the worker has not seen
		if err := w.ledger.Receive(w.now, k.id, permit.WorkerFrame{Sequence: 99, Goodbye: true}); err != nil {
			t.Fatal(err)
		}
		return w.account().Charge
	}
	if got := goodbye(); got != 0 {
		t.Errorf("charge %d after a goodbye, want 0", got)
	}
	defer mistake.Plant(mistake.IgnoreGoodbye)()
	if got := goodbye(); got == 0 {
		t.Error("a goodbye that is not heard is not found")
	}
}

// reborn returns the world after the server's restart.
func (w *world) reborn(t *testing.T, limit int64, amnesia bool) *world {
	t.Helper()
	c := config(limit)
	c.Epoch, c.Amnesia = 2, amnesia
	latest := make(map[permit.SessionID]permit.Record)
	for _, record := range w.ledger.TakeRecords(w.records) {
		latest[record.Session] = record
	}
	for _, record := range latest {
		if !amnesia {
			c.Recovered = append(c.Recovered, record)
		}
	}
	make := c.NewSession
	c.NewSession = func() permit.SessionID { id := make(); id[0] = 2; return id }
	next := newWorld(t, c)
	return next
}

func TestRestart(t *testing.T) {
	for _, amnesia := range []bool{false, true} {
		t.Run(fmt.Sprintf("amnesia=%t", amnesia), func(t *testing.T) {
			before, k := busy(t)
			w := before.reborn(t, 10, amnesia)
			unknown := w.account().Unknown
			if amnesia && unknown != 10 || unknown < 6 {
				t.Errorf("unknown %d at the start, want what may be out", unknown)
			}
			eager := w.attach("uid:2")
			eager.want(10)
			w.step(0)
			if got := eager.target.Target; got > 10-unknown {
				t.Errorf("target %d while %d of 10 is unknown", got, unknown)
			}

			// Somebody who says that it held everything gets nothing by it.
			liar := permit.Hello{Instance: permit.InstanceID{7}, Session: permit.SessionID{7}, Epoch: 1, Resume: true,
				Held: []permit.Holding{{Resource: "r", Held: permit.MaxLimit, Version: 3, Target: permit.MaxLimit}}}
			if !amnesia {
				welcome, err := w.ledger.Attach(w.now, party("uid:3"), liar)
				if err != nil {
					t.Fatal(err)
				}
				if a := w.account(); a.Unknown != unknown || a.Charge != eager.target.Target {
					t.Errorf("after a false claim: %+v", a)
				}
				w.ledger.End(w.now, welcome.Session)
				stolen := k.hello()
				if _, err := w.ledger.Attach(w.now, party("uid:3"), stolen); !errors.Is(err, permit.ErrNotOwner) {
					t.Errorf("a claim to another's session = %v, want ErrNotOwner", err)
				}
			}

			k.world = w
			w.workers = append(w.workers, k)
			claim := k.hello()
			welcome := k.attach(party("uid:1"), claim)
			if welcome.Resumed || welcome.Epoch != 2 {
				t.Errorf("welcome %+v, want a new session", welcome)
			}
			if a := w.account(); a.Charge-eager.target.Target != claim.Held[0].Target || !amnesia && a.Unknown != 0 {
				t.Errorf("after it came back: %+v, want %d charged to it", a, claim.Held[0].Target)
			}
			k.want(6)
			w.step(0)
			k.want(6)
			w.step(time.Second)
			if w.now < w.ledger.Recovery(0) {
				w.step(w.ledger.Recovery(w.now))
			}
			if a := w.account(); a.Unknown != 0 || eager.target.Target != 4 && eager.target.Target != 5 {
				t.Errorf("in the end: %+v, target %d, want the rest for the other", a, eager.target.Target)
			}
		})
	}
}

// A welcome that was lost costs nothing: the worker asks again with what it has.
func TestWelcomeIsLostAfterARestart(t *testing.T) {
	before, k := busy(t)
	w := before.reborn(t, 10, false)
	claim := k.hello()
	for range 3 {
		welcome, err := w.ledger.Attach(w.now, party("uid:1"), claim)
		if err != nil {
			t.Fatal(err)
		}
		w.ledger.Detach(w.now, welcome.Session)
		if a := w.account(); a.Charge != claim.Held[0].Target || a.Sessions != 1 || a.Unknown != 0 {
			t.Errorf("account %+v, want %d charged to one session", a, claim.Held[0].Target)
		}
	}
}

// Frames may come doubled and in any order: what counts is the newest of each.
func TestOnlyTheNewestReportCounts(t *testing.T) {
	random := rand.New(rand.NewPCG(2, 2))
	for range 200 {
		var accounts [2]permit.ResourceAccount
		frames := make([]permit.WorkerFrame, 1+random.IntN(6))
		version := int64(1)
		for i := range frames {
			version += int64(random.IntN(2))
			frames[i] = permit.WorkerFrame{Sequence: int64(i) + 2, Reports: []permit.Report{{
				Resource: "r", Version: version, Held: int64(random.IntN(5)), Want: int64(random.IntN(20)),
			}}}
		}
		for n := range accounts {
			w, k := busy(t)
			deliver := frames[len(frames)-1:]
			if n == 1 {
				deliver = append([]permit.WorkerFrame{}, frames...)
				deliver = append(deliver, frames[random.IntN(len(frames))])
				random.Shuffle(len(deliver), func(i, j int) { deliver[i], deliver[j] = deliver[j], deliver[i] })
			}
			for _, f := range deliver {
				f.Sequence += k.sequence
				if err := w.ledger.Receive(w.now, k.id, f); err != nil {
					t.Fatal(err)
				}
			}
			w.ledger.Advance(w.now)
			accounts[n] = w.account()
		}
		accounts[0].Mismatches, accounts[1].Mismatches = 0, 0
		if accounts[0] != accounts[1] {
			t.Fatalf("in order %+v, shuffled and doubled %+v", accounts[0], accounts[1])
		}
	}
}

// A target that was not acknowledged is sent again, after a heartbeat.
func TestLostTargetIsSentAgain(t *testing.T) {
	w := newWorld(t, config(10))
	k := w.attach("uid:1")
	k.want(5)
	w.ledger.Advance(w.now)
	if got := w.ledger.TakeTargets(k.id, nil); len(got) != 1 {
		t.Fatalf("%d targets, want 1", len(got))
	}
	w.now += permit.DefaultHeartbeat
	k.send() // says that it knows of none
	w.step(0)
	if k.target.Target < 5 {
		t.Errorf("target %d, want 5 at least", k.target.Target)
	}
}

func TestConfigFaults(t *testing.T) {
	_, err := permit.NewLedger(0, permit.Config{
		TTL: -1, Grace: 2 * time.Hour, Heartbeat: 4 * time.Second, MaxSessions: -1, MaxSessionsPerIdentity: -1,
		Resources: []permit.Resource{
			{Name: "A", Limit: -1, FloorRatio: 0.6},
			{Name: "b", Limit: permit.MaxLimit + 1, Default: permit.Grant{Max: -1, Weight: -1}},
			{Name: "b", Grants: map[string]permit.Grant{"uid:1": {MaxPriority: 11, MaxGuarantee: -1}}},
		},
	})
	errs, ok := err.(interface{ Unwrap() []error })
	if !ok || len(errs.Unwrap()) != 16 {
		t.Errorf("faults:\n%v\nwant 16", err)
	}
}

// Where nothing is known of an earlier life, who comes back with a lease that is over takes nothing from who holds
// something yet.
func TestStaleClaimTakesNothing(t *testing.T) {
	c := config(10)
	c.Epoch, c.Amnesia = 2, true
	l, err := permit.NewLedger(0, c)
	if err != nil {
		t.Fatal(err)
	}
	worker := func(name byte, target, held, lease time.Duration) permit.WorkerFrame {
		w := permit.NewLessee(permit.LesseeConfig{Instance: permit.InstanceID{name}})
		g := w.Gate("r")
		w.Demand("r", permit.Demand{Waiting: int64(target)})
		w.Connect(0)
		f, _ := w.Frame(0)
		w.Receive(0, permit.ServerFrame{Epoch: 1, Echo: f.Sent, Welcome: &permit.Welcome{
			Session: permit.SessionID{name, 1}, Epoch: 1, TTL: lease, Heartbeat: lease / 3,
		}, Targets: []permit.Target{{Resource: "r", Version: 1, Target: int64(target), Fence: 1, Mode: permit.ModeNormal}}})
		g.TryAcquire(0, int64(held))
		w.Connect(time.Second)
		f, _ = w.Frame(time.Second)
		return f
	}
	stale, honest := worker(1, 10, 1, time.Second), worker(2, 9, 9, time.Minute)
	for _, f := range []permit.WorkerFrame{stale, honest} {
		if _, err := l.Attach(time.Second, party("uid:1"), *f.Hello); err != nil {
			t.Fatal(err)
		}
	}
	a, err := l.Account(time.Second, "r")
	if err != nil || a.Held != 10 || a.Charge != 10 || a.Mismatches != 0 {
		t.Errorf("account %+v, %v, want 1 and 9 held", a, err)
	}
}
