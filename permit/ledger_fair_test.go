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
