package task

import "time"

// rateSpan is the least time that a rate is taken over where there is a choice, and rateLeast where not: CPU time is
// counted in steps of 10 ms.
const (
	rateSpan  = time.Second
	rateLeast = 100 * time.Millisecond
)

// pace takes rates of CPU time.
type pace struct{ base, before mark }

// mark is the CPU time at a time.
type mark struct {
	at  time.Duration
	cpu time.Duration
	ok  bool
}

// rate takes the rate over at least a second where an earlier mark allows it. After a gap there is none: the host
// may have slept.
func (p *pace) rate(now, cpu time.Duration, gap bool) (cores float64, ok bool) {
	if gap {
		*p = pace{}
	}
	from := p.base
	if from.ok && now-from.at < rateSpan && p.before.ok {
		from = p.before
	}
	if ok = from.ok && now-from.at >= rateLeast; ok {
		cores = float64(cpu-from.cpu) / float64(now-from.at)
	}
	if !p.base.ok || now-p.base.at >= rateSpan {
		p.before, p.base = p.base, mark{now, cpu, true}
	}
	return cores, ok
}
