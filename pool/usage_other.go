//go:build !unix && !windows

package pool

import "time"

// processCPU returns the CPU time of this process; negative if it is not known.
func processCPU() time.Duration { return -1 }
