package server

import (
	"context"
	"sync"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
	"github.com/headroom-rpc/headroom/snapshot/host"
)

// processTable holds the processes that streams watch. However many watch one, it is read twice a second at
// most. It is safe for concurrent use.
type processTable struct {
	maxStreams int

	mu      sync.Mutex
	streams int
	byPID   map[int]*sharedProcess
}

// sharedProcess is one process that is watched.
type sharedProcess struct {
	*host.Process
	refs int // guarded by processTable.mu

	mu      sync.Mutex // held while the process is read: others wait for that reading
	reading snapshot.MemoryReading
	at      time.Duration // of the reading
	known   bool          // there is one
}

func newProcessTable(maxStreams int) *processTable {
	return &processTable{maxStreams: maxStreams, byPID: make(map[int]*sharedProcess)}
}

// enter counts one more stream.
func (t *processTable) enter() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.streams >= t.maxStreams {
		return &subscribersError{max: t.maxStreams, processes: true}
	}
	t.streams++
	return nil
}

// exit undoes enter.
func (t *processTable) exit() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.streams--
}

// open returns the process that has the pid now, to be given back to close, or host.ErrNoProcess.
func (t *processTable) open(ctx context.Context, pid int) (*sharedProcess, error) {
	found, err := host.OpenProcess(ctx, pid)
	if err != nil {
		return nil, err
	}
	p := t.share(found)
	if p.Process != found {
		found.Close()
	}
	return p, nil
}

func (t *processTable) share(found *host.Process) *sharedProcess {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.byPID[found.PID()]
	if p == nil || !p.Is(found) {
		p = &sharedProcess{Process: found}
		t.byPID[found.PID()] = p // in place of one that has ended, which its streams keep
	}
	p.refs++
	return p
}

// close gives back what open returned.
func (t *processTable) close(p *sharedProcess) {
	if t.release(p) {
		p.Close()
	}
}

// release reports whether nobody watches p any longer.
func (t *processTable) release(p *sharedProcess) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	p.refs--
	if p.refs > 0 {
		return false
	}
	if t.byPID[p.PID()] == p {
		delete(t.byPID, p.PID())
	}
	return true
}

// memory returns a reading and when it was made by the clock now, or host.ErrNoProcess.
func (p *sharedProcess) memory(
	ctx context.Context, now func() time.Duration,
) (snapshot.MemoryReading, time.Duration, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if at := now(); p.known && at-p.at < severityInterval/2 {
		return p.reading, p.at, nil
	}
	reading, err := p.Memory(ctx)
	if err != nil {
		return snapshot.MemoryReading{}, 0, err
	}
	p.reading, p.at, p.known = reading, now(), true
	return reading, p.at, nil
}
