package host

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

// nested makes a root with a process that many cgroups deep, each of which limits CPU time and memory, and the more
// the deeper it is. In version 1 memory and swap together are limited by so much more.
func nested(t testing.TB, version, depth int, swap int64) (root string) {
	t.Helper()
	root = t.TempDir()
	write := func(name, text string) {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("proc/stat", "cpu  1 2 3 4 5 6 7 8 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\nintr 1\n")
	write("proc/loadavg", "0.55 0.18 0.49 1/95 7219\n")
	write("proc/meminfo", "MemTotal: 16000000 kB\nMemFree: 8000000 kB\nMemAvailable: 8000000 kB\nSwapTotal: 1000 kB\nSwapFree: 500 kB\n")
	const psi = "some avg10=0.62 avg60=0.93 avg300=0.64 total=289\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n"
	for _, resource := range []string{"cpu", "memory", "io"} {
		write("proc/pressure/"+resource, psi)
	}
	path := ""
	for i := range depth {
		path += fmt.Sprintf("/d%d", i)
	}
	if version == 2 {
		write("proc/self/cgroup", "0::"+path+"\n")
		write("proc/self/mountinfo", "35 31 0:38 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n")
		write("sys/fs/cgroup/cgroup.controllers", "cpu io memory\n")
	} else {
		write("proc/self/cgroup", "3:memory:"+path+"\n2:cpu,cpuacct:"+path+"\n")
		write("proc/self/mountinfo", "35 31 0:38 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"+
			"36 31 0:39 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n")
		write("sys/fs/cgroup/cpu,cpuacct/cgroup.sane_behavior", "0\n")
		write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n")
		write("sys/fs/cgroup/memory/cgroup.sane_behavior", "0\n")
		write("sys/fs/cgroup/memory/memory.use_hierarchy", "1\n")
	}
	limit := int64(1 << 30)
	for i := path; i != "/"; i, limit = filepath.Dir(i), limit+100<<20 {
		if version == 2 {
			dir := "sys/fs/cgroup" + i
			write(dir+"/cpu.max", "50000 100000\n")
			write(dir+"/cpu.stat", "usage_usec 5\nuser_usec 1\nsystem_usec 4\nnr_periods 13\nnr_throttled 11\nthrottled_usec 3\n")
			write(dir+"/memory.max", fmt.Sprintln(limit))
			write(dir+"/memory.high", "max\n")
			write(dir+"/memory.swap.max", "0\n")
			write(dir+"/memory.swap.current", "0\n")
			write(dir+"/memory.current", "104857600\n")
			write(dir+"/memory.stat", "anon 1\nfile 1\ninactive_file 12288\n")
			for _, resource := range []string{"cpu", "memory", "io"} {
				write(dir+"/"+resource+".pressure", psi)
			}
			continue
		}
		cpu, memory := "sys/fs/cgroup/cpu,cpuacct"+i, "sys/fs/cgroup/memory"+i
		write(cpu+"/cpu.cfs_quota_us", "50000\n")
		write(cpu+"/cpu.cfs_period_us", "100000\n")
		write(cpu+"/cpu.stat", "nr_periods 13\nnr_throttled 11\nthrottled_time 3\n")
		write(cpu+"/cpuacct.usage", "5000\n")
		write(memory+"/memory.use_hierarchy", "1\n")
		write(memory+"/memory.limit_in_bytes", fmt.Sprintln(limit))
		write(memory+"/memory.usage_in_bytes", "104857600\n")
		write(memory+"/memory.memsw.limit_in_bytes", fmt.Sprintln(limit+swap))
		write(memory+"/memory.memsw.usage_in_bytes", "104857600\n")
		write(memory+"/memory.stat", "cache 1\nhierarchical_memory_limit 1073741824\nhierarchical_memsw_limit 9223372036854771712\ntotal_swap 0\ntotal_inactive_file 12288\n")
	}
	return root
}

// A tickingStat is a /proc/stat in which time passes. Writing it allocates nothing.
type tickingStat struct {
	file  *os.File
	mu    sync.Mutex // time in a bubble orders nothing
	ticks int64
	text  []byte
}

func newTickingStat(t testing.TB, root string) *tickingStat {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(root, "proc/stat"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &tickingStat{file: f, ticks: 1000, text: make([]byte, 0, 256)}
}

func (s *tickingStat) tick(t testing.TB) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ticks += 10
	s.text = s.text[:0]
	for _, line := range [...]string{"cpu  ", "\ncpu0 "} {
		s.text = append(s.text, line...)
		s.text = strconv.AppendInt(s.text, s.ticks, 10)
		s.text = append(s.text, " 0 0 "...)
		s.text = strconv.AppendInt(s.text, s.ticks, 10)
		s.text = append(s.text, " 0 0 0 0 0 0"...)
	}
	s.text = append(s.text, "\nintr 1\n"...)
	if _, err := s.file.WriteAt(s.text, 0); err != nil {
		t.Fatal(err)
	}
}

// sampler returns a function that reads everything of the host once: CPU, load, memory, swap, pressure and cgroups.
func sampler(t testing.TB, h *Host) func() {
	sources := h.Sources()
	ctx := t.Context()
	return func() {
		if _, err := sources.CPU(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := sources.Memory(ctx); err != nil {
			t.Fatal(err)
		}
		for _, stalled := range [...]snapshot.Resource{snapshot.CPU, snapshot.Memory, 0} {
			if _, err := sources.Pressure(ctx, stalled); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A sample makes 14 system calls at most under one cgroup with limits, and 2 more for each ancestor with limits, 3
// where version 1 limits memory and swap together and so much of the host's swap is in use that this may bind. That is
// each sample, also those that look whether limits are the same. It allocates nothing. One more is each further
// memory.stat where page cache makes it unclear who has least.
func TestSampleCost(t *testing.T) {
	const swapped = 500 << 10 // by the host
	tests := []struct {
		name           string
		version, depth int
		swap           int64 // that a cgroup may use, in version 1
		least, bound   int64 // system calls: without limits, and at most
	}{
		{"v2 depth=1", 2, 1, 0, 10, 14},
		{"v2 depth=4", 2, 4, 0, 10 + 3*2, 14 + 3*2},
		{"v2 depth=7", 2, 7, 0, 10 + 6*2, 14 + 6*2},
		{"v1 depth=1", 1, 1, swapped, 9, 14},
		{"v1 depth=4", 1, 4, swapped, 9 + 3*2, 14 + 3*2},
		{"v1 no swap depth=1", 1, 1, 0, 9, 14},
		{"v1 no swap depth=4", 1, 4, 0, 9 + 3*2, 14 + 3*2},
		{"v1 little swap depth=1", 1, 1, swapped - 1, 9 + 1, 14},
		{"v1 little swap depth=4", 1, 4, swapped - 1, 10 + 3*3, 14 + 3*3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, interval := range []time.Duration{time.Second, 500 * time.Millisecond, 100 * time.Millisecond} {
				least, most := sampleCost(t, nested(t, tt.version, tt.depth, tt.swap), interval)
				if least > tt.least || most > tt.bound {
					t.Errorf("every %v a sample made %d to %d system calls, want at most %d and %d", interval, least, most, tt.least, tt.bound)
				}
				t.Logf("every %v: %d to %d system calls", interval, least, most)
			}
		})
	}
}

// sampleCost returns how many system calls samples make from the second one on, until the membership is looked up.
func sampleCost(t *testing.T, root string, interval time.Duration) (least, most int64) {
	synctest.Test(t, func(t *testing.T) {
		h, err := Open(Config{Scope: snapshot.ScopeHost, Root: root})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		stat, sampleNow := newTickingStat(t, root), sampler(t, h)
		begun := time.Now()
		sample := func(after time.Duration) {
			time.Sleep(after)
			stat.tick(t)
			sampleNow()
		}
		time.AfterFunc(50*time.Millisecond, func() { stat.tick(t) })
		sampleNow()
		sample(interval)
		least = math.MaxInt64
		for time.Since(begun) < groupsAfter-21*time.Second {
			before := reads.Load()
			sample(interval)
			calls := reads.Load() - before
			least, most = min(least, calls), max(most, calls)
		}
		allocs := 1.0
		for try := 0; try < 4 && allocs != 0; try++ { // so few that one of the runtime itself counts
			allocs = testing.AllocsPerRun(3, func() { sample(interval) })
		}
		if allocs != 0 {
			t.Errorf("%v allocations, want 0", allocs)
		}
		before := reads.Load()
		sample(10 * time.Millisecond)
		least = min(least, reads.Load()-before)
	})
	return least, most
}

// Membership is looked up twice a minute, and what it found is kept open.
func TestSampleKeepsItsFilesOpen(t *testing.T) {
	root := nested(t, 2, 4, 0)
	open := func() (n int) {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		for _, entry := range entries { // others come and go
			if to, _ := os.Readlink("/proc/self/fd/" + entry.Name()); strings.HasPrefix(to, root) {
				n++
			}
		}
		return n
	}
	synctest.Test(t, func(t *testing.T) {
		stat := newTickingStat(t, root)
		before := open()
		h, err := Open(Config{Scope: snapshot.ScopeHost, Root: root})
		if err != nil {
			t.Fatal(err)
		}
		sample := sampler(t, h)
		time.AfterFunc(50*time.Millisecond, func() { stat.tick(t) })
		sample()
		during := open()
		for range 100 {
			time.Sleep(time.Second)
			stat.tick(t)
			sample()
		}
		if after := open(); after != during || during <= before {
			t.Errorf("%d files open after 100 s, want the %d of the beginning, more than %d", after, during, before)
		}
		h.Close()
		if after := open(); after != before {
			t.Errorf("%d files open after Close, want %d", after, before)
		}
	})
}
