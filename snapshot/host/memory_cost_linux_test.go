package host

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

// What a reading costs where nothing changes: no allocation, a pread of /proc/meminfo, one for the use under each
// limit, and the memory.stat of the tightest; where time has passed one more for each file that holds a limit.
func TestMemoryCost(t *testing.T) {
	tests := []struct {
		tree           string
		reads, refresh int64
	}{
		{"none", 1, 1},
		{"v2-host", 1, 1 + 3*3},            // max, high and swap.max of three groups
		{"v2-systemd", 1 + 2 + 1, 4 + 2*3}, // with the swap in use
		{"hidepid", 1 + 2, 3 + 2*2},        // no swap on the host
		{"v2-kubernetes", 1 + 2 + 1, 4 + 4*2},
		{"v1-docker", 1 + 2, 3 + 1}, // memory.stat once for both the use and the hidden limits
		{"v1-hybrid", 1 + 2, 3 + 2},
	}
	for _, tt := range tests {
		t.Run(tt.tree, func(t *testing.T) {
			root, err := filepath.Abs(filepath.Join("testdata", "trees", tt.tree))
			if err != nil {
				t.Fatal(err)
			}
			s := newMemorySource(root, filepath.Join(root, "proc"), "", snapshot.ScopeHost)
			defer s.close()
			now := time.Now()
			read := func(after time.Duration) {
				now = now.Add(after)
				if _, err := s.read(t.Context(), now); err != nil {
					t.Fatal(err)
				}
			}
			read(0)
			count := func(after time.Duration) int64 {
				before := reads.Load()
				read(after)
				return reads.Load() - before
			}
			if got := count(time.Millisecond); got != tt.reads {
				t.Errorf("a reading made %d system calls, want %d", got, tt.reads)
			}
			if got := count(2 * time.Second); got != tt.refresh {
				t.Errorf("one that looks at the limits made %d, want %d", got, tt.refresh)
			}
			if allocs := testing.AllocsPerRun(10, func() { read(2 * time.Second) }); allocs != 0 {
				t.Errorf("%v allocations, want 0", allocs)
			}
		})
	}
}

// A source keeps open what it reads, and that only.
func TestMemoryKeepsNoFileOfAnotherCgroup(t *testing.T) {
	root := hostFiles(t, map[string]string{
		"proc/meminfo":                     "MemTotal: 1000 kB\nMemAvailable: 900 kB\n",
		"proc/self/mountinfo":              "31 23 0:27 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n",
		"sys/fs/cgroup/cgroup.controllers": "memory\n",
		"sys/fs/cgroup/a/memory.max":       "max\n",
		"sys/fs/cgroup/b/memory.max":       "max\n",
	})
	open := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	before := open()
	s := newMemorySource(root, filepath.Join(root, "proc"), "", snapshot.ScopeHost)
	now := time.Now()
	for i := range 6 {
		own := "0::/" + string(rune('a'+i%2)) + "\n"
		if err := os.WriteFile(filepath.Join(root, "proc/self/cgroup"), []byte(own), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := s.read(t.Context(), now.Add(time.Duration(i)*groupsAfter)); err != nil {
			t.Fatal(err)
		}
		if got := open() - before; got != 2 {
			t.Errorf("reading %d left %d files open, want 2", i, got)
		}
	}
	s.close()
	if got := open() - before; got != 0 {
		t.Errorf("close left %d files open", got)
	}
}

func BenchmarkMemoryCgroups(b *testing.B) {
	for _, tree := range []string{"none", "v1-docker", "v2-systemd", "v2-kubernetes"} {
		b.Run("tree="+tree, func(b *testing.B) {
			root, err := filepath.Abs(filepath.Join("testdata", "trees", tree))
			if err != nil {
				b.Fatal(err)
			}
			s := newMemorySource(root, filepath.Join(root, "proc"), "", snapshot.ScopeHost)
			defer s.close()
			b.ReportAllocs()
			before := reads.Load()
			for b.Loop() {
				if _, err := s.read(b.Context(), time.Now()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(reads.Load()-before)/float64(b.N), "syscalls/op")
		})
	}
}
