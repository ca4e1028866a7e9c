package server

import "time"

// settle is how long a change waits for company: signals that are sampled at the same tick travel in one
// message.
const settle = 10 * time.Millisecond

// intervals are the steps that a subscriber's interval is rounded to, so that there are few feeds.
var intervals = [...]time.Duration{
	100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second,
}

// roundInterval returns the shortest step that is at least asked, so that nobody is sent more than he asked
// for, or the longest step. None or zero is 1 s.
func roundInterval(asked time.Duration) time.Duration {
	if asked <= 0 {
		return time.Second
	}
	for _, step := range intervals {
		if asked <= step {
			return step
		}
	}
	return intervals[len(intervals)-1]
}

// maxSilence is the longest time between two messages of a stream: 10 s, or twice the interval if that is
// longer.
func maxSilence(interval time.Duration) time.Duration {
	return max(10*time.Second, 2*interval)
}

// schedule decides when a feed is sent its next state. It reads no clock; its times are those
// of the hub.
type schedule struct {
	interval         time.Duration
	sent             time.Duration // when the last state was due
	version, verdict uint64        // of the last state sent

	changed, urgent     bool          // a newer state, a newer verdict waits
	changedAt, urgentAt time.Duration // since when
}

func newSchedule(interval, now time.Duration, version, verdict uint64) schedule {
	return schedule{interval: interval, sent: now, version: version, verdict: verdict}
}

// observe takes note of the present state.
func (s *schedule) observe(now time.Duration, version, verdict uint64) {
	if version != s.version && !s.changed {
		s.changed, s.changedAt = true, now
	}
	if verdict != s.verdict && !s.urgent {
		s.urgent, s.urgentAt = true, now
	}
}

// due returns when the next state is to be sent: a change after the interval, a verdict at once, and without
// either after three quarters of the silence that was promised, which leaves the rest for the way.
func (s *schedule) due() time.Duration {
	due := s.sent + maxSilence(s.interval)*3/4
	if s.changed {
		due = min(due, max(s.sent+s.interval, s.changedAt+settle))
	}
	if s.urgent {
		due = min(due, s.urgentAt+settle)
	}
	return due
}

// record notes that the state of version and verdict is sent now. A send that is only a little late counts
// from when it was due, so that lateness does not add up.
func (s *schedule) record(now time.Duration, version, verdict uint64) {
	sent := s.due()
	if now-sent > settle {
		sent = now
	}
	*s = newSchedule(s.interval, sent, version, verdict)
}
