package pool

import "time"

// mostPoints is how many readings of what the tasks use are kept: at readInterval they are of 3 s, in which the machine is
// read twice at the intervals of a Snapshotter's profiles.
const mostPoints = 32

// points are the last readings of what the tasks use, so that it can be told for the time at which the machine was read.
type points struct {
	ring []point
	next int // the oldest, once the ring is full
}

// point is what is held for the tasks, and what they have used of the CPUs, by a time.
type point struct {
	at, cpu time.Duration
	memory  int64 // negative where it is not known
}

// add takes the next reading. It must be newer than the last one.
func (p *points) add(next point) {
	if len(p.ring) < mostPoints {
		p.ring = append(p.ring, next)
		return
	}
	p.ring[p.next] = next
	p.next = (p.next + 1) % mostPoints
}

// nth returns the readings from the oldest.
func (p *points) nth(i int) point { return p.ring[(p.next+i)%len(p.ring)] }

// rate returns how many cores the tasks used, in all the time that is kept. There must be a reading.
func (p *points) rate() float64 {
	oldest, newest := p.nth(0), p.nth(len(p.ring)-1)
	if newest.at <= oldest.at {
		return 0
	}
	return (newest.cpu - oldest.cpu).Seconds() / (newest.at - oldest.at).Seconds()
}

// by returns what was used by a time: in proportion between two readings, and the oldest or newest beyond them. There
// must be a reading.
func (p *points) by(at time.Duration) point {
	before := p.nth(0)
	for i := range p.ring {
		after := p.nth(i)
		if after.at < at {
			before = after
			continue
		}
		if after.at <= before.at {
			return after
		}
		part := float64(at-before.at) / float64(after.at-before.at)
		is := point{at: at, cpu: before.cpu + time.Duration(part*float64(after.cpu-before.cpu)), memory: -1}
		if before.memory >= 0 && after.memory >= 0 {
			is.memory = before.memory + int64(part*float64(after.memory-before.memory))
		}
		return is
	}
	return before
}
