package limit

import (
	"fmt"

	"github.com/headroom-rpc/headroom/snapshot"
)

// binding is what keeps a pool of the law "twostation" from more.
type binding uint8

const (
	boundCPU     binding = iota // share of the cores, gamma, queue
	boundQueue                  // the same
	boundStart                  // permits
	boundVerdict                // state
	boundGrowth                 // factor, permits
	boundFill                   // cores, CPU time of a beginning
	boundBacklog                // permits
	boundMin                    // Min

	// Those that bind elsewhere than at the CPU:

	boundMemory   // share of the room, room, footprint
	boundKill     // kills ever
	boundCritical // used, total, per cent of waiting
	boundClient   // ceiling, low, high
	boundMax      // Max
)

// bind notes what binds, and its figures.
func (s *station) bind(b binding, figures ...float64) {
	s.bound = b
	copy(s.figure[:], figures)
}

const mebibyte = 1 << 20

// explain says what binds, for people.
func (s *station) explain() string {
	f := &s.figure
	switch s.bound {
	case boundCPU, boundQueue:
		what := "CPU"
		if s.bound == boundQueue {
			what = "tasks that wait for a CPU"
		}
		return fmt.Sprintf("%s: %.3g cores, a task waits %.3g times its CPU time, %.3g at the CPU on average",
			what, f[0], f[1], f[2])
	case boundStart:
		return fmt.Sprintf("start: %.3g in use have used no CPU yet", f[0])
	case boundVerdict:
		return fmt.Sprintf("status: %v, and the CPU time of the tasks is not known", snapshot.State(f[0]))
	case boundGrowth:
		return fmt.Sprintf("growth: at most %g times the %.3g in use", f[0], f[1])
	case boundFill:
		return fmt.Sprintf("start: %.3g cores are to be busy with tasks that begin with %.3g s of CPU time", f[0], f[1])
	case boundBacklog:
		return fmt.Sprintf("no task waits, %.3g are in use", f[0])
	case boundMemory:
		return fmt.Sprintf("memory: %.4g of %.4g MiB that may be taken, %.4g MiB a task",
			f[0]/mebibyte, f[1]/mebibyte, f[2]/mebibyte)
	case boundKill:
		return fmt.Sprintf("memory: the kernel killed tasks, %.0f so far", f[0])
	case boundCritical:
		return fmt.Sprintf("memory is critical: %.4g of %.4g MiB in use, %.3g %% of the time some task waits for it",
			f[0]/mebibyte, f[1]/mebibyte, f[2])
	case boundClient:
		return fmt.Sprintf("too many requests: %.3g, between %.3g, which was clean, and %.3g", f[0], f[1], f[2])
	case boundMin:
		return fmt.Sprintf("the minimum is %.0f", f[0])
	default:
		return fmt.Sprintf("the maximum is %.0f", f[0])
	}
}
