package sim

import "math"

// record is what happened in a run of a scenario, tick by tick.
type record struct {
	m       *machine
	backlog []bool // whether work waited at the end of the tick
	ticks   int    // that count
	kills   int
	shed    int
}

// atLeast is how long after the start throughput is measured at the soonest, in seconds, so that a law is compared
// with the constant when both are past their first tasks.
const atLeast = 10.0

func ticks(seconds float64) int { return int(math.Round(seconds / tickLength)) }

// credit is the work that was done in a tick, of all pools.
func (r *record) credit(tick int) (sum float64) {
	for _, p := range r.m.pools {
		sum += p.credits[tick]
	}
	return sum
}

func (r *record) length() int {
	return min(len(r.m.crowds), len(r.backlog), r.ticks)
}

// rate is the work done a second between two instants, in the ticks in which work waited.
func (r *record) rate(from, to float64) float64 {
	sum, n := 0.0, 0
	for i := ticks(from); i < min(ticks(to), r.length()); i++ {
		if r.backlog[i] {
			sum += r.credit(i)
			n++
		}
	}
	if n == 0 {
		return 0
	}
	return sum / (float64(n) * tickLength)
}

// crowded is the share of the ticks from an instant on in which the mean run queue was over twice the cores.
func (r *record) crowded(from float64) float64 {
	over, n := 0, 0
	for i := ticks(from); i < r.length(); i++ {
		if n++; r.m.crowds[i] {
			over++
		}
	}
	if n == 0 {
		return 0
	}
	return float64(over) / float64(n)
}

// settled returns how long after an instant the work done in a trailing window of 3 s, or of the time since the
// instant if that is less, at least 1 s, first reaches nine tenths of a rate; infinite if it does not by the end.
func (r *record) settled(from, end, rate float64) float64 {
	const longest, shortest, enough = 3.0, 1.0, 0.9
	sum, first := 0.0, ticks(from)
	for i := first; i < min(ticks(end), r.length()); i++ {
		sum += r.credit(i)
		if i-first >= ticks(longest) {
			sum -= r.credit(i - ticks(longest))
		}
		n := min(i-first+1, ticks(longest))
		if n >= ticks(shortest) && sum/(float64(n)*tickLength) >= enough*rate {
			return float64(i-first+1) * tickLength
		}
	}
	return math.Inf(1)
}

// jain is Jain's index of the CPU seconds that the pools used from an instant on: 1 if all used the same, and one
// over their number if one used all.
func (r *record) jain(from float64) float64 {
	var sum, squares float64
	for _, p := range r.m.pools {
		x := p.cpus[r.length()-1] - p.cpus[ticks(from)]
		sum += x
		squares += x * x
	}
	if squares == 0 {
		return 0
	}
	return sum * sum / (float64(len(r.m.pools)) * squares)
}

// marks are what a run is judged by, against the best constant.
type marks struct {
	share   float64 // of the throughput of the constant
	soon    float64 // seconds to nine tenths of that, the longest of the start and of the turns
	crowded float64 // share of the ticks after it with a run queue over twice the cores
	kills   float64
	shed    float64
	jain    float64 // of the CPU seconds; 1 where there is one pool
}

// judge compares a run with one of the best constant for the same seed.
func (sc *scenario) judge(r, best *record) marks {
	m := marks{jain: 1, kills: float64(r.kills), shed: float64(r.shed)}
	starts := append([]float64{0}, sc.turns...)
	var first float64
	for i, from := range starts {
		end := sc.span
		if i+1 < len(starts) {
			end = starts[i+1]
		}
		took := r.settled(from, end, best.rate(from+atLeast, end))
		if i == 0 {
			first = took
		}
		m.soon = max(m.soon, took)
	}
	if math.IsInf(first, 1) {
		first = sc.span / 2
	}
	from := max(first, atLeast)
	if best.rate(from, sc.span) == 0 { // the constant has no work left by then
		from = atLeast
	}
	m.share = r.rate(from, sc.span) / best.rate(from, sc.span)
	m.crowded = r.crowded(first)
	if len(r.m.pools) > 1 {
		m.jain = r.jain(sc.fairFrom)
	}
	return m
}

// mean returns the means of the marks, and the kills and sheds added up.
func mean(all []marks) (m marks) {
	n := float64(len(all))
	for _, x := range all {
		m.share += x.share / n
		m.soon += x.soon / n
		m.crowded += x.crowded / n
		m.jain += x.jain / n
		m.kills += x.kills
		m.shed += x.shed
	}
	return m
}
