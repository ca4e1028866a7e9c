package pool

import "github.com/headroom-rpc/headroom/limit"

// lowest finds what goroutines use in memory without their garbage: the least reading of a window, by what is expected of
// the tasks that ran at the time, is one after a collection. The zero value is ready.
type lowest struct {
	memory int64
	tasks  float64 // final footprints that were expected
}

// see takes a reading. One that is negative is not known.
func (l *lowest) see(memory int64, tasks float64) {
	if memory < 0 || tasks < 0.01 {
		return
	}
	if l.tasks == 0 || float64(memory)*l.tasks < float64(l.memory)*tasks {
		*l = lowest{memory, tasks}
	}
}

// clean takes the garbage from what is known of the tasks of a window, of which so many are expected, and from the memory
// that is in use on the machine, and forgets the readings.
func (l *lowest) clean(window *limit.Pool, tasks float64, host *limit.Host) {
	was := *l
	*l = lowest{}
	if was.tasks == 0 || !window.MemoryKnown {
		return
	}
	live := int64(float64(was.memory) * tasks / was.tasks)
	if garbage := window.Memory - live; garbage > 0 {
		window.Memory = live
		host.MemoryUsed = max(0, host.MemoryUsed-garbage)
	}
}
