//go:build unix

package main

import (
	"errors"
	"os"
	"syscall"
)

// passedOn are the signals that go from headroom to the command.
var passedOn = []os.Signal{
	syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2,
	syscall.SIGWINCH, syscall.SIGTSTP, syscall.SIGCONT,
}

// ends reports whether a signal ends what does not handle it.
func ends(sig os.Signal) bool {
	return sig != syscall.SIGWINCH && sig != syscall.SIGTSTP && sig != syscall.SIGCONT
}

// confined gives the command a process group of its own, and ties it to this process as far as the system can.
func (c *child) confined() *syscall.SysProcAttr {
	attributes := ownGroup()
	c.tie(attributes)
	return attributes
}

// ownGroup is for a command that is ended together with what it starts.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// wait waits for the end of the command and returns its code.
func (c *child) wait() int {
	for {
		var status syscall.WaitStatus
		_, err := syscall.Wait4(c.cmd.Process.Pid, &status, syscall.WUNTRACED, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil: // cannot be: nobody else waits for it
			return exitRun
		case status.Exited():
			return status.ExitStatus()
		case status.Signaled():
			return 128 + int(status.Signal())
		case status.Stopped():
			select {
			case <-c.stopped:
			default:
			}
			c.stopped <- status.StopSignal()
		}
	}
}

// signal sends a signal to the process group of the command.
func (c *child) signal(sig os.Signal) {
	if number, ok := sig.(syscall.Signal); ok {
		signalGroup(c.cmd.Process.Pid, number)
	}
}

// signalGroup sends a signal to a process group.
func signalGroup(group int, sig syscall.Signal) {
	_ = syscall.Kill(-group, sig) // nobody may be left
}

// terminate asks the command and what it started to end, also what is stopped.
func (c *child) terminate() {
	c.signal(syscall.SIGTERM)
	c.signal(syscall.SIGCONT)
}

// kill ends the command and what it started, as far as it is in the group or in the cgroup.
func (c *child) kill() {
	c.signal(syscall.SIGKILL)
	c.cgroup.kill()
}

// left reports whether something that the command started still runs, after it has ended itself.
func (c *child) left() bool {
	if c.cgroup != nil {
		return c.cgroup.populated()
	}
	return syscall.Kill(-c.cmd.Process.Pid, 0) == nil // also for what has ended and nobody has waited for
}
