package sim

import (
	"flag"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
)

var hostsimReport = flag.Bool("hostsim.report", false, "print all tables, and write docs/limit-laws.md and testdata/hostsim_missed.txt")

// peerSeeds is how often the laws run that are there for comparison, which nothing is decided by.
const peerSeeds = 2

const (
	reportFile  = "../../docs/limit-laws.md"
	reportBegin = "<!-- begin: make sim-report -->"
	reportEnd   = "<!-- end: make sim-report -->"
)

// reportIntro says how to read the tables.
const reportIntro = `
## On a simulated host

` + "`make sim-report`" + ` writes this section. The host is simulated: cores in processor sharing, I/O that takes
its time whatever else happens, memory that grows over the life of a task, everything slower from 92 %% of memory
and the largest task killed when it is gone, and up to 3.5 %% of the CPU lost to switching. It has 2 GiB for each
core. Tests compare it with the theory of closed networks and with what constant numbers of tasks did on a real
host. The sensors are read ten times a second, with errors. What runs on it is real: the pool with a law of its
own, pools of one process with a budget or, where several pools share the host as processes of their own or the
server restarts, a server and its arbiter over gRPC, in simulated time. The two variants of Crawlee have no
maximum, where theirs are 100 and 200.

A cell is the throughput in percent of the best constant limit for the same objective, the seconds until nine
tenths of that are reached, and the percentage of ticks of 100 ms after that in which the mean run queue was over
twice the cores. Throughput is work that ended, less what was lost with killed and cancelled tasks, and is compared
from then on, 10 s after the start at the soonest. Where conditions change, the time is the longest of the start
and of each change, from there. For four pools Jain's index of their CPU seconds follows. OOM are tasks that the
host killed, and shed those that the pool cancelled for want of memory, in all runs: %d for twostation and for the
constants, %d for the others.

The best constants are found by a sweep. For throughput it is the least that does the most work, within a thousandth,
with no task killed; for latency also with the run queue over twice the cores for at most 1 %% of the time. Where
pools share the host each has the same part of the CPU; where the memory of the neighbour grows, the constant is
of what it leaves. So more than 100 %% is possible where a law goes with what happens. The rows without
a goal are the last three, that of tasks without keys, and that of a neighbour whose threads get no more than
any task: there the best constant crowds it out.
`

// TestSimReport runs all scenarios by all laws; see make sim-report.
func TestSimReport(t *testing.T) {
	if !*hostsimReport {
		t.Skip("-hostsim.report is not given")
	}
	found := loadBest(t)
	var tables, misses, missedLines strings.Builder
	for _, cores := range hostsimCoreCounts(t) {
		fmt.Fprintf(&tables, "\n### %d cores\n\n", cores)
		head := "| scenario |"
		for _, e := range entrants() {
			head += fmt.Sprintf(" %s |", heading(e))
		}
		fmt.Fprintf(&tables, "%s\n|---|%s\n", head, strings.Repeat("---|", len(entrants())))
		fmt.Println(head)
		for i := range scenarios(1) {
			sc := &scenarios(cores)[i]
			row := fmt.Sprintf("| %s |", sc.name)
			for _, e := range entrants() {
				b := found[sc.bestFor(cores, e.objective)]
				seeds := *hostsimSeeds
				if e.name != "twostation" && e.rules != nil {
					seeds = min(seeds, peerSeeds)
				}
				m := mean(compare(t, e, sc, cores, seeds, b))
				row += " " + cell(sc, e, b, m) + " |"
				if e.name != "twostation" {
					continue
				}
				for _, g := range sc.goals(e.objective) {
					got := m.of(g.measure)
					if g.met(got, 0) {
						continue
					}
					fmt.Fprintf(&misses, "| %s | %d | %s | %s | %s | %s |\n", sc.name, cores, e.objective, g.measure, g.format(g.bound), g.format(got))
					fmt.Fprintf(&missedLines, "%s\t%d\t%s\t%s\t%v\t%.4f\n", sc.name, cores, e.objective, g.measure, g.bound, got)
				}
			}
			fmt.Println(row)
			fmt.Fprintln(&tables, row)
		}
	}
	report := fmt.Sprintf(reportIntro, *hostsimSeeds, min(peerSeeds, *hostsimSeeds)) + tables.String() + "\n### What is missed\n\n"
	if misses.Len() == 0 {
		report += "Nothing.\n"
	} else {
		report += "| scenario | cores | objective | measure | goal | reached |\n|---|---|---|---|---|---|\n" + misses.String()
	}
	fmt.Print(report[strings.Index(report, "\n### What is missed"):])
	missedText := "# What the law twostation does not reach, by make sim-report\n" +
		"# scenario\tcores\tobjective\tmeasure\tgoal\treached\n" + missedLines.String()
	if err := os.WriteFile(missedFile, []byte(missedText), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := replaceBlock(reportFile, report); err != nil {
		t.Fatal(err)
	}
}

func heading(e entrant) string {
	if e.name == "constant" {
		return "best constant, " + string(e.objective)
	}
	if e.name == "twostation" {
		return "**twostation**, " + string(e.objective)
	}
	return e.name
}

// cell is what a table says of a law in a scenario.
func cell(sc *scenario, e entrant, b best, m marks) string {
	soon := "never"
	if !math.IsInf(m.soon, 1) {
		soon = fmt.Sprintf("%.1f", m.soon)
	}
	text := fmt.Sprintf("%.1f / %s / %.1f", 100*m.share, soon, 100*m.crowded)
	if e.rules == nil {
		text = fmt.Sprintf("%.4g: %s / %.1f", b.constant, soon, 100*m.crowded)
	}
	if sc.fair > 0 {
		text += fmt.Sprintf(" / %.3f", m.jain)
	}
	if m.kills > 0 {
		text += fmt.Sprintf(" **%.0f OOM**", m.kills)
	}
	if m.shed > 0 {
		text += fmt.Sprintf(" %.0f shed", m.shed)
	}
	return text
}

func (g goal) format(x float64) string {
	switch g.measure {
	case ofShare, ofCrowded:
		return fmt.Sprintf("%.1f %%", 100*x)
	case ofSoon:
		return fmt.Sprintf("%.1f s", x)
	default:
		return fmt.Sprintf("%.*f", g.decimals, x)
	}
}

// replaceBlock puts text between the marks in a file, or at its end where there are none.
func replaceBlock(name, text string) error {
	old, err := os.ReadFile(name)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	before, rest, ok := strings.Cut(string(old), reportBegin)
	_, after, closed := strings.Cut(rest, reportEnd)
	if !ok || !closed {
		before, after = string(old)+"\n", "\n"
	}
	if len(old) == 0 {
		before = "# Limit laws\n\n"
	}
	return os.WriteFile(name, []byte(before+reportBegin+"\n"+text+"\n"+reportEnd+after), 0o644)
}

// The document has a row for every scenario and number of cores, and every law has its column.
func TestReportIsComplete(t *testing.T) {
	text, err := os.ReadFile(reportFile)
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(text), reportBegin)
	block, _, _ = strings.Cut(block, reportEnd)
	for _, cores := range []int{2, 8, 32} {
		_, table, ok := strings.Cut(block, fmt.Sprintf("\n### %d cores\n", cores))
		if !ok {
			t.Errorf("%s has no table for %d cores", reportFile, cores)
			continue
		}
		table, _, _ = strings.Cut(table, "\n### ")
		for _, e := range entrants() {
			if !strings.Contains(table, "| "+heading(e)+" |") {
				t.Errorf("%s, %d cores: no column for %s", reportFile, cores, heading(e))
			}
		}
		var names []string
		for _, sc := range scenarios(cores) {
			names = append(names, sc.name)
			if !strings.Contains(table, "\n| "+sc.name+" | ") {
				t.Errorf("%s, %d cores: no row for %s", reportFile, cores, sc.name)
			}
		}
		for _, line := range strings.Split(table, "\n") {
			if name, _, ok := strings.Cut(strings.TrimPrefix(line, "| "), " |"); ok && strings.HasPrefix(line, "| ") &&
				name != "scenario" && !slices.Contains(names, name) {
				t.Errorf("%s, %d cores: a row for %s, which is no scenario", reportFile, cores, name)
			}
		}
	}
}
