package sim

import (
	"errors"
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/internal/mistake"
)

var (
	simSeeds = flag.Int("sim.seeds", 0, "worlds to simulate in each test of permits; 0 is 100, or 20 under the race detector")
	simSeed  = flag.Uint64("sim.seed", 0, "simulate this world only, and print what happens in it")
	simSpan  = flag.Duration("sim.span", 30*time.Second, "simulated time of each world, and a third of it in the runs of liveness")
)

// seeds returns how many worlds to simulate.
func seeds() int {
	switch {
	case *simSeeds > 0:
		return *simSeeds
	case raceEnabled:
		return 20
	default:
		return 100
	}
}

var errTooEasy = errors.New("too little happened for this to show anything")

// enough reports whether the world was put to the test.
func (l *load) enough() error {
	if l.starts < 50 || l.grants < 20 || l.lowered < 5 || l.yields < 5 || l.restarts < 1 || l.expired < 1 {
		return fmt.Errorf("%w: %d starts, %d grants, %d lowered, %d yields, %d restarts, %d expired",
			errTooEasy, l.starts, l.grants, l.lowered, l.yields, l.restarts, l.expired)
	}
	return nil
}

func (l *load) add(m load) {
	l.events += m.events
	l.starts += m.starts
	l.grants += m.grants
	l.lowered += m.lowered
	l.yields += m.yields
	l.restarts += m.restarts
	l.expired += m.expired
	l.adopted += m.adopted
	l.resumed += m.resumed
	l.refused += m.refused
	for i := range l.reached {
		l.reached[i] += m.reached[i]
	}
}

// At every instant what runs is within the charges, the charges are within the limit or fall, and every start is
// within a target, a lease and an order of fences, whatever fails.
func TestPermitSafety(t *testing.T) { simulate(t, false) }

// When the faults end, whoever waits is served, and nothing is left unused while work waits.
func TestPermitLiveness(t *testing.T) { simulate(t, true) }

func simulate(t *testing.T, liveness bool) {
	first, last, span := uint64(1), uint64(seeds()), *simSpan
	if liveness { // the time after the faults is what counts
		last, span = (last+3)/4, 3*span
	}
	var trace func(string)
	if *simSeed != 0 {
		first, last = *simSeed, *simSeed
		trace = func(line string) { t.Log(line) }
	}
	began := time.Now()
	var total load
	easy := 0
	for seed := first; seed <= last; seed++ {
		w := newWorld(plan{seed: seed, span: span, liveness: liveness, trace: trace})
		if err := w.run(); err != nil {
			t.Fatalf("seed %d: %v\nthe last events of it:\n%s\nreplay: go test ./internal/sim -run '^%s$' -sim.seed %d -sim.span %v -v",
				seed, err, w.history(), t.Name(), seed, *simSpan)
		}
		total.add(w.load)
		if err := w.load.enough(); err != nil {
			easy++
			t.Logf("seed %d does not count: %v", seed, err)
		}
	}
	worlds := int(last - first + 1)
	t.Logf("%d worlds, %v simulated in %v: %d events, %d starts, %d grants, %d lowered targets, %d yields, %d restarts, "+
		"%d sessions expired, %d taken over, %d resumed, %d refused", worlds, time.Duration(worlds)*span,
		time.Since(began).Round(time.Millisecond), total.events, total.starts, total.grants, total.lowered, total.yields,
		total.restarts, total.expired, total.adopted, total.resumed, total.refused)
	if most := max(worlds/10, 1); easy > most {
		t.Errorf("%d of %d worlds do not count, want at most %d", easy, worlds, most)
	}
	if missed := total.missed(liveness); worlds >= 20 && len(missed) > 0 {
		t.Errorf("never reached: %s", strings.Join(missed, ", "))
	}
}

// missed returns the faults that never happened. Some are for the runs of safety only.
func (l *load) missed(liveness bool) []string {
	var missed []string
	for f := range faultCount {
		if l.reached[f] == 0 && !(liveness && (f == duplicated || f == reordered || f == lateFrame || f == liar)) {
			missed = append(missed, f.String())
		}
	}
	return missed
}

// A lease is safe as long as clocks drift less than the grace has room for, which is much more than a hundredth.
func TestPermitClocksDrift(t *testing.T) {
	first := func(drift float64, seeds uint64) (found uint64, err error) {
		for seed := uint64(1); seed <= seeds; seed++ {
			if err := newWorld(plan{seed: seed, span: *simSpan, drift: drift}).run(); err != nil {
				return seed, err
			}
		}
		return 0, nil
	}
	if seed, err := first(0.05, 20); err != nil {
		t.Errorf("with a drift of 5 %%, seed %d: %v", seed, err)
	}
	const within = 100
	seed, err := first(0.4, within)
	if err == nil {
		t.Errorf("a drift of 40 %% was not found in %d seeds", within)
	}
	t.Logf("with a drift of 40 %%, seed %d: %v", seed, err)
}

// A seed gives the same run each time, to the last event.
func TestPermitReplay(t *testing.T) {
	for seed := uint64(1); seed <= 5; seed++ {
		var digests [2]uint64
		for i := range digests {
			w := newWorld(plan{seed: seed, span: 20 * time.Second})
			if err := w.run(); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			digests[i] = w.digest
		}
		if digests[0] != digests[1] {
			t.Errorf("seed %d gave two runs", seed)
		}
	}
}

// Every mistake in the protocol and around it is found within so many seeds.
func TestPermitMistakesAreFound(t *testing.T) {
	const within = 200
	find := func(t *testing.T, r rig) {
		for seed := uint64(1); seed <= within; seed++ {
			w := newWorld(plan{seed: seed, span: *simSpan, rig: r})
			if err := w.run(); err != nil {
				what, _, _ := strings.Cut(err.Error(), "\n")
				t.Logf("found by seed %d at %v: %s", seed, w.now, what)
				return
			}
		}
		t.Errorf("not found in %d seeds", within)
	}
	for _, m := range mistake.All {
		t.Run(m.Name, func(t *testing.T) {
			defer mistake.Plant(m.Mistake)()
			find(t, rigNone)
		})
	}
	for name, r := range map[string]rig{"ClockStops": rigClockStops, "SameEpoch": rigSameEpoch, "EmptyRecord": rigEmptyRecord,
		"EarlyEnd": rigEarlyEnd, "ShortAmnesia": rigShortAmnesia} {
		t.Run(name, func(t *testing.T) { find(t, r) })
	}
}
