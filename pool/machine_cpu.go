package pool

import "time"

const (
	// cpuSpan is the least time over which what others use is made out: the kernel counts in steps of 10 ms.
	cpuSpan = 400 * time.Millisecond

	// cpuPoints is how many readings of what the tasks use are kept: at readInterval they are of 3 s, in which the CPUs
	// are read twice at the intervals of a Snapshotter's profiles.
	cpuPoints = 32

	// cpuGap is the longest time between two readings of the machine of which anything is known in between.
	cpuGap = 2 * time.Second
)

// cpuSeen makes out what others use of the CPUs. What the machine uses is read by somebody else, at other times than what
// the tasks use: were the one taken from the other as it is, each change of what the tasks use would look like one of
// others. So what the tasks used is taken as of the times at which the machine was read.
type cpuSeen struct {
	busy   time.Duration // by the tasks and by others, since the first look
	others float64       // cores, in the last span
	newest cpuPoint
	last   time.Duration // look

	points []cpuPoint // a ring, in which next is the oldest once it is full
	next   int

	from, to time.Duration // the span since the last one, to the newest reading of the machine
	cores    float64       // that the machine used in it, by seconds
	read     bool
}

// cpuPoint is what the tasks have used by a time.
type cpuPoint struct {
	at, used time.Duration
}

// look takes what the tasks use now.
func (c *cpuSeen) look(now time.Duration, own Usage) {
	p := cpuPoint{at: now - own.Age, used: max(0, own.CPU)}
	if len(c.points) == 0 {
		c.newest, c.last = p, now
	}
	c.busy += max(0, p.used-c.newest.used) + time.Duration(c.others*float64(now-c.last))
	c.last = now
	if len(c.points) > 0 && p.at <= c.newest.at {
		return
	}
	c.newest = p
	if len(c.points) < cpuPoints {
		c.points = append(c.points, p)
		return
	}
	c.points[c.next] = p
	c.next = (c.next + 1) % cpuPoints
}

// machine takes a reading of the machine that was made at a time: so many cores were used since the one before.
func (c *cpuSeen) machine(at time.Duration, cores float64) {
	switch {
	case !c.read || at > c.to+cpuGap:
		c.read, c.from, c.to, c.cores = true, at, at, 0
		c.others = max(0, cores-c.rate())
	case at > c.to:
		c.cores += cores * (at - c.to).Seconds()
		c.to = at
	}
	if span := c.to - c.from; span >= cpuSpan && c.newest.at >= c.to {
		own := c.usedBy(c.to) - c.usedBy(c.from)
		c.others = max(0, c.cores-own.Seconds()) / span.Seconds()
		c.from, c.cores = c.to, 0
	}
}

// rate returns how many cores the tasks used, in all the time that is kept.
func (c *cpuSeen) rate() float64 {
	oldest := c.points[c.next%len(c.points)]
	if c.newest.at <= oldest.at {
		return 0
	}
	return (c.newest.used - oldest.used).Seconds() / (c.newest.at - oldest.at).Seconds()
}

// usedBy returns what the tasks had used by a time, in proportion between two readings of that.
func (c *cpuSeen) usedBy(at time.Duration) time.Duration {
	before := c.points[c.next%len(c.points)]
	for i := range c.points {
		p := c.points[(c.next+i)%len(c.points)]
		if p.at >= at {
			if p.at <= before.at {
				return p.used
			}
			return before.used + time.Duration(float64(p.used-before.used)*float64(at-before.at)/float64(p.at-before.at))
		}
		before = p
	}
	return before.used
}
