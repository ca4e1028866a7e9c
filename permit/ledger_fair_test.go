package permit_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

func party(identity string) permit.Party { return permit.Party{Identity: identity} }

// use lets every worker use all that it has.
func (w *world) use() {
	w.t.Helper()
	for _, k := range w.workers {
		k.start(k.room())
		k.send()
	}
}

// drain lets whoever holds more than its target end that.
func (w *world) drain() {
	w.t.Helper()
	for range 4 {
		for _, k := range w.workers {
			if over := k.held - k.target.Target; over > 0 {
				k.end(over)
			}
		}
		w.step(time.Millisecond)
		w.use()
	}
}

func TestShareByWeight(t *testing.T) {
	tests := []struct {
		name    string
		limit   int64
		grants  map[string]permit.Grant
		workers []permit.Report // of uid:0, uid:1, ...
		same    bool            // whether they are all of uid:0
		want    []int64
	}{
		{"sessions", 60, nil, []permit.Report{{Want: 99, Weight: 1}, {Want: 99, Weight: 2}, {Want: 99, Weight: 3}}, true,
			[]int64{10, 20, 30}},
		{"a little wanted is had, the rest is shared", 60, nil,
			[]permit.Report{{Want: 4}, {Want: 99}, {Want: 99}}, false, []int64{4, 28, 28}},
		{"identities", 60, map[string]permit.Grant{"uid:0": {Weight: 2}},
			[]permit.Report{{Want: 99, Weight: 1}, {Want: 99, Weight: 1000}}, false, []int64{40, 20}},
		{"a higher band has all but the floor", 60, map[string]permit.Grant{"uid:0": {MaxPriority: 5}},
			[]permit.Report{{Want: 99, Priority: 5}, {Want: 99}}, false, []int64{54, 6}},
		{"the floor is what is wanted at most", 60, map[string]permit.Grant{"uid:0": {MaxPriority: 5}},
			[]permit.Report{{Want: 99, Priority: 5}, {Want: 2}}, false, []int64{58, 2}},
		{"the floor is one at least", 4, map[string]permit.Grant{"uid:0": {MaxPriority: 5}},
			[]permit.Report{{Want: 99, Priority: 5}, {Want: 2}}, false, []int64{3, 1}},
		{"a priority that is not granted is capped", 60, nil,
			[]permit.Report{{Want: 99, Priority: 10}, {Want: 99}}, false, []int64{30, 30}},
		{"a band under the others is for all", 60, nil,
			[]permit.Report{{Want: 99, Priority: -3}, {Want: 99}}, false, []int64{6, 54}},
		{"a quota", 60, map[string]permit.Grant{"uid:0": {Max: 7}},
			[]permit.Report{{Want: 99}, {Want: 99}}, false, []int64{7, 53}},
		{"a guarantee comes first", 60, map[string]permit.Grant{"uid:0": {MaxGuarantee: 50}},
			[]permit.Report{{Want: 99, Guarantee: 45}, {Want: 99}}, false, []int64{45, 15}},
		{"a guarantee is not more than the share", 60, map[string]permit.Grant{"uid:0": {MaxGuarantee: 50}},
			[]permit.Report{{Want: 99, Guarantee: 5}, {Want: 99}}, false, []int64{30, 30}},
		{"a guarantee in a lower band", 60,
			map[string]permit.Grant{"uid:0": {MaxPriority: 5}, "uid:1": {MaxGuarantee: 50}},
			[]permit.Report{{Want: 99, Priority: 5}, {Want: 99, Guarantee: 20}}, false, []int64{36, 24}},
		{"a guarantee that is not wanted", 60, map[string]permit.Grant{"uid:0": {MaxGuarantee: 50}},
			[]permit.Report{{Want: 3, Guarantee: 45}, {Want: 99}}, false, []int64{3, 57}},
		{"a limit of 0", 0, nil, []permit.Report{{Want: 99}, {Want: 99}}, false, []int64{0, 0}},
		{"nothing wanted", 10, nil, []permit.Report{{Want: 0}, {Want: 99}}, false, []int64{0, 10}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := config(tt.limit)
			c.Resources[0].Grants = tt.grants
			w := newWorld(t, c)
			for i, report := range tt.workers {
				who := fmt.Sprintf("uid:%d", i)
				if tt.same {
					who = "uid:0"
				}
				w.join(party(who), report)
			}
			w.use()
			w.step(0)
			w.drain()
			if got := targets(w.workers...); !slices.Equal(got, tt.want) {
				t.Errorf("targets %v, want %v", got, tt.want)
			}
		})
	}
}

// Many sessions get their identity no more than one does.
func TestShareIsByIdentityFirst(t *testing.T) {
	const limit = 100
	c := config(limit)
	c.MaxSessionsPerIdentity = 500
	w := newWorld(t, c)
	for range 500 {
		w.join(party("uid:1"), permit.Report{Want: permit.MaxLimit, Weight: permit.MaxWeight, Priority: permit.MaxPriority})
	}
	w.use()
	w.step(0)
	w.drain()
	honest := w.join(party("uid:2"), permit.Report{Want: limit})
	honest.send()
	w.step(0)
	w.drain()
	if got := honest.target.Target; got < limit/2-1 {
		t.Errorf("target %d beside 500 greedy sessions, want at least %d", got, limit/2-1)
	}
}

// A limit of 8 goes round among 64 that each want one.
func TestScarcePermitsGoRound(t *testing.T) {
	for _, gap := range []time.Duration{100 * time.Microsecond, 20 * time.Millisecond} {
		t.Run(gap.String(), func(t *testing.T) {
			w := newWorld(t, config(8))
			served := make([]int, 64)
			for i := range served {
				w.join(party(fmt.Sprintf("uid:%d", i%16)), permit.Report{Want: 1}).send()
			}
			w.step(0)
			var running []*worker
			for range 64 * 50 {
				for i, k := range w.workers {
					if k.room() > 0 {
						k.start(1)
						k.send()
						served[i]++
						running = append(running, k)
					}
				}
				if len(running) != 8 {
					t.Fatalf("%d run, want 8", len(running))
				}
				running[0].end(1)
				running = running[1:]
				w.step(gap)
			}
			if least, most := slices.Min(served), slices.Max(served); least < 47 || most > 53 {
				t.Errorf("served %d to %d times, want 47 to 53: %v", least, most, served)
			}
		})
	}
}

// With weights the turns are by weight.
func TestScarcePermitsGoRoundByWeight(t *testing.T) {
	w := newWorld(t, config(1))
	var served [3]int
	for i := range served {
		w.join(party("uid:1"), permit.Report{Want: 5, Weight: 1 << i}).send()
	}
	w.step(0)
	for range 700 {
		for i, k := range w.workers {
			if k.room() > 0 {
				k.start(1)
				served[i]++
				k.send()
				w.step(15 * time.Millisecond)
				k.end(1)
				break
			}
		}
		w.step(15 * time.Millisecond)
	}
	if served[0] < 90 || served[1] < 180 || served[2] < 370 {
		t.Errorf("served %v of 700, want about 100, 200, 400", served)
	}
}

// Fewer permits than bands go round among the bands.
func TestScarcePermitsGoRoundAmongBands(t *testing.T) {
	c := config(1)
	c.Resources[0].Default.MaxPriority = permit.MaxPriority
	w := newWorld(t, c)
	var served [3]int
	for i := range served {
		w.join(party("uid:1"), permit.Report{Want: 5, Priority: i}).send()
	}
	w.step(0)
	for range 100 {
		for i, k := range w.workers {
			if k.room() > 0 {
				k.start(1)
				served[i]++
				k.send()
				w.step(15 * time.Millisecond)
				k.end(1)
				break
			}
		}
		w.step(15 * time.Millisecond)
	}
	if slices.Min(served[:]) < 10 {
		t.Errorf("served %v of 100, want each band in turns", served)
	}
}

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

// Whoever asks for all and uses nothing has one permit after 200 ms, when others wait, and gets more as it uses
// what it has.
func TestUnusedIsTakenBack(t *testing.T) {
	w := newWorld(t, config(100))
	hoarder := w.join(party("uid:1"), permit.Report{Want: permit.MaxLimit})
	hoarder.send()
	w.step(0)
	if got := hoarder.target.Target; got != 100 {
		t.Fatalf("alone: target %d, want 100", got)
	}
	honest := w.join(party("uid:2"), permit.Report{Want: 200})
	honest.send()
	w.step(0)
	honest.start(100)
	honest.send()
	if hoarder.target.Target != 50 || honest.target.Target != 50 {
		t.Errorf("at first: targets %v, want [50 50]", targets(hoarder, honest))
	}
	w.step(200 * time.Millisecond)
	w.step(0)
	if hoarder.target.Target != 1 || honest.target.Target != 99 {
		t.Errorf("after 200 ms: targets %v, want [1 99]", targets(hoarder, honest))
	}
	honest.start(100)
	honest.send()
	for range 50 {
		hoarder.start(100)
		hoarder.send()
		w.step(time.Millisecond)
		if over := honest.held - honest.target.Target; over > 0 {
			honest.end(over)
		}
		w.step(time.Millisecond)
	}
	if hoarder.target.Target != 50 || honest.target.Target != 50 {
		t.Errorf("when it uses them: targets %v, want [50 50]", targets(hoarder, honest))
	}
}

// One of the few that go round does not stay with who does not use it.
func TestUnusedGoesRound(t *testing.T) {
	w := newWorld(t, config(2))
	for range 2 {
		w.join(party("uid:1"), permit.Report{Want: permit.MaxLimit}).send()
	}
	w.step(0)
	honest := w.join(party("uid:2"), permit.Report{Want: 5})
	other := w.join(party("uid:3"), permit.Report{Want: 5})
	honest.send()
	other.send()
	w.step(0)
	served := 0
	for range 100 {
		for _, k := range []*worker{honest, other} {
			if k.room() > 0 {
				k.start(1)
				k.send()
				k.end(1)
				served++
			}
		}
		w.step(20 * time.Millisecond)
	}
	if served < 20 {
		t.Errorf("served %d times in 2 s beside two that use nothing, want at least 20", served)
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
			if charge := w.account().Charge; charge != 10 {
				t.Errorf("charge %d while the work runs, want 10", charge)
			}
			a.end(10)
			if err := w.ledger.SetMode(w.now, "r", permit.ModeNormal, 0, ""); err != nil {
				t.Fatal(err)
			}
			w.step(time.Millisecond)
			if a.target.Target != 10 || a.target.Mode != permit.ModeNormal {
				t.Errorf("target %+v, want 10 again", a.target)
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
