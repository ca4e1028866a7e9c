package sim

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"
)

// measure is one of what a run is judged by.
type measure string

const (
	ofShare   measure = "throughput"
	ofSoon    measure = "time to 90 %"
	ofCrowded measure = "overload"
	ofKills   measure = "kills"
	ofJain    measure = "Jain's index"
)

// goal is what a law has to reach in one measure.
type goal struct {
	measure  measure
	bound    float64
	atLeast  bool    // else at most
	slack    float64 // of one run, which differs from the mean of five by so much
	decimals int
}

func (g goal) met(x, slack float64) bool {
	if g.atLeast {
		return x >= g.bound-slack
	}
	return x <= g.bound+slack
}

// goals returns those of a scenario, none where it is only reported.
func (sc *scenario) goals(o objective) []goal {
	if sc.share == 0 {
		return nil
	}
	goals := []goal{
		{ofShare, sc.share, true, 0.06, 3}, {ofSoon, sc.soon, false, 3, 1}, {ofKills, 0, false, 1, 0},
	}
	if o == latency {
		slack := 0.025
		if sc.arbiter != byItself { // the order of goroutines decides more there
			slack = 0.08
		}
		goals = append(goals, goal{ofCrowded, mostCrowded, false, slack, 3})
	}
	if sc.fair > 0 {
		goals = append(goals, goal{ofJain, sc.fair, true, 0.05, 3})
	}
	return goals
}

func (m *marks) of(x measure) float64 {
	switch x {
	case ofShare:
		return m.share
	case ofSoon:
		return m.soon
	case ofCrowded:
		return m.crowded
	case ofKills:
		return m.kills
	default:
		return m.jain
	}
}

// missKey names a goal that is not reached.
type missKey struct {
	bestKey
	measure measure
}

const missedFile = "testdata/hostsim_missed.txt"

// loadMissed reads what is known not to be reached.
func loadMissed(t testing.TB) map[missKey]float64 {
	t.Helper()
	f, err := os.Open(missedFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	missed := make(map[missKey]float64)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Split(lines.Text(), "\t")
		if len(fields) != 6 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		k := missKey{bestKey{scenario: fields[0], objective: objective(fields[2])}, measure(fields[3])}
		var goal, reached float64
		if _, err := fmt.Sscan(strings.Join([]string{fields[1], fields[4], fields[5]}, " "), &k.cores, &goal, &reached); err != nil {
			t.Fatalf("%s: %q: %v", missedFile, lines.Text(), err)
		}
		missed[k] = reached
	}
	return missed
}

// The law reaches its goals, but for what is known to be missed, and that is missed by no more. Where one seed misses,
// others are taken too, until their mean does not or there are five, as the goals are stated.
func TestLawReachesItsGoals(t *testing.T) {
	const enough = 5
	cores := []int{2, 8}
	if raceEnabled {
		cores = cores[:1]
	}
	found, missed := loadBest(t), loadMissed(t)
	for i, named := range scenarios(1) {
		if named.share == 0 || raceEnabled && named.name != "cpu-bound" && named.name != "four equal pools" {
			continue
		}
		t.Run(named.name, func(t *testing.T) {
			for _, cores := range cores {
				for _, e := range entrants() {
					if e.name != "twostation" {
						continue
					}
					sc := &scenarios(cores)[i]
					k := bestKey{sc.name, cores, e.objective}
					faults := func(m marks) (faults []string) {
						for _, g := range sc.goals(e.objective) {
							if reached, ok := missed[missKey{k, g.measure}]; ok {
								g.bound = reached
								if g.measure == ofSoon {
									g.slack += reached / 2
								}
							}
							if got := m.of(g.measure); !g.met(got, g.slack) {
								faults = append(faults, fmt.Sprintf("%d cores, for %s: %s is %.*f, want %.*f, or %.*f more or less for so few runs",
									cores, e.objective, g.measure, g.decimals, got, g.decimals, g.bound, g.decimals, g.slack))
							}
						}
						return faults
					}
					var all []marks
					var last []string
					for seed := 1; seed == 1 || len(last) > 0 && seed <= enough; seed++ {
						all = append(all, compareOne(t, e, sc, cores, seed, found[sc.bestFor(cores, e.objective)]))
						last = faults(mean(all))
					}
					for _, fault := range last {
						t.Error(fault)
					}
				}
			}
		})
	}
}
