package spawn

import (
	"errors"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// reap waits until a process has ended and returns it. It looks at it before the kernel forgets what it used, and
// nobody can signal it once its pid is free. It returns nil for what was no process of the Spawner.
func (s *Spawner) reap(status *syscall.WaitStatus, used *syscall.Rusage) (*Process, error) {
	pid, err := peek()
	if err != nil {
		return nil, err
	}
	p := s.find(pid)
	if p == nil {
		_, _ = syscall.Wait4(pid, status, 0, nil) // or peek would return it for ever
		return nil, nil
	}
	s.accounts.ending(pid)
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		_, err = syscall.Wait4(pid, status, 0, used)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	p.gone = true
	s.forget(pid)
	return p, err
}

// peek waits until a child has ended, and leaves it to be waited for.
func peek() (pid int, err error) {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOWAIT, nil)
		if err == nil {
			return pidOf(&info), nil
		}
		if !errors.Is(err, syscall.EINTR) {
			return 0, err
		}
	}
}

// pidOf returns the pid of a siginfo_t for SIGCHLD. It comes after three ints, and a fourth where pointers have 8
// bytes: the union that it begins is aligned like one.
func pidOf(info *unix.Siginfo) int {
	const offset = 8 + unsafe.Sizeof(uintptr(0))
	return int(*(*int32)(unsafe.Add(unsafe.Pointer(info), offset)))
}
