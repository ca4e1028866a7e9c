package client

import (
	"cmp"
	"math/rand/v2"
	"time"
)

// Retries wait 100 ms, 200 ms and so on up to 5 s on average; each wait is drawn from nothing to twice
// that, so that a thousand clients of a restarted server do not come at once.
const (
	retryBase   = 100 * time.Millisecond
	retryGrowth = 2
	retryMax    = 5 * time.Second
)

// backoff counts attempts that failed in a row. Its zero value waits without jitter.
type backoff struct {
	jitter     float64       // share of the wait that is random, in [0, 1]
	base, most time.Duration // retryBase and retryMax where they are 0
	next       time.Duration
}

// delay returns how long to wait after one more failure.
func (b *backoff) delay() time.Duration {
	b.next = max(cmp.Or(b.base, retryBase), min(b.next, cmp.Or(b.most, retryMax)))
	d := float64(b.next) * (1 + b.jitter*(2*rand.Float64()-1))
	b.next *= retryGrowth
	return time.Duration(d)
}

func (b *backoff) reset() { b.next = 0 }
