package severity

import (
	"math"
	"slices"
	"time"
)

// The window of a [Trend], and what it takes to draw a line.
const (
	// TrendWindow is how far back a trend looks.
	TrendWindow = 30 * time.Second

	// MinTrendFit is the least fit of a line, in [0, 1]. A worse one is no line.
	MinTrendFit = 0.7

	// ExhaustionHorizon is how far ahead exhaustion is told. Later is out of sight.
	ExhaustionHorizon = time.Hour

	trendPoints    = 32
	minTrendPoints = 10
	minTrendSpan   = TrendWindow / 3
	trendSpacing   = TrendWindow / trendPoints

	// A recent line goes through the points of the last 5 s, and through at least 6, if they do not span more than
	// 8 s. So few follow a value that begins to move within 4 s, with the slope that it has since. Neither a step
	// (of 6 points its tau is at most 0.6) nor one that takes two readings is a line.
	recentWindow    = 5500 * time.Millisecond // with what timers are late
	minRecentPoints = 6
	minRecentSpan   = 3 * time.Second
	maxRecentSpan   = 8 * time.Second
)

const (
	tooFew = "too few readings yet for a trend"
	noLine = "no straight line fits the readings"
)

// Line is a straight line through the points of a [Trend].
type Line struct {
	// PerSecond is the median of the slopes between all pairs of points (Theil-Sen), which up to 29 % of
	// stray points cannot move far.
	PerSecond float64

	// Fit is the lesser of two figures in [0, 1]: Kendall's tau, which is how consistently the points go one
	// way, and 1 - d/D, with d the median distance of the points from the line and D that from their median.
	// It is 1 for points that do not move.
	Fit float64
}

// Trend follows one value over [TrendWindow] with at most 32 points; of points closer than 1/32 of the window
// only the last is kept. The zero value is empty and ready. It is not safe for concurrent use.
type Trend struct {
	n     int
	at    [trendPoints]time.Duration
	value [trendPoints]float64

	fresh  bool // what follows is that of the points
	line   Line
	reason string
	recent Line // through the last points, where there is one
	moving bool // there is

	work [trendPoints * (trendPoints - 1) / 2]float64
}

// Reset forgets all points.
func (t *Trend) Reset() { t.n, t.fresh = 0, false }

// Add adds the value at a time. A time before the newest point, or more than a third of the window after it,
// forgets what was before; one of the same time changes nothing, and one that is not finite is left out. It
// does not allocate.
func (t *Trend) Add(at time.Duration, value float64) {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return
	}
	if t.n > 0 {
		switch newest := t.at[t.n-1]; {
		case at == newest:
			return
		case at < newest || at-newest > minTrendSpan:
			t.n = 0
		}
	}
	t.fresh = false
	old := 0
	for old < t.n && at-t.at[old] > TrendWindow {
		old++
	}
	if t.n > 1 && at-t.at[t.n-2] < trendSpacing {
		t.n-- // the new point takes the place of the newest
	} else if t.n-old == trendPoints {
		old++
	}
	copy(t.at[:], t.at[old:t.n])
	copy(t.value[:], t.value[old:t.n])
	t.n -= old
	t.at[t.n], t.value[t.n] = at, value
	t.n++
}

// Line returns the line through the points, or why there is none: fewer than 10 points, a span of less than a
// third of the window, or a fit under [MinTrendFit]. It does not allocate.
func (t *Trend) Line() (line Line, reason string) {
	t.draw()
	return t.line, t.reason
}

// draw draws both lines, unless that was done.
func (t *Trend) draw() {
	if t.fresh {
		return
	}
	t.fresh, t.line, t.reason, t.recent, t.moving = true, Line{}, "", Line{}, false
	if first := t.n - minRecentPoints; first >= 0 {
		newest := t.at[t.n-1]
		for first > 0 && newest-t.at[first-1] <= recentWindow {
			first--
		}
		if span := newest - t.at[first]; span >= minRecentSpan && span <= maxRecentSpan {
			t.recent = t.through(first)
			t.moving = t.recent.Fit >= MinTrendFit
		}
	}
	if t.n < minTrendPoints || t.at[t.n-1]-t.at[0] < minTrendSpan {
		t.reason = tooFew
		return
	}
	if t.line = t.through(0); !(t.line.Fit >= MinTrendFit) {
		t.line, t.reason = Line{}, noLine
	}
}

// through returns the line through the points from the one at first on, however badly it fits.
func (t *Trend) through(first int) Line {
	var seconds [trendPoints]float64
	for i := first; i < t.n; i++ {
		seconds[i] = (t.at[i] - t.at[first]).Seconds()
	}
	pairs, rise, fall := 0, 0, 0
	for i := first; i < t.n; i++ {
		for j := i + 1; j < t.n; j++ {
			d := t.value[j] - t.value[i]
			switch {
			case d > 0:
				rise++
			case d < 0:
				fall++
			}
			t.work[pairs] = d / (seconds[j] - seconds[i])
			pairs++
		}
	}
	slopes := t.work[:pairs]
	line := Line{PerSecond: median(slopes)}
	line.Fit = t.fit(first, line.PerSecond)
	if rise+fall > 0 {
		line.Fit = min(line.Fit, math.Abs(float64(rise-fall))/float64(pairs))
	}
	return line
}

// fit returns how much nearer the points from the one at first on are to the line of the slope than to their
// median.
func (t *Trend) fit(first int, slope float64) float64 {
	at, value := t.at[first:t.n], t.value[first:t.n]
	off := func(i int) float64 { return value[i] - slope*(at[i]-at[0]).Seconds() }
	distance := t.work[:len(value)]
	copy(distance, value)
	middle := median(distance)
	for i := range distance {
		distance[i] = math.Abs(value[i] - middle)
	}
	spread := median(distance)
	for i := range distance {
		distance[i] = off(i)
	}
	start := median(distance)
	for i := range distance {
		distance[i] = math.Abs(off(i) - start)
	}
	rest := median(distance)
	switch {
	case rest == 0:
		return 1
	case spread == 0:
		return 0
	default:
		return max(0, 1-rest/spread)
	}
}

// median returns the middle of the values, or the mean of the two. There is at least one; it changes their order.
func median(values []float64) float64 {
	n := len(values)
	upper := nth(values, n/2)
	if n%2 == 1 {
		return upper
	}
	return slices.Max(values[:n/2])/2 + upper/2
}

// nth returns the value that would be at n if the values were sorted, and moves no greater one before it, and no
// lesser one behind it. It is Hoare's FIND (Algorithm 65), which takes a third of the time that sorting takes.
func nth(values []float64, n int) float64 {
	for low, high := 0, len(values)-1; low < high; {
		pivot := values[low+(high-low)/2]
		i, j := low, high
		for i <= j {
			for values[i] < pivot {
				i++
			}
			for pivot < values[j] {
				j--
			}
			if i <= j {
				values[i], values[j] = values[j], values[i]
				i++
				j--
			}
		}
		switch {
		case n <= j:
			high = j
		case n >= i:
			low = i
		default:
			return values[n]
		}
	}
	return values[n]
}

// Exhaustion is when the available memory will have run out if it goes on as it did over [TrendWindow] or, where
// that is nearer, over the last 5 s: read once a second, an abrupt fall is told after 4 s.
type Exhaustion struct {
	// Known is whether a trend fits. Reason says why there is no figure.
	Known  bool
	Reason string

	// InSight is whether the memory falls so fast that it runs out within [ExhaustionHorizon], and then In is
	// how soon.
	InSight bool
	In      time.Duration

	// PerSecond is the change of the available memory in bytes a second by the trend that In follows from, or
	// else by the longer one that fits, and Fit how well its straight line does, in [0, 1]; see [Line].
	PerSecond, Fit float64

	// At is when the newest reading behind it was made.
	At time.Duration
}

// exhaustion tells when a value that is now at the given one reaches 0.
func (t *Trend) exhaustion(value float64, at time.Duration) Exhaustion {
	t.draw()
	e := Exhaustion{Known: t.reason == "", Reason: t.reason, PerSecond: t.line.PerSecond, Fit: t.line.Fit, At: at}
	if e.Known {
		e.In, e.InSight = t.line.reaches0(value)
	}
	if e.InSight && t.recovered() {
		e = Exhaustion{Reason: noLine, At: at}
	}
	if !t.moving {
		return e
	}
	in, inSight := t.recent.reaches0(value)
	if !e.Known || inSight && (!e.InSight || in < e.In) {
		e.Known, e.Reason, e.PerSecond, e.Fit, e.In, e.InSight = true, "", t.recent.PerSecond, t.recent.Fit, in, inSight
	}
	return e
}

// recovered reports whether the newest point is above most others: what fell until then has been given back, though
// so few points do not turn the line.
func (t *Trend) recovered() bool {
	all := t.work[:t.n]
	copy(all, t.value[:t.n])
	return t.value[t.n-1] > median(all)
}

// reaches0 returns when a value that moves along the line will be 0, if it will within [ExhaustionHorizon].
func (l Line) reaches0(value float64) (in time.Duration, inSight bool) {
	if l.PerSecond >= 0 {
		return 0, false
	}
	if left := value / -l.PerSecond; left <= ExhaustionHorizon.Seconds() {
		return time.Duration(left * float64(time.Second)), true
	}
	return 0, false
}
