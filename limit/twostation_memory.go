package limit

import "math"

// The memory side of the law "twostation". Shares are of all memory, unless they say otherwise.
const (
	learnMemory       = 10.0        // seconds before the spread of footprints is learned
	learnSpread       = 5.0         // seconds before what was learned of it says how much footprints differ
	priorSpread       = 0.04 * 0.04 // of what is taken, squared: the spread before that
	leastOwn          = 0.01        // of memory must be the pools' for the spread to be learned
	othersSmoothing   = 0.4         // in a second, of what others use
	trendSmoothing    = 0.15        // in a second, of its slope
	leapOfOthers      = 0.08        // of memory: so much more or less than expected may be an error of the sensors, once
	unseenDeviations  = 1.5         // of what those that run will still take stay under the line of the gate
	leastUngrown      = 0.175       // of what those that run will take is taken for that, at the least
	criticalUse       = 0.96        // of memory in use: half must go
	criticalWait      = 0.5         // of the time some task waits for memory: the same
	shedUse           = 0.95        // of memory in use: those who may cancel tasks do so ...
	shedTo            = 0.93        // ... down to here
	planBelow         = 0.01        // under the line of the gate lies that of the plan
	nearMargin        = 0.53        // of the margin stays under the line of the plan ...
	farLine           = 0.09        // ... and all of it under one that is so much higher
	nearMarginLatency = 0.65        // the same with Latency, since near the end of memory everything slows down
	farMarginLatency  = 1.4
	farLineLatency    = 0.055
	killPenalty       = 0.03  // lowers the line, for each task that the kernel killed ...
	mostPenalty       = 0.25  // ... at most this ...
	forgive           = 0.998 // ... and what is left of it after a second
)

// What own is expected to be, of which the law finds out by itself what comes closer.
const (
	byAge    = iota // the footprint of each task, as far as it has grown by its age
	byNumber        // the same for each task, of any age: it takes all at once
)

// footprints is what the law knows of memory.
type footprints struct {
	own        float64 // bytes of all pools
	background float64 // bytes of others
	slope      float64 // of background, in bytes a second, when it grows
	spread     float64 // variance of own for each byte taken, in bytes: the least of spreads
	spreads    [2]float64
	sampled    float64 // seconds in spread
	ran        float64 // seconds since a task ran first
	n          float64 // permits in use in the last window
	penalty    float64 // share of memory
	kills      int64
	killed     bool // some since the last step
	stepped    bool
	closed     bool // the gate was, at the last step
	leapt      bool // the background seems to have, in the last window
}

// observe learns from a window of dt seconds.
func (f *footprints) observe(in *Input, stations []*station, dt float64, learn bool) {
	f.killed = f.stepped && in.Host.Kills > f.kills
	if f.killed {
		f.penalty = min(mostPenalty, f.penalty+killPenalty*float64(in.Host.Kills-f.kills))
	}
	f.kills = in.Host.Kills
	f.penalty *= math.Pow(forgive, dt)
	if in.Host.MemoryTotal == 0 {
		return
	}
	total, used := float64(in.Host.MemoryTotal), float64(in.Host.MemoryUsed)
	var own, unknown, n float64
	for _, s := range stations {
		if s.Grown == 0 {
			s.Grown = meanGrowth * s.InUse
		}
		n += s.InUse
		if s.MemoryKnown {
			own += float64(s.Memory)
		} else {
			unknown += s.Grown
		}
	}
	own = min(own, used)
	background := used - own
	if unknown > 0 {
		// What came since nothing ran is taken for theirs.
		if !f.stepped || f.n == 0 {
			f.background = background
		}
		rest := max(0, background-f.background)
		for _, s := range stations {
			if !s.MemoryKnown {
				s.Memory, s.MemoryKnown = int64(rest*s.Grown/unknown), true
			}
		}
		own += rest
		background -= rest
	}
	falling := n < 0.95*f.n
	if learn && f.stepped {
		background = f.follow(background, dt, total)
	}
	if learn || !f.stepped {
		f.background, f.own, f.n = background, own, n
	}
	f.stepped = true
	if !learn || n == 0 {
		return
	}
	f.ran += dt
	var expected [2]float64
	for _, s := range stations {
		if s.fresh {
			s.learnFootprint(s.span)
		}
		expected[byAge] += s.footprint * s.Grown
		expected[byNumber] += s.held * float64(s.Leased)
	}
	if f.ran < learnMemory || f.sampled == 0 {
		f.spread = max(f.spread, priorSpread*own)
		f.spreads = [2]float64{f.spread, f.spread}
	}
	if f.ran >= learnMemory && own > leastOwn*total && !f.closed && !falling {
		f.sampled += dt
		for i, x := range expected {
			f.spreads[i] += max(0.03*dt, dt/(3+f.sampled)) * ((own-x)*(own-x)/own - f.spreads[i])
		}
		f.spread = min(f.spreads[byAge], f.spreads[byNumber])
	}
}

// follow returns the background where so much is seen after dt seconds, and learns its slope: by Holt's linear trend, for
// what the pools use is read at another time than all that is in use, and a task that starts in between looks like one of
// others. A leap counts once it is there for a second window.
func (f *footprints) follow(seen, dt, total float64) float64 {
	due := max(0, f.background+f.slope*dt)
	off := seen - due
	leap := math.Abs(off) > leapOfOthers*total
	if before := f.leapt; leap {
		f.leapt = !before
		if before {
			return seen
		}
		return due
	}
	f.leapt = false
	f.slope += min(1, trendSmoothing*dt) * off / dt
	return due + min(1, othersSmoothing*dt)*off
}

// learnFootprint takes what a pool uses now into its footprint, over how much of it has grown, and into what a permit
// holds.
func (s *station) learnFootprint(dt float64) {
	if !s.MemoryKnown || s.Grown < 0.01 || s.InUse <= 0 {
		return
	}
	seen, held := float64(s.Memory)/s.Grown, float64(s.Memory)/max(1, float64(s.Leased))
	if s.evidence == 0 {
		s.footprint, s.held = seen, held
	}
	s.evidence += s.Grown * dt
	const calm = 0.01
	least := 0.03
	if seen < s.footprint {
		least = calm
	}
	s.footprint += min(0.5, max(least*dt, 3*s.Grown*dt/s.evidence)) * (seen - s.footprint)
	s.held += max(0.02*dt, s.Grown*dt/s.evidence) * (held - s.held) // of all ages alike, so that the first say no less
}

// line returns how many bytes the pools may take, by a plan that ends when what starts now has grown.
func (t *twostation) line(in *Input) float64 {
	f, total := &t.memory, float64(in.Host.MemoryTotal)
	ahead := 0.0
	for _, s := range t.stations {
		ahead = max(ahead, min(s.Duration.Seconds(), 30)/2)
	}
	rise := max(0, f.slope) * (ahead + 2)
	return max(0, (t.config.Memory-planBelow-f.penalty)*total-f.background-rise-float64(in.Host.MemoryReserved))
}

// shareMemory lowers the targets to what memory allows.
func (t *twostation) shareMemory(in *Input) {
	if in.Host.MemoryTotal == 0 {
		return
	}
	line := t.line(in)
	margin, spread, total := t.config.Margin, t.memory.spread, float64(in.Host.MemoryTotal)
	deviation := margin * math.Sqrt(spread)
	room := min(under(line, nearMargin*deviation), surelyUnder(line+farLine*total, margin, spread))
	if t.config.Objective == Latency {
		far := under(line+farLineLatency*total, farMarginLatency*deviation)
		if t.memory.sampled < learnSpread {
			far = surelyUnder(line+farLineLatency*total, margin, spread)
		}
		room = min(under(line, nearMarginLatency*deviation), far)
	}
	t.demands, t.weights = t.demands[:0], t.weights[:0]
	for _, s := range t.stations {
		t.demands = append(t.demands, s.target*t.cost(s))
		t.weights = append(t.weights, float64(s.Weight))
	}
	waterfill(room, t.demands, t.weights)
	for i, s := range t.stations {
		cost := t.cost(s)
		if cost <= 0 {
			continue
		}
		if most := t.demands[i] / cost; most < s.target*(1-1e-9) {
			s.target = most
			s.bind(boundMemory, t.demands[i], room, s.footprint)
		}
	}
	if t.memory.killed {
		for _, s := range t.stations {
			if n := 0.75 * max(s.InUse, float64(s.Leased)); s.target > n && s.footprint > 0 {
				s.target = n
				s.bind(boundKill, float64(in.Host.Kills))
			}
		}
	}
}

// under returns the largest x for which x + spread sqrt(x) <= line.
func under(line, spread float64) float64 {
	root := (math.Sqrt(spread*spread+4*line) - spread) / 2
	return root * root
}

// surelyUnder returns the largest mean of which so many deviations more are at most the line, where what is used has a
// lognormal distribution and a variance of spread for each byte of its mean: footprints are skewed to the right, and so is
// the sum of a few of them. Of many it is as good as normal.
func surelyUnder(line, deviations, spread float64) float64 {
	over := func(mean float64) bool {
		v := math.Log1p(spread / mean)
		return mean*math.Exp(deviations*math.Sqrt(v)-v/2) > line
	}
	low, high := line, line
	for range 100 { // from above, since with many deviations what is far below may be over the line again
		if !over(low) {
			break
		}
		low, high = 0.9*low, low
	}
	for range 20 {
		if mean := (low + high) / 2; over(mean) {
			high = mean
		} else {
			low = mean
		}
	}
	return low
}

// cost is the memory to plan for a task, which is more while few were seen: by twice the standard error of the mean, or of
// a mean that nothing is known of. Until more is known it is no more than what those that run may take over such a mean,
// with its error, beyond the margin that is kept anyhow: where many run both are small.
func (t *twostation) cost(s *station) float64 {
	mean, deviation := s.footprint*meanGrowth, 1.0
	f := &t.memory
	if f.spreads[byNumber] < f.spreads[byAge] {
		mean = s.held
	}
	known := f.sampled >= learnSpread
	if t.config.Objective != Latency && known && mean > 0 {
		deviation = min(1, math.Sqrt(f.spread/mean))
	}
	over := 2 * deviation / math.Sqrt(1+s.started)
	if !known {
		near := nearMargin
		if t.config.Objective == Latency {
			near = nearMarginLatency
		}
		n := max(1, s.InUse, float64(s.Leased))
		both := math.Sqrt(1/n + 1/(1+s.started))
		over = min(over, near*t.config.Margin*max(0, both-math.Sqrt(priorSpread)))
	}
	return mean * (1 + over)
}

// critical reports whether half of the tasks should end.
func (f *footprints) critical(in *Input) bool {
	total := float64(in.Host.MemoryTotal)
	return total > 0 && float64(in.Host.MemoryUsed) > criticalUse*total && f.own > leastOwn*total ||
		in.Host.StalledKnown && in.Host.Stalled > criticalWait && f.own > leastOwn*total
}

// gate returns the lines until the next step.
func (t *twostation) gate(in *Input) Gate {
	f, total := &t.memory, float64(in.Host.MemoryTotal)
	if total == 0 {
		return Gate{}
	}
	line := (t.config.Memory-f.penalty)*total - unseenDeviations*math.Sqrt(f.spread*f.own*t.ungrown()) - 2*max(0, f.slope)
	line -= float64(in.Host.MemoryReserved)
	g := Gate{Line: max(1, bytesOf(line)), Shed: bytesOf(shedUse * total), ShedTo: bytesOf(shedTo * total)}
	var growth int64
	for _, s := range t.stations {
		growth += Share{Footprint: bytesOf(s.footprint)}.Growth(s.Leased, s.Grown)
	}
	f.closed = !g.Open(in.Host.MemoryUsed, growth)
	return g
}

// ungrown is the share of what the tasks that run will take that they have not reached yet.
func (t *twostation) ungrown() float64 {
	var grown, all float64
	for _, s := range t.stations {
		grown += s.footprint * s.Grown
		all += s.footprint * float64(s.Leased)
	}
	if all <= 0 {
		return 1
	}
	return max(leastUngrown, 1-grown/all)
}
