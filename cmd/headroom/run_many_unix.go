//go:build unix

package main

import (
	"math"
	"os"
	"syscall"
)

// maxOpenFiles is how many file descriptors this process may have.
func maxOpenFiles() int64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || uint64(limit.Cur) > math.MaxInt32 {
		return math.MaxInt32
	}
	return int64(limit.Cur)
}

// openFiles is how many file descriptors this process has open, or soon will have: what samples the host opens its
// files meanwhile.
func openFiles() int64 {
	const own = 24
	open, err := os.ReadDir("/dev/fd")
	if err != nil {
		return own
	}
	return max(own, int64(len(open)))
}

// ofWriting are the signals to who writes where nobody reads, or more to a file than ulimit -f lets.
var ofWriting = []os.Signal{syscall.SIGPIPE, syscall.SIGXFSZ}

// endsMany reports whether a signal ends `headroom run` with many commands.
func endsMany(sig os.Signal) bool {
	switch sig {
	case syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT:
		return true
	default:
		return false
	}
}

// pass sends a signal to all commands. After one that stops them headroom stops too, so that its shell sees a stopped
// job.
func (m *many) pass(sig os.Signal) {
	number, ok := sig.(syscall.Signal)
	if !ok {
		return
	}
	m.spawner.SignalAll(number)
	switch number {
	case syscall.SIGTSTP:
		_ = syscall.Kill(syscall.Getpid(), syscall.SIGSTOP) // one's own process is always there
	case syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT:
		m.spawner.SignalAll(syscall.SIGCONT) // or what is stopped would not hear it
	}
}
