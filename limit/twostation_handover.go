package limit

// A pool hands over when it gives way to one that begins: over some steps, in which it follows a part of its tasks that end
// by others. Were none followed, no core would have much to do until the other has grown, and then both would start many at
// once, which come back to the CPU together.
const (
	handover = 4 * shortStep // from the first of those that begin one after the other
	followed = 0.5           // of the tasks that end
)

// handOver keeps the pools that hand over from falling faster. With Throughput a pool in its first seconds falls so too,
// for what is known of its tasks goes up and down.
func (t *twostation) handOver(in *Input) {
	var young *station
	begin := 0
	for _, s := range t.stations {
		if s.begins(in) {
			young = s
			begin++
		}
	}
	switch {
	case begin == 0:
		t.givesWay = -1
	case t.givesWay < 0:
		t.givesWay = in.At
	}
	givesWay := t.givesWay >= 0 && in.At-t.givesWay < handover
	for _, s := range t.stations {
		first := t.config.Objective == Throughput && s.ran && in.At-s.began < firstSteps
		s.handsOver = s.ends > 0 && (first || givesWay && (begin > 1 || s != young))
		if s.handsOver {
			n := max(s.InUse, float64(s.Leased))
			s.target = max(s.target, min(s.quota, n-(1-followed)*s.ends*shortStep.Seconds()))
		}
	}
}

// begins reports whether the pool has had no task yet or the first just now, and still grows.
func (s *station) begins(in *Input) bool {
	return s.Waiting > 0 && (!s.ran || in.At-s.began < handover) && s.target > s.quota
}
