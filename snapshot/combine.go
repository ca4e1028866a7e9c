package snapshot

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// loopDelay returns the workers' combined event-loop delay and how many workers are behind it.
func (r *Reports) loopDelay(now time.Duration) (delay time.Duration, reporters int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sweepLocked(now)
	worst := map[string]time.Duration{}
	for _, w := range r.workers {
		if w.loop && !w.expired(now) {
			reporters++
			worst[w.identity] = max(worst[w.identity], w.delay)
		}
	}
	return upperMedian(worst, cmp.Compare), reporters
}

// reportedErrors is the workers' account of rate-limit errors on one retry index.
type reportedErrors struct {
	errors    int64 // new since the last time
	total     int64 // of the workers that are alive
	reporters int   // the workers that are alive
	known     bool  // some worker said something
}

// takeClientErrors returns the workers' combined new errors on a retry index and hands them out for good.
func (r *Reports) takeClientErrors(now time.Duration, retryIndex int) reportedErrors {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sweepLocked(now)
	var sum reportedErrors
	worst := map[string]int64{}
	for _, w := range r.workers {
		if w.errors == nil {
			continue
		}
		fresh, total := w.take(retryIndex)
		if !w.expired(now) {
			sum.total = addCounts(sum.total, total)
			sum.reporters++
		} else if fresh == 0 {
			continue // it is kept for errors on another index
		}
		sum.known = true
		worst[w.identity] = max(worst[w.identity], fresh)
	}
	// Those that expired have now been counted.
	r.sweepLocked(now)
	sum.errors = upperMedian(worst, cmp.Compare)
	return sum
}

// signalNames returns the names of the custom signals that workers report.
func (r *Reports) signalNames(now time.Duration) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sweepLocked(now)
	return slices.Sorted(maps.Keys(r.signals))
}

// signal returns the workers' combined value of a custom signal and how many workers are behind it.
func (r *Reports) signal(now time.Duration, name string) (worst ReportedSignal, reporters int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	byIdentity := map[string]ReportedSignal{}
	for w := range r.signals[name] {
		if w.expired(now) {
			continue
		}
		reporters++
		sig := w.signals[name]
		if old, ok := byIdentity[w.identity]; !ok || worse(sig, old) {
			byIdentity[w.identity] = sig
		}
	}
	return upperMedian(byIdentity, compareSignals), reporters
}

// worse reports whether a is further over its bound than b.
func worse(a, b ReportedSignal) bool { return compareSignals(a, b) > 0 }

// compareSignals orders signals by how far they are over their bound; of equals the greater value is the
// worse, so that the order of the workers does not matter.
func compareSignals(a, b ReportedSignal) int {
	return cmp.Or(cmp.Compare(a.Value-a.Limit, b.Value-b.Limit), cmp.Compare(a.Value, b.Value))
}

// upperMedian returns the middle of what the identities gave, the greater one of two in the middle, or zero
// for none.
func upperMedian[T any](byIdentity map[string]T, compare func(a, b T) int) (median T) {
	if len(byIdentity) == 0 {
		return median
	}
	values := make([]T, 0, len(byIdentity))
	for _, v := range byIdentity {
		values = append(values, v)
	}
	slices.SortFunc(values, compare)
	return values[len(values)/2]
}
