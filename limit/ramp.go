package limit

import "math"

// ramp tells when in their lives the tasks of a pool use the CPU, while their number grows: at first, at last or all
// along. It matters since a growing number has more young tasks than old ones, so that the ratio of the times that
// are seen is not that of a whole life. In a ramp the CPU time goes with what starts, with what ends, or with what
// runs: the one to which it is in the steadiest proportion says it.
type ramp struct {
	started, ended float64    // decayed sums
	last           [3]float64 // logarithms of the CPU time by start, by end and by permit in the last window
	known          [3]bool
	spread         [3]float64 // sums of the squares of what they changed by
	windows        int
}

const (
	byStart = iota
	byEnd
	byPermit
)

// mostGrowth bounds what is made of growth, as the logarithm of starts by ends.
var mostGrowth = math.Log(4)

// observe learns from a window of dt seconds, in which u cores were used by n permits, with sums decayed by d.
func (r *ramp) observe(s *Pool, n, u, dt, d float64) {
	r.started = d*r.started + float64(s.Started)
	r.ended = d*r.ended + float64(s.Completed)
	if float64(s.Started) < 1.2*float64(s.Completed)+2 || u <= 0 {
		return // it does not grow
	}
	r.windows++
	for i, of := range [3]float64{float64(s.Started), float64(s.Completed), n * dt} {
		if of <= 0 {
			r.known[i] = false
			r.spread[i] += 1
			continue
		}
		x := math.Log(u * dt / of)
		if r.known[i] {
			r.spread[i] += (x - r.last[i]) * (x - r.last[i])
		}
		r.last[i], r.known[i] = x, true
	}
}

// bias returns what the ratio of waits to CPU time is to be multiplied with.
func (r *ramp) bias() float64 {
	x := min(mostGrowth, math.Log((r.started+1)/(r.ended+1)))
	if r.windows < 2 || x <= 0 {
		return 1
	}
	const surely = 0.5
	switch first, last, all := r.spread[byStart], r.spread[byEnd], r.spread[byPermit]; {
	case first < surely*min(last, all):
		return x / (1 - math.Exp(-x))
	case last < surely*min(first, all):
		return x / (math.Exp(x) - 1)
	default:
		return 1
	}
}
