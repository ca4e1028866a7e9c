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

// schedulerLatency differences the runtime's cumulative histogram of scheduling latency over a sliding
// second. After the first second it does not allocate.
type schedulerLatency struct {
	metrics func([]metrics.Sample) // metrics.Read
	sample  []metrics.Sample
	past    [][]uint64 // the cumulative counts of earlier readings, as a ring
	next    int        // where the present reading goes once it is judged
	n       int
}

func newSchedulerLatency(interval time.Duration, read func([]metrics.Sample)) *schedulerLatency {
	readings := max(1, int((schedulerWindow+interval-1)/interval))
	return &schedulerLatency{
		metrics: read,
		sample:  []metrics.Sample{{Name: schedulerMetric}},
		past:    make([][]uint64, readings),
	}
}

// read takes the present counts from the runtime.
func (s *schedulerLatency) read() { s.metrics(s.sample) }

// present returns what read took, or nil where the runtime has no such histogram.
func (s *schedulerLatency) present() *metrics.Float64Histogram {
	if v := s.sample[0].Value; v.Kind() == metrics.KindFloat64Histogram {
		return v.Float64Histogram()
	}
	return nil
}

// p99 returns the 99th percentile of the waits between the reading of a second ago, or the first, and this
// one. It is not known for fewer than 20 waits.
func (s *schedulerLatency) p99(now *metrics.Float64Histogram) (p99 time.Duration, known bool) {
	if now == nil {
		return 0, false
	}
	if s.n > 0 {
		base := s.past[0]
		if s.n == len(s.past) {
			base = s.past[s.next]
		}
		p99, known = percentile99(now.Counts, base, now.Buckets)
	}
	s.past[s.next] = append(s.past[s.next][:0], now.Counts...)
	s.next = (s.next + 1) % len(s.past)
	s.n = min(s.n+1, len(s.past))
	return p99, known
}

// restart makes this reading the first one.
func (s *schedulerLatency) restart(now *metrics.Float64Histogram) {
	s.n, s.next = 0, 0
	s.p99(now)
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
