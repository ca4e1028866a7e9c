package limit

// waterfill shares a capacity max-min fairly: each gets what it demands, or as much per weight as every other
// that gets less than it demands. It writes the shares over the demands, which may be infinite, uses the
// weights up, and returns what is left over. Weights are over 0.
func waterfill(capacity float64, demands, weights []float64) float64 {
	for {
		var weight float64
		for _, w := range weights {
			weight += w
		}
		if weight <= 0 {
			return capacity
		}
		level, met := capacity/weight, false
		for i, w := range weights {
			if w > 0 && demands[i] <= level*w {
				capacity = max(0, capacity-demands[i])
				weights[i], met = 0, true
			}
		}
		if met {
			continue
		}
		for i, w := range weights {
			if w > 0 {
				demands[i] = level * w
			}
		}
		return 0
	}
}
