package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/snapshot"
)

// A realGroup is a cgroup of this machine: in the hierarchies of some controllers in version 1, or in the one of
// version 2. The zero value is none.
type realGroup struct {
	t    *testing.T
	path string
	dirs map[string]string // by controller
	groupFiles
}

// groupFiles are the names that a version has for the same things.
type groupFiles struct {
	memoryLimit, memoryUsage, memoryEvents string
	cpuLimit, cpuUsage                     string
	half                                   map[string]string // half a CPU, however busy the host is
}

var (
	filesOfV1 = groupFiles{
		"memory.limit_in_bytes", "memory.usage_in_bytes", "memory.oom_control", "cpu.cfs_quota_us", "cpuacct.usage",
		map[string]string{"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "50000", "cpu.shares": "100000"},
	}
	filesOfV2 = groupFiles{
		"memory.max", "memory.current", "memory.events", "cpu.max", "cpu.stat",
		map[string]string{"cpu.max": "50000 100000", "cpu.weight": "10000"},
	}
)

// newRealGroup makes the cgroup, and removes it after the test.
func newRealGroup(t *testing.T, name string, controllers ...string) realGroup {
	t.Helper()
	g := realGroup{t, fmt.Sprintf("/headroom-test-%d-%s", os.Getpid(), name), make(map[string]string), filesOfV1}
	const mount = "/sys/fs/cgroup"
	enabled, err := os.ReadFile(filepath.Join(mount, "cgroup.subtree_control"))
	if err == nil {
		g.groupFiles = filesOfV2
	}
	for _, controller := range controllers {
		dir := filepath.Join(mount, controller, g.path)
		if err == nil {
			dir = filepath.Join(mount, g.path)
			// Every cgroup of version 2 counts CPU time.
			if controller != "cpuacct" && !slices.Contains(strings.Fields(string(enabled)), controller) {
				t.Skipf("the cgroup v2 at %s does not give its children the controller %s", mount, controller)
			}
		} else if _, err := os.Stat(filepath.Join(mount, controller, "cgroup.procs")); err != nil {
			t.Skipf("no controller %s of cgroup v1, and no cgroup v2: %v", controller, err)
		}
		g.dirs[controller] = dir
	}
	for _, dir := range g.folders() {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Skipf("make a cgroup: %v", err)
		}
		t.Cleanup(func() {
			if err := os.Remove(dir); err != nil {
				t.Error(err)
			}
		})
	}
	return g
}

// folders returns the directories of the cgroup, each once.
func (g realGroup) folders() []string { return slices.Compact(slices.Sorted(maps.Values(g.dirs))) }

func (g realGroup) file(name string) string {
	controller, _, _ := strings.Cut(name, ".")
	return filepath.Join(g.dirs[controller], name)
}

func (g realGroup) set(name, text string) {
	g.t.Helper()
	if err := os.WriteFile(g.file(name), []byte(text), 0); err != nil {
		g.t.Skipf("set a limit: %v", err)
	}
}

// noSwap keeps what is over the limit from going to the swap of a host that has some.
func (g realGroup) noSwap(limit int) {
	for name, text := range map[string]string{"memory.swap.max": "0", "memory.memsw.limit_in_bytes": strconv.Itoa(limit)} {
		_ = os.WriteFile(g.file(name), []byte(text), 0) // there is one of them, or no swap
	}
}

// kills returns how many processes of it the kernel has killed for want of memory.
func (g realGroup) kills() int {
	g.t.Helper()
	text, err := os.ReadFile(g.file(g.memoryEvents))
	if err != nil {
		g.t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^oom_kill (\d+)$`).FindSubmatch(text)
	if m == nil {
		g.t.Skip("the kernel does not count what it kills for want of memory")
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		g.t.Fatal(err)
	}
	return n
}

// command returns a command that enters the cgroup before it begins.
func (g realGroup) command(name string, args ...string) *exec.Cmd {
	var enter strings.Builder
	for _, dir := range g.folders() {
		fmt.Fprintf(&enter, "echo $$ > %s && ", filepath.Join(dir, "cgroup.procs"))
	}
	return exec.Command("sh", append([]string{"-c", enter.String() + `exec "$0" "$@"`, name}, args...)...)
}

// A served is a server with the defaults of its user, but for a memory that is sampled twice as often, as a process of
// its own, and its command line.
type served struct {
	t   *testing.T
	bin string

	address string
	env     []string
}

// startServer starts a server in the cgroup, or outside of any of the tests where that has none, and waits until it
// answers. It ends with the test.
func startServer(t *testing.T, g realGroup, flags ...string) served {
	t.Helper()
	bin, err := exec.LookPath("headroom")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "cgroup") // a socket's name must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	config := filepath.Join(dir, "none.yaml")
	if err := os.WriteFile(config, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	s := served{t, bin, "unix://" + socket, append(os.Environ(),
		"HEADROOM_CONFIG="+config, "HEADROOM_SOCKET="+socket, "HEADROOM_ADDR=unix://"+socket,
		"HEADROOM_LISTEN=off", "HEADROOM_STATE_DIR=off", "HEADROOM_MEMORY_INTERVAL=500ms",
	)}
	cmd := g.command(bin, append([]string{"serve"}, flags...)...)
	cmd.Env = s.env
	s.start(cmd)
	s.await("a server that answers", func() bool { return s.command("health").Run() == nil })
	return s
}

// start starts a process, and ends it with the test.
func (s served) start(cmd *exec.Cmd) {
	s.t.Helper()
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
		if s.t.Failed() {
			s.t.Logf("%v said:\n%s", cmd.Args, &said)
		}
	})
}

func (s served) command(args ...string) *exec.Cmd {
	cmd := exec.Command(s.bin, args...)
	cmd.Env = s.env
	return cmd
}

// await waits until something is so.
func (s served) await(what string, is func() bool) {
	s.t.Helper()
	awaits(s.t, what, is)
}

// A judgedSnapshot is what these tests look at in a Snapshot of the API.
type judgedSnapshot struct {
	Overloaded bool
	Source     string
	CPU        struct {
		UsedRatio      float64 `json:"used_ratio"`
		CapacityCores  float64 `json:"capacity_cores"`
		LimitSource    string  `json:"limit_source"`
		HostUsedRatio  float64 `json:"host_used_ratio"`
		ThrottledRatio float64 `json:"throttled_ratio"`
	}
	Memory struct {
		MaxBytes    int64  `json:"max_bytes,string"`
		LimitSource string `json:"limit_source"`
		Tightest    struct {
			UsedBytes   int64  `json:"used_bytes,string"`
			LimitSource string `json:"limit_source"`
		}
	}
}

// sample returns the snapshots of a signal, as `headroom sample` prints them.
func (s served) sample(signal string) []judgedSnapshot {
	s.t.Helper()
	out, err := s.command("sample", signal, "-o", "json", "--timeout", "1m").Output()
	if err != nil {
		s.t.Fatalf("sample %s: %v", signal, err)
	}
	var all []judgedSnapshot
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var one judgedSnapshot
		switch err := d.Decode(&one); {
		case err == io.EOF:
			return all
		case err != nil:
			s.t.Fatal(err)
		}
		all = append(all, one)
	}
}

// newest waits for the first snapshot of a signal and returns the newest.
func (s served) newest(signal string) judgedSnapshot {
	s.t.Helper()
	var all []judgedSnapshot
	s.await("a snapshot of "+signal, func() bool {
		all = s.sample(signal)
		return len(all) > 0
	})
	return all[len(all)-1]
}

// overloadedBy reports whether `headroom status` says by its exit code that the load is too high now, and names the
// signal among those at fault.
func (s served) overloadedBy(signal string) bool {
	s.t.Helper()
	out, err := s.command("status", "-o", "json", "--timeout", "1m").Output()
	if outcome(err) != "1" {
		return false
	}
	var status struct {
		Current struct {
			Resources []struct{ Signal, State string }
		}
	}
	if err := json.Unmarshal(out, &status); err != nil {
		s.t.Fatal(err)
	}
	return slices.ContainsFunc(status.Current.Resources, func(r struct{ Signal, State string }) bool {
		return r.Signal == signal && r.State == "LOAD_STATE_OVERLOADED"
	})
}

// severity returns the lines of `headroom severity --watch`, from the first one on, which says that it follows.
func (s served) severity() <-chan string {
	s.t.Helper()
	watch := s.command("severity", "--watch", "--timeout", "1m")
	out, err := watch.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	s.start(watch)
	all := make(chan string, 100)
	go func() {
		defer close(all)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			all <- lines.Text()
		}
	}()
	select {
	case line := <-all:
		s.t.Log(line)
	case <-time.After(patience):
		s.t.Fatal("severity --watch says nothing")
	}
	return all
}

// memorySnapshots returns those of memory as the server takes them, from now on, and what asks for the severity level.
func (s served) memorySnapshots() (_ <-chan snapshot.Snapshot, level func() int) {
	s.t.Helper()
	c, err := client.Dial(s.t.Context(), client.WithAddress(s.address))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	all := make(chan snapshot.Snapshot)
	go func() {
		defer close(all)
		var last time.Time
		for state := range c.Snapshots(s.t.Context(), client.WatchOptions{Interval: 100 * time.Millisecond}) {
			for _, snap := range state.Snapshots {
				if snap.Signal != snapshot.SignalMemory || !snap.Time.After(last) {
					continue
				}
				last = snap.Time
				select {
				case all <- snap:
				case <-s.t.Context().Done():
					return
				}
			}
		}
	}()
	return all, func() int {
		s.t.Helper()
		severity, err := c.Severity(s.t.Context())
		if err != nil {
			s.t.Fatal(err)
		}
		return severity.Level
	}
}
