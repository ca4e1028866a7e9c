package server

import "time"

// hidden is what a worker on this host uses of the CPUs and does not tell. What was measured is compared with what it had
// reported by the same time, which is known once the next report has come: as they are made at different times, in each
// window one of them says more than the other, and the next time less.
type hidden struct {
	cores float64 // between the last two measurements that were compared
	known bool    // there were two, since what it reports began
	ahead float64 // CPU seconds by which what it reported before is over what was measured

	pending  sensed        // a measurement that is newer than the reports
	compared sensed        // the one that was compared last
	at       time.Duration // of the newest report; 0 if there is none
	told     float64       // CPU seconds that it reported from compared to at
}

// measure takes a measurement.
func (h *hidden) measure(m sensed) {
	if h.pending.at == 0 && m.at > h.compared.at {
		h.pending = m
	}
}

// compare takes a report, made at a time, of the mean of the cores that the worker has used since the one before; known is
// false where that is not known. As a mean it says no less by a clock of the worker's that goes faster or slower.
func (h *hidden) compare(cores float64, known bool, at time.Duration) {
	before := h.at
	at = max(at, before)
	if h.pending.at < before || before == 0 && h.pending.at < at {
		h.pending = sensed{}
	}
	if before == 0 || !known {
		*h = hidden{at: at, pending: h.pending} // it begins anew
		return
	}
	h.at = at
	p := h.pending
	if p.at == 0 || p.at > at {
		h.told += cores * (at - before).Seconds()
		return
	}
	h.told += cores * (p.at - before).Seconds()
	if h.compared.at > 0 {
		used := max(0, (p.cpu - h.compared.cpu).Seconds())
		h.ahead += h.told - used
		h.cores, h.known = max(0, -h.ahead/(p.at-h.compared.at).Seconds()), true
		h.ahead = max(0, min(h.ahead, used)) // what it says more in earnest is no credit for long
	}
	h.pending, h.compared = sensed{}, p
	h.told = cores * (at - p.at).Seconds()
}
