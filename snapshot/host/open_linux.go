package host

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/headroom-rpc/headroom/snapshot"
)

func open(c Config) *Host {
	h := &Host{counters: func(context.Context) (Counters, error) { return Counters{}, errors.ErrUnsupported }}
	meter := new(cpuMeter)
	h.sources.CPU = addSource(h, snapshot.SignalCPU, meter.read, nil).get
	proc := cmp.Or(os.Getenv("HOST_PROC"), procfs)
	if c.Root != "" && c.Root != "/" {
		proc = filepath.Join(c.Root, procfs)
	}
	memory := newMemorySource(c.Root, proc, c.Cgroup, c.Scope)
	h.sources.Memory = addSource(h, snapshot.SignalMemory, memory.read, memory.close).get
	return h
}
