//go:build !linux

package host

import (
	"context"

	"github.com/headroom-rpc/headroom/snapshot"
)

// readProcessMemory is that of ScopeProcess, and adds what this process and its descendants use.
func readProcessMemory(ctx context.Context) (snapshot.MemoryReading, error) {
	reading, err := readHost(ctx)
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
