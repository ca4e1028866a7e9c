package host

import (
	"sync/atomic"
	"time"
)

// Cost is what the readings of one source have cost since Open.
type Cost struct {
	// Name is that of the signal, such as "cpu", or "counters".
	Name string

	// Reads counts the readings, and Errors those of them that failed.
	Reads, Errors int64

	// Total is how long all readings took and Last how long the newest, by the clock: on a busy host more than
	// the CPU time. The 100 ms that a first reading waits are not in it.
	Total, Last time.Duration
}

type cost struct {
	name                       string
	reads, errors, total, last atomic.Int64
}

func (c *cost) add(took time.Duration, failed bool) {
	c.reads.Add(1)
	if failed {
		c.errors.Add(1)
	}
	c.total.Add(int64(took))
	c.last.Store(int64(took))
}

func (c *cost) get() Cost {
	return Cost{
		Name:   c.name,
		Reads:  c.reads.Load(),
		Errors: c.errors.Load(),
		Total:  time.Duration(c.total.Load()),
		Last:   time.Duration(c.last.Load()),
	}
}
