package sim

import (
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/headroom-rpc/headroom/pool"
)

var (
	hostsimLaw      = flag.String("hostsim.law", "", "the laws of which to print a table, comma separated")
	hostsimCores    = flag.String("hostsim.cores", "2,8,32", "the numbers of cores of the simulated hosts, comma separated")
	hostsimSeeds    = flag.Int("hostsim.seeds", 5, "runs of each scenario")
	hostsimFirst    = flag.Int("hostsim.first", 1, "the seed of the first of them: 1 for the goals, another to see whether a law was fitted to those")
	hostsimScenario = flag.String("hostsim.scenario", "", "simulate only the scenarios whose names contain this")
	hostsimDirect   = flag.Bool("hostsim.direct", false, "step the law directly, without a pool or an arbiter")
	hostsimTrace    = flag.Bool("hostsim.trace", false, "print each step of the law")
)

func hostsimCoreCounts(t testing.TB) (counts []int) {
	t.Helper()
	for _, f := range strings.Split(*hostsimCores, ",") {
		n, err := strconv.Atoi(f)
		if err != nil || n < 1 {
			t.Fatalf("-hostsim.cores: %q is not a number of cores", f)
		}
		counts = append(counts, n)
	}
	return counts
}

// entrant is a law that is compared with the others.
type entrant struct {
	name      string
	objective objective
	rules     *rules // nil: the best constant
}

// entrants returns the laws. Crawlee's have no less room than the others.
func entrants() []entrant {
	return []entrant{
		{"twostation", throughput, &rules{law: "twostation objective=throughput", errors: 3}},
		{"twostation", latency, &rules{law: "twostation objective=latency", errors: 3}},
		{"crawlee-python", throughput, &rules{law: "crawlee max=100000 profile=python", profile: pool.ProfileCrawleePython, errors: 1}},
		{"crawlee-js", throughput, &rules{law: "crawlee max=100000 profile=js", profile: pool.ProfileCrawleeJS, errors: 3}},
		{"aimd", throughput, &rules{law: "aimd", errors: 3}},
		{"constant", throughput, nil},
		{"constant", latency, nil},
	}
}

// compare runs a scenario by an entrant and by the best constant, for each seed.
func compare(t *testing.T, e entrant, sc *scenario, cores, seeds int, b best) (all []marks) {
	t.Helper()
	for i := range seeds {
		all = append(all, compareOne(t, e, sc, cores, *hostsimFirst+i, b))
	}
	return all
}

// compareOne does it for one seed.
func compareOne(t *testing.T, e entrant, sc *scenario, cores, seed int, b best) marks {
	t.Helper()
	constant, err := drive(sc, cores, uint64(seed), nil, b.constant)
	if err != nil {
		t.Fatal(err)
	}
	run := constant
	switch {
	case e.rules == nil:
	case *hostsimDirect:
		run, err = drive(sc, cores, uint64(seed), e.rules, 0)
	default:
		run = runPools(t, sc, cores, uint64(seed), e.rules)
	}
	if err != nil {
		t.Fatal(err)
	}
	return sc.judge(run, constant)
}

// TestLawScenarios prints a table of scenarios by laws:
//
//	go test ./internal/sim -run TestLawScenarios -v -hostsim.law twostation -hostsim.cores 2,8 -hostsim.seeds 1
func TestLawScenarios(t *testing.T) {
	if *hostsimLaw == "" {
		t.Skip("-hostsim.law is not given")
	}
	found := loadBest(t)
	laws := strings.Split(*hostsimLaw, ",")
	fmt.Printf("%-32s %-14s %-10s %5s %7s %7s %7s %5s %5s %6s\n", "scenario", "law", "objective", "cores", "thr %", "t90 s", "over %", "OOM", "shed", "Jain")
	for i, named := range scenarios(1) {
		if !strings.Contains(named.name, *hostsimScenario) {
			continue
		}
		for _, e := range entrants() {
			if !slices.Contains(laws, e.name) {
				continue
			}
			for _, cores := range hostsimCoreCounts(t) {
				sc := &scenarios(cores)[i]
				m := mean(compare(t, e, sc, cores, *hostsimSeeds, found[sc.bestFor(cores, e.objective)]))
				fmt.Printf("%-32s %-14s %-10s %5d %7.1f %7.1f %7.1f %5.0f %5.0f %6.3f\n",
					sc.name, e.name, e.objective, cores, 100*m.share, m.soon, 100*m.crowded, m.kills, m.shed, m.jain)
			}
		}
	}
}
