package snapshot

import (
	"math"
	"time"
)

// worker is the state of one reporter.
type worker struct {
	identity string
	expire   time.Duration // from when on the report no longer holds
	delay    time.Duration
	loop     bool // whether delay means anything
	signals  map[string]ReportedSignal

	memory    ReportedMemory
	hasMemory bool          // whether memory means anything
	reported  time.Duration // when it was stated

	// errors counts rate-limit errors by retry index; nil until the worker said something about them.
	// began is whether it counts on from its previous report.
	errors map[int]*retryErrors
	began  bool
}

// retryErrors are the errors that one worker counted on one retry index.
type retryErrors struct {
	raw   int64 // as last reported
	total int64 // since the first report and before it, over restarts of the worker
	fresh int64 // counted since the first report and not handed out yet
}

func (w *worker) expired(now time.Duration) bool { return now >= w.expire }

func (w *worker) hasUntaken() bool {
	for _, e := range w.errors {
		if e.fresh > 0 {
			return true
		}
	}
	return false
}

// count takes a worker's cumulative counts.
func (w *worker) count(counts map[int]int64) {
	if w.errors == nil {
		w.errors = make(map[int]*retryErrors, len(counts))
	}
	if !w.began || w.restarted(counts) {
		for index, e := range w.errors {
			e.raw = 0
			if !w.began {
				e.total = 0
			}
			if _, again := counts[index]; !again && e.fresh == 0 {
				delete(w.errors, index)
			}
		}
	}
	for index, n := range counts {
		e := w.errors[index]
		if e == nil {
			if len(w.errors) >= maxReportedRetries {
				continue
			}
			e = &retryErrors{}
			w.errors[index] = e
		}
		added := n - e.raw
		e.raw = n
		e.total = addCounts(e.total, added)
		if w.began {
			e.fresh = addCounts(e.fresh, added)
		}
	}
	w.began = true
}

// restarted reports whether some count fell.
func (w *worker) restarted(counts map[int]int64) bool {
	for index, e := range w.errors {
		if counts[index] < e.raw {
			return true
		}
	}
	return false
}

// take hands out the new errors of a retry index.
func (w *worker) take(retryIndex int) (fresh, total int64) {
	e := w.errors[retryIndex]
	if e == nil {
		return 0, 0
	}
	fresh, e.fresh = e.fresh, 0
	return fresh, e.total
}

// addCounts adds two counts that are not negative, up to the largest.
func addCounts(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
