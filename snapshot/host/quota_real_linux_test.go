package host_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/snapshot/host"
)

const burnEnv = "HEADROOM_TEST_BURN"

// TestBurn is no test: it is a child that, once told, uses one CPU until its standard input ends.
func TestBurn(t *testing.T) {
	if os.Getenv(burnEnv) == "" {
		t.Skip("this is a child of TestCPUBurnerUnderAQuota")
	}
	fmt.Println("up")
	in := bufio.NewReader(os.Stdin)
	if _, err := in.ReadString('\n'); err != nil {
		return
	}
	var ended atomic.Bool
	go func() {
		_, _ = io.Copy(io.Discard, in)
		ended.Store(true)
	}()
	for !ended.Load() {
	}
}

// A quotaGroup is a cgroup with half a CPU.
type quotaGroup struct {
	path, limit, source string
	procs               []string // a process enters it by each of them
}

// newQuotaGroup makes a cgroup with half a CPU, and removes it after the test.
func newQuotaGroup(t testing.TB) quotaGroup {
	t.Helper()
	h, dirs := realGroup(t, "cpu", "quota")
	dir := dirs[0]
	g := quotaGroup{h.path(dir), "cpu.max", "cpu.stat", []string{filepath.Join(dir, "cgroup.procs")}}
	// With so much weight it gets its half however busy the host is.
	set := map[string]string{"cpu.max": "50000 100000", "cpu.weight": "10000"}
	if h.version == 1 {
		g.limit, g.source = "cpu.cfs_quota_us", "cpuacct.usage"
		set = map[string]string{"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "50000", "cpu.shares": "100000"}
		if realHierarchy(t, "cpuacct") != h { // they are mounted apart
			_, counts := realGroup(t, "cpuacct", "quota")
			g.procs = append(g.procs, filepath.Join(counts[0], "cgroup.procs"))
		}
	}
	for name, text := range set {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0); err != nil {
			t.Skipf("set a quota: %v", err)
		}
	}
	return g
}

// startBurner starts a child in the cgroup, which burns when burn is called, and ends with the test.
func startBurner(t testing.TB, g quotaGroup) (burn func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestBurn$")
	cmd.Env = append(os.Environ(), burnEnv+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the child ended with %v", err)
		}
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "up\n" { // its beginning may take more than half a CPU
		t.Fatalf("the child says %q, %v", line, err)
	}
	for _, procs := range g.procs {
		if err := os.WriteFile(procs, []byte(strconv.Itoa(cmd.Process.Pid)), 0); err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		if _, err := fmt.Fprintln(in); err != nil {
			t.Fatal(err)
		}
	}
}

// Half a CPU in use out of two is idle by the figures of the host, and all that a quota of half a CPU gives.
func TestCPUBurnerUnderAQuota(t *testing.T) {
	g := newQuotaGroup(t)
	burn := startBurner(t, g)
	h, err := host.Open(host.Config{Cgroup: g.path})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	signal := signalOf(h, "cpu_throttled")

	before, err := h.Sources().CPU(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if before.Cores != 0.5 || before.Limit != g.limit+" of "+g.path || !before.ThrottledKnown || before.Throttled != 0 {
		t.Errorf("at rest: %+v, want Cores 0.5 by %s of %s and Throttled 0", before, g.limit, g.path)
	}
	if value, _, err := signal.Read(t.Context()); err != nil || value != 0 {
		t.Errorf("at rest: cpu_throttled = %v, %v; want 0", value, err)
	}

	burn()
	// A busy host may not let it run at once.
	tick := time.NewTicker(600 * time.Millisecond)
	defer tick.Stop()
	for try := 1; ; try++ {
		<-tick.C
		got, err := h.Sources().CPU(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		value, _, err := signal.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got.Used > 0.9 && got.Source == g.source+" of "+g.path && got.Throttled > 0 && value > 0 {
			t.Logf("after %d looks: %+v; cpu_throttled %.2f", try, got, value)
			return
		}
		if try == 100 && got.HostUsed > 0.9 {
			t.Skipf("others leave it no half CPU: %+v", got)
		}
		if try == 100 {
			t.Fatalf("burning: %+v and cpu_throttled %v; want Used over 0.9 and both of throttled over 0", got, value)
		}
	}
}
