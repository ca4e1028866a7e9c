//go:build unix && !linux

package spawn

import (
	"errors"
	"syscall"
)

// reap waits until a process has ended and returns it; nil for what was no process of the Spawner.
func (s *Spawner) reap(status *syscall.WaitStatus, used *syscall.Rusage) (*Process, error) {
	var pid int
	var err error
	for {
		if pid, err = syscall.Wait4(-1, status, 0, used); !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	p := s.find(pid)
	if p == nil {
		return nil, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone = true
	s.forget(pid)
	return p, nil
}
