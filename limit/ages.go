package limit

import "time"

// ages keeps how many permits the running tasks hold by when they started, in so many groups of starts close to each
// other that the sum of Growth over them is exact but for the one group that is just whole.
type ages struct {
	groups [64]cohort
	n      int
}

// cohort is a group of tasks that started one after the other.
type cohort struct {
	first   time.Duration // start of the first
	permits int64
	starts  float64 // sum of the starts, in seconds after first, by permits
}

// start adds permits of a task. now must not go back. Each group spans at least the time fine, so that a few of them
// span the time in which a task grows.
func (a *ages) start(now, fine time.Duration, permits int64) {
	if a.n > 0 {
		if c := &a.groups[a.n-1]; now-c.first <= fine || c.permits == 0 {
			if c.permits == 0 {
				*c = cohort{first: now}
			}
			c.permits += permits
			c.starts += (now - c.first).Seconds() * float64(permits)
			return
		}
	}
	if a.n == len(a.groups) {
		a.compact()
	}
	a.groups[a.n] = cohort{first: now, permits: permits}
	a.n++
}

// compact makes room: it drops the groups that have ended, and if none has joins each with its neighbour.
func (a *ages) compact() {
	n := 0
	for _, c := range a.groups[:a.n] {
		if c.permits > 0 {
			a.groups[n] = c
			n++
		}
	}
	if n == len(a.groups) {
		for i := range n / 2 {
			c, next := a.groups[2*i], a.groups[2*i+1]
			c.permits += next.permits
			c.starts += next.starts + (next.first-c.first).Seconds()*float64(next.permits)
			a.groups[i] = c
		}
		n /= 2
	}
	a.n = n
}

// end takes the permits of a task away.
func (a *ages) end(started time.Duration, permits int64) {
	low, high := 0, a.n // of the first group that began after it
	for low < high {
		if mid := (low + high) / 2; a.groups[mid].first <= started {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low == 0 {
		return
	}
	c := &a.groups[low-1]
	c.starts -= (started - c.first).Seconds() * float64(permits)
	if c.permits -= permits; c.permits <= 0 {
		*c = cohort{first: c.first}
	}
}

// grown returns the sum of Growth over all permits.
func (a *ages) grown(now, duration time.Duration) float64 {
	var sum float64
	for i := range a.groups[:a.n] {
		if c := &a.groups[i]; c.permits > 0 {
			mean := time.Duration(c.starts / float64(c.permits) * float64(time.Second))
			sum += float64(c.permits) * Growth(now-c.first-mean, duration)
		}
	}
	return sum
}
