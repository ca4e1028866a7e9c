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
