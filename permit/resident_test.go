package permit_test

import (
	"errors"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

// What the server itself leases for others does not end because the server, or its host, stood still.
func TestResidentSessionsDoNotExpire(t *testing.T) {
	c := config(10)
	c.MaxSessions, c.MaxSessionsPerIdentity = 1, 1
	w := newWorld(t, c)
	worker := w.attach("uid:1")
	worker.silent = true
	if _, err := w.ledger.Attach(0, party("uid:1"), permit.Hello{}); !errors.Is(err, permit.ErrSessions) {
		t.Fatalf("a second session = %v, want ErrSessions", err)
	}
	resident := w.join(permit.Party{Identity: "uid:1", Resident: true}, permit.Report{})
	resident.want(4)
	w.step(0)
	resident.start(4)
	resident.send()

	w.now += time.Hour
	w.ledger.Advance(w.now)
	if got := w.account(); got.Charge < 4 {
		t.Errorf("charge after an hour of silence = %d, want the 4 that are held", got.Charge)
	}
	if got := w.ledger.Expired(); got != 1 {
		t.Errorf("%d sessions expired, want that of the worker", got)
	}
	resident.send() // fails the test if the session is over
	if at, ok := w.ledger.Next(); ok && at > w.now+time.Hour {
		t.Errorf("Next = %v, which is no time at all", at)
	}
	w.ledger.End(w.now, resident.id)
	if err := w.ledger.Check(); err != nil || w.account().Charge != 0 {
		t.Errorf("once ended: charge %d, %v, want 0", w.account().Charge, err)
	}
}

// What an earlier life granted under a longer lease is charged for as long as that lasts.
func TestRecoveryLastsAsLongAsTheEarlierLeases(t *testing.T) {
	const window = time.Minute
	for _, amnesia := range []bool{false, true} {
		c := config(10)
		c.Epoch, c.Window, c.Amnesia = 2, window, amnesia
		c.Recovered = []permit.Record{{
			Epoch: 1, Instance: permit.InstanceID{7}, Session: permit.SessionID{7}, Identity: "uid:1", Resource: "r", Ceiling: 8,
		}}
		w := newWorld(t, c)
		w.ledger.Advance(window - 1)
		account, err := w.ledger.Account(window-1, "r")
		if err != nil || account.Unknown < 8 || w.ledger.Recovery(0) > window {
			t.Errorf("amnesia %v: %+v, %v, want 8 unknown until %v", amnesia, account, err, window)
		}
		w.ledger.Advance(window)
		if account, _ = w.ledger.Account(window, "r"); account.Unknown != 0 || w.ledger.Recovery(window) != 0 {
			t.Errorf("amnesia %v: %+v after the window, want nothing unknown", amnesia, account)
		}
	}
	c := config(10)
	c.Window, c.Amnesia = time.Millisecond, true
	w := newWorld(t, c)
	if got := w.ledger.Recovery(0); got != permit.DefaultTTL+permit.DefaultGrace {
		t.Errorf("Recovery = %v with a shorter window, want TTL and grace", got)
	}
}
