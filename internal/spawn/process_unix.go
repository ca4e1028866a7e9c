//go:build unix

package spawn

import (
	"os"
	"syscall"
	"time"
)

func (p *Process) start(c *Command, a *accounts) error {
	attributes := syscall.ProcAttr{Env: c.Env, Files: []uintptr{c.Stdin.Fd(), c.Stdout.Fd(), c.Stderr.Fd()}}
	pid, err := a.fork(func(sys *syscall.SysProcAttr) (int, error) {
		sys.Setpgid = true
		attributes.Sys = sys
		return syscall.ForkExec(c.Path, c.Args, &attributes)
	})
	if err != nil {
		return &os.PathError{Op: "exec", Path: c.Path, Err: err}
	}
	p.Pid = pid
	return nil
}

// Signal sends a signal to the process group, unless the process has ended.
func (p *Process) Signal(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return
	}
	p.killed = p.killed || sig == syscall.SIGKILL
	_ = syscall.Kill(-p.Pid, sig) // what is left of it may not be ours to signal
}

// Terminate asks the process and its group to end, also where they are stopped.
func (p *Process) Terminate() {
	p.Signal(syscall.SIGTERM)
	p.Signal(syscall.SIGCONT)
}

// Kill kills the process and its group.
func (p *Process) Kill() { p.Signal(syscall.SIGKILL) }

// awaitEndLocked has waitAll wait for the process.
func (s *Spawner) awaitEndLocked(*Process) {
	if len(s.running) == 1 {
		s.some.Signal()
	}
}

// waitAll waits for one process after another until the Spawner is closed and none runs.
func (s *Spawner) waitAll() {
	for s.await() {
		var status syscall.WaitStatus
		var used syscall.Rusage
		p, err := s.reap(&status, &used)
		if p == nil {
			continue
		}
		p.exit = Exit{Code: -1, At: time.Now()}
		if err == nil {
			s.accounts.ended(time.Duration(used.Utime.Nano() + used.Stime.Nano()))
			if status.Signaled() {
				p.exit.Signal = int(status.Signal())
			} else {
				p.exit.Code = status.ExitStatus()
			}
			// A shell exits with 137 where a command of its was killed.
			killed := status.Signaled() && status.Signal() == syscall.SIGKILL || p.exit.Code == 128+int(syscall.SIGKILL)
			p.exit.Left = syscall.Kill(-p.Pid, 0) == nil
			p.exit.OutOfMemory = killed && !p.killed && s.accounts.killsRose()
		}
		close(p.done)
	}
}

// await waits until a process runs; it returns false when the Spawner is closed and none does.
func (s *Spawner) await() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.running) == 0 {
		if s.closing {
			return false
		}
		s.some.Wait()
	}
	return true
}

// find returns the process with a pid, or nil where that is a child of somebody else in this program. What ended at
// once may not be known yet.
func (s *Spawner) find(pid int) *Process {
	get := func() *Process {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.running[pid]
	}
	if p := get(); p != nil {
		return p
	}
	s.starting.Lock()
	defer s.starting.Unlock()
	return get()
}

// forget takes a process off the list that has been waited for.
func (s *Spawner) forget(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.running, pid)
}

// SignalAll sends a signal to the process groups of all that runs.
func (s *Spawner) SignalAll(sig syscall.Signal) {
	for _, p := range s.processes() {
		p.Signal(sig)
	}
}
