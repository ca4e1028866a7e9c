package host_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/headroom-rpc/headroom/snapshot"
	"github.com/headroom-rpc/headroom/snapshot/host"
)

func TestHostMemory(t *testing.T) {
	captured, err := os.ReadFile("testdata/linux-6.18/meminfo")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name        string
		meminfo     string
		total, used int64 // kB; total 0: an error
	}{
		{"captured on Linux 6.18", string(captured), 24684096, 24684096 - 24286816},
		{"page cache is available", "MemTotal: 1000 kB\nMemFree: 100 kB\nMemAvailable: 700 kB\nCached: 600 kB\n", 1000, 300},
		{"a kernel before 3.14 estimates nothing", "MemTotal: 1000 kB\nMemFree: 100 kB\nBuffers: 50 kB\nCached: 600 kB\nShmem: 20 kB\nSReclaimable: 10 kB\n", 1000, 260},
		{"nor can it be guessed", "MemTotal: 1000 kB\nCached: 600 kB\n", 0, 0},
		{"more available than there is", "MemTotal: 1000 kB\nMemFree: 100 kB\nMemAvailable: 4000 kB\n", 1000, 0},
		{"all of it used", "MemTotal: 1000 kB\nMemFree: 0 kB\nMemAvailable: 0 kB\n", 1000, 1000},
		{"no total", "MemFree: 100 kB\nMemAvailable: 100 kB\n", 0, 0},
		{"empty", "", 0, 0},
		{"malformed", "MemTotal: lots\n", 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			t.Setenv("HOST_PROC", dir)
			if err := os.WriteFile(filepath.Join(dir, "meminfo"), []byte(tt.meminfo), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := host.NewSources(snapshot.ScopeHost).Memory(t.Context())
			if tt.total == 0 {
				if err == nil {
					t.Errorf("Memory = %+v, want an error", got)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(got.Source, filepath.Join(dir, "meminfo")+"; no cgroup to see: ") {
				t.Errorf("Source = %q, want the file and why no cgroup was read", got.Source)
			}
			want := snapshot.MemoryReading{
				Used: tt.used << 10, Total: tt.total << 10, Limit: "memory of the host",
				Tightest: snapshot.MemoryLevel{Used: tt.used << 10, Total: tt.total << 10, Limit: "memory of the host"},
				HostUsed: tt.used << 10, HostTotal: tt.total << 10, HostKnown: true,
				SwapKnown:  strings.Contains(tt.meminfo, "SwapTotal"),
				Definition: "host working set: total without available memory", Source: got.Source,
			}
			if got != want {
				t.Errorf("Memory = %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestMemoryEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, scope := range []snapshot.Scope{snapshot.ScopeProcess, snapshot.ScopeHost} {
		if got, err := host.NewSources(scope).Memory(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("scope %d: Memory = %+v, %v; want %v", scope, got, err, context.Canceled)
		}
	}
}

// meminfo returns a figure of /proc/meminfo in bytes.
func meminfo(t *testing.T, key string) int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		t.Skip(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, key+":"); ok {
			kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kb << 10
		}
	}
	t.Skipf("/proc/meminfo has no %s", key)
	return 0
}

func TestHostMemoryAgainstProcMeminfo(t *testing.T) {
	total := meminfo(t, "MemTotal")
	before := total - meminfo(t, "MemAvailable")
	got, err := host.NewSources(snapshot.ScopeHost).Memory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	after := total - meminfo(t, "MemAvailable")
	slack := total / 50 // what others may take and give back in between
	if got.Total != total || got.HostTotal != total {
		t.Errorf("Total, HostTotal = %d, %d; want %d", got.Total, got.HostTotal, total)
	}
	if got.Used < min(before, after)-slack || got.Used > max(before, after)+slack {
		t.Errorf("Used = %d, want within %d of %d to %d", got.Used, slack, before, after)
	}
}
