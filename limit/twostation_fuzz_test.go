package limit_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/limit"
	"github.com/headroom-rpc/headroom/snapshot"
)

// laws are those that must bear anything.
var laws = []string{"twostation", "twostation objective=latency", "aimd", "crawlee", "crawlee profile=js", "fixed limit=3"}

func mustParse(tb testing.TB, text string) limit.Law {
	tb.Helper()
	law, err := limit.Parse(text)
	if err != nil {
		tb.Fatal(err)
	}
	return law
}

// wild is an input of anything: mostly of what may be, and of what must not. A source of zeros gives zeros.
type wild struct{ random func() uint64 }

func (w wild) float() float64 {
	switch r := w.random(); r % 16 {
	case 0:
		return []float64{math.NaN(), math.Inf(1), math.Inf(-1), -1, math.MaxFloat64, math.SmallestNonzeroFloat64}[r/16%6]
	case 1, 2, 3:
		return 0
	default:
		return float64(r/16%10_000) / 100
	}
}

func (w wild) whole() int64 {
	switch r := w.random(); r % 16 {
	case 0:
		return []int64{-1, math.MinInt64, math.MaxInt64, 1 << 40}[r/16%4]
	case 1, 2, 3:
		return 0
	default:
		return int64(r / 16 % 5_000)
	}
}

func (w wild) yes() bool { return w.random()%4 != 0 }

func (w wild) input(at time.Duration) limit.Input {
	in := limit.Input{
		At: at, Window: time.Duration(w.random() % uint64(3*time.Second)), Charge: w.whole(), Want: w.whole(),
		Host: limit.Host{
			Cores: w.float(), Busy: w.float(), BusyKnown: w.yes(), RunQueue: w.float(), Crowded: w.float(), RunQueueKnown: w.yes(),
			Others: w.float(), OthersKnown: w.yes(), Newest: w.float(),
			MemoryUsed: w.whole() << 20, MemoryTotal: w.whole() << 21, Stalled: w.float(), StalledKnown: w.yes(), Kills: w.whole(),
		},
	}
	in.Current.State, in.Historical.State = snapshot.State(w.random()%6), snapshot.State(w.random()%6)
	for i := range w.random() % 6 {
		in.Pools = append(in.Pools, limit.Pool{
			ID: fmt.Sprint(w.random() % (i + 3)), Weight: int(w.whole()), Capped: !w.yes(), InUse: w.float(), Leased: w.whole(),
			Waiting: w.whole(), CPU: w.float(), CPUKnown: w.yes(), Runnable: w.float(), RunnableKnown: w.yes(),
			Memory: w.whole() << 20, MemoryKnown: w.yes(), Started: w.whole(), Completed: w.whole(), Failed: w.whole(),
			Throttled: w.whole(), Calls: w.whole(), Delayed: w.whole(), Duration: time.Duration(w.whole()) * time.Millisecond, Grown: w.float(),
		})
		if p := &in.Pools[i]; w.yes() {
			p.Min = w.whole()
			if w.yes() {
				p.Max = w.whole()
			}
		}
	}
	return in
}

// check holds a decision against what every law guarantees.
func check(in *limit.Input, d *limit.Decision) error {
	if d.Limit < 1 || d.From > d.Limit || d.Pace < 0 || d.Next < 0 || d.Binding == "" || strings.Contains(d.Binding, "NaN") {
		return fmt.Errorf("decision %+v", *d)
	}
	for e := time.Duration(0); e <= d.Pace; e += max(1, d.Pace/7) {
		if n := d.After(e); n < min(d.From, d.Limit) || n > d.Limit {
			return fmt.Errorf("after %v: %d, not from %d to %d", e, n, d.From, d.Limit)
		}
	}
	if d.Gate.Line < 0 || d.Gate.Shed < d.Gate.ShedTo || in.Host.MemoryTotal > 0 && d.Gate.Line > in.Host.MemoryTotal {
		return fmt.Errorf("gate %+v", d.Gate)
	}
	if len(d.Shares) == 0 {
		return nil
	}
	if len(in.Pools) > 0 && len(d.Shares) != len(in.Pools) {
		return fmt.Errorf("%d shares of %d pools", len(d.Shares), len(in.Pools))
	}
	var sum int64
	for i, s := range d.Shares {
		sum += s.Limit
		if s.Limit < 0 || s.From > s.Limit || s.Footprint < 0 || s.Binding == "" || strings.Contains(s.Binding, "NaN") {
			return fmt.Errorf("share %d: %+v", i, s)
		}
		if len(in.Pools) == 0 {
			continue
		}
		low := max(0, min(in.Pools[i].Min, 1e9))
		if s.Limit < low || in.Pools[i].Max > 0 && s.Limit > max(in.Pools[i].Max, low, 1) {
			return fmt.Errorf("share %d is %d, with bounds %d and %d", i, s.Limit, low, in.Pools[i].Max)
		}
	}
	if sum != d.Limit {
		return fmt.Errorf("shares add up to %d, the limit is %d", sum, d.Limit)
	}
	return nil
}

func FuzzStep(f *testing.F) {
	f.Add(uint64(0), uint64(0))
	f.Add(uint64(1), uint64(2))
	f.Fuzz(func(t *testing.T, a, b uint64) {
		random := rand.New(rand.NewPCG(a, b))
		for _, text := range laws {
			law, at := mustParse(t, text), time.Duration(0)
			for range 20 {
				at += time.Duration(random.Uint64N(uint64(2 * time.Second)))
				in := wild{random.Uint64}.input(at)
				d := law.Step(in)
				if err := check(&in, &d); err != nil {
					t.Fatalf("%s: %v, of %+v", text, err, in)
				}
			}
		}
	})
}

// The same, for many inputs in every test run.
func TestStepBearsAnything(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for _, text := range laws {
		law, at := mustParse(t, text), time.Duration(0)
		for range 3000 {
			at += time.Duration(random.Uint64N(uint64(2 * time.Second)))
			in := wild{random.Uint64}.input(at)
			d := law.Step(in)
			if err := check(&in, &d); err != nil {
				t.Fatalf("%s: %v, of %+v", text, err, in)
			}
		}
	}
}

// Nothing known at all: the law holds on to the verdict.
func TestTwoStationKnowsNothing(t *testing.T) {
	law := mustParse(t, "twostation")
	first := law.Step(limit.Input{}).Limit
	if first < 1 {
		t.Fatalf("first limit %d, want at least 1", first)
	}
	last := first
	step := func(i int, state snapshot.State, charge int64) int64 {
		in := input(time.Duration(i)*time.Second, state, charge)
		in.Window, in.Want = time.Second, charge+10
		last = law.Step(in).Limit
		return last
	}
	for i := range 10 {
		before := last
		if got := step(i+1, snapshot.StateIdle, last); got < before {
			t.Errorf("idle: from %d to %d, want no less", before, got)
		}
	}
	if last <= first {
		t.Errorf("ten idle seconds: %d, want more than %d", last, first)
	}
	before := last
	for i := range 10 {
		step(i+20, snapshot.StateOverloaded, last)
	}
	if last >= before {
		t.Errorf("ten overloaded seconds: %d, want less than %d", last, before)
	}
	before = last
	if got := step(40, snapshot.StateUnknown, last); got != before {
		t.Errorf("unknown: from %d to %d, want it to stay", before, got)
	}
}
