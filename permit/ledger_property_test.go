package permit_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/internal/mistake"
	"github.com/headroom-rpc/headroom/permit"
)

// needsTime skips what takes long under the race detector, where there is one goroutine only.
func needsTime(t *testing.T) {
	t.Helper()
	if raceEnabled {
		t.Skip("one goroutine has no races")
	}
}

func run(seed uint64, steps int) (*play, error) {
	random := rand.New(rand.NewPCG(seed, 1))
	p, err := newPlay(random.IntN)
	for i := 0; err == nil && i < steps; i++ {
		if err = p.step(); err != nil {
			err = fmt.Errorf("seed %d, step %d, %v: %w", seed, i, p, err)
		}
	}
	return p, err
}

func TestLedgerKeepsItsInvariants(t *testing.T) {
	needsTime(t)
	var raises, restarts, adoptions, parts int
	for seed := range uint64(60) {
		p, err := run(seed, 2000)
		if err != nil {
			t.Fatal(err)
		}
		raises += p.seen.raises
		restarts += p.seen.restarts
		adoptions += p.seen.adoptions
		parts += p.seen.parts
	}
	t.Logf("%d raises, %d restarts, %d adoptions, %d parts", raises, restarts, adoptions, parts)
	if raises < 1000 || restarts < 50 || adoptions < 100 || parts < 100 {
		t.Errorf("%d raises, %d restarts, %d adoptions and %d parts prove little", raises, restarts, adoptions, parts)
	}
}

// Each mistake must be found, or the test above proves nothing.
func TestLedgerMistakesAreFound(t *testing.T) {
	needsTime(t)
	for _, m := range []mistake.Mistake{
		mistake.RaiseUnchecked, mistake.FreeOnSend, mistake.AckWrongVersion, mistake.ExpireFromSend,
		mistake.ResumeOther, mistake.ForgetUnknown, mistake.RecordAfterGrant, mistake.FenceLocal, mistake.ReportTwice,
		mistake.LowerFrees, mistake.YieldKeepsTarget, mistake.AcceptStaleReport, mistake.KickFrees,
	} {
		t.Run(m.String(), func(t *testing.T) {
			defer mistake.Plant(m)()
			for seed := range uint64(200) {
				if _, err := run(seed, 2000); err != nil {
					t.Log(err)
					return
				}
			}
			t.Error("not found")
		})
	}
}

// Once all goes well again, whoever waits is served in a bounded time, whatever went before.
func TestLedgerServesEveryWaiter(t *testing.T) {
	needsTime(t)
	for seed := range uint64(60) {
		p, err := run(seed, 400)
		if err != nil {
			t.Fatal(err)
		}
		for r, name := range resourceNames {
			limit := int64(1 + r*5)
			err = errors.Join(err, p.setLimit(name, limit),
				p.ledger.SetMode(p.now, name, permit.ModeNormal, 0, ""))
			p.ledger.SetNewPart(name, permit.MaxLimit, "")
			for _, k := range p.players {
				p.bound(k, name, permit.MaxLimit)
			}
		}
		started := make([][]int64, len(p.players))
		for i, k := range p.players {
			started[i] = make([]int64, len(k.parts))
			for err == nil && !(k.attached && k.welcomed) {
				err = p.attach(k)
			}
			for r := range k.parts {
				k.parts[r].want = 1 + int64(i%3)
			}
		}
		for range 10 * 50 {
			for i, k := range p.players {
				p.now += 20 * time.Millisecond / time.Duration(len(p.players))
				if e := p.beat(k, started[i]); errors.Is(e, permit.ErrNoSession) {
					p.cut(k, false)
					for err == nil && !k.welcomed {
						err = p.attach(k)
					}
				} else {
					err = errors.Join(err, e)
				}
			}
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		for i, k := range p.players {
			if all := p.ledger.Sessions(p.now, nil); slices.ContainsFunc(all, func(s permit.SessionAccount) bool {
				return s.Name == k.name && s.State != permit.SessionLive
			}) {
				continue // kicked
			}
			for r, n := range started[i] {
				if n < 3 {
					t.Errorf("seed %d: worker %d of %d started %d of %s in 10 s", seed, i, len(p.players), n, resourceNames[r])
				}
			}
		}
	}
}

// FuzzLedger plays what the bytes say.
func FuzzLedger(f *testing.F) {
	random := rand.New(rand.NewPCG(3, 3))
	for range 16 {
		seed := make([]byte, 500)
		for i := range seed {
			seed[i] = byte(random.Uint32())
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		pick := func(n int) int {
			if n <= 1 || len(data) == 0 {
				return 0
			}
			b := int(data[0])
			data = data[1:]
			if n > 256 && len(data) > 0 {
				b, data = b<<8|int(data[0]), data[1:]
			}
			return b % n
		}
		p, err := newPlay(pick)
		for err == nil && len(data) > 0 {
			err = p.step()
		}
		if err != nil {
			t.Fatalf("%v: %v", p, err)
		}
	})
}

// FuzzLedgerFrames gives the ledger what no worker says: it must keep its sums and not fail.
func FuzzLedgerFrames(f *testing.F) {
	f.Add(int64(1), int64(3), int64(9), int64(2), true, 1, 0, int64(1), int64(1), int64(5), uint8(3))
	f.Add(int64(-1), int64(-3), int64(1)<<62, int64(-2), true, -1, 99, int64(-1), int64(1)<<62, int64(-5), uint8(255))
	f.Fuzz(func(t *testing.T, version, held, want, ceiling int64, has bool, weight, priority int,
		guarantee, need, duration int64, order uint8) {
		c := config(10)
		c.Resources[0].Default = permit.Grant{MaxGuarantee: 5, MaxPriority: 3, Max: 8}
		l, err := permit.NewLedger(0, c)
		if err != nil {
			t.Fatal(err)
		}
		hello := permit.Hello{Epoch: version, Resume: has, Held: []permit.Holding{
			{Resource: "r", Held: held, Version: version, Target: want, Ceiling: ceiling, HasCeiling: has}}}
		var ids []permit.SessionID
		for i := range 3 {
			w, err := l.Attach(time.Duration(duration), permit.Party{Identity: fmt.Sprint(i)}, hello)
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, w.Session)
		}
		for i := range 8 {
			id := ids[int(order>>i)%3]
			frame := permit.WorkerFrame{Sequence: int64(i) * version, Sent: time.Duration(duration), Reports: []permit.Report{{
				Resource: "r", Version: version, Held: held, Want: want, Ceiling: ceiling, HasCeiling: has, Weight: weight,
				Priority: priority, Guarantee: guarantee, Need: need, OldestWait: time.Duration(duration),
				MeanHold: time.Duration(want),
			}, {Resource: "other"}}}
			frame.Sequence = max(frame.Sequence, int64(order))
			if err := l.Receive(time.Duration(duration), id, frame); err != nil && !errors.Is(err, permit.ErrNoSession) {
				t.Fatal(err)
			}
			if order>>i&1 == 0 {
				l.Advance(time.Duration(duration))
				l.TakeTargets(id, nil)
			}
			version++
			if err := l.Check(); err != nil {
				t.Fatal(err)
			}
			if a, err := l.Account(0, "r"); err != nil || a.Charge+a.Unknown > a.Limit {
				t.Fatalf("account %+v, %v", a, err)
			}
		}
		if _, err := l.Explain(time.Duration(duration), "r", func(string, permit.Party) bool { return true }); err != nil {
			t.Fatal(err)
		}
	})
}
