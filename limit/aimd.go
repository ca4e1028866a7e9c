package limit

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

// AIMD are the settings of the law "aimd". The zero value has all defaults.
type AIMD struct {
	// Min and Max bound the limit. 0 is 1 for Min, and for Max none.
	Min, Max int64

	// Start is the limit at the beginning. 0 is the CPU capacity in cores, rounded up, within Min and Max.
	Start int64

	// Increase is what the limit grows by in an interval, over 0. 0 is 1.
	Increase float64

	// Decrease is what the limit is multiplied with when it falls, in [0.1, 0.99]. 0 is 0.9.
	Decrease float64

	// Interval is the least time between two moves, in [1 ms, 1 h]. 0 is 1 s.
	Interval time.Duration
}

func (c *AIMD) setDefaults() {
	setDefault(&c.Min, 1)
	setDefault(&c.Max, mostPermits)
	setDefault(&c.Increase, 1)
	setDefault(&c.Decrease, 0.9)
	setDefault(&c.Interval, time.Second)
}

func (c *AIMD) validate() error {
	var errs []error
	if c.Min < 1 {
		errs = append(errs, fmt.Errorf("min: %d is less than 1", c.Min))
	}
	if c.Max < c.Min {
		errs = append(errs, fmt.Errorf("max: %d is less than min, %d", c.Max, c.Min))
	}
	if c.Start != 0 && (c.Start < c.Min || c.Start > c.Max) {
		errs = append(errs, fmt.Errorf("start: %d is not in [%d, %d]", c.Start, c.Min, c.Max))
	}
	if !(c.Increase > 0 && c.Increase <= mostPermits) {
		errs = append(errs, fmt.Errorf("increase: %v is not in (0, %v]", c.Increase, mostPermits))
	}
	errs = append(errs, within("decrease", c.Decrease, 0.1, 0.99))
	if c.Interval < time.Millisecond || c.Interval > time.Hour {
		errs = append(errs, fmt.Errorf("interval: %v is not in [1ms, 1h]", c.Interval))
	}
	return errors.Join(errs...)
}

// NewAIMD returns the law "aimd": additive increase, multiplicative decrease. Once in an interval the limit falls
// to a share of itself if the current status is overloaded, or a pool was refused for too many requests since the
// last move; else it grows by a fixed number if the status is idle and at least nine tenths of it are in use. All
// faults of the settings are reported at once.
func NewAIMD(c AIMD) (Law, error) {
	c.setDefaults()
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("limit: aimd: %w", err)
	}
	return &aimd{config: c, limit: float64(c.Start)}, nil
}

type aimd struct {
	config    AIMD
	limit     float64 // 0 before the first step
	clock     ticker
	throttled int64 // since the last move
	binding   string
}

func (*aimd) Name() string { return "aimd" }

func (a *aimd) Step(in Input) Decision {
	if a.limit == 0 {
		n := math.Ceil(in.Host.Cores)
		if !(n >= 1 && n < mostPermits) {
			n = math.Ceil(cores(in.Newest))
		}
		a.limit = min(max(n, float64(a.config.Min)), float64(a.config.Max))
	}
	for i := range in.Pools {
		a.throttled += max(0, in.Pools[i].Throttled)
	}
	if a.clock.due(in.At, a.config.Interval) {
		a.move(&in)
	}
	return Decision{Limit: int64(a.limit), Binding: a.binding}
}

func (a *aimd) move(in *Input) {
	switch state := in.Current.State; {
	case a.throttled > 0:
		a.binding = fmt.Sprintf("%d calls were refused for too many requests", a.throttled)
		a.limit *= a.config.Decrease
	case state == snapshot.StateOverloaded:
		a.binding = overloaded(&in.Current)
		a.limit *= a.config.Decrease
	case state != snapshot.StateIdle:
		a.binding = "the load is unknown: the limit stays"
	case float64(inUse(in)) < useRatio*math.Floor(a.limit):
		a.binding = "not all of the limit is used: it stays"
	default:
		a.binding = "the limit grows while the load allows"
		a.limit += a.config.Increase
	}
	a.limit = min(max(a.limit, float64(a.config.Min)), float64(a.config.Max))
	a.throttled = 0
}
