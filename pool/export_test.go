package pool

import "sync/atomic"

// CountFrees counts forced collections until the function that it returns is called, which says how many there were.
func CountFrees() (stop func() int64) {
	before := freeMemory
	n := new(counter)
	freeMemory = n.add
	return func() int64 {
		freeMemory = before
		return n.n.Load()
	}
}

type counter struct{ n atomic.Int64 }

func (c *counter) add() { c.n.Add(1) }
