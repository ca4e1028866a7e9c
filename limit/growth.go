package limit

import "time"

// How the footprint of a task grows: what it begins with, and that it is whole at half of its expected duration.
const (
	firstGrowth = 0.3
	wholeAt     = 0.5
	blindGrowth = 0.4   // of each task, while no duration is expected
	meanGrowth  = 0.825 // of a task at a time of its life picked at random
)

// Growth returns the share of its final footprint in memory that a task of an age is expected to have, of those
// that are expected to take a duration; 0 if that is not known. It is in (0, 1].
func Growth(age, duration time.Duration) float64 {
	if duration <= 0 {
		return blindGrowth
	}
	return firstGrowth + (1-firstGrowth)*min(1, max(0, float64(age))/(wholeAt*float64(duration)))
}
