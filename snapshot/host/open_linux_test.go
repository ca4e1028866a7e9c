package host_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shirou/gopsutil/v3/cpu"

	"github.com/headroom-rpc/headroom/snapshot"
	"github.com/headroom-rpc/headroom/snapshot/host"
)

func TestOpenRefusesAConfigWithAllItsFaults(t *testing.T) {
	_, err := host.Open(host.Config{Scope: 9, Cgroup: "pod1", Root: "mnt"})
	if err == nil {
		t.Fatal("Open = nil, want an error")
	}
	for _, want := range []string{"Scope: 9", `Cgroup: "pod1"`, `Root: "mnt"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("Open = %v, want %q in it", err, want)
		}
	}
	for _, cgroup := range []string{"/a/../b", "/a/", "../a", "Host"} {
		if _, err := host.Open(host.Config{Cgroup: cgroup}); err == nil {
			t.Errorf("Open with Cgroup %q = nil, want an error", cgroup)
		}
	}
}

// Nothing is there, and each source says so by itself.
func TestOpenNeedsNoFile(t *testing.T) {
	h, err := host.Open(host.Config{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if got, err := h.Sources().CPU(t.Context()); err == nil {
		t.Errorf("CPU = %+v, want an error", got)
	}
	if got, err := h.Sources().Memory(t.Context()); err == nil {
		t.Errorf("Memory = %+v, want an error", got)
	}
	if got, err := h.Sources().Pressure(t.Context(), snapshot.Memory); err == nil {
		t.Errorf("Pressure = %+v, want an error", got)
	}
	if got, err := h.Counters(t.Context()); err == nil || got.DiskKnown || got.NetKnown {
		t.Errorf("Counters = %+v, %v; want an error", got, err)
	}
	var failed []string
	for _, c := range h.Costs() {
		if c.Reads != c.Errors || c.Last > c.Total || c.Last < 0 {
			t.Errorf("cost %+v, want only errors", c)
		}
		if c.Errors == 1 {
			failed = append(failed, c.Name)
		}
	}
	if got, want := strings.Join(failed, " "), "cpu memory pressure_memory counters"; got != want {
		t.Errorf("failed: %s, want %s", got, want)
	}
}

// For the race detector: every method at once, and Close among them.
func TestHostIsSafeForConcurrentUse(t *testing.T) {
	h, err := host.Open(host.Config{Scope: snapshot.ScopeHost})
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for range 20 {
				_, _ = h.Sources().CPU(t.Context())
				_, _ = h.Sources().Memory(t.Context())
				_, _ = h.Sources().Pressure(t.Context(), []snapshot.Resource{snapshot.CPU, snapshot.Memory, 0}[i%3])
				_, _ = h.Counters(t.Context())
				for _, s := range h.Signals() {
					_, _, _ = s.Read(t.Context())
				}
				h.Costs()
			}
			if i == 0 {
				h.Close()
			}
		})
	}
	group.Wait()
	for _, c := range h.Costs() {
		if c.Reads == 0 {
			t.Errorf("cost %+v, want readings", c)
		}
	}
	if err := h.Close(); err != nil {
		t.Errorf("second Close = %v", err)
	}
}

// The host as a whole, as the default configuration sees it here.
func TestHostOfThisMachine(t *testing.T) {
	cpus, err := cpu.Counts(true)
	if err != nil {
		t.Skip(err)
	}
	h, err := host.Open(host.Config{Scope: snapshot.ScopeHost, Cgroup: host.NoCgroup})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	begun := time.Now()
	got, err := h.Sources().CPU(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got.Cores != float64(cpus) || got.Limit != "CPUs of the host" || got.Source != "/proc/stat" || !got.HostKnown || !got.LoadKnown {
		t.Errorf("CPU = %+v, want the %d CPUs of the host", got, cpus)
	}
	for _, c := range h.Costs() {
		if c.Name == snapshot.SignalCPU && (c.Reads != 2 || c.Total > time.Since(begun)-100*time.Millisecond) {
			t.Errorf("cost %+v after %v, want two readings and not the 100 ms between them", c, time.Since(begun))
		}
	}
	pressure, err := h.Sources().Pressure(t.Context(), snapshot.CPU)
	if err != nil {
		t.Skip(err)
	}
	if pressure.Source != "/proc/pressure/cpu" || pressure.FullKnown || pressure.Some < 0 || pressure.Some > 1 {
		t.Errorf("Pressure = %+v, want a share of /proc/pressure/cpu", pressure)
	}
}
