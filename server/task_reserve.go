package server

import (
	"fmt"
	"slices"

	"github.com/headroom-rpc/headroom/limit"
	"github.com/headroom-rpc/headroom/permit"
)

// reserve is the memory that tasks may still take up to their limits: the law of HostResource leaves it free.
type reserve struct {
	bytes int64
	tasks int
}

// reserve returns what is to be left free beside those who use HostResource. A task counts if an operator registered
// it, as its limit takes from others; and not if a user of HostResource runs in it, whose memory the law plans.
func (s *taskService) reserve(users []permit.User) (r reserve) {
	if len(users) == 0 {
		return r
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var workers []int32
	for id, l := range s.leases {
		if !l.reserves {
			continue
		}
		if workers == nil {
			workers = workerPIDs(users)
		}
		if bytes, ok := s.monitor.Reserve(s.clock(), id, workers); ok && bytes > 0 {
			r.bytes += min(bytes, maxReserve)
			r.tasks++
		}
	}
	return r
}

// maxReserve bounds what one task counts for, so that no sum of them overflows: 1 PiB.
const maxReserve = 1 << 50

// workerPIDs returns the processes of this host that use HostResource, in ascending order.
func workerPIDs(users []permit.User) []int32 {
	pids := make([]int32, 0, len(users))
	for i := range users {
		if who := &users[i].Party; who.Local && who.PID > 0 {
			pids = append(pids, int32(who.PID))
		}
	}
	slices.Sort(pids)
	return pids
}

// tell adds the reserve to what a decision says of itself, if the law leaves memory free at all.
func (r reserve) tell(d *limit.Decision) {
	if r.tasks == 0 || d.Gate == (limit.Gate{}) {
		return
	}
	d.Binding += fmt.Sprintf("; %.4g MiB are left free for tasks with memory limits (%d)", float64(r.bytes)/(1<<20), r.tasks)
}
