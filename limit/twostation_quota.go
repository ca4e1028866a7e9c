package limit

import "math"

// settle moves the quota to the target.
func (s *station) settle(in *Input, critical, learn bool) {
	change := s.target - s.quota
	switch {
	case s.quota == 0 || critical || s.bound == boundKill || s.handsOver && change < 0:
		s.quota = s.target
	case !learn:
		s.quota = min(s.quota, max(s.target, s.quota/2))
	case in.At-s.began <= settling || math.Abs(change) > 0.3*s.quota:
		s.quota = s.target
	case math.Abs(change) >= 0.03*s.quota:
		s.quota += 0.5 * change
	}
}

// bounds returns the bounds of the quota, of so many pools. A pool among others with no guarantee may have less than
// one permit: it has one for some of the time, at least as often as if all took turns.
func (s *station) bounds(pools int) (low, high float64) {
	low, high = max(1, float64(s.Min)), mostPermits
	if pools > 1 && s.Min == 0 {
		low = 1 / float64(pools)
	}
	if s.Max > 0 {
		high = float64(s.Max)
	}
	return low, high
}

// fewPermits is the quota under which a permit more or less for some steps makes a difference to a pool among others.
const fewPermits = 4

// round makes limits of the quotas. Of the pools with few permits, those that have had too little for the longest
// have one more, so that all have their quotas on average and the sum stays what it is to be. What a pool had is
// what was in use, for a task outlasts the end of its permit; what is held now where the window ended some time ago.
func (t *twostation) round(learn bool) {
	few := 0
	for _, s := range t.stations {
		had := float64(s.limit)
		switch {
		case !learn || s.Waiting == 0:
		case s.Window > 0:
			had = float64(s.Leased)
		default:
			had = s.InUse
		}
		if s.few {
			s.owed -= had
			t.owed -= had
		}
		if s.few = len(t.stations) > 1 && s.quota < fewPermits; !s.few {
			s.limit, s.owed = int64(s.quota+0.5), 0
			continue
		}
		few++
		s.owed = max(-1, min(s.owed, 1)) + s.quota
		t.owed += s.quota
		s.limit = int64(s.quota)
	}
	if few == 0 {
		t.owed = 0
		return
	}
	var sum, given float64
	for _, s := range t.stations {
		sum += float64(s.limit)
		if s.few {
			given += float64(s.limit)
		}
	}
	t.owed = max(given-1, min(t.owed, given+float64(few)))
	for more := max(int(t.owed-given+0.5), 1-int(sum)); more > 0; more-- {
		var most *station
		for _, s := range t.stations {
			full := s.limit > int64(s.quota) || s.Max > 0 && s.limit >= s.Max
			if s.few && !full && (most == nil || s.owed-float64(s.limit) > most.owed-float64(most.limit)) {
				most = s
			}
		}
		if most == nil {
			return
		}
		most.limit++
	}
}
