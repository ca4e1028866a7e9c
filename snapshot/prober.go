package snapshot

import (
	"context"
	"sync"
	"time"
)

const (
	probeInterval = 10 * time.Millisecond

	// probeLinger is how long the prober runs on after load was last suspected.
	probeLinger = 5 * time.Second

	// suspectRatio is the share of the limit of the CPU over which load is suspected.
	suspectRatio = 0.8
)

// prober measures the lateness of a 10 ms timer while load is suspected. One timer at the interval of the
// snapshots misses about half of the windows in which every CPU is busy; the greatest of fifty misses
// none.
type prober struct {
	clock  func() time.Duration
	always bool
	wake   chan struct{} // of capacity 1; filled when a resting prober is to start

	mu      sync.Mutex
	until   time.Duration // when to rest again
	running bool
	due     time.Duration // when the present probe should fire, where pending is true
	pending bool
	max     time.Duration // of the probes since the last take
	n       int
}

func newProber(clock func() time.Duration, always bool) *prober {
	return &prober{clock: clock, always: always, wake: make(chan struct{}, 1)}
}

// suspect starts the prober, or keeps it running, for probeLinger from at.
func (p *prober) suspect(at time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.until = at + probeLinger
	if !p.running {
		p.running = true
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
}

// take returns the greatest lateness since the last take, that of a probe overdue at now included; known is
// false when the prober rested.
func (p *prober) take(now time.Duration) (late time.Duration, known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	late, known = p.max, p.n > 0
	if p.pending && now > p.due {
		late, known = max(late, now-p.due), true
	}
	p.max, p.n = 0, 0
	return late, known
}

// discard forgets what was measured, the present probe included.
func (p *prober) discard() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.max, p.n, p.pending = 0, 0, false
}

// run probes and rests until ctx is done.
func (p *prober) run(ctx context.Context) {
	if p.always {
		p.suspect(p.clock())
	}
	timer := time.NewTimer(probeInterval)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		}
		for p.begin() {
			timer.Reset(probeInterval)
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
				p.end()
			}
		}
	}
}

// begin notes when the next probe is due, or reports that it is time to rest.
func (p *prober) begin() bool {
	now := p.clock()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.until = min(p.until, now+probeLinger) // also after the clock went back
	if now >= p.until && !p.always {
		p.running = false
		return false
	}
	p.due, p.pending = now+probeInterval, true
	return true
}

func (p *prober) end() {
	now := p.clock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pending {
		p.max = max(p.max, now-p.due)
		p.n++
		p.pending = false
	}
}
