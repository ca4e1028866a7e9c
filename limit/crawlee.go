package limit

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

// Crawlee are the settings of the law "crawlee". The zero value has all defaults, which are those of its profile.
type Crawlee struct {
	// Profile is ProfileCrawleePython or ProfileCrawleeJS. Any other is ProfileCrawleePython.
	Profile snapshot.Profile

	// Min and Max bound the limit. 0 is 1 for Min, and for Max 100, or 200 in JavaScript.
	Min, Max int64

	// Desired is the limit at the beginning. 0 is 10, within Min and Max, or Min in JavaScript.
	Desired int64

	// Ratio is the share of the limit that must be in use before it grows, in (0, 1). 0 is 0.9.
	Ratio float64

	// StepUp and StepDown are the share of the limit by which it moves, in (0, 1]. 0 is 0.05.
	StepUp, StepDown float64

	// Interval is the time between two moves, in [1 ms, 1 h]. 0 is 10 s.
	Interval time.Duration
}

func (c *Crawlee) setDefaults() {
	js := c.Profile == snapshot.ProfileCrawleeJS
	most := int64(100)
	if js {
		most = 200
	}
	setDefault(&c.Min, 1)
	setDefault(&c.Max, max(most, c.Min))
	setDefault(&c.Ratio, 0.9)
	setDefault(&c.StepUp, 0.05)
	setDefault(&c.StepDown, 0.05)
	setDefault(&c.Interval, 10*time.Second)
	if c.Desired == 0 {
		c.Desired = c.Min
		if !js {
			c.Desired = min(max(10, c.Min), c.Max)
		}
	}
}

func setDefault[T comparable](field *T, to T) {
	var zero T
	if *field == zero {
		*field = to
	}
}

func (c *Crawlee) validate() error {
	var errs []error
	if c.Min < 1 {
		errs = append(errs, fmt.Errorf("min: %d is less than 1", c.Min))
	}
	if c.Max < c.Min {
		errs = append(errs, fmt.Errorf("max: %d is less than min, %d", c.Max, c.Min))
	}
	if c.Desired < c.Min || c.Desired > c.Max {
		errs = append(errs, fmt.Errorf("desired: %d is not in [%d, %d]", c.Desired, c.Min, c.Max))
	}
	if !(c.Ratio > 0 && c.Ratio < 1) {
		errs = append(errs, fmt.Errorf("ratio: %v is not in (0, 1)", c.Ratio))
	}
	for _, f := range []struct {
		name string
		step float64
	}{{"step-up", c.StepUp}, {"step-down", c.StepDown}} {
		if !(f.step > 0 && f.step <= 1) {
			errs = append(errs, fmt.Errorf("%s: %v is not in (0, 1]", f.name, f.step))
		}
	}
	if c.Interval < time.Millisecond || c.Interval > time.Hour {
		errs = append(errs, fmt.Errorf("interval: %v is not in [1ms, 1h]", c.Interval))
	}
	return errors.Join(errs...)
}

// NewCrawlee returns the law "crawlee": the scaling of Crawlee's AutoscaledPool. Every interval, the first at once,
// the limit grows by a share of itself, rounded up, while the historical status is idle and the most of it is in
// use, and falls by a share, rounded up, while the status is overloaded. While it is unknown the limit stays; the
// profiles of Crawlee judge what is unknown to be idle. All faults of the settings are reported at once.
//
// It may be stepped as often as one likes. It scales at multiples of the interval from the first step, or at the
// first step after them. In JavaScript it does not scale while a pool is [Pool.Capped].
func NewCrawlee(c Crawlee) (Law, error) {
	c.setDefaults()
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("limit: crawlee: %w", err)
	}
	return &crawlee{config: c, desired: c.Desired}, nil
}

type crawlee struct {
	config  Crawlee
	desired int64
	clock   ticker
	binding string
}

// ticker tells when an interval is over.
type ticker struct {
	begun bool
	next  time.Duration
}

// due reports whether the next interval is over, which it is at first, and begins another. A step that comes up to
// a hundredth of the interval early counts: whoever steps about once a second must not wait another one.
func (t *ticker) due(now, interval time.Duration) bool {
	if t.begun && now < t.next-interval/100 {
		return false
	}
	if t.next += interval; !t.begun || now >= t.next {
		t.next = now + interval
	}
	t.begun = true
	return true
}

func (*crawlee) Name() string { return "crawlee" }

func (c *crawlee) Step(in Input) Decision {
	if c.clock.due(in.At, c.config.Interval) {
		c.scale(&in)
	}
	return Decision{Limit: c.desired, Binding: c.binding}
}

func (c *crawlee) scale(in *Input) {
	if c.config.Profile == snapshot.ProfileCrawleeJS {
		for i := range in.Pools {
			if in.Pools[i].Capped {
				c.binding = "as many tasks were started as may be in a minute: the limit stays"
				return
			}
		}
	}
	desired, current := float64(c.desired), inUse(in)
	switch state := in.Historical.State; {
	case state == snapshot.StateOverloaded:
		c.binding = overloaded(&in.Historical)
		c.desired = max(c.config.Min, c.desired-int64(math.Ceil(c.config.StepDown*desired)))
	case state != snapshot.StateIdle:
		c.binding = "the load is unknown: the limit stays"
	case c.desired >= c.config.Max:
		c.binding = fmt.Sprintf("the maximum is %d", c.config.Max)
	case float64(current) < math.Floor(c.config.Ratio*desired):
		c.binding = fmt.Sprintf("%d of %d are in use, less than %v: the limit stays", current, c.desired, c.config.Ratio)
	default:
		c.desired = min(c.config.Max, c.desired+int64(math.Ceil(c.config.StepUp*desired)))
		c.binding = fmt.Sprintf("the limit grows by %v of itself every %v", c.config.StepUp, c.config.Interval)
	}
}

// inUse returns how many permits are in use.
func inUse(in *Input) int64 {
	var leased int64
	for i := range in.Pools {
		leased += in.Pools[i].Leased
	}
	return max(in.Charge, leased)
}
