package permit_test

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

// crowd is a ledger with so many sessions that each want permits of one resource.
type crowd struct {
	ledger *permit.Ledger
	ids    []permit.SessionID
	frames []permit.WorkerFrame
	seq    int64
}

func newCrowd(b *testing.B, sessions, identities int, limit int64, want func(i int) int64) *crowd {
	b.Helper()
	c := config(limit)
	c.Resources[0].Default = permit.Grant{MaxGuarantee: permit.MaxLimit}
	l, err := permit.NewLedger(0, c)
	if err != nil {
		b.Fatal(err)
	}
	all := &crowd{ledger: l}
	for i := range sessions {
		w, err := l.Attach(0, permit.Party{Identity: fmt.Sprintf("uid:%d", i%identities), Unbounded: true}, permit.Hello{Client: "w"})
		if err != nil {
			b.Fatal(err)
		}
		all.ids = append(all.ids, w.Session)
		all.frames = append(all.frames, permit.WorkerFrame{Reports: []permit.Report{{
			Resource: "r", Want: want(i), Weight: 1 + i%3,
		}}})
	}
	all.report(0, 0, sessions)
	all.settle(0)
	return all
}

func (c *crowd) report(now time.Duration, from, to int) {
	c.seq++
	for i := from; i < to; i++ {
		c.frames[i].Sequence = c.seq
		if err := c.ledger.Receive(now, c.ids[i], c.frames[i]); err != nil {
			panic(err)
		}
	}
}

// settle lets every worker have its target, and use it.
func (c *crowd) settle(now time.Duration) {
	index := make(map[permit.SessionID]int)
	for i, id := range c.ids {
		index[id] = i
	}
	for range 4 {
		c.ledger.Advance(now)
		c.ledger.TakeRecords(nil)
		for id := range c.ledger.Dirty() {
			for _, target := range c.ledger.TakeTargets(id, nil) {
				r := &c.frames[index[id]].Reports[0]
				r.Version, r.Held = target.Version, min(target.Target, r.Want)
			}
		}
		c.report(now, 0, len(c.ids))
	}
	c.ledger.Advance(now)
}

// BenchmarkAdvance is one pass over a resource of which the limit changed by one permit, with as many sessions.
func BenchmarkAdvance(b *testing.B) {
	for _, sessions := range []int{100, 1000, 10_000} {
		for _, scarce := range []bool{false, true} {
			b.Run(fmt.Sprintf("sessions=%d/scarce=%t", sessions, scarce), func(b *testing.B) {
				limit := int64(sessions) * 100
				if scarce {
					limit = int64(sessions) * 5
				}
				c := newCrowd(b, sessions, 100, limit, func(i int) int64 { return int64(i*7919%50) + 1 })
				b.ReportAllocs()
				n := int64(0)
				for b.Loop() {
					n++
					if err := c.ledger.SetLimit(0, "r", limit-n%2, ""); err != nil {
						b.Fatal(err)
					}
					c.ledger.Advance(0)
				}
			})
		}
	}
}

// The division as it is written down in a text book: the least wants first, each time from a new slice.
func BenchmarkAdvanceNaive(b *testing.B) {
	for _, sessions := range []int{100, 1000, 10_000} {
		b.Run(fmt.Sprintf("sessions=%d", sessions), func(b *testing.B) {
			type one struct{ want, weight, give int64 }
			wants := make(map[int]one)
			for i := range sessions {
				wants[i] = one{want: int64(i*7919%50) + 1, weight: int64(1 + i%3)}
			}
			b.ReportAllocs()
			for b.Loop() {
				var all []one
				weights, left := int64(0), int64(sessions)*5
				for _, o := range wants {
					all = append(all, o)
					weights += o.weight
				}
				slices.SortFunc(all, func(a, b one) int { return cmp.Compare(a.want*b.weight, b.want*a.weight) })
				for i := range all {
					o := &all[i]
					o.give = min(o.want, left*o.weight/weights)
					left -= o.give
					weights -= o.weight
				}
			}
		})
	}
}

// BenchmarkReport is a heartbeat with a report that says nothing new.
func BenchmarkReport(b *testing.B) {
	for _, sessions := range []int{1, 10_000} {
		b.Run(fmt.Sprintf("sessions=%d", sessions), func(b *testing.B) {
			c := newCrowd(b, sessions, 100, int64(sessions)*100, func(int) int64 { return 5 })
			b.ReportAllocs()
			i, now := 0, time.Duration(0)
			for b.Loop() {
				now += time.Microsecond
				if i == 0 {
					c.seq++
				}
				c.frames[i].Sequence = c.seq
				if err := c.ledger.Receive(now, c.ids[i], c.frames[i]); err != nil {
					b.Fatal(err)
				}
				c.ledger.Advance(now)
				i = (i + 1) % sessions
			}
		})
	}
}

// BenchmarkHandOff is a permit that one session gives back and another gets, of a limit of 8.
func BenchmarkHandOff(b *testing.B) {
	for _, n := range [][2]int{{64, 1}, {64, 64}, {10_000, 1}, {10_000, 100}, {10_000, 10_000}} {
		sessions, identities := n[0], n[1]
		b.Run(fmt.Sprintf("sessions=%d/identities=%d", sessions, identities), func(b *testing.B) {
			c := newCrowd(b, sessions, identities, 8, func(int) int64 { return 1 })
			index := make(map[permit.SessionID]int)
			var holders []int
			for i, id := range c.ids {
				index[id] = i
				if c.frames[i].Reports[0].Held > 0 {
					holders = append(holders, i)
				}
			}
			var targets []permit.Target
			var records []permit.Record
			now := time.Duration(0)
			b.ReportAllocs()
			for b.Loop() {
				now += time.Microsecond
				i := holders[0]
				holders = holders[:copy(holders, holders[1:])]
				f := &c.frames[i]
				c.seq++
				f.Sequence = c.seq
				f.Reports[0].Held, f.Reports[0].Ceiling, f.Reports[0].HasCeiling = 0, 0, true
				if err := c.ledger.Receive(now, c.ids[i], *f); err != nil {
					b.Fatal(err)
				}
				c.ledger.Advance(now)
				records = c.ledger.TakeRecords(records[:0])
				for id := range c.ledger.Dirty() {
					targets = c.ledger.TakeTargets(id, targets[:0])
					for _, t := range targets {
						r := &c.frames[index[id]].Reports[0]
						r.Version, r.HasCeiling = t.Version, false
						if t.Target > 0 {
							r.Held = 1
							holders = append(holders, index[id])
						}
					}
				}
				if len(holders) != 8 {
					b.Fatalf("%d holders, want 8", len(holders))
				}
			}
		})
	}
}
