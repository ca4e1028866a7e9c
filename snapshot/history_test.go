package snapshot_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

// model is a history as Crawlee keeps it: a sorted slice, pruned and filtered by walking it.
type model struct {
	keep  time.Duration
	snaps []snapshot.Snapshot
}

func (m *model) insert(s snapshot.Snapshot) {
	i := len(m.snaps)
	for i > 0 && m.snaps[i-1].At > s.At {
		i--
	}
	m.snaps = slices.Insert(m.snaps, i, s)
	newest := m.snaps[len(m.snaps)-1].At
	kept := make([]snapshot.Snapshot, 0, len(m.snaps))
	for _, old := range m.snaps {
		if newest-old.At <= m.keep {
			kept = append(kept, old)
		}
	}
	m.snaps = kept
}

func (m *model) sample(d time.Duration) []snapshot.Snapshot {
	if len(m.snaps) == 0 || d <= 0 {
		return m.snaps
	}
	newest := m.snaps[len(m.snaps)-1].At
	var sample []snapshot.Snapshot
	for _, s := range m.snaps {
		if newest-s.At <= d {
			sample = append(sample, s)
		}
	}
	return sample
}

// ratioAtNewest judges as crawlee-python does before it rounds.
func (m *model) ratioAtNewest(window, floor time.Duration) float64 {
	sample := m.sample(window)
	if len(sample) == 1 && sample[0].Overloaded {
		return 1
	}
	var over, total time.Duration
	for i := 1; i < len(sample); i++ {
		d := max(sample[i].At-sample[i-1].At, floor)
		total += d
		if sample[i].Overloaded {
			over += d
		}
	}
	if total == 0 {
		return 0
	}
	return float64(over) / float64(total)
}

// ratioAtNow judges as the default profile does.
func (m *model) ratioAtNow(window, now time.Duration) (float64, bool) {
	if len(m.snaps) == 0 {
		return 0, false
	}
	begin := max(now, m.snaps[len(m.snaps)-1].At) - window
	var over, total time.Duration
	for i := 1; i < len(m.snaps); i++ {
		s := m.snaps[i]
		if s.At < begin || s.Discontinuity || !s.Known() {
			continue
		}
		d := s.At - max(m.snaps[i-1].At, begin)
		total += d
		if s.Overloaded {
			over += d
		}
	}
	if total > 0 {
		return float64(over) / float64(total), true
	}
	for _, s := range slices.Backward(m.snaps) {
		if s.Known() {
			if s.Overloaded {
				return 1, true
			}
			return 0, true
		}
	}
	return 0, false
}

func FuzzHistoryEqualsASortedSlice(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed, uint16(200))
	}
	f.Fuzz(func(t *testing.T, seed uint64, steps uint16) {
		const keep, interval = 3 * time.Second, 100 * time.Millisecond
		rng := rand.New(rand.NewPCG(seed, 1))
		ring, want := snapshot.NewRing(keep, interval), &model{keep: keep}
		var now time.Duration
		for i := range int(steps % 512) {
			now += time.Duration(rng.IntN(5)) * interval / 2
			if rng.IntN(40) == 0 {
				now += 4 * time.Second
			}
			s := snapshot.Snapshot{At: now, Value: float64(i), Overloaded: rng.IntN(2) == 0, Discontinuity: rng.IntN(9) == 0}
			if rng.IntN(6) == 0 {
				s.At -= time.Duration(rng.IntN(40)) * interval
			}
			if rng.IntN(6) == 0 {
				s.Unknown, s.Overloaded = "lost", false
			}
			if len(want.snaps) == ring.Cap() {
				return // the model has no bound
			}
			ring.Insert(&s)
			want.insert(s)

			d := time.Duration(rng.IntN(5000)-500) * time.Millisecond
			if got, want := ring.Sample(nil, d), want.sample(d); !slices.Equal(got, want) {
				t.Fatalf("step %d: sample of %v = %v, want %v", i, d, got, want)
			}
			d = max(d, interval)
			for _, floor := range []time.Duration{0, time.Millisecond} {
				got, count := ring.RatioAtNewest(d, floor)
				if want := want.ratioAtNewest(d, floor); got != want {
					t.Fatalf("step %d: ratio at newest over %v = %v, want %v", i, d, got, want)
				}
				if got < 0 || got > 1 || count != len(want.sample(d)) {
					t.Fatalf("step %d: ratio %v of %d snapshots, want it in [0, 1] of %d", i, got, count, len(want.sample(d)))
				}
			}
			at := now + time.Duration(rng.IntN(20)-5)*interval
			got, _, known := ring.RatioAtNow(d, at)
			wantRatio, wantKnown := want.ratioAtNow(d, at)
			if got != wantRatio || known != wantKnown || got < 0 || got > 1 {
				t.Fatalf("step %d: ratio at %v over %v = %v %v, want %v %v", i, at, d, got, known, wantRatio, wantKnown)
			}
		}
	})
}

func TestHistoryKeepsTimeOrderAndItsWindow(t *testing.T) {
	const s = time.Second
	for _, tt := range []struct {
		name string
		at   []time.Duration // in order of arrival; the values are 0, 1, 2...
		want []float64
	}{
		{"in order", []time.Duration{0, s, 2 * s}, []float64{0, 1, 2}},
		{"out of order", []time.Duration{0, 2 * s, s}, []float64{0, 2, 1}},
		{"equal stamps go after", []time.Duration{0, 2 * s, s, s, 0}, []float64{0, 4, 2, 3, 1}},
		{"the edge of the window is inside", []time.Duration{0, 30 * s}, []float64{0, 1}},
		{"just beyond it is not", []time.Duration{0, 30*s + 1}, []float64{1}},
		{"late but within the window", []time.Duration{30 * s, 0}, []float64{1, 0}},
		{"late beyond the window", []time.Duration{30*s + 1, 0}, []float64{0}},
		{"pruned by the newest, not by the last to come", []time.Duration{0, 40 * s, 35 * s, 11 * s}, []float64{3, 2, 1}},
		{"negative times", []time.Duration{-10 * s, -50 * s, -20 * s}, []float64{2, 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ring := snapshot.NewRing(30*s, s)
			for i, at := range tt.at {
				ring.Insert(&snapshot.Snapshot{At: at, Value: float64(i)})
			}
			var got []float64
			for _, snap := range ring.Sample(nil, 0) {
				got = append(got, snap.Value)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("order %v, want %v", got, tt.want)
			}
		})
	}
}

func TestHistoryIsBounded(t *testing.T) {
	ring := snapshot.NewRing(30*time.Second, time.Second)
	for i := range 1000 {
		ring.Insert(&snapshot.Snapshot{At: time.Hour, Value: float64(i)})
	}
	sample := ring.Sample(nil, 0)
	if got, want := len(sample), ring.Cap(); got != want {
		t.Errorf("%d snapshots of one instant, want %d", got, want)
	}
	if got := sample[len(sample)-1].Value; got != 999 {
		t.Errorf("the newest is %v, want 999", got)
	}
	if ring.Insert(&snapshot.Snapshot{At: time.Hour - 1}) {
		t.Error("a full history took one older than its oldest")
	}
}

func TestSampleIsAnchoredAtTheNewest(t *testing.T) {
	ring := snapshot.NewRing(30*time.Second, time.Second)
	if got := ring.Sample(nil, time.Second); len(got) != 0 {
		t.Errorf("an empty history gave %d snapshots", len(got))
	}
	for i := range 31 {
		ring.Insert(&snapshot.Snapshot{At: time.Duration(i) * time.Second})
	}
	for _, tt := range []struct {
		d    time.Duration
		want int
	}{
		{0, 31}, {-time.Second, 31}, {1, 1}, {time.Second - 1, 1}, {time.Second, 2},
		{5 * time.Second, 6}, {30 * time.Second, 31}, {24 * time.Hour, 31},
	} {
		if got := len(ring.Sample(nil, tt.d)); got != tt.want {
			t.Errorf("sample of %v has %d snapshots, want %d", tt.d, got, tt.want)
		}
	}
}
