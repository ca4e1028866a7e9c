//go:build !unix

package spawn

import (
	"os"
	"time"
)

func (p *Process) start(c *Command, a *accounts) error {
	process, err := os.StartProcess(c.Path, c.Args, &os.ProcAttr{Env: c.Env, Files: []*os.File{c.Stdin, c.Stdout, c.Stderr}})
	if err != nil {
		return err
	}
	p.Pid = process.Pid
	a.wait = process.Wait
	return nil
}

// Terminate kills the process: there is no way to ask it.
func (p *Process) Terminate() { p.Kill() }

// Kill kills the process.
func (p *Process) Kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return
	}
	p.killed = true
	if process, err := os.FindProcess(p.Pid); err == nil { // the pid is its own until it was waited for
		_ = process.Kill() // it may have ended
	}
}

// awaitEndLocked has a goroutine wait for the process that was started last.
func (s *Spawner) awaitEndLocked(p *Process) {
	wait := s.accounts.wait
	s.ended.Go(func() {
		state, err := wait()
		p.mu.Lock()
		p.gone = true
		p.mu.Unlock()
		s.mu.Lock()
		delete(s.running, p.Pid)
		s.mu.Unlock()
		p.exit = Exit{Code: -1, At: time.Now()}
		if err == nil {
			p.exit.Code = state.ExitCode()
			s.accounts.finished.Add(int64(state.UserTime() + state.SystemTime()))
		}
		close(p.done)
	})
}

// waitAll has nothing to do: each process has a goroutine of its own.
func (s *Spawner) waitAll() {}
