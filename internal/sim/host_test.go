package sim

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

// host is a made-up machine whose load and faults a test sets. It is safe for concurrent use.
type host struct {
	mu      sync.Mutex
	cpu     float64
	memory  float64 // share of 8 GiB
	failing error
	hanging bool
	skew    time.Duration
	begin   time.Time
}

func newHost() *host { return &host{cpu: 0.1, memory: 0.2, begin: time.Now()} }

func (h *host) set(change func(h *host)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(h)
}

// clock is a clock that runs through suspend: its step is skew.
func (h *host) clock() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Since(h.begin) + h.skew
}

func (h *host) sources() snapshot.Sources {
	const total = 8 << 30
	return snapshot.Sources{
		CPU: func(ctx context.Context) (snapshot.CPUReading, error) {
			used, _, err := h.read(ctx)
			return snapshot.CPUReading{Used: used, Cores: 2, Source: "made up"}, err
		},
		Memory: func(ctx context.Context) (snapshot.MemoryReading, error) {
			_, used, err := h.read(ctx)
			return snapshot.MemoryReading{Used: int64(used * total), Total: total, Definition: "made up", Source: "made up"}, err
		},
	}
}

func (h *host) read(ctx context.Context) (cpu, memory float64, err error) {
	h.mu.Lock()
	cpu, memory, err = h.cpu, h.memory, h.failing
	hanging := h.hanging
	h.mu.Unlock()
	if hanging {
		<-ctx.Done()
		return 0, 0, errors.New("interrupted")
	}
	return cpu, memory, err
}
