package boottime

import "golang.org/x/sys/unix"

// Its neighbour CLOCK_UPTIME_RAW is the one that stops in sleep.
const clock = unix.CLOCK_MONOTONIC_RAW
