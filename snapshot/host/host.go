// Package host reads how much of the CPUs and of the memory is in use, of this host or of this process and
// its descendants, as sources for a snapshot.Snapshotter.
//
// It reads the host even inside a container: the capacity is the host's, not the container's limits. On
// Linux it reads /proc, or the directory that the environment variable HOST_PROC names; a container that
// mounts the host's /proc there sees the host's load whatever its own view is. On macOS the CPU times need
// a build with cgo.
package host

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/shirou/gopsutil/v3/mem"

	"github.com/headroom-rpc/headroom/snapshot"
)

const hostSource = "gopsutil host"

// NewSources returns functions that read the CPUs of the host and the memory of the scope. It reads nothing
// itself. Each function must be called by one goroutine at a time; the two are independent of each other.
//
// CPU returns the share of the host's CPU time that was not idle since its previous call. Waiting for I/O
// is idle, time stolen by the hypervisor is busy, and a guest's time is counted once, as psutil's
// cpu_percent counts them. The first call takes two readings 100 ms apart. A call that follows another so
// closely that the kernel's counters did not move is an error, and the next one covers its time as well.
// Linux counts in steps of 10 ms for each CPU, so a ratio over an interval of 100 ms is coarse. Cores is
// the number of logical CPUs at the first call.
//
// Memory in ScopeHost returns the working set of the host: its total memory without what the kernel
// estimates to be available, which leaves out the page cache that it can drop. In ScopeProcess it returns
// the memory of this process and of all its descendants; on Linux the sum of their proportional set sizes
// (PSS), which counts a shared page once, elsewhere the sum of their resident set sizes (RSS), which counts
// a shared page once for each process. On Linux a process whose PSS cannot be read, or is zero, counts with
// its RSS; MemoryReading.Definition says how many did. One that ended, or that the kernel hides from this
// user, counts nothing, and so does one whose parent ended first, since it left the tree. It is an error
// when this process itself cannot be read. To read a PSS makes the kernel walk the process's page tables,
// about 20 ms for each GiB that is resident. In both scopes Total is the memory of the host, and HostUsed
// and HostTotal are its figures.
//
// Both return the error of ctx when it ends before they do.
func NewSources(scope snapshot.Scope) snapshot.Sources {
	sources := snapshot.Sources{CPU: new(cpuMeter).read, Memory: readHostMemory}
	if scope == snapshot.ScopeProcess {
		sources.Memory = readProcessMemory
	}
	return sources
}

func readHostMemory(ctx context.Context) (snapshot.MemoryReading, error) {
	reading, err := hostMemory(ctx)
	if err != nil {
		return snapshot.MemoryReading{}, err
	}
	reading.Used = reading.HostUsed
	reading.Definition = "host working set: total without available memory"
	reading.Source = hostSource
	return reading, nil
}

// readProcessMemory adds what this process and its descendants use to the figures of the host.
func readProcessMemory(ctx context.Context) (snapshot.MemoryReading, error) {
	reading, err := hostMemory(ctx)
	if err != nil {
		return snapshot.MemoryReading{}, err
	}
	use, err := readTree(ctx)
	if err != nil {
		return snapshot.MemoryReading{}, err
	}
	reading.Used = use.bytes
	reading.Definition = use.String()
	reading.Source = treeSource
	return reading, nil
}

// hostMemory returns a reading that holds what both scopes have in common.
func hostMemory(ctx context.Context) (snapshot.MemoryReading, error) {
	if err := ctx.Err(); err != nil {
		return snapshot.MemoryReading{}, err
	}
	vm, err := mem.VirtualMemoryWithContext(ctx)
	if err != nil {
		return snapshot.MemoryReading{}, fmt.Errorf("read memory of the host: %w", err)
	}
	// gopsutil leaves out what it could not read, and says nothing.
	if vm.Total == 0 || vm.Total > math.MaxInt64 {
		return snapshot.MemoryReading{}, errors.New("read memory of the host: no total memory")
	}
	// Some containers rewrite one of the two figures only.
	used := vm.Total - min(vm.Available, vm.Total)
	return snapshot.MemoryReading{
		Total:     int64(vm.Total),
		HostUsed:  int64(used),
		HostTotal: int64(vm.Total),
		HostKnown: true,
	}, nil
}
