package realhost

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Commands that together want more than the memory that there is all come to their end, and none is killed.
func TestMemorySmoke(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	var o outcome
	for range 3 { // where others keep headroom from seeing the memory in time, one may be killed
		o = byHeadroom.run(t, memoryKind, 24) // 60 MiB each on average, for 1.5 s
		t.Log(o)
		if o.kills == 0 {
			break
		}
	}
	if o.kills > 0 {
		t.Errorf("%d were killed, and some each time before", o.kills)
	}
	if o.peak > memoryLimit {
		t.Errorf("peak %d, limit %d", o.peak, memoryLimit)
	}
}

// A command that takes more than there is is killed by the kernel, and headroom says so; it runs once more, and fails.
func TestOutOfMemoryIsNoticed(t *testing.T) {
	g := newGroup(t, 64<<20)
	cmd := inGroup(g, headroomPath(t), "run", "--joblog", filepath.Join(t.TempDir(), "log"), "--shell",
		`echo try >>"$1$HEADROOM_SEQ.tries"; v=$(head -c 200000000 /dev/zero | tr '\0' x); echo "${#v}"`, ":::", "hog")
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "HEADROOM_ADDR=unix:///nonexistent")
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "job 1 was killed for want of memory; it runs once more") {
		t.Errorf("%v:\n%s", err, out)
	}
	if tries, err := os.ReadFile(filepath.Join(cmd.Dir, "1.tries")); string(tries) != "try\ntry\n" {
		t.Errorf("%q, %v, want two tries", tries, err)
	}
}

// TestRealHost prints the table of docs/run.md.
func TestRealHost(t *testing.T) {
	if !*full {
		t.Skip("takes half an hour; make realhost")
	}
	t.Logf("%d CPUs, %s, cgroup with %d MiB", runtime.NumCPU(), kernel(t), memoryLimit>>20)
	cores := runtime.NumCPU()
	for _, tt := range []struct {
		kind      kind
		n         int
		constants []int
	}{
		{cpuKind, 130 * cores, []int{cores, cores + 1, 2 * cores}},
		{ioKind, 1500 * cores, []int{40 * cores, 60 * cores, 75 * cores, 100 * cores}},
		{mixedKind, 250 * cores, []int{6 * cores, 12 * cores, 20 * cores}},
		{shortKind, 1200 * cores, []int{cores, cores + 1, 2 * cores}},
		{memoryKind, 300, []int{8, 10, 12, 14}},
	} {
		t.Run(tt.kind.name, func(t *testing.T) {
			var constants []contestant
			for _, n := range tt.constants {
				constants = append(constants, xargs(n))
			}
			constant := best(t, tt.kind, scaled(tt.n/2), constants)
			rate, _ := compare(t, tt.kind, scaled(tt.n), constant, byHeadroom)
			for _, c := range []contestant{byParallel, byCrawlee} {
				n := scaled(tt.n / 4) // they take long
				o := c.run(t, tt.kind, n)
				t.Logf("%-26s %s, for %d pieces: %3.0f %% of %s", c.name, o, n, 100*o.rate/rate, constant.name)
			}
		})
	}
}

// TestRealGoroutines does the same work in goroutines of one process.
func TestRealGoroutines(t *testing.T) {
	if !*full {
		t.Skip("takes some minutes; make realhost")
	}
	cores := runtime.NumCPU()
	step := measureStep()
	t.Logf("a step of work takes %v", step)
	goroutines := func(most string) contestant {
		return contestant{name: "goroutines, " + most, line: func(_, self, kind string) []string { return []string{self, kind, most} },
			env: []string{
				roleEnv + "=goroutines", fmt.Sprintf("%s=%v", stepEnv, step),
				fmt.Sprintf("GOMEMLIMIT=%d", memoryLimit*8/10), "GOGC=50",
			}}
	}
	for _, tt := range []struct {
		kind      kind
		n         int
		constants []int
	}{
		{cpuKind, 100 * cores, []int{cores, 2 * cores}},
		{ioKind, 1200 * cores, []int{60 * cores, 75 * cores, 100 * cores}},
		{memoryKind, 200, []int{6, 8, 10}},
	} {
		t.Run(tt.kind.name, func(t *testing.T) {
			var constants []contestant
			for _, n := range tt.constants {
				constants = append(constants, goroutines(strconv.Itoa(n)))
			}
			compare(t, tt.kind, scaled(tt.n), best(t, tt.kind, scaled(tt.n/2), constants), goroutines("pool"))
		})
	}
}

// TestRealBurner has somebody else keep a CPU busy for the middle third of a run.
func TestRealBurner(t *testing.T) {
	if !*full {
		t.Skip("takes half a minute; make realhost")
	}
	g := newGroup(t, memoryLimit)
	log, stop := endless(t, g, cpuKind)
	defer stop()
	phase := func(name string) {
		time.Sleep(3 * time.Second) // to settle
		before, _ := readLog(t, log)
		time.Sleep(7 * time.Second)
		after, _ := readLog(t, log)
		t.Logf("%-18s %5.1f a second", name, float64(after-before)/7)
	}
	phase("before")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	burner := exec.Command(self)
	burner.Env = append(os.Environ(), roleEnv+"=burn")
	if err := burner.Start(); err != nil {
		t.Fatal(err)
	}
	phase("with the burner")
	_ = burner.Process.Kill() // it runs for ever
	_ = burner.Wait()
	phase("after it left")
}

// TestRealTwo runs two pools at once, on a server and without, and looks at how they share the cores.
func TestRealTwo(t *testing.T) {
	if !*full {
		t.Skip("takes a minute; make realhost")
	}
	for _, served := range []bool{true, false} {
		t.Run(fmt.Sprintf("server=%t", served), func(t *testing.T) {
			if served {
				serve(t)
			} else {
				t.Setenv("HEADROOM_ADDR", "unix:///nonexistent")
			}
			a, b := newGroup(t, memoryLimit), newGroup(t, memoryLimit)
			_, stopA := endless(t, a, cpuKind)
			defer stopA()
			_, stopB := endless(t, b, ioKind)
			defer stopB()
			lastA, lastB := a.cpuTime(t), b.cpuTime(t)
			for second := 2; second <= 20; second += 2 {
				time.Sleep(2 * time.Second)
				nowA, nowB := a.cpuTime(t), b.cpuTime(t)
				t.Logf("%2d s: cpu %.2f cores, io %.2f", second, (nowA-lastA).Seconds()/2, (nowB-lastB).Seconds()/2)
				lastA, lastB = nowA, nowB
			}
		})
	}
}

// serve runs a server until the test ends.
func serve(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "h.sock")
	t.Setenv("HEADROOM_ADDR", "unix://"+socket)
	cmd := exec.Command(headroomPath(t), "serve", "--socket", socket, "--listen", "off", "--state-dir", "off")
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(&said)
		}
	})
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if exec.Command(headroomPath(t), "run", "--permit", "host", "--", "true").Run() == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("no server")
		}
	}
}

// endless runs pieces of work without an end in a group; their ends stand in the log.
func endless(t *testing.T, g *group, k kind) (log string, stop func()) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	log = filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(log, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := inGroup(g, headroomPath(t), "run", "-n", "1", "--", self, k.name)
	cmd.Stdin = &numbers{}
	cmd.Env = append(os.Environ(), roleEnv+"=work", logEnv+"="+log)
	if os.Getenv("HEADROOM_ADDR") == "" {
		cmd.Env = append(cmd.Env, "HEADROOM_ADDR=unix:///nonexistent")
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return log, func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait() // by the signal
	}
}

// numbers is a file of numbers, one in a line, without an end.
type numbers struct {
	next uint64
	rest []byte
}

func (n *numbers) Read(p []byte) (int, error) {
	for len(n.rest) < len(p) {
		n.rest = fmt.Appendln(n.rest, n.next)
		n.next++
	}
	n.rest = n.rest[copy(p, n.rest):]
	return len(p), nil
}

func kernel(t *testing.T) string {
	text, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		t.Fatal(err)
	}
	return "Linux " + strings.TrimSpace(string(text))
}
