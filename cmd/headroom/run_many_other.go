//go:build !unix

package main

import (
	"math"
	"os"
	"syscall"
)

// maxOpenFiles is how many file descriptors this process may have: here there is no such limit.
func maxOpenFiles() int64 { return math.MaxInt32 }

// openFiles is not known here.
func openFiles() int64 { return 0 }

// ofWriting is the signal to who writes where nobody reads.
var ofWriting = []os.Signal{syscall.SIGPIPE}

// endsMany reports whether a signal ends `headroom run` with many commands.
func endsMany(os.Signal) bool { return true }

// pass ends all commands: they cannot be sent signals.
func (m *many) pass(os.Signal) { m.spawner.KillAll() }
