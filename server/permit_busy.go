package server

import "time"

// busyHistory remembers how many cores of the host were in use, so that what the pools used in a window can be taken
// from what the host used in the same one: else a rise of theirs looks like one of others.
type busyHistory struct {
	spans [16]busySpan // a ring
	next  int
}

// busySpan is the mean of the cores in use over a time.
type busySpan struct {
	from, to time.Duration
	cores    float64
}

// add takes a reading of the cores in use since the one before. One that is not newer is ignored.
func (b *busyHistory) add(at time.Duration, cores float64) {
	from := b.newest()
	if at <= from {
		return
	}
	if from == 0 {
		from = at
	}
	b.spans[b.next] = busySpan{from: from, to: at, cores: cores}
	b.next = (b.next + 1) % len(b.spans)
}

// over returns the mean over a time, as far as it is known; ok is false where less than half of it is.
func (b *busyHistory) over(from, to time.Duration) (cores float64, ok bool) {
	used, known := b.within(from, to)
	if known <= 0 || known < (to-from)/2 {
		return 0, false
	}
	return used / known.Seconds(), true
}

// within returns the core-seconds used in a time, and of how much of it they are known.
func (b *busyHistory) within(from, to time.Duration) (used float64, known time.Duration) {
	for i := range b.spans {
		s := &b.spans[i]
		if part := min(to, s.to) - max(from, s.from); part > 0 {
			known += part
			used += s.cores * part.Seconds()
		}
	}
	return used, known
}

// goOn takes what was used since the last reading for what was used before it.
func (b *busyHistory) goOn(at time.Duration) {
	b.add(at, b.last().cores)
}

// newest returns the time of the last reading.
func (b *busyHistory) newest() time.Duration { return b.last().to }

func (b *busyHistory) last() *busySpan { return &b.spans[(b.next+len(b.spans)-1)%len(b.spans)] }
