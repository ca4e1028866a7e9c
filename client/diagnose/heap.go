package diagnose

import (
	"bytes"
	"context"
	"runtime/metrics"
	"runtime/pprof"
	"sync"
	"time"

	"github.com/headroom-rpc/headroom/diagnostics"
)

// liveHeap is the memory of objects, those not yet swept among them, in bytes.
const liveHeap = "/memory/classes/heap/objects:bytes"

// heapWatch takes a profile at each new high-water mark of the heap.
type heapWatch struct {
	session *Session

	mu    sync.Mutex // held while a profile is taken and uploaded
	mark  float64    // the size at the last profile
	at    time.Time  // of the last profile
	taken bool
}

func (h *heapWatch) run() {
	ticker := time.NewTicker(h.session.config.HeapInterval)
	defer ticker.Stop()
	sample := []metrics.Sample{{Name: liveHeap}}
	for {
		metrics.Read(sample)
		if size := float64(sample[0].Value.Uint64()); h.isMark(size) {
			h.take(h.session.ctx, size)
		}
		select {
		case <-ticker.C:
		case <-h.session.ctx.Done():
			return
		}
	}
}

// isMark reports whether a heap of that size is worth a profile.
func (h *heapWatch) isMark(size float64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.taken || size > h.mark*(1+h.session.config.HeapGrowth) && time.Since(h.at) >= h.session.config.HeapPause
}

// take uploads a profile, which replaces the one before. What fails is tried again when the heap is looked at next.
func (h *heapWatch) take(ctx context.Context, size float64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var text bytes.Buffer
	err := pprof.Lookup("heap").WriteTo(&text, 0)
	if err == nil {
		_, err = h.session.upload(ctx, diagnostics.RecorderAllocation, h.session.begin, text.Bytes())
	}
	if err == nil {
		h.mark, h.at, h.taken = size, time.Now(), true
	}
	if err != nil && h.session.ctx.Err() != nil && ctx == h.session.ctx {
		return // the session is over: last sees to it
	}
	h.session.attempt(diagnostics.RecorderAllocation, err)
}

// last sees to it that there is a profile of a mark that was not yet due.
func (h *heapWatch) last(ctx context.Context) {
	sample := []metrics.Sample{{Name: liveHeap}}
	metrics.Read(sample)
	size := float64(sample[0].Value.Uint64())
	h.mu.Lock()
	due := !h.taken || size > h.mark
	h.mu.Unlock()
	if due {
		h.take(ctx, size)
	}
}
