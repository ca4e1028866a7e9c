package realhost

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	full  = flag.Bool("realhost", false, "try everything, for about half an hour")
	scale = flag.Float64("realhost.scale", 1, "how many pieces of work are done, over the usual number")
	turns = flag.Int("realhost.turns", 3, "how often headroom and the best constant do the work by turns, for the median")
)

// longest bounds what one contestant may take: where others keep the load up, GNU parallel may never start anything.
const longest = 5 * time.Minute

// memoryLimit is that of the cgroup in which all runs.
const memoryLimit = 1 << 30

// headroom builds the program once, where go builds too.
var headroom = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp(os.Getenv("GOTMPDIR"), "realhost")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "headroom")
	// Without the revision, which git does not tell of a checkout that belongs to another user.
	build := exec.Command("go", "build", "-buildvcs=false", "-o", path, "../../cmd/headroom")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
})

func headroomPath(t *testing.T) string {
	t.Helper()
	path, err := headroom()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// An outcome is what a run of many pieces of work took.
type outcome struct {
	total time.Duration
	rate  float64 // pieces a second while the middle of them ended, from 30 to 90 %
	cpu   time.Duration
	peak  int64
	kills int64
	done  int // pieces that came to their end
}

// A contestant says how many pieces of work are run.
type contestant struct {
	name string
	line func(headroom, self, kind string) []string // reads the seeds
	env  []string
}

func xargs(n int) contestant {
	return contestant{name: fmt.Sprintf("xargs -P %d", n), line: func(_, self, kind string) []string {
		return []string{"xargs", "-P", strconv.Itoa(n), "-n", "1", self, kind}
	}}
}

var (
	byHeadroom = contestant{name: "headroom run", line: func(headroom, self, kind string) []string {
		return []string{headroom, "run", "-n", "1", "--", self, kind}
	}, env: []string{"HEADROOM_ADDR=unix:///nonexistent"}}
	byParallel = contestant{name: "parallel --load --memfree", line: func(_, self, kind string) []string {
		return []string{"parallel", "--will-cite", "-j", "250", "--load", "100%", "--memfree", "200M", self, kind}
	}}
	byCrawlee = contestant{name: "crawlee", line: func(_, self, kind string) []string { return []string{self, kind} },
		env: []string{roleEnv + "=pool"}}
)

// scaled returns how many pieces of work are done for a usual number.
func scaled(n int) int { return max(1, int(float64(n)**scale)) }

// run has a contestant do n pieces of work in a cgroup of their own.
func (c contestant) run(t *testing.T, k kind, n int) outcome {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	line := c.line(headroomPath(t), self, k.name)
	if _, err := exec.LookPath(line[0]); err != nil {
		t.Skip(err)
	}
	g := newGroup(t, memoryLimit)
	log := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(log, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var seeds strings.Builder
	for i := range n {
		fmt.Fprintln(&seeds, i)
	}
	cmd := inGroup(g, line...)
	cmd.Stdin = strings.NewReader(seeds.String())
	cmd.Env = append(os.Environ(), roleEnv+"=work", logEnv+"="+log)
	cmd.Env = append(cmd.Env, c.env...)
	var said bytes.Buffer
	cmd.Stderr = &said
	began := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	patience := time.AfterFunc(longest, func() { g.killAll(t) })
	_ = cmd.Wait() // the number of those that failed, which are counted below
	if !patience.Stop() {
		t.Logf("%s: given up after %v", c.name, longest)
	}
	o := outcome{total: time.Since(began), cpu: g.cpuTime(t), peak: g.peak(t)}
	// headroom takes its own cgroup away, and says so of each.
	o.kills = g.kills(t) + int64(strings.Count(said.String(), "killed for want of memory"))
	o.done, o.rate = readLog(t, log)
	if o.done < n && o.kills == 0 && o.total < longest {
		t.Errorf("%s: %d of %d came to their end\n%s", c.name, o.done, n, &said)
	}
	return o
}

// best returns the constant that does most of n pieces of work a second with nothing killed, each tried once.
func best(t *testing.T, k kind, n int, constants []contestant) contestant {
	t.Helper()
	var best contestant
	var most float64
	for _, c := range constants {
		o := c.run(t, k, n)
		t.Logf("%-26s %s", c.name, o)
		if o.kills == 0 && o.rate > most {
			best, most = c, o.rate
		}
	}
	if best.line == nil {
		t.Fatal("no constant did the work without a kill")
	}
	return best
}

// compare has two contestants do the same n pieces of work by turns, so that what the machine does besides is of both,
// and returns the median of the rates of each.
func compare(t *testing.T, k kind, n int, constant, ours contestant) (theirRate, ourRate float64) {
	t.Helper()
	var their, our []float64
	for range max(1, *turns) {
		a, b := constant.run(t, k, n), ours.run(t, k, n)
		t.Logf("%-26s %s", constant.name, a)
		t.Logf("%-26s %s: %3.0f %% of that", ours.name, b, 100*b.rate/a.rate)
		their, our = append(their, a.rate), append(our, b.rate)
	}
	theirRate, ourRate = median(their), median(our)
	t.Logf("%-26s %6.1f a second, %s %6.1f, medians: %3.0f %%", constant.name, theirRate, ours.name, ourRate, 100*ourRate/theirRate)
	return theirRate, ourRate
}

// median returns the middle of some figures, or the mean of the two in the middle.
func median(figures []float64) float64 {
	slices.Sort(figures)
	n := len(figures)
	return (figures[(n-1)/2] + figures[n/2]) / 2
}

// inGroup returns a command that runs in a group.
func inGroup(g *group, line ...string) *exec.Cmd {
	enter := fmt.Sprintf("echo 0 > %s/tasks && echo 0 > %s/tasks && exec \"$@\"", g.cpu, g.memory)
	return exec.Command("sh", append([]string{"-c", enter, "sh"}, line...)...)
}

// readLog returns how many pieces of work ended, and their rate in the middle.
func readLog(t *testing.T, file string) (n int, rate float64) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var ends []int64
	for line := range strings.Lines(string(text)) {
		micros, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, micros)
	}
	slices.Sort(ends)
	from, to := len(ends)*3/10, len(ends)*9/10
	if to <= from || ends[to] == ends[from] {
		return len(ends), 0
	}
	return len(ends), float64(to-from) / (float64(ends[to]-ends[from]) / 1e6)
}

func (o outcome) String() string {
	return fmt.Sprintf("total %6.2f s, %6.1f a second, CPU %6.2f s, peak %4d MiB, %d OOM kills",
		o.total.Seconds(), o.rate, o.cpu.Seconds(), o.peak>>20, o.kills)
}
