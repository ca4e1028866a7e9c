package limit

import "math"

// What pools use is corrected slowly, against what the model leaves out: how the kernel shares a CPU between tasks, and that
// one pool may keep it full.
const (
	leaning   = 0.1  // of the difference, in a second
	mostLean  = 0.35 // the logarithm of the largest correction
	mostError = 0.5  // of a share, that counts at once
	leanFrom  = 0.95 // of the cores are to be busy: else nobody has too little since another has too much
)

// leans reports whether what the pool uses says how many permits its share takes: it has as many as were planned for long
// enough, and could use more.
func (s *station) leans() bool {
	n := max(s.InUse, float64(s.Leased))
	return s.Waiting > 0 && !s.elsewhere && s.CPUKnown && s.fair > 0 && s.windows > firstSteps.Seconds() && !s.ramp.grows(n)
}

// lean learns from what pools that compete for a full CPU use of it, against their shares and each other.
func (t *twostation) lean(in *Input, learn bool) {
	if t.config.Objective == Latency || !learn || len(t.stations) < 2 || !in.Host.BusyKnown || in.Host.Busy < leanFrom*in.Host.Cores {
		return
	}
	var sum, all float64
	short := func(s *station) float64 { return max(-mostError, min(mostError, 1-s.CPU/s.fair)) }
	for _, s := range t.stations {
		if s.leans() {
			sum += s.fair * short(s)
			all += s.fair
		}
	}
	dt := min(in.Window, longestWindow).Seconds()
	for _, s := range t.stations {
		if s.leans() {
			s.lean = max(-mostLean, min(mostLean, s.lean+leaning*dt*(short(s)-sum/all)))
		}
	}
}

// balance corrects the shares of the pools that could use more. Their sum stays.
func (t *twostation) balance() {
	var sum, corrected float64
	for _, s := range t.stations {
		if s.fair = s.share; s.Waiting > 0 && !s.elsewhere {
			s.share *= math.Exp(s.lean)
			sum += s.fair
			corrected += s.share
		}
	}
	if corrected <= 0 {
		return
	}
	for _, s := range t.stations {
		if s.Waiting > 0 && !s.elsewhere {
			s.share *= sum / corrected
		}
	}
}
