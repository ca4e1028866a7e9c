package pool

import "time"

const (
	// cpuSpan is the least time over which what others use is made out: the kernel counts in steps of 10 ms.
	cpuSpan = 400 * time.Millisecond

	// cpuGap is the longest time between two readings of the machine of which anything is known in between.
	cpuGap = 2 * time.Second
)

// seen is what a Snapshotter saw of the machine. It reads at other times than those at which what the tasks use is read:
// were the one taken from the other as it is, each change of what the tasks use would look like one of others. So what the
// tasks used is taken as of the times at which the machine was read.
type seen struct {
	busy   time.Duration // by the tasks and by others, since the first look
	others float64       // cores, in the last span
	newest point
	last   time.Duration // look
	points points

	from, to time.Duration // the span since the last one, to the newest reading of the machine
	cores    float64       // that the machine used in it, by seconds
	read     bool
}

// look takes what the tasks use now, and the memory that is held for them.
func (s *seen) look(now time.Duration, own Usage, held int64) {
	p := point{at: now - own.Age, cpu: max(0, own.CPU), memory: held}
	if len(s.points.ring) == 0 {
		s.newest, s.last = p, now
	}
	s.busy += max(0, p.cpu-s.newest.cpu) + time.Duration(s.others*float64(now-s.last))
	s.last = now
	if len(s.points.ring) == 0 || p.at > s.newest.at {
		s.newest = p
		s.points.add(p)
	}
}

// cpu takes a reading of the CPUs that was made at a time: so many cores were used since the one before.
func (s *seen) cpu(at time.Duration, cores float64) {
	switch {
	case !s.read || at > s.to+cpuGap:
		s.read, s.from, s.to, s.cores = true, at, at, 0
		s.others = max(0, cores-s.points.rate())
	case at > s.to:
		s.cores += cores * (at - s.to).Seconds()
		s.to = at
	}
	if span := s.to - s.from; span >= cpuSpan && s.newest.at >= s.to {
		own := s.points.by(s.to).cpu - s.points.by(s.from).cpu
		s.others = max(0, s.cores-own.Seconds()) / span.Seconds()
		s.from, s.cores = s.to, 0
	}
}
