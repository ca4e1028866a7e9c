package limit

import (
	"math"
	"testing"
)

// The plan of memory is the largest mean for which so many deviations of a lognormal distribution stay under the line,
// found by looking at all.
func TestSurelyUnder(t *testing.T) {
	for _, line := range []float64{0, 1, 900, 60_000} {
		for _, deviations := range []float64{0.5, 2.5, 4, 10} {
			for _, spread := range []float64{0, 1e-3, 9, 200, 1e5} {
				want := 0.0
				for mean := line; mean > 1e-3*line; mean *= 0.999 {
					v := math.Log(1 + spread/mean)
					if mean*math.Exp(deviations*math.Sqrt(v)-v/2) <= line*(1+1e-12) {
						want = mean
						break
					}
				}
				if got := surelyUnder(line, deviations, spread); math.Abs(got-want) > 0.002*line {
					t.Errorf("under %v with %v deviations of %v: %v, want %v", line, deviations, spread, got, want)
				}
			}
		}
	}
}
