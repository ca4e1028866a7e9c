package snapshot

import (
	"math"
	"runtime/metrics"
	"time"
)

const (
	schedulerMetric = "/sched/latencies:seconds"
	schedulerWindow = time.Second

	// minSchedulerWaits is how many waits make a percentile. The runtime samples one transition in eight
	// and counts a wait only when it is over, so under saturation a window can hold two.
	minSchedulerWaits = 20
)

// readScheduler returns a function that gives the runtime's cumulative histogram of scheduling latency, or
// nil where there is none. It gives the same one each time, with new counts.
func readScheduler() func() *metrics.Float64Histogram {
	sample := []metrics.Sample{{Name: schedulerMetric}}
	return func() *metrics.Float64Histogram {
		metrics.Read(sample)
		if sample[0].Value.Kind() != metrics.KindFloat64Histogram {
			return nil
		}
		return sample[0].Value.Float64Histogram()
	}
}

// schedulerLatency differences a cumulative histogram over a sliding second. After the first second it does
// not allocate.
type schedulerLatency struct {
	read func() *metrics.Float64Histogram
	now  *metrics.Float64Histogram // as last read
	past [][]uint64                // the counts of earlier readings, as a ring
	next int                       // where the present counts go once they are judged
	n    int
}

func newSchedulerLatency(interval time.Duration, read func() *metrics.Float64Histogram) *schedulerLatency {
	readings := max(1, int((schedulerWindow+interval-1)/interval))
	return &schedulerLatency{read: read, past: make([][]uint64, readings)}
}

// fetch takes the present counts.
func (s *schedulerLatency) fetch() { s.now = s.read() }

// p99 returns the 99th percentile of the waits between the reading of a second ago, or the first, and the
// present one. It is not known for fewer than 20 waits.
func (s *schedulerLatency) p99() (p99 time.Duration, known bool) {
	if s.now == nil {
		return 0, false
	}
	if s.n > 0 {
		base := s.past[0]
		if s.n == len(s.past) {
			base = s.past[s.next]
		}
		p99, known = percentile99(s.now.Counts, base, s.now.Buckets)
	}
	s.past[s.next] = append(s.past[s.next][:0], s.now.Counts...)
	s.next = (s.next + 1) % len(s.past)
	s.n = min(s.n+1, len(s.past))
	return p99, known
}

// restart makes the present reading the first one.
func (s *schedulerLatency) restart() {
	s.n, s.next = 0, 0
	s.p99()
}

// percentile99 returns the lower edge of the bucket that holds the 99th percentile of the waits counted
// since base: at least one wait in a hundred was that long or longer.
func percentile99(counts, base []uint64, buckets []float64) (time.Duration, bool) {
	var total uint64
	for i, c := range counts {
		total += c - base[i]
	}
	if total < minSchedulerWaits {
		return 0, false
	}
	rest := total / 100 // how many waits lie above the percentile
	i := len(counts) - 1
	for above := uint64(0); i > 0; i-- {
		above += counts[i] - base[i]
		if above > rest {
			break
		}
	}
	edge := max(buckets[i], 0)
	return time.Duration(math.Round(edge * float64(time.Second))), true
}
