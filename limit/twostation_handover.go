package limit

// A pool that gives way to one that begins does so over some steps, in which it follows a part of its tasks that end by
// others. Were none followed, no core would have much to do until the other has grown, and then both would start many at
// once, which come back to the CPU together.
const (
	handover = 4 * shortStep // from the first task of the one that begins
	followed = 0.5           // of those that end
)

// handOver keeps the pools that hand over from falling faster.
func (t *twostation) handOver(in *Input) {
	for _, s := range t.stations {
		if t.handsOver(in, s) {
			n := max(s.InUse, float64(s.Leased))
			s.target = max(s.target, min(s.quota, n-(1-followed)*s.ends*shortStep.Seconds()))
		}
	}
}

// handsOver reports whether the pool gives way to one that has just begun and still grows, or has begun itself. What is
// known of its tasks then goes up and down, and with Latency it must be below what they take.
func (t *twostation) handsOver(in *Input, s *station) bool {
	if t.config.Objective == Throughput && s.ran && in.At-s.began < firstSteps {
		return true
	}
	for _, young := range t.stations {
		begins := !young.ran || in.At-young.began < handover
		if young != s && begins && young.Waiting > 0 && young.target > young.quota {
			return true
		}
	}
	return false
}
