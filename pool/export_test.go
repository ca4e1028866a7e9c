package pool

import "sync/atomic"

// CountFrees counts forced collections instead of forcing them, until restore is called.
func CountFrees() (count *atomic.Int64, restore func()) {
	before, count := freeMemory, new(atomic.Int64)
	freeMemory = func() { count.Add(1) }
	return count, func() { freeMemory = before }
}
