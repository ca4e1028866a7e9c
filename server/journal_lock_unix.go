//go:build unix

package server

import (
	"os"

	"golang.org/x/sys/unix"
)

// lockFile locks the file until it is closed. It does not wait.
func lockFile(f *os.File) error {
	return os.NewSyscallError("flock", unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB))
}
