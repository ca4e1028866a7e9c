package limit

import "math"

// ramp tells when in their lives the tasks of a pool use the CPU, while their number grows: at first, at last or all
// along. It matters since a growing number has more young tasks than old ones, so that the ratio of the times that
// are seen is not that of a whole life. In a ramp the CPU time goes with what starts, with what ends, or with what
// runs: the one to which it is in the steadiest proportion says it.
type ramp struct {
	started, ended float64    // decayed sums
	cpu            float64    // seconds, of the whole ramp
	of             [3]float64 // starts, ends and permit-seconds of the same
	last           [3]float64 // logarithms of cpu by each of them
	known          [3]bool
	mean           [3]float64 // of last, of late
	spread         [3]float64 // sums of the squares of their distances from that
	least          float64    // the same of starts, whatever part of their CPU time those of the last window have had
	windows        int
}

const (
	byStart = iota
	byEnd
	byPermit
)

// mostGrowth bounds what is made of growth, as the logarithm of starts by ends.
var mostGrowth = math.Log(4)

// young is how many times as many start as end where few have been there for a whole life.
const young = 2

// leastRamp is the CPU time in seconds of a ramp before which its proportions are mostly errors of the sensors.
const leastRamp = 0.05

// What of the spread is left after another window, the first ones being rough, and what one in which there is no
// proportion counts.
const (
	fading    = 0.6
	unlikely  = 1
	following = 0.4 // of a new proportion in the mean of the last ones: one that drifts stays ahead of it, errors do not
)

// observe learns from a window of dt seconds, in which n permits used u cores and had queue tasks at the CPU, with
// sums decayed by d.
func (r *ramp) observe(s *Pool, n, u, queue, dt, d float64) {
	r.started = d*r.started + float64(s.Started)
	r.ended = d*r.ended + float64(s.Completed)
	if r.windows > 0 && float64(s.Started) < 1.2*float64(s.Completed) || u <= 0 {
		return // it does not grow
	}
	r.cpu += u * dt
	r.of[byStart] += float64(s.Started)
	r.of[byEnd] += float64(s.Completed)
	r.of[byPermit] += n * dt
	if r.cpu < leastRamp {
		return
	}
	r.windows++
	r.least *= fading
	for i, of := range r.of {
		r.spread[i] *= fading
		if i == byStart {
			if r.known[i] {
				fewest, most := math.Log(r.cpu/of), math.Log(r.cpu/max(0, of-float64(s.Started)))
				off := max(0, fewest-r.mean[i], r.mean[i]-most)
				r.least += off * off
			}
			of -= queue / 2 // they have had half of their CPU time, on average
		}
		if of <= 0 {
			r.known[i] = false
			r.spread[i] += unlikely
			continue
		}
		x := math.Log(r.cpu / of)
		if r.known[i] {
			r.spread[i] += (x - r.mean[i]) * (x - r.mean[i])
			r.mean[i] += following * (x - r.mean[i])
		} else {
			r.mean[i] = x
		}
		r.last[i], r.known[i] = x, true
	}
}

// when says when in their lives the tasks use the CPU; ok is false while that cannot be told. While the number doubles again
// and again, the permits are in proportion to the starts. So that it is not at first is concluded only from what is out of
// proportion to the starts even if those of the last window have had all of their CPU time, or none.
func (r *ramp) when() (at int, ok bool) {
	const surely = 0.7
	first, last, all := r.spread[byStart], r.spread[byEnd], r.spread[byPermit]
	switch {
	case r.windows < 2:
	case first < surely*min(last, all):
		return byStart, true
	case last < surely*min(r.least, all):
		return byEnd, true
	case all < surely*min(r.least, last):
		return byPermit, true
	}
	return byPermit, false
}

// bias returns what the ratio of waits to CPU time is to be multiplied with.
func (r *ramp) bias() float64 {
	x := min(mostGrowth, math.Log((r.started+1)/(r.ended+1)))
	at, ok := r.when()
	switch {
	case !ok || at == byPermit || x <= 0 || r.ended < 0.1*r.started:
		return 1
	case at == byStart:
		return x / (1 - math.Exp(-x))
	default:
		return x / (math.Exp(x) - 1)
	}
}

// burst returns the CPU time in seconds with which a task begins, at most, and whether that is what tasks do; 0 if
// they do not.
func (r *ramp) burst() (seconds float64, sure bool) {
	at, ok := r.when()
	if ok && at != byStart || !r.known[byStart] {
		return 0, false
	}
	return math.Exp(r.last[byStart]), ok
}

// grows reports whether the n permits in use are many more than they were of late. Of short tasks so many ended since that
// few of those that run are young.
func (r *ramp) grows(n float64) bool { return r.started-r.ended > 0.5*n && r.started > young*r.ended }
