package pool

import (
	"errors"
	"fmt"
)

// The defaults of [Memory].
const (
	DefaultMemoryHigh     = 0.90
	DefaultMemoryCritical = 0.95
)

// Memory is the start gate on memory: nothing starts beside a running task while what is used and what the running
// tasks will still take is over a share of the memory. It is read ten times a second while something runs or waits.
type Memory struct {
	// Read returns the memory in use, by the tasks and by others, of the total, in bytes. A total of 0 is not known,
	// and shuts nothing. It must not block. Nil means the newest reading of [Options.Snapshotter], or without one what
	// the Go runtime has from the system, of GOMEMLIMIT if that is set.
	Read func() (used, total int64)

	// High is the share of the total over which nothing more starts, in (0, 1]. The default is 0.90.
	High float64

	// Critical is the share over which the youngest tasks are cancelled where Shed is set, from High to 1. The default
	// is 0.95. They end with [ErrShed] until their memory would bring the use 2 % under it. One task is left to run.
	Critical float64
	Shed     bool

	// Off leaves the gate open.
	Off bool
}

func (m Memory) withDefaults() Memory {
	setDefault(&m.High, DefaultMemoryHigh)
	if m.Critical == 0 {
		m.Critical = max(DefaultMemoryCritical, m.High)
	}
	return m
}

func (m *Memory) validate() error {
	var errs []error
	if !(m.High > 0 && m.High <= 1) {
		errs = append(errs, fmt.Errorf("Memory.High: %v: want over 0 and up to 1", m.High))
	}
	if !(m.Critical >= m.High && m.Critical <= 1) {
		errs = append(errs, fmt.Errorf("Memory.Critical: %v: want High to 1, %v to 1", m.Critical, m.High))
	}
	return errors.Join(errs...)
}
