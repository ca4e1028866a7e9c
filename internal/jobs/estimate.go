package jobs

import "time"

// estimateMemory is how far back an Estimate looks, in completions.
const estimateMemory = 100

// An Estimate says when all jobs will be done, by the pace of the last 100 or so. Its zero value knows nothing.
type Estimate struct {
	began   bool
	last    time.Duration // when a job was completed, or the first began
	done    float64       // completions, of which older ones count less
	elapsed float64       // seconds in which they came
}

// Begin says when the first job began.
func (e *Estimate) Begin(now time.Duration) {
	if !e.began {
		e.began, e.last = true, now
	}
}

// Complete counts a job that ended.
func (e *Estimate) Complete(now time.Duration) {
	e.Begin(now)
	const keep = 1 - 1.0/estimateMemory
	e.elapsed = e.elapsed*keep + max(0, now-e.last).Seconds()
	e.done = e.done*keep + 1
	e.last = now
}

// Left returns how long left more jobs will take; ok is false before the first is done.
func (e *Estimate) Left(now time.Duration, left int64) (d time.Duration, ok bool) {
	if e.done == 0 || left < 0 {
		return 0, false
	}
	seconds := float64(left)*e.elapsed/e.done - max(0, now-e.last).Seconds()
	return time.Duration(max(0, min(seconds, 1e8)) * float64(time.Second)), true
}
