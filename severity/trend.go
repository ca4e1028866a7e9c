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

	fresh  bool // line and reason are those of the points
	line   Line
	reason string

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
	if !t.fresh {
		t.line, t.reason = t.draw()
		t.fresh = true
	}
	return t.line, t.reason
}

func (t *Trend) draw() (Line, string) {
	if t.n < minTrendPoints || t.at[t.n-1]-t.at[0] < minTrendSpan {
		return Line{}, "too few readings yet for a trend"
	}
	slopes, rise, fall := t.work[:0], 0, 0
	for i := range t.n {
		for j := i + 1; j < t.n; j++ {
			d := t.value[j] - t.value[i]
			switch {
			case d > 0:
				rise++
			case d < 0:
				fall++
			}
			slopes = append(slopes, d/(t.at[j]-t.at[i]).Seconds())
		}
	}
	pairs := len(slopes)
	line := Line{PerSecond: median(slopes)}
	fit := t.fit(line.PerSecond)
	if rise+fall > 0 {
		fit = min(fit, math.Abs(float64(rise-fall))/float64(pairs))
	}
	if line.Fit = fit; !(fit >= MinTrendFit) {
		return Line{}, "no straight line fits the readings"
	}
	return line, ""
}

// fit returns how much nearer the points are to the line of the slope than to their median.
func (t *Trend) fit(slope float64) float64 {
	off := func(i int) float64 { return t.value[i] - slope*(t.at[i]-t.at[0]).Seconds() }
	distance := t.work[:t.n]
	copy(distance, t.value[:t.n])
	middle := median(distance)
	for i := range distance {
		distance[i] = math.Abs(t.value[i] - middle)
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

// median sorts the values, of which there is at least one.
func median(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	return values[(n-1)/2]/2 + values[n/2]/2
}

// Exhaustion is when the available memory will have run out if it goes on as it did over [TrendWindow].
type Exhaustion struct {
	// Known is whether a trend fits. Reason says why there is no figure.
	Known  bool
	Reason string

	// InSight is whether the memory falls so fast that it runs out within [ExhaustionHorizon], and then In is
	// how soon.
	InSight bool
	In      time.Duration

	// PerSecond is the change of the available memory in bytes a second, and Fit how well a straight line
	// fits, in [0, 1]; see [Line].
	PerSecond, Fit float64

	// At is when the newest reading behind it was made.
	At time.Duration
}

// exhaustion tells when a value that is now at the given one reaches 0.
func (t *Trend) exhaustion(value float64, at time.Duration) Exhaustion {
	line, reason := t.Line()
	e := Exhaustion{Known: reason == "", Reason: reason, PerSecond: line.PerSecond, Fit: line.Fit, At: at}
	if e.Known && line.PerSecond < 0 {
		if left := value / -line.PerSecond; left <= ExhaustionHorizon.Seconds() {
			e.InSight, e.In = true, time.Duration(left*float64(time.Second))
		}
	}
	return e
}
