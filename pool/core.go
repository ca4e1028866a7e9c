package pool

import (
	"time"

	"github.com/headroom-rpc/headroom/limit"
	"github.com/headroom-rpc/headroom/snapshot"
)

// Block is why no task starts.
type Block string

// The reasons, in the order in which they are looked at.
const (
	BlockNone     Block = ""
	BlockStopped  Block = "stopped"   // the pool does not run, or is being stopped
	BlockPaused   Block = "paused"    // [Pool.Pause] was called
	BlockLimit    Block = "limit"     // as many run as may
	BlockOverload Block = "overload"  // a crawlee profile starts no more than the minimum on an overloaded machine
	BlockMemory   Block = "memory"    // the start gate on memory is shut
	BlockMinute   Block = "minute"    // MaxTasksPerMinute were started in the last minute
	BlockRate     Block = "rate"      // there is no token for a start
	BlockPermits  Block = "permits"   // no permits are to be had
	BlockKey      Block = "key"       // all that waits is throttled
	BlockReady    Block = "not ready" // there is no work
)

// core is what a pool decides by. It is pure: time is passed in.
type core struct {
	profile    Profile
	min, max   int64 // as they were set; max wins where they contradict each other
	desired    int64
	chosen     bool // by the user, since the last step of the law
	byPermits  bool // whether the limit is that of the permits
	ratio      float64
	up, down   float64
	scaling    string // what the last step of a crawlee profile rested on, for people
	paused     bool
	stopped    bool
	overloaded bool // as last judged, for the crawlee profiles
	minute     minute
	bucket     bucket
	pace       bucket // of MaxTasksPerMinute in ProfileCrawleePython

	tasks int64 // how many run
	held  int64 // the permits that they hold

	// The start gate on memory, by what is used, what a task is expected to take, and how much of that those that run
	// have reached. unseen are the permits of the starts over those of the ends since used was read.
	gate     limit.Gate
	share    limit.Share
	used     int64
	climb    climb // of used
	unseen   int64
	grown    float64
	duration time.Duration // that a task is expected to take

	shedUntil time.Duration // nothing more than the floor starts, as some was cancelled
}

func newCore(o *Options) core {
	c := core{
		profile: o.Profile, min: o.Min, max: o.Max, desired: o.Desired, byPermits: o.Permits != nil,
		ratio: o.DesiredRatio, up: o.StepUpRatio, down: o.StepDownRatio, stopped: true,
		bucket: newBucket(o.Starts.PerSecond, o.Starts.Burst),
	}
	if o.Profile == ProfileCrawleePython {
		c.pace = newBucket(o.MaxTasksPerMinute/60, 1)
	} else {
		c.minute.most = int(o.MaxTasksPerMinute)
	}
	if c.chosen = c.desired > 0; !c.chosen {
		c.desired = c.floor()
	}
	return c
}

// begin forgets what ran and started before.
func (c *core) begin() {
	c.stopped, c.tasks, c.held = false, 0, 0
	c.overloaded, c.gate, c.used, c.climb, c.unseen, c.grown, c.shedUntil = false, limit.Gate{}, 0, climb{}, 0, 0, 0
	c.minute = minute{most: c.minute.most}
	c.bucket.full, c.pace.full = 0, 0
}

// floor is how many run even under overload.
func (c *core) floor() int64 { return min(c.min, c.max) }

// limit is how many may run.
func (c *core) limit() int64 {
	if c.byPermits {
		return c.max
	}
	return min(max(c.desired, c.floor()), c.max)
}

// setDesired takes what is outside of the bounds for the nearest.
func (c *core) setDesired(n int64) { c.desired = min(max(n, c.floor()), c.max) }

// block returns why a task of that weight may not start now, and for a wait of known length its end.
func (c *core) block(now time.Duration, weight int64) (b Block, until time.Duration) {
	over := func(limit int64) bool { return c.tasks > 0 && c.held+weight > limit }
	switch {
	case c.stopped:
		return BlockStopped, 0
	case c.paused:
		return BlockPaused, 0
	case over(c.limit()):
		return BlockLimit, 0
	case c.overloaded && over(c.floor()):
		return BlockOverload, 0
	case over(c.floor()) && (now < c.shedUntil || !c.gate.Open(c.used, c.growth())):
		return BlockMemory, 0
	}
	if at := c.minuteFree(now); at > now {
		return BlockMinute, at
	}
	if at := c.bucket.free(now); at > now {
		return BlockRate, at
	}
	return BlockNone, 0
}

// growth returns how much more memory those that run will take than is used, in bytes. What started since that was read
// counts in full: the old may have grown over what is expected of all, but for it there is nothing yet in what is used.
func (c *core) growth() int64 {
	grown := c.grown - float64(c.unseen)*limit.Growth(0, c.duration)
	return c.share.Growth(c.unseen, 0) + c.share.Growth(c.held-c.unseen, max(0, grown))
}

func (c *core) minuteFree(now time.Duration) time.Duration {
	return max(c.minute.free(now), c.pace.free(now))
}

// start takes note of a start that block allowed.
func (c *core) start(now time.Duration, weight int64) {
	c.tasks++
	c.held += weight
	c.unseen += weight
	c.grown += float64(weight) * limit.Growth(0, c.duration)
	c.minute.start(now)
	c.bucket.start(now)
	c.pace.start(now)
}

// end takes note of the end of a task of an age.
func (c *core) end(weight int64, age time.Duration) {
	c.tasks--
	c.held -= weight
	c.unseen = max(0, c.unseen-weight)
	c.grown = max(0, c.grown-float64(weight)*limit.Growth(age, c.duration))
}

// scale is a step of a crawlee profile.
func (c *core) scale(now time.Duration, historical snapshot.Status) {
	// A law goes on from the desired concurrency that it has; this one begins with that which may have been set.
	law, err := limit.NewCrawlee(limit.Crawlee{
		Profile: snapshot.Profile(c.profile), Min: c.floor(), Max: c.max, Desired: c.limit(),
		Ratio: c.ratio, StepUp: c.up, StepDown: c.down,
	})
	if err != nil {
		c.scaling = err.Error()
		return
	}
	d := law.Step(limit.Input{
		Historical: historical, Charge: c.held, Pools: []limit.Pool{{Capped: c.minuteFree(now) > now}},
	})
	c.desired, c.scaling = d.Limit, d.Binding
}
