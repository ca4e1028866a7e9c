package server

import "time"

const (
	// settle is how long a verdict waits for others of the same tick to travel in one message, and how late a state
	// may be sent that counts as sent when it was due. Snapshots without a verdict are told together as it is.
	settle = 10 * time.Millisecond

	// early is how much before the interval is over a new snapshot may come that is sent at once: timers are late by
	// more or less.
	early = 5 * time.Millisecond

	// maxPatience is how long a state waits for a newer one at most, once its interval is over.
	maxPatience = 500 * time.Millisecond
)

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

	seen    uint64        // the newest version
	news    time.Duration // when it was seen first
	changed bool          // it is newer than version

	urgent   bool          // a newer verdict waits
	urgentAt time.Duration // since when
}

func newSchedule(interval, now time.Duration, version, verdict uint64) schedule {
	return schedule{interval: interval, sent: now, version: version, verdict: verdict, seen: version}
}

// observe takes note of the present state.
func (s *schedule) observe(now time.Duration, version, verdict uint64) {
	if version != s.seen {
		s.seen, s.news, s.changed = version, now, true
	}
	if verdict != s.verdict && !s.urgent {
		s.urgent, s.urgentAt = true, now
	}
}

// due returns when the next state is to be sent: a snapshot that comes after the interval at once, one that came
// earlier with the next snapshot, which is fresher and finds the server awake, or after half an interval; a verdict
// after settle, and without either after three quarters of the silence that was promised, which leaves the rest for
// the way.
func (s *schedule) due() time.Duration {
	due := s.sent + maxSilence(s.interval)*3/4
	if ready := s.sent + s.interval; s.changed && s.news >= ready-early {
		due = min(due, s.news)
	} else if s.changed {
		due = min(due, ready+min(s.interval/2, maxPatience))
	}
	if s.urgent {
		due = min(due, s.urgentAt+settle)
	}
	return due
}

// record notes that the state of version and verdict is sent now. A send that is only a little late or early counts
// from when it was due, or could be at the earliest, so that neither adds up.
func (s *schedule) record(now time.Duration, version, verdict uint64) {
	sent := s.due()
	if now-sent > settle {
		sent = now
	}
	if ready := s.sent + s.interval; sent < ready && ready-sent <= early {
		sent = ready
	}
	*s = newSchedule(s.interval, sent, version, verdict)
}
