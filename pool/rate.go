package pool

import (
	"math"
	"time"
)

// maxPerMinute bounds what is remembered of the starts of a minute.
const maxPerMinute = 1_000_000

// minute bounds the starts in any 60 s. The zero value bounds nothing.
type minute struct {
	most   int             // 0 for no bound
	starts []time.Duration // the last starts, as a ring of up to most
	next   int             // where the next start goes once the ring is full
}

func (m *minute) free(now time.Duration) (at time.Duration) {
	if m.most == 0 || len(m.starts) < m.most {
		return now
	}
	return m.starts[m.next] + time.Minute
}

func (m *minute) start(now time.Duration) {
	switch {
	case m.most == 0:
	case len(m.starts) < m.most:
		m.starts = append(m.starts, now)
	default:
		m.starts[m.next] = now
		m.next = (m.next + 1) % m.most
	}
}

// bucket is a token bucket. The zero value bounds nothing.
type bucket struct {
	interval time.Duration // between two tokens; 0 for no bound
	burst    int64
	full     time.Duration // when it will be full
}

func newBucket(perSecond float64, burst int64) bucket {
	if perSecond == 0 {
		return bucket{}
	}
	interval := math.Min(float64(time.Second)/perSecond, float64(maxWait))
	b := bucket{interval: max(time.Duration(interval), 1)}
	b.burst = min(burst, int64(maxWait/b.interval))
	return b
}

// maxWait is far over any wait, and keeps the arithmetic exact.
const maxWait = 365 * 24 * time.Hour

// free returns when there is a token.
func (b *bucket) free(now time.Duration) (at time.Duration) {
	if b.interval == 0 {
		return now
	}
	return max(now, b.full-time.Duration(b.burst-1)*b.interval)
}

func (b *bucket) start(now time.Duration) {
	if b.interval > 0 {
		b.full = max(b.full, now) + b.interval
	}
}
