package permit

// A claimant is one of those among whom permits are divided: a band, an identity or a session.
type claimant struct {
	want   int64 // at most this much is of use; at least 0
	sure   int64 // this much comes before all sharing, as far as it is wanted
	weight int64 // at least 1
	has    int64 // what it has now
	turn   int64 // who had least by weight of what does not divide has the least

	// give is its part. whole is the part of it that it keeps whoever else wants it; give is one more where it
	// has one of the permits that do not divide, in its turn.
	give, whole int64
}

// divide shares capacity among cs by weighted max-min: nobody gets more by weight than one who wants more than
// it has, except for what is sure. Parts are whole numbers; of the permits that do not divide, those who have
// one keep it, and then they go to the least turn. It takes time linear in the claimants on average, and room
// in scratch instead of allocating.
func divide(capacity int64, cs []claimant, scratch *[]int32) {
	capacity = max(capacity, 0)
	var want, sure int64
	for i := range cs {
		c := &cs[i]
		c.give, c.whole = c.want, c.want
		want += c.want
		sure += min(c.sure, c.want)
	}
	if want <= capacity {
		return
	}
	if sure > capacity { // after a cut: then what is sure is all that is wanted
		for i := range cs {
			c := &cs[i]
			c.want, c.sure = min(c.sure, c.want), 0
		}
	}

	// Whoever would have less than is sure gets that, and the rest share what is left: that only lowers the
	// level, so nobody has to be looked at twice.
	active := (*scratch)[:0]
	for i := range cs {
		if cs[i].want == 0 {
			cs[i].give, cs[i].whole = 0, 0
			continue
		}
		active = append(active, int32(i))
	}
	*scratch = active
	var rest, weights int64
	for {
		rest, weights = level(capacity, cs, active)
		active = active[:0]
		fixed := false
		for i := range cs {
			c := &cs[i]
			if c.want == 0 || c.weight == 0 {
				continue
			}
			if least := min(c.sure, c.want); c.sure > 0 && least*weights > rest*c.weight {
				c.give, c.whole, c.weight = least, least, 0
				capacity -= least
				fixed = true
				continue
			}
			active = append(active, int32(i))
		}
		if !fixed {
			break
		}
	}

	left := capacity
	turns := active[:0]
	for _, i := range active {
		c := &cs[i]
		if c.want*weights <= rest*c.weight {
			c.give, c.whole = c.want, c.want
		} else {
			c.give = rest * c.weight / weights
			c.whole = c.give
			if rest*c.weight%weights > 0 {
				turns = append(turns, i)
			}
		}
		left -= c.give
	}
	if int(left) < len(turns) {
		least(turns, int(left), func(i, j int32) int { return before(&cs[i], &cs[j], i, j) })
	}
	for _, i := range turns[:min(left, int64(len(turns)))] {
		cs[i].give++
	}
}

// before orders those who may get one of the permits that do not divide.
func before(a, b *claimant, i, j int32) int {
	keepsA, keepsB := a.has > a.whole, b.has > b.whole
	switch {
	case keepsA != keepsB && keepsA:
		return -1
	case keepsA != keepsB:
		return 1
	case a.turn < b.turn:
		return -1
	case a.turn > b.turn:
		return 1
	}
	return int(i) - int(j)
}

// least brings the k least of s to its front, in any order and in linear time on average.
func least[T any](s []T, k int, compare func(a, b T) int) {
	for k > 0 && k < len(s) {
		pivot := s[len(s)/2]
		i, j := 0, len(s)-1
		for i <= j {
			for compare(s[i], pivot) < 0 {
				i++
			}
			for compare(s[j], pivot) > 0 {
				j--
			}
			if i <= j {
				s[i], s[j] = s[j], s[i]
				i++
				j--
			}
		}
		switch { // s[:j+1] is not over the pivot, s[i:] not under it
		case k <= j+1:
			s = s[:j+1]
		case k > i:
			s, k = s[i:], k-i
		default:
			return
		}
	}
}

// level returns the level rest/weights of the water when capacity is poured out over the wants of the active:
// each has the level times its weight, or its want if that is less. There must be less than is wanted. It
// changes the order of active.
func level(capacity int64, cs []claimant, active []int32) (rest, weights int64) {
	rest = capacity
	for len(active) > 0 {
		// The level is compared with that at which one in the middle has all that it wants.
		pivot := &cs[active[len(active)/2]]
		most, by := pivot.want, pivot.weight
		var full, short int64
		for _, i := range active {
			if c := &cs[i]; c.want*by <= most*c.weight {
				full += c.want
			} else {
				short += c.weight
			}
		}
		reached := full*by+most*(weights+short) <= rest*by
		open := active[:0]
		for _, i := range active {
			c := &cs[i]
			switch {
			case reached && c.want*by > most*c.weight, !reached && c.want*by < most*c.weight:
				open = append(open, i)
			case reached:
				rest -= c.want
			default:
				weights += c.weight
			}
		}
		active = open
	}
	return rest, weights
}
