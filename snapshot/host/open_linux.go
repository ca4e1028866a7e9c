package host

import (
	"cmp"
	"context"
	"os"
	"path/filepath"

	"github.com/headroom-rpc/headroom/snapshot"
)

func open(c Config) *Host {
	root, proc := c.Root, cmp.Or(os.Getenv("HOST_PROC"), procfs)
	if root == "/" {
		root = ""
	}
	if root != "" {
		proc = filepath.Join(root, procfs)
	}

	h := new(Host)
	cpu := newCPUSource(root, proc, c.Cgroup, c.Scope)
	h.sources.CPU = addSource(h, snapshot.SignalCPU, cpu.read, cpu.close).get
	memory := newMemorySource(root, proc, c.Cgroup, c.Scope)
	h.sources.Memory = addSource(h, snapshot.SignalMemory, memory.read, memory.close).get
	h.sources.Pressure = openPressure(h, root, proc, c.Cgroup)

	throttle := &throttleSource{quotas{root: root, proc: proc, cgroup: c.Cgroup}}
	h.signals = append(h.signals, throttledSignal(addSource(h, signalThrottled, throttle.read, throttle.quotas.close)))
	queue := newRunQueueSource(proc)
	if _, err := os.Stat(queue.file.name); err == nil {
		h.signals = append(h.signals, runQueueSignal(addSource(h, signalRunQueue, queue.read, queue.file.close)))
	}

	counters := newCountersSource(proc)
	h.counters = addSource(h, "counters", counters.read, counters.close).get
	return h
}

// openPressure returns the function that reads the pressure of each resource.
func openPressure(h *Host, root, proc, cgroup string) func(context.Context, snapshot.Resource) (snapshot.PressureReading, error) {
	open := func(name string, stalled snapshot.Resource) *source[snapshot.PressureReading] {
		s := newPressureSource(root, proc, cgroup, stalled)
		return addSource(h, name, s.read, s.close)
	}
	cpu := open(snapshot.SignalPressureCPU, snapshot.CPU)
	memory := open(snapshot.SignalPressureMemory, snapshot.Memory)
	io := open(snapshot.SignalPressureIO, 0)
	return func(ctx context.Context, stalled snapshot.Resource) (snapshot.PressureReading, error) {
		switch stalled {
		case snapshot.CPU:
			return cpu.get(ctx)
		case snapshot.Memory:
			return memory.get(ctx)
		default:
			return io.get(ctx)
		}
	}
}
