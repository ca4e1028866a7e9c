package limit

import "time"

// The search for the limit of a target that answers some calls with "too many requests".
const (
	dirtyCount  = 2                // refusals in a window, and ...
	dirtyShare  = 0.005            // ... this share of the calls make it dirty
	firstCut    = 0.6              // of the limit is surely clean, at first
	backFrom    = 0.92             // of a dirty limit is the most that may be clean
	retryTime   = 4 * time.Second  // after a dirty window in which refusals are retries ...
	retryShare  = 0.05             // ... if they are at most this share of the calls
	cleanCount  = 3.0              // seconds of clean windows prove a limit
	firstProbe  = 15 * time.Second // from a proven limit to the next try of a higher one
	lastProbe   = 240 * time.Second
	closeEnough = 0.05 // between a clean and a dirty limit: the search holds
)

// ceiling is a search by bisection between a limit that was clean and one that was not.
type ceiling struct {
	at        float64 // the limit of now; 0 is none
	low, high float64 // clean, dirty
	clean     float64 // seconds of clean windows at the limit
	dirty     time.Duration
	probe     time.Duration // how long to hold
	held      float64       // seconds for which it was
	before    float64       // permits at work in the last window
}

// observe learns from a window of dt seconds.
func (c *ceiling) observe(now time.Duration, s *station, dt float64) {
	atWork := max(1, s.InUse-float64(s.Delayed))
	n := max(atWork, c.before) // a refusal holds back what starts next: fewer are at work for the rest of its window
	c.before = atWork
	refused, calls := float64(s.Throttled), float64(max(s.Calls, s.Throttled))
	if refused >= dirtyCount && refused > dirtyShare*calls {
		if c.at > 0 && now-c.dirty < retryTime && refused <= retryShare*calls {
			return
		}
		c.refused(now, n, refused/calls)
		return
	}
	if c.at == 0 {
		return
	}
	if s.InUse >= 0.9*c.at {
		c.clean += dt
		c.held += dt
	}
	switch {
	case c.clean < cleanCount:
	case c.high-c.at > closeEnough*c.high:
		c.low, c.clean, c.held = max(c.low, c.at), 0, 0
		c.at = (c.low + c.high) / 2
	case c.held >= c.probe.Seconds():
		c.low, c.clean, c.held = max(c.low, c.at), 0, 0
		c.high *= 1.1
		c.at = (c.low + c.high) / 2
		c.probe = min(2*c.probe, lastProbe)
	}
}

// refused takes note of a dirty window with n permits at work.
func (c *ceiling) refused(now time.Duration, n, share float64) {
	if c.at == 0 {
		c.high = n
		c.low = min(backFrom*n, max(firstCut*n, backFrom*n*(1-share)))
		c.probe = firstProbe
	} else {
		c.high = max(1.02*c.low, min(n, 1.05*c.high))
		c.low = min(c.low, backFrom*c.high)
	}
	c.at, c.dirty, c.clean, c.held = max(1, c.low), now, 0, 0
}
