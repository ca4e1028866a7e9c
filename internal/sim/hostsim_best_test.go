package sim

import (
	"bufio"
	"flag"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
)

var hostsimSweep = flag.Bool("hostsim.sweep", false, "find the best constants anew, of -hostsim.scenario, and write testdata/hostsim_best.txt")

// objective is what a constant, and a law, is the best for.
type objective string

const (
	throughput objective = "throughput" // the most work, with no job killed
	latency    objective = "latency"    // and with the run queue over twice the cores in a hundredth of the time at most
)

var objectives = []objective{throughput, latency}

const mostCrowded = 0.01

// best is the best constant for a scenario, found by a sweep, and what it does.
type best struct {
	constant      float64
	rate, crowded float64
}

type bestKey struct {
	scenario  string
	cores     int
	objective objective
}

const bestFile = "testdata/hostsim_best.txt"

// loadBest reads the constants that were found.
func loadBest(t testing.TB) map[bestKey]best {
	t.Helper()
	f, err := os.Open(bestFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	found := make(map[bestKey]best)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Split(lines.Text(), "\t")
		if len(fields) != 6 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		var b best
		k := bestKey{scenario: fields[0], objective: objective(fields[2])}
		if _, err := fmt.Sscan(strings.Join(append(fields[3:6:6], fields[1]), " "), &b.constant, &b.rate, &b.crowded, &k.cores); err != nil {
			t.Fatalf("%s: %q: %v", bestFile, lines.Text(), err)
		}
		found[k] = b
	}
	return found
}

// tried is what a constant came to, over all seeds.
type tried struct {
	constant, rate, crowded float64
	kills                   int
}

func try(sc *scenario, cores, seeds int, constant float64) (tried, error) {
	x := tried{constant: constant}
	for seed := 1; seed <= seeds; seed++ {
		r, err := drive(sc, cores, uint64(seed), nil, constant)
		if err != nil {
			return x, err
		}
		x.rate += r.rate(atLeast, sc.span) / float64(seeds)
		x.crowded += r.crowded(atLeast) / float64(seeds)
		x.kills += r.kills
	}
	return x, nil
}

func (x tried) allowed(o objective) bool {
	return x.kills == 0 && (o == throughput || x.crowded <= mostCrowded)
}

// flatTop is how much less than the most work counts as the same: the least constant that does it is the best one.
const flatTop = 0.001

// sweep tries constants a tenth apart, then a fortieth around the best; of permits, whole numbers only.
func sweep(sc *scenario, cores, seeds int) (map[objective]tried, error) {
	seen := make(map[float64]tried)
	look := func(k float64) error {
		if sc.constant == nil {
			k = max(1, math.Round(k))
		}
		if _, ok := seen[k]; ok {
			return nil
		}
		x, err := try(sc, cores, seeds, k)
		seen[k] = x
		return err
	}
	top := func(o objective) (best tried) {
		var most float64
		for _, x := range seen {
			if x.allowed(o) {
				most = max(most, x.rate)
			}
		}
		for _, x := range seen {
			if x.allowed(o) && x.rate >= (1-flatTop)*most && (best.constant == 0 || x.constant < best.constant) {
				best = x
			}
		}
		return best
	}
	for k := sc.least; k <= sc.most; k *= 1.1 {
		if err := look(k); err != nil {
			return nil, err
		}
	}
	found := make(map[objective]tried)
	for _, o := range objectives {
		middle := top(o).constant
		for _, f := range []float64{0.925, 0.95, 0.975, 1.025, 1.05, 1.075} {
			if err := look(middle * f); err != nil {
				return nil, err
			}
		}
	}
	for _, o := range objectives {
		found[o] = top(o)
	}
	return found, nil
}

// The best constants are found by:
//
//	go test ./internal/sim -run '^TestSweep$' -timeout 1h -hostsim.sweep
func TestSweep(t *testing.T) {
	if !*hostsimSweep {
		t.Skip("-hostsim.sweep is not given")
	}
	found := loadBest(t)
	for i, named := range scenarios(1) {
		if named.like != "" || !strings.Contains(named.name, *hostsimScenario) {
			continue
		}
		for _, cores := range hostsimCoreCounts(t) {
			sc := &scenarios(cores)[i]
			top, err := sweep(sc, cores, *hostsimSeeds)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range objectives {
				b := best{top[o].constant, top[o].rate, top[o].crowded}
				found[bestKey{sc.name, cores, o}] = b
				t.Logf("%s on %d cores for %s: %+v", sc.name, cores, o, b)
			}
		}
	}
	var out strings.Builder
	fmt.Fprintln(&out, "# The best constants, by go test ./internal/sim -run '^TestSweep$' -timeout 1h -hostsim.sweep")
	fmt.Fprintln(&out, "# scenario\tcores\tobjective\tconstant\twork done a second\tshare of crowded ticks")
	for _, sc := range scenarios(1) {
		if sc.like != "" {
			continue
		}
		for _, cores := range hostsimCoreCounts(t) {
			for _, o := range objectives {
				b := found[bestKey{sc.name, cores, o}]
				fmt.Fprintf(&out, "%s\t%d\t%s\t%.4g\t%.4f\t%.4f\n", sc.name, cores, o, b.constant, b.rate, b.crowded)
			}
		}
	}
	if err := os.WriteFile(bestFile, []byte(out.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
