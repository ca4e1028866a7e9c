package permit

import "github.com/headroom-rpc/headroom/internal/mistake"

// maxPending bounds the targets that one session may be going by at once.
const maxPending = 8

// A promise is a target that was sent.
type promise struct{ version, target int64 }

// A charge is what the server must assume that a session holds of a resource, and why: what it said that it
// holds, and every target that it may be going by. Its zero value is a session that was promised nothing.
type charge struct {
	held    int64 // as reported, and never more than it could be
	target  int64 // of the newest version
	version int64 // 0 before the first target
	sent    int64 // the newest version that was taken for sending: it, or the one before it
	applied int64 // the newest version that the worker is known to have applied

	// pending[:n] are the promises from the one applied on. Versions grow and targets fall: where a later
	// target is not lower, every report that counts the earlier one counts it too.
	pending [maxPending]promise
	n       int
}

// amount returns the charge: no worker that keeps to the protocol can hold more.
func (c *charge) amount() int64 {
	k := c.held
	if c.n > 0 {
		k = max(k, c.pending[0].target)
	}
	if c.version > c.sent {
		k = max(k, c.target)
	}
	return k
}

// set makes target the newest one. One that was not sent is replaced, and with it what it was charged for.
func (c *charge) set(target int64) {
	lower := target < c.target
	if c.version == c.sent {
		c.version++
	}
	c.target = target
	if lower && mistake.Planted(mistake.LowerFrees) {
		c.forget(target)
	}
}

// take takes the newest target for sent.
func (c *charge) take() {
	if c.version == c.sent {
		return
	}
	if mistake.Planted(mistake.FreeOnSend) {
		c.forget(c.target)
	}
	c.promise(c.version, c.target)
	c.sent = c.version
}

// promise adds what the worker may be going by. Where there is no room for one more, the two oldest become one
// that holds as long as the later and counts as much as the earlier.
func (c *charge) promise(version, target int64) {
	for c.n > 0 && c.pending[c.n-1].target <= target {
		c.n--
	}
	if c.n == maxPending {
		c.pending[1].target = c.pending[0].target
		c.n = copy(c.pending[:], c.pending[1:])
	}
	c.pending[c.n] = promise{version, target}
	c.n++
}

// report takes what the worker said: the version that it goes by, what it holds and, if it gave something
// back, the ceiling that it keeps under that version. It never raises the charge. It reports whether the worker
// said what cannot be.
func (c *charge) report(version, held, ceiling int64, yields bool) (mismatch bool) {
	mismatch = version > c.sent
	// A version is never left for an older one, and the promises of the older ones are gone.
	version = max(min(version, c.sent), c.applied)
	if mistake.Planted(mistake.AckWrongVersion) {
		version = c.sent
	}
	if most := c.amount(); held > most {
		held, mismatch = most, true
	}
	c.applied, c.held = version, held
	past := 0
	for past < c.n && c.pending[past].version < version {
		past++
	}
	c.drop(past)
	if yields {
		c.yield(version, max(ceiling, held))
	}
	return mismatch
}

// yield lowers the promise of a version that the worker goes by to its ceiling.
func (c *charge) yield(version, ceiling int64) {
	if c.n == 0 || c.pending[0].version != version || ceiling >= c.pending[0].target {
		return
	}
	c.pending[0].target = ceiling
	if c.n > 1 && ceiling <= c.pending[1].target {
		c.drop(1)
	}
	if version == c.version && !mistake.Planted(mistake.YieldKeepsTarget) {
		c.target = ceiling
	}
}

func (c *charge) drop(n int) { c.n = copy(c.pending[:], c.pending[n:c.n]) }

// forget bounds what is charged, whatever the worker may hold: only mistakes do that.
func (c *charge) forget(most int64) {
	c.held = min(c.held, most)
	if c.n > 0 {
		c.pending[0] = promise{c.sent, min(c.pending[c.n-1].target, most)}
		c.n = 1
	}
}

// acknowledged reports whether the worker goes by the newest target.
func (c *charge) acknowledged() bool { return c.applied == c.version }
