//go:build unix

package pool

import (
	"syscall"
	"time"
)

// processCPU returns the CPU time of this process; negative if it is not known.
func processCPU() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return -1
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
