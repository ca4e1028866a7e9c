//go:build !linux

package host

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

func open(c Config) *Host {
	h := &Host{counters: func(context.Context) (Counters, error) {
		return Counters{}, fmt.Errorf("host: counters: %w on %s", errors.ErrUnsupported, runtime.GOOS)
	}}
	meter := new(cpuMeter)
	h.sources.CPU = addSource(h, snapshot.SignalCPU, meter.read, nil).get
	memory := readProcessMemory
	if c.Scope == snapshot.ScopeHost {
		memory = readHostMemory
	}
	h.sources.Memory = addSource(h, snapshot.SignalMemory,
		func(ctx context.Context, _ time.Time) (snapshot.MemoryReading, error) { return memory(ctx) }, nil).get
	return h
}
