package pool

import (
	"syscall"
	"time"
)

// processCPU returns the CPU time of this process; negative if it is not known.
func processCPU() time.Duration {
	self, err := syscall.GetCurrentProcess()
	if err != nil {
		return -1
	}
	var created, ended, kernel, user syscall.Filetime
	if syscall.GetProcessTimes(self, &created, &ended, &kernel, &user) != nil {
		return -1
	}
	return ticks(kernel) + ticks(user)
}

// ticks returns a Filetime that counts a time, in units of 100 ns, as one.
func ticks(f syscall.Filetime) time.Duration {
	return time.Duration(int64(f.HighDateTime)<<32|int64(f.LowDateTime)) * 100
}
