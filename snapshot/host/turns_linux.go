package host

import "time"

// turns says whose limits are read again with a sample, so that no sample has to read those of all cgroups: every
// third one reads those of the own cgroup, and the others those of one ancestor after the other. Where samples are a
// second apart that is every 3 s for the own cgroup and every 1.5 s times their number for the ancestors, which is
// 4.5 s for three; where they follow sooner it is up to three times as often, and where they are 2 s apart or more,
// each reads all of them. Without ancestors the limits are read once a second.
type turns struct {
	at       time.Time // of the last one; zero for never
	taken    int
	ancestor int // the last one
}

// next returns the first and the last of n cgroups, of which the first is the own one, whose limits are to be read at
// now; last is less than first for none.
func (t *turns) next(now time.Time, n int) (first, last int) {
	apart := limitsAfter
	if n > 1 {
		apart /= 3
	}
	switch passed := now.Sub(t.at); {
	case t.at.IsZero() || passed >= 2*limitsAfter:
		return 0, n - 1
	case passed < apart:
		return 0, -1
	case n == 1 || t.taken%3 == 0:
		return 0, 0
	default:
		next := t.ancestor%(n-1) + 1
		return next, next
	}
}

// done notes that the limits of those that next returned were read.
func (t *turns) done(now time.Time, first, last int) {
	t.at = now
	if first < last {
		return
	}
	t.taken++
	if last > 0 {
		t.ancestor = last
	}
}
