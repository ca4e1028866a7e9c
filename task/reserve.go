package task

import (
	"slices"
	"time"
)

// Reserve returns how many bytes of memory a task may still take up to its limit, by its newest sample. It is false
// for a task that has ended or has no limit, for one none of whose processes is left, and for one to which one of the
// pids belongs, which are in ascending order.
func (m *Monitor) Reserve(now time.Duration, id string, pids []int32) (bytes int64, ok bool) {
	e := m.tasks[id]
	if e == nil || e.Ended != Running || e.MemoryLimit == 0 || len(e.accounts) == 0 || e.ProcessesEnded {
		return 0, false
	}
	for i := range e.accounts {
		for k := range e.accounts[i].members {
			if _, found := slices.BinarySearch(pids, e.accounts[i].members[k].pid); found {
				return 0, false
			}
		}
	}
	used := int64(0)
	if s, err := m.newest(now, e, 0); err == nil {
		used, _, _ = s.Usage.Memory()
	}
	return max(e.MemoryLimit-used, 0), true
}
