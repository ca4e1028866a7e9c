package spawn_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/internal/spawn"
)

// usageAfter returns the usage once it says that so much CPU was used since before.
func usageAfter(t *testing.T, s *spawn.Spawner, before spawn.Usage, used time.Duration) spawn.Usage {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		u := s.Usage()
		if u.CPU-before.CPU >= used {
			return u
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v of CPU, want %v", u.CPU-before.CPU, used)
		}
	}
}

// What runs and what has ended counts, with what it started, however short it was.
func TestUsageCPU(t *testing.T) {
	s := open(t)
	// 200 ms of CPU in a child of a child, while all live.
	spin := `sh -c 'while :; do :; done' & wait`
	before := s.Usage()
	p, _ := sh(t, s, spin)
	u := usageAfter(t, s, before, 200*time.Millisecond)
	if u.Runnable < u.CPU {
		t.Errorf("runnable for %v, less than the CPU time, %v", u.Runnable, u.CPU)
	}
	p.Kill()
	p.Exit()
	// Many that end before anybody looks at them.
	before = s.Usage()
	for range 40 {
		p, _ := sh(t, s, "i=0; while [ $i -lt 10000 ]; do i=$((i+1)); done")
		p.Exit()
	}
	usageAfter(t, s, before, 40*time.Millisecond)
}

// Three that spin on every CPU wait for it: that counts as runnable too.
func TestUsageRunnable(t *testing.T) {
	if testing.Short() {
		t.Skip("keeps all CPUs busy")
	}
	s := open(t)
	cpus := countCPUs(t)
	for range 3 * cpus {
		sh(t, s, "while :; do :; done")
	}
	before := usageAfter(t, s, s.Usage(), 400*time.Millisecond)
	u := usageAfter(t, s, before, 600*time.Millisecond)
	if ratio := float64(u.Runnable-before.Runnable) / float64(u.CPU-before.CPU); ratio < 1.8 {
		t.Errorf("runnable is %.2f times the CPU time of three on each CPU, want about 3", ratio)
	}
}

func countCPUs(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(text), "\ncpu")
}

func TestUsageMemory(t *testing.T) {
	s := open(t)
	_, out := sh(t, s, `v=$(head -c 40000000 /dev/zero | tr '\0' x); echo "has ${#v}"; sleep 1000`)
	await(t, out, "has 40000000")
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		u := s.Usage()
		if u.Memory >= 40_000_000 && u.Memory < 1<<30 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes, want over 40 MB", u.Memory)
		}
	}
}

// Nothing is left behind.
func TestCloseRemovesGroups(t *testing.T) {
	s := spawn.Open()
	p, out := sh(t, s, "sleep 0.2 & echo done") // what it left running is not killed
	await(t, out, "done")
	p.Exit()
	s.Close()
	left, err := filepath.Glob("/sys/fs/cgroup/*/headroom-run-*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range left {
		if strings.HasSuffix(dir, "-"+strconv.Itoa(os.Getpid())) {
			t.Errorf("%s is left", dir)
		}
	}
}
