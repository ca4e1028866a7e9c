package boottime

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The runtime is not told of the call, which cannot block: to be told of one wakes its monitor, a thread of its own,
// where the process was asleep.
func now() time.Duration {
	var ts unix.Timespec
	_, _, errno := unix.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_BOOTTIME, uintptr(unsafe.Pointer(&ts)), 0)
	if errno != 0 {
		// A clock that is refused is refused at every call, so the two clocks never mix.
		return monotonic()
	}
	return time.Duration(ts.Nano())
}
