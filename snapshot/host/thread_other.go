//go:build !linux

package host

import "time"

// ThreadTime returns the CPU time of the calling thread, to which the caller must be locked. It is not known where the
// system tells it of processes only, as any but Linux.
func ThreadTime() (cpu time.Duration, known bool) { return 0, false }
