package pool

import (
	"time"

	"github.com/headroom-rpc/headroom/limit"
	"github.com/headroom-rpc/headroom/permit"
)

// meter turns what happens to the tasks of a pool, and readings of what they use, into sums over time. It is pure:
// time is passed in.
type meter struct {
	sum      permit.Usage // but for what is said of now
	runnable float64      // seconds
	held     int64
	heldAt   time.Duration // of the last change of held
	at       time.Duration // of the last reading
	last     Usage
	begun    bool
	length   estimator
}

// hold takes note of how many permits are held from now on.
func (m *meter) hold(now time.Duration, held int64) {
	m.sum.Permits += time.Duration(m.held) * (now - m.heldAt)
	m.held, m.heldAt = held, now
}

// end counts a task. refused is whether what it called asked for fewer requests.
func (m *meter) end(took time.Duration, failed, refused bool) {
	m.sum.Completions++
	m.sum.Calls++
	if failed {
		m.sum.Failures++
	}
	if refused {
		m.sum.Throttled++
	}
	m.length.end(took, m.held, m.sum.Permits, m.sum.Completions)
}

// read takes a reading.
func (m *meter) read(now time.Duration, u Usage) {
	m.hold(now, m.held)
	if m.begun {
		if u.CPU >= 0 && m.last.CPU >= 0 {
			m.sum.CPU += max(0, u.CPU-m.last.CPU)
		}
		if u.Runnable >= 0 {
			m.runnable += min(u.Runnable, float64(m.held)) * (now - m.at).Seconds()
		}
	}
	m.begun, m.at, m.last = true, now, u
}

// usage returns the sums until the last reading. grown is that of [permit.Usage].
func (m *meter) usage(grown float64, delayed int64) permit.Usage {
	u := m.sum
	u.Uptime, u.Grown, u.Delayed = m.at, grown, delayed
	u.Memory, u.Duration = m.last.Memory, m.length.expected()
	u.Runnable = time.Duration(m.runnable * float64(time.Second))
	if m.last.Runnable < 0 {
		u.Runnable = -1
	}
	if m.last.CPU < 0 {
		u.CPU = -1
	}
	return u
}

// between returns what a pool did from one usage to a later one, where it holds so many permits now.
func between(past, now *permit.Usage, held int64) (window time.Duration, p limit.Pool) {
	p = limit.Pool{
		Leased: held, InUse: float64(held), Duration: max(0, now.Duration), Grown: max(0, now.Grown),
		Delayed: max(0, now.Delayed), Started: now.Starts - past.Starts, Completed: now.Completions - past.Completions,
		Failed: now.Failures - past.Failures, Calls: now.Calls - past.Calls, Throttled: now.Throttled - past.Throttled,
	}
	if p.MemoryKnown = now.Memory >= 0; p.MemoryKnown {
		p.Memory = now.Memory
	}
	window = now.Uptime - past.Uptime
	if window <= 0 {
		return 0, p
	}
	mean := func(now, past time.Duration) (float64, bool) {
		return (now - past).Seconds() / window.Seconds(), now >= 0 && past >= 0
	}
	p.InUse, _ = mean(now.Permits, past.Permits)
	p.CPU, p.CPUKnown = mean(now.CPU, past.CPU)
	if p.Runnable, p.RunnableKnown = mean(now.Runnable, past.Runnable); p.RunnableKnown {
		p.Runnable = min(p.Runnable, p.InUse)
	}
	return window, p
}

// hostMeter turns readings of the machine into windows.
type hostMeter struct {
	at    time.Duration // of the last reading
	last  Host
	begun bool

	// Sums since the window began, and how long that is.
	busy, queue                      float64 // core seconds; seconds of tasks
	crowded, stalled, queued, length time.Duration
}

// read takes a reading. rate is how many cores are in use where that is known rather than h.Busy, and negative
// otherwise.
func (m *hostMeter) read(now time.Duration, h Host, rate float64) {
	if m.begun {
		dt := now - m.at
		m.length += dt
		switch {
		case rate >= 0:
			m.busy += rate * dt.Seconds()
		case h.Busy >= 0 && m.last.Busy >= 0:
			m.busy += max(0, h.Busy-m.last.Busy).Seconds()
		}
		if h.RunQueue >= 0 {
			m.queued += dt
			m.queue += h.RunQueue * dt.Seconds()
			if h.RunQueue > 2*h.Cores {
				m.crowded += dt
			}
		}
		if h.Stalled >= 0 && m.last.Stalled >= 0 {
			m.stalled += max(0, h.Stalled-m.last.Stalled)
		}
	}
	if rate >= 0 {
		h.Busy = max(h.Busy, 0) // known, if not as a sum
	}
	m.begun, m.at, m.last = true, now, h
}

// window returns what was seen since the window began, and begins the next one.
func (m *hostMeter) window() limit.Host {
	h := limit.Host{
		Cores: m.last.Cores, MemoryUsed: m.last.MemoryUsed, MemoryTotal: m.last.MemoryTotal, Kills: m.last.Kills,
	}
	if m.length > 0 {
		if h.BusyKnown = m.last.Busy >= 0; h.BusyKnown {
			h.Busy = m.busy / m.length.Seconds()
		}
		if h.RunQueueKnown = m.queued > 0; h.RunQueueKnown {
			h.RunQueue = m.queue / m.queued.Seconds()
			h.Crowded = float64(m.crowded) / float64(m.queued)
		}
		if h.StalledKnown = m.last.Stalled >= 0; h.StalledKnown {
			h.Stalled = min(1, float64(m.stalled)/float64(m.length))
		}
	}
	m.restart()
	return h
}

// restart begins a window.
func (m *hostMeter) restart() {
	m.busy, m.queue, m.crowded, m.stalled, m.queued, m.length = 0, 0, 0, 0, 0, 0
}

// estimator tells how long a task is expected to take. While few have ended, those that did are the short ones, so it
// goes by the time that all have taken for each that ended; after three populations it is a moving average.
type estimator struct {
	most int64 // that were held at once
	mean float64
}

// populations is how many generations of tasks must have ended before their mean counts alone.
const populations = 3

func (e *estimator) end(took time.Duration, held int64, permits time.Duration, completed int64) {
	e.most = max(e.most, held)
	if completed <= populations*e.most {
		e.mean = float64(permits) / float64(completed)
		return
	}
	e.mean += (float64(took) - e.mean) / float64(max(2*held, 20))
}

func (e *estimator) expected() time.Duration { return time.Duration(e.mean) }
