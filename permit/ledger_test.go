package permit_test

import (
	"errors"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

func TestLedgerSharesAndFrees(t *testing.T) {
	w := newWorld(t, config(10))
	a, b := w.attach("uid:1"), w.attach("uid:2")
	a.want(20)
	w.step(0)
	if got := a.target.Target; got != 10 {
		t.Errorf("alone: target %d, want 10", got)
	}
	a.start(10)
	a.send()
	b.want(20)
	w.step(time.Millisecond)
	if a.target.Target != 5 || b.target.Target != 0 {
		t.Errorf("while a holds all: targets %v, want [5 0]", targets(a, b))
	}
	a.end(2)
	w.step(time.Millisecond)
	if a.target.Target != 5 || b.target.Target != 2 {
		t.Errorf("when a ended 2: targets %v, want [5 2]", targets(a, b))
	}
	a.end(8)
	w.step(time.Millisecond)
	if a.target.Target != 5 || b.target.Target != 5 {
		t.Errorf("when a ended all: targets %v, want [5 5]", targets(a, b))
	}
	w.ledger.End(w.now, a.id)
	a.silent, a.target.Target = true, 0
	w.step(0)
	if got := b.target.Target; got != 10 {
		t.Errorf("when a is gone: target %d, want 10", got)
	}
}

func TestLedgerExpires(t *testing.T) {
	w := newWorld(t, config(10))
	a, b := w.attach("uid:1"), w.attach("uid:2")
	a.want(10)
	w.step(0)
	a.start(10)
	a.send()
	w.ledger.Detach(w.now, a.id)
	a.silent = true
	for w.now < permit.DefaultTTL+permit.DefaultGrace-time.Second {
		b.want(10)
		w.step(time.Second)
	}
	if got := b.target.Target; got != 0 {
		t.Errorf("at %v: target %d, want 0", w.now, got)
	}
	if at, ok := w.ledger.Next(); !ok || at > permit.DefaultTTL+permit.DefaultGrace {
		t.Errorf("Next = %v %v, want the expiry", at, ok)
	}
	b.send()
	a.held, a.target.Target = 0, 0 // its lease is over
	w.step(time.Second)
	if got := b.target.Target; got != 10 {
		t.Errorf("at %v: target %d, want 10", w.now, got)
	}
	err := w.ledger.Receive(w.now, a.id, permit.WorkerFrame{Sequence: 99})
	if !errors.Is(err, permit.ErrNoSession) {
		t.Errorf("Receive of an expired session = %v, want ErrNoSession", err)
	}
}
