package limit

// A pool that gives way to one that begins does so over some steps, in which it follows a part of its tasks that end by
// others. Were none followed, no core would have much to do until the other has grown, and then both would start many at
// once, which come back to the CPU together.
const (
	handover = 4 * shortStep // after the first task of a pool
	followed = 0.5           // of those that end
)

// handOver lets pools give way slowly while another that has just begun still grows.
func (t *twostation) handOver(in *Input) {
	for _, young := range t.stations {
		if young.ran && in.At-young.began >= handover || young.Waiting == 0 || young.target <= young.quota {
			continue
		}
		for _, s := range t.stations {
			if s != young {
				n := max(s.InUse, float64(s.Leased))
				s.target = max(s.target, min(s.quota, n-(1-followed)*s.ends*shortStep.Seconds()))
			}
		}
	}
}
