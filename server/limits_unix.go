//go:build unix

package server

import (
	"math"

	"golang.org/x/sys/unix"
)

// maxOpenFiles is how many file descriptors the process may have open.
func maxOpenFiles() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || uint64(limit.Cur) > math.MaxInt32 {
		return math.MaxInt32
	}
	return int(limit.Cur)
}
