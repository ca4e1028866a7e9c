package client

import "github.com/headroom-rpc/headroom/permit"

// Report states what runs under the permits uses, as sums since the first report, for the law by which the server limits
// the resource; Uptime is set. It goes out at once where it is the first of work that holds permits, at most every 200 ms in
// the next three seconds, and later about as often as there are heartbeats; it holds until the next call. Of several
// handles of one resource the counts add up, and of CPU, Runnable and Memory, which each may have measured for the whole
// process, the greatest counts. A pool of [NewPool] does this by itself. It does not block.
func (h *Permits) Report(u permit.Usage) {
	s := h.share
	s.mu.Lock()
	defer s.mu.Unlock()
	u.Uptime = s.attach.now()
	h.usage, h.hasUsage = u, true
	s.demandChanged()
}

// addUsage adds what one more handle reported to what others did. What one of them does not know nobody does, but for
// what may have been measured for the whole process.
func addUsage(sum permit.Usage, some bool, u permit.Usage) permit.Usage {
	if !some {
		return u
	}
	sum.Uptime = max(sum.Uptime, u.Uptime)
	sum.CPU, sum.Runnable, sum.Memory = max(sum.CPU, u.CPU), max(sum.Runnable, u.Runnable), max(sum.Memory, u.Memory)
	sum.Permits = add(sum.Permits, u.Permits)
	sum.Grown, sum.Delayed = add(sum.Grown, u.Grown), add(sum.Delayed, u.Delayed)
	sum.Duration = max(sum.Duration, u.Duration)
	sum.Starts, sum.Completions = add(sum.Starts, u.Starts), add(sum.Completions, u.Completions)
	sum.Failures, sum.Calls, sum.Throttled = add(sum.Failures, u.Failures), add(sum.Calls, u.Calls), add(sum.Throttled, u.Throttled)
	return sum
}

// add returns the sum of two figures, either of which is not known if it is negative.
func add[T ~int64 | ~float64](a, b T) T {
	if a < 0 || b < 0 {
		return -1
	}
	return a + b
}
