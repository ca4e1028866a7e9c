package server

import (
	"runtime"
	"time"

	"github.com/headroom-rpc/headroom/snapshot/host"
)

// A passMeter tells what a pass costs: the CPU time of its thread. How long it takes is much more on a busy host, where
// it waits for a CPU and costs nothing meanwhile.
type passMeter struct {
	began time.Time
	cpu   time.Duration
	known bool
}

// startMeter locks the goroutine to its thread until stop.
func startMeter() passMeter {
	runtime.LockOSThread()
	cpu, known := host.ThreadTime()
	return passMeter{time.Now(), cpu, known}
}

// stop returns the CPU time since the start, or else the time.
func (m passMeter) stop() time.Duration {
	defer runtime.UnlockOSThread()
	cost := time.Since(m.began)
	if cpu, known := host.ThreadTime(); known && m.known {
		cost = min(cost, cpu-m.cpu)
	}
	return cost
}
