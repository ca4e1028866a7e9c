//go:build unix && !linux && !aix && !illumos && !netbsd && !solaris

package boottime

import (
	"time"

	"golang.org/x/sys/unix"
)

func now() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(clock, &ts) != nil {
		// A clock that is refused is refused at every call, so the two clocks never mix.
		return monotonic()
	}
	return time.Duration(ts.Nano())
}
