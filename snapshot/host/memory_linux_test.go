package host_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shirou/gopsutil/v3/mem"

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
		{"more than 64 bits", "MemTotal: 18014398509481985 kB\nMemAvailable: 1 kB\n", 0, 0},
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

// The oracle reads before and after, so the truth lies between its readings, but for what others take and give
// back in between: within a hundredth of the total.
func TestHostMemoryAgainstGopsutil(t *testing.T) {
	read := openHost(t, host.Config{Scope: snapshot.ScopeHost, Cgroup: host.NoCgroup}).Sources().Memory
	for range 20 {
		before, err := host.PortableMemory(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got, err := read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		after, err := host.PortableMemory(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		slack := before.HostTotal / 100
		if got.HostTotal != before.HostTotal || got.Total != before.Total {
			t.Errorf("Total, HostTotal = %d, %d; want %d", got.Total, got.HostTotal, before.HostTotal)
		}
		least, most := min(before.HostUsed, after.HostUsed)-slack, max(before.HostUsed, after.HostUsed)+slack
		if got.HostUsed < least || got.HostUsed > most || got.Used != got.HostUsed {
			t.Errorf("Used, HostUsed = %d, %d; want %d to %d", got.Used, got.HostUsed, least, most)
		}
		least, most = min(before.SwapUsed, after.SwapUsed)-slack, max(before.SwapUsed, after.SwapUsed)+slack
		if got.SwapTotal != before.SwapTotal || got.SwapKnown != before.SwapKnown || got.SwapUsed < least || got.SwapUsed > most {
			t.Errorf("swap %d of %d, known: %v; want %d to %d of %d", got.SwapUsed, got.SwapTotal, got.SwapKnown, least, most, before.SwapTotal)
		}
	}
}

// On a file that does not change both say exactly the same.
func TestHostMemoryOfTreesAgainstGopsutil(t *testing.T) {
	for _, name := range []string{"none", "v1-docker", "v1-hybrid", "v2-host"} {
		root := tree(t, name)
		t.Setenv("HOST_PROC", filepath.Join(root, "proc"))
		oracle, err := mem.VirtualMemory()
		if err != nil {
			t.Fatal(err)
		}
		h := openHost(t, host.Config{Scope: snapshot.ScopeHost, Root: root, Cgroup: host.NoCgroup})
		got, err := h.Sources().Memory(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := snapshot.MemoryReading{
			Used: int64(oracle.Total - oracle.Available), Total: int64(oracle.Total), Limit: got.Limit, Tightest: got.Tightest,
			SwapUsed: int64(oracle.SwapTotal - oracle.SwapFree), SwapTotal: int64(oracle.SwapTotal), SwapKnown: true,
			HostUsed: int64(oracle.Total - oracle.Available), HostTotal: int64(oracle.Total), HostKnown: true,
			Definition: got.Definition, Source: got.Source,
		}
		if got != want {
			t.Errorf("%s: Memory = %+v\nwant %+v", name, got, want)
		}
	}
}
