package limit

import (
	"fmt"
	"math"
	"runtime"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

// The pace of the law "status".
const (
	stepInterval = time.Second // the limit moves up once in it, and down once
	growth       = 0.05        // of the limit, in a step up
	backoff      = 0.10        // of the limit, in a step down
	useRatio     = 0.9         // the charge over the limit from which more would be used
)

// NewStatus returns the law "status". It begins at the CPU capacity in cores, rounded up. Once a second, while
// the current status is idle and at least nine tenths of the limit are charged, the limit grows by a twentieth
// of itself, and while the status is overloaded it falls by a tenth; each by 1 at least, and never under 1.
// While the status is unknown it stays.
func NewStatus() Law { return &status{} }

type status struct {
	limit float64 // 0 before the first step
	moved time.Duration
	last  Decision
}

func (*status) Name() string { return "status" }

func (s *status) Step(in Input) Decision {
	if s.limit == 0 {
		s.limit, s.moved = math.Ceil(cores(in.Newest)), in.At-stepInterval
		s.last.Binding = "the limit begins at the CPU capacity"
	}
	due := in.At-s.moved >= stepInterval
	switch state := in.Current.State; {
	case state == snapshot.StateOverloaded:
		if due {
			s.move(in.At, max(1, s.limit-max(1, backoff*s.limit)))
		}
		s.last.Binding = overloaded(&in.Current)
	case state != snapshot.StateIdle:
		s.last.Binding = "the load is unknown: the limit stays"
	case float64(in.Charge) < useRatio*math.Floor(s.limit):
		s.last.Binding = "not all of the limit is used: it stays"
	default:
		if due {
			s.move(in.At, s.limit+max(1, growth*s.limit))
		}
		s.last.Binding = "the limit grows while the load allows"
	}
	s.last.Limit = int64(s.limit)
	return s.last
}

// maxStatus is far over what any machine runs, and keeps the arithmetic exact.
const maxStatus = 1e9

func (s *status) move(now time.Duration, limit float64) {
	s.limit, s.moved = min(limit, maxStatus), now
}

// cores returns the CPU capacity by the newest reading, or else what the Go runtime sees.
func cores(newest []snapshot.Snapshot) float64 {
	for i := range newest {
		if s := &newest[i]; s.Resource == snapshot.CPU && s.Known() && s.CPU.Cores > 0 {
			return s.CPU.Cores
		}
	}
	return float64(runtime.NumCPU())
}

// overloaded says which signal is the furthest over its threshold.
func overloaded(current *snapshot.Status) string {
	binding := current.Binding()
	if len(binding) == 0 {
		return "overloaded"
	}
	b := &binding[0]
	return fmt.Sprintf("%s is overloaded: %.0f %% of the last %v, more than %.0f %%",
		b.Signal, 100*b.Actual, current.Window, 100*b.Limit)
}
