package host

import (
	"errors"
	"slices"
	"sync"
)

var (
	// ErrNoProcess reports a process that does not exist, or no longer.
	ErrNoProcess = errors.New("host: no such process")

	// ErrNoGroup reports a cgroup that does not exist, or no longer.
	ErrNoGroup = errors.New("host: no such cgroup")

	// ErrTooLarge reports a process of more than 8 GiB, whose PSS is not read.
	ErrTooLarge = errors.New("host: the process is too large to read its PSS")
)

// Process is one process of this host, without its children. It stays that process: when it has ended, its pid
// is not followed to whoever has it next. Its methods are safe for concurrent use.
type Process struct {
	process
	uids []int // real, effective and saved; nil where they are not known

	mu     sync.Mutex
	handle processHandle
}

// PID returns the pid that the process has, or had.
func (p *Process) PID() int { return p.pid }

// Start returns when the process began, in the unit of [snapshot.Processes]. With the pid it identifies the process.
func (p *Process) Start() uint64 { return p.start }

// Ended reports whether the process is known to have ended. It does not block.
func (p *Process) Ended() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ended()
}

// Is reports whether both are one process.
func (p *Process) Is(other *Process) bool { return p.pid == other.pid && p.start == other.start }

// OwnedBy reports whether the process runs as the user and as nobody else besides, as one with the set-user-ID
// bit does. It is false where the system does not say.
func (p *Process) OwnedBy(uid int) bool {
	return len(p.uids) > 0 && !slices.ContainsFunc(p.uids, func(u int) bool { return u != uid })
}
