package host

import (
	"context"

	"github.com/headroom-rpc/headroom/snapshot"
)

// PortableCPU returns the CPU source of the systems that are not Linux.
func PortableCPU() func(context.Context) (snapshot.CPUReading, error) {
	return addSource(new(Host), snapshot.SignalCPU, new(cpuMeter).read, nil).get
}
