//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// A terminal is the one that headroom was started from. The command gets it as soon as it needs it, by being
// stopped for want of it, so that other programs of a pipeline keep it until then.
type terminal struct {
	file *os.File
	lent int // the process group that has it while headroom is in the foreground; 0 for none
}

// openTerminal returns the controlling terminal, or nil where there is none. The command must have been started.
func openTerminal() *terminal {
	file, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil
	}
	signal.Ignore(syscall.SIGTTOU) // or to take it back would stop headroom
	return &terminal{file: file}
}

func (t *terminal) close() {
	if t == nil {
		return
	}
	t.takeBack()
	_ = t.file.Close() // nothing was written
}

// foreground returns the process group in the foreground.
func (t *terminal) foreground() int {
	group, err := unix.IoctlGetInt(int(t.file.Fd()), unix.TIOCGPGRP)
	if err != nil {
		return -1
	}
	return group
}

func (t *terminal) set(group int) bool {
	return unix.IoctlSetPointerInt(int(t.file.Fd()), unix.TIOCSPGRP, group) == nil
}

// lend gives the terminal to the process group of the command, if headroom has it.
func (t *terminal) lend(group int) bool {
	if t.foreground() != syscall.Getpgrp() || !t.set(group) {
		return false
	}
	t.lent = group
	return true
}

// takeBack takes the terminal back if the command has it.
func (t *terminal) takeBack() {
	if t.lent != 0 && t.foreground() == t.lent {
		t.set(syscall.Getpgrp())
	}
}

// pass sends a signal that headroom got on to the command. After SIGCONT the command has the terminal again where
// it had it before.
func (t *terminal) pass(sig os.Signal, c *child) {
	if t != nil && sig == syscall.SIGCONT && t.lent != 0 {
		t.lend(t.lent)
	}
	c.signal(sig)
}

// stopped acts on a stop of the command. One that wants the terminal gets it. Otherwise headroom stops too, so that
// its shell sees a stopped job, and goes on by SIGCONT. SIGSTOP came from somebody else: headroom stays awake, and
// keeps the permits.
func (t *terminal) stopped(sig os.Signal, c *child) {
	switch sig {
	case syscall.SIGTTIN, syscall.SIGTTOU:
		if t != nil && t.lend(c.cmd.Process.Pid) {
			c.signal(syscall.SIGCONT)
			return
		}
	case syscall.SIGTSTP:
	default:
		return
	}
	if t != nil {
		t.takeBack()
	}
	_ = syscall.Kill(syscall.Getpid(), syscall.SIGSTOP) // one's own process is always there
}
