package severity

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestMedian(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for n := range 500 {
		values := make([]float64, n+1)
		for i := range values {
			switch random.IntN(8) {
			case 0:
				values[i] = math.Inf(random.IntN(2)*2 - 1)
			case 1:
				values[i] = random.NormFloat64()
			default:
				values[i] = float64(random.IntN(1 + n/4)) // many of them equal
			}
		}
		sorted := slices.Clone(values)
		slices.Sort(sorted)
		want := sorted[n/2]/2 + sorted[(n+1)/2]/2
		if got := median(values); got != want && !(math.IsNaN(got) && math.IsNaN(want)) {
			t.Errorf("median of %v = %v, want %v", sorted, got, want)
		}
		if slices.Sort(values); !slices.Equal(values, sorted) {
			t.Fatalf("it left %v of %v", values, sorted)
		}
	}
}

// A line with values too large for their differences has slopes that are no number.
func TestMedianOfWhatIsNoNumber(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	for n := range 100 {
		values := make([]float64, n+1)
		for i := range values {
			if values[i] = math.NaN(); random.IntN(2) == 0 {
				values[i] = random.Float64()
			}
		}
		median(values) // it ends, within the values
	}
}
