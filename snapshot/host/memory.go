package host

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/shirou/gopsutil/v3/mem"

	"github.com/headroom-rpc/headroom/snapshot"
)

const (
	hostSource     = "gopsutil host"
	hostMemory     = "memory of the host" // the limit where there is no other
	hostWorkingSet = "host working set: total without available memory"
)

// readHostMemory is the source of ScopeHost on systems other than Linux.
func readHostMemory(ctx context.Context) (snapshot.MemoryReading, error) {
	reading, err := readHost(ctx)
	if err != nil {
		return snapshot.MemoryReading{}, err
	}
	reading.Used = reading.HostUsed
	reading.Definition = hostWorkingSet
	reading.Source = hostSource
	return reading, nil
}

// readHost returns what both scopes have in common, by gopsutil: the memory of the host is the only limit.
func readHost(ctx context.Context) (snapshot.MemoryReading, error) {
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
	reading := snapshot.MemoryReading{
		Total: int64(vm.Total), Limit: hostMemory,
		Tightest: snapshot.MemoryLevel{Used: int64(used), Total: int64(vm.Total), Limit: hostMemory},
		HostUsed: int64(used), HostTotal: int64(vm.Total), HostKnown: true,
	}
	swap, err := mem.SwapMemoryWithContext(ctx)
	if err == nil && swap.Total <= math.MaxInt64 {
		reading.SwapUsed, reading.SwapTotal, reading.SwapKnown = int64(min(swap.Used, swap.Total)), int64(swap.Total), true
	}
	return reading, nil
}
