package server

import "time"

// hidden is what a worker on this host uses of the CPUs and does not tell. What was measured is compared with what it had
// reported by the same time, which is known once the next report has come: as they are made at different times, in each
// window one of them says more than the other, and the next time less.
type hidden struct {
	cores float64       // between the last two measurements that were compared
	ahead time.Duration // by which what it reported before is over what was measured

	pending  sensed        // a measurement that is newer than the reports
	compared sensed        // the one that was compared last
	told     sensed        // the newest one
	reported time.Duration // the CPU time that was reported by the time of compared
}

// measure takes a measurement.
func (h *hidden) measure(m sensed) {
	if h.pending.at == 0 && m.at > h.compared.at {
		h.pending = m
	}
}

// compare takes a report of the CPU time that the worker has used by a time.
func (h *hidden) compare(cpu, at time.Duration) {
	before := h.told
	if before.at == 0 {
		before = sensed{cpu, at}
	}
	if h.told = (sensed{cpu, at}); before.cpu < 0 || cpu < before.cpu {
		*h = hidden{told: h.told, pending: h.pending} // it is not known, or begins anew
		return
	}
	p := h.pending
	if p.at > at {
		return
	}
	h.pending = sensed{}
	if p.at < before.at {
		return
	}
	reported := before.cpu
	if at > before.at {
		reported += time.Duration(float64(cpu-before.cpu) * float64(p.at-before.at) / float64(at-before.at))
	}
	if h.compared.at > 0 {
		used := max(0, p.cpu-h.compared.cpu)
		h.ahead += reported - h.reported - used
		h.cores = max(0, -float64(h.ahead)/float64(p.at-h.compared.at))
		h.ahead = max(0, min(h.ahead, used)) // what it says more in earnest is no credit for long
	}
	h.compared, h.reported = p, reported
}
