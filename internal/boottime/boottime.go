// Package boottime reads a clock that goes on while the machine is suspended, so that a lease or an age
// counted by it is right when the machine wakes. On Linux and macOS Go's own monotonic clock stops in suspend.
package boottime

import "time"

// Now returns the time since an arbitrary instant that does not change while the process lives. It never
// goes back, setting the wall clock does not move it, and only differences between two calls mean
// anything. It does not block and is safe for concurrent use.
//
// On Linux it is CLOCK_BOOTTIME, in nanoseconds. On macOS it is CLOCK_MONOTONIC_RAW, which counts the time
// asleep, in nanoseconds. On Windows it is GetTickCount64, which counts the time asleep, in steps of 10 to
// 16 ms. On FreeBSD, OpenBSD and DragonFly it is CLOCK_MONOTONIC, which may stand still in suspend. Each of
// these is the same clock for every process of the machine. Everywhere else, and where the kernel refuses the
// call, it is Go's monotonic clock, which may stand still in suspend and begins with the process.
func Now() time.Duration { return now() }
