package permit_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

// What is guaranteed comes before the floors, and what is left then goes round among the bands. Whoever has a
// guarantee has it all the time.
func TestGuaranteesLeaveTurns(t *testing.T) {
	for _, tt := range []struct {
		name       string
		limit      int64
		guaranteed []int64 // by band, the highest first; who has it has no other work
	}{
		{"in the middle", 3, []int64{0, 2, 0}},
		{"in the lowest", 3, []int64{0, 0, 2}},
		{"in the highest", 2, []int64{1, 0, 0}},
		{"in each", 4, []int64{1, 1, 1}},
		{"in most", 4, []int64{2, 0, 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := config(tt.limit)
			c.Resources[0].Default = permit.Grant{MaxPriority: permit.MaxPriority, MaxGuarantee: tt.limit}
			w := newWorld(t, c)
			var guaranteed, waiting []*worker
			for band, n := range tt.guaranteed {
				if n > 0 {
					guaranteed = append(guaranteed, w.join(party("uid:1"), permit.Report{Want: n, Guarantee: n, Priority: -band}))
				}
				waiting = append(waiting, w.join(party("uid:2"), permit.Report{Want: 5, Priority: -band}))
			}
			w.use()
			w.step(0)
			w.drain()
			for _, k := range waiting {
				k.end(k.held)
			}
			served := make([]int, len(waiting))
			for range 100 {
				for i, k := range waiting {
					if k.room() > 0 {
						k.start(1)
						served[i]++
						k.send()
						w.step(15 * time.Millisecond)
						k.end(1)
					}
				}
				w.step(15 * time.Millisecond)
				for _, k := range guaranteed { // what it does not need for a moment is its own
					if k.held < k.report.Guarantee {
						t.Fatalf("has %d of %d guaranteed", k.held, k.report.Guarantee)
					}
					k.held--
					k.send()
					w.step(time.Millisecond)
					k.start(1)
					k.send()
				}
			}
			if slices.Min(served) < 10 {
				t.Errorf("served %v in 100 rounds, want each band in turns", served)
			}
		})
	}
}

func TestGuaranteeIsAdmittedWhereThereIsRoom(t *testing.T) {
	c := config(10)
	c.Resources[0].Default.MaxGuarantee = 8
	w := newWorld(t, c)
	a := w.join(party("uid:1"), permit.Report{Guarantee: 6})
	b := w.join(party("uid:2"), permit.Report{Guarantee: 5})
	d := w.join(party("uid:1"), permit.Report{Guarantee: 3})
	for _, k := range w.workers {
		k.send()
	}
	w.step(0)
	got := []int64{a.target.Guarantee, b.target.Guarantee, d.target.Guarantee}
	if want := []int64{6, 0, 0}; !slices.Equal(got, want) { // 5 is over the limit, and 3 over what uid:1 may have
		t.Errorf("guarantees %v, want %v", got, want)
	}
	a.report.Guarantee = 0
	a.send()
	w.step(time.Second)
	got = []int64{a.target.Guarantee, b.target.Guarantee, d.target.Guarantee}
	if want := []int64{0, 5, 3}; !slices.Equal(got, want) {
		t.Errorf("when there is room: guarantees %v, want %v", got, want)
	}
}

// Two tasks that need most of the limit at once do not wait for each other with half of it each.
func TestNeedIsGathered(t *testing.T) {
	w := newWorld(t, config(8))
	var served [4]int
	for i := range served {
		k := w.join(party(fmt.Sprintf("uid:%d", i)), permit.Report{Want: 6, Need: 6})
		if i > 1 {
			k.report.Want, k.report.Need = 50, 1
		}
		k.send()
	}
	w.step(0)
	for range 4000 {
		for i, k := range w.workers {
			need := max(k.report.Need, 1)
			if k.room() >= need {
				k.start(need)
				served[i]++
				k.send()
			} else if k.held > 0 {
				k.end(k.held)
				k.send()
			}
		}
		w.step(5 * time.Millisecond)
	}
	if served[0] < 5 || served[1] < 5 || served[2] < 1000 || served[3] < 1000 {
		t.Errorf("in 20 s served %v, want the large and the small", served)
	}
}

// A task that needs more at once than guarantees leave keeps nobody else waiting.
func TestNeedBesideAGuarantee(t *testing.T) {
	c := config(4)
	c.Resources[0].Default.MaxGuarantee = 4
	w := newWorld(t, c)
	sure := w.join(party("uid:1"), permit.Report{Want: 2, Guarantee: 2})
	w.use()
	w.step(0)
	sure.start(2)
	sure.send()
	w.join(party("uid:2"), permit.Report{Want: 3, Need: 3}).send()
	small := w.join(party("uid:3"), permit.Report{Want: 5})
	small.send()
	served := 0
	for range 200 {
		w.step(10 * time.Millisecond)
		if small.held > 0 {
			small.end(small.held)
		}
		small.start(1)
		served += int(small.held)
		small.send()
	}
	if served < 50 || sure.held != 2 {
		t.Errorf("served %d times in 2 s beside %d guaranteed, want it again and again, and 2", served, sure.held)
	}
}
