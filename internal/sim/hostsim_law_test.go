package sim

import (
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/headroom-rpc/headroom/limit"
)

var (
	hostsimLaw      = flag.String("hostsim.law", "twostation", "the laws to simulate, comma separated")
	hostsimCores    = flag.String("hostsim.cores", "2,8,32", "the numbers of cores of the simulated hosts, comma separated")
	hostsimSeeds    = flag.Int("hostsim.seeds", 5, "runs of each scenario")
	hostsimScenario = flag.String("hostsim.scenario", "", "simulate only the scenarios whose names contain this")
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

// parsed returns the rules of a law by its text.
func parsed(text string) *rules {
	return &rules{law: func() (limit.Law, error) { return limit.Parse(text) }}
}

// crawlee returns the rules of a profile of Crawlee, with no less room than the others have.
func crawlee(profile string, errors int64) *rules {
	r := parsed("crawlee max=100000 profile=" + profile)
	r.status, r.errors = true, errors
	return r
}

func entrants() []entrant {
	return []entrant{
		{"twostation", throughput, parsed("twostation objective=throughput")},
		{"twostation", latency, parsed("twostation objective=latency")},
		{"crawlee-python", throughput, crawlee("python", 1)},
		{"crawlee-js", throughput, crawlee("js", 3)},
		{"aimd", throughput, parsed("aimd")},
		{"constant", throughput, nil},
		{"constant", latency, nil},
	}
}

// compare runs a scenario by an entrant and by the best constant, for each seed.
func compare(e entrant, sc *scenario, cores, seeds int, b best) ([]marks, error) {
	var all []marks
	for seed := 1; seed <= seeds; seed++ {
		constant, err := drive(sc, cores, uint64(seed), nil, b.constant)
		if err != nil {
			return nil, err
		}
		run := constant
		if e.rules != nil {
			if run, err = drive(sc, cores, uint64(seed), e.rules, 0); err != nil {
				return nil, err
			}
		}
		all = append(all, sc.judge(run, constant))
	}
	return all, nil
}

// TestLawScenarios prints a table of scenarios by laws:
//
//	go test ./internal/sim -run TestLawScenarios -v -hostsim.law twostation -hostsim.cores 2,8 -hostsim.seeds 1
func TestLawScenarios(t *testing.T) {
	if !testing.Verbose() {
		t.Skip("prints a table; it is for -v")
	}
	found := loadBest(t)
	laws := strings.Split(*hostsimLaw, ",")
	fmt.Printf("%-32s %-12s %-10s %5s %7s %7s %7s %5s %5s %6s\n", "scenario", "law", "objective", "cores", "thr %", "t90 s", "over %", "OOM", "shed", "Jain")
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
				b, ok := found[bestKey{sc.name, cores, e.objective}]
				if !ok {
					t.Errorf("%s has no best constant for %s on %d cores", bestFile, sc.name, cores)
					continue
				}
				all, err := compare(e, sc, cores, *hostsimSeeds, b)
				if err != nil {
					t.Fatal(err)
				}
				m := mean(all)
				fmt.Printf("%-32s %-12s %-10s %5d %7.1f %7.1f %7.1f %5.0f %5.0f %6.3f\n",
					sc.name, e.name, e.objective, cores, 100*m.share, m.soon, 100*m.crowded, m.kills, m.shed, m.jain)
			}
		}
	}
}
