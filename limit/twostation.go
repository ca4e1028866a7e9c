package limit

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Objective is what the law "twostation" fits the limit to.
type Objective string

// The objectives.
const (
	// Throughput is the least limit that keeps a set share of the usable CPU busy.
	Throughput Objective = "throughput"
	// Latency is the same, or the largest limit with which few tasks wait for a CPU, if that is less.
	Latency Objective = "latency"
)

// TwoStation are the settings of the law "twostation". The zero value has all defaults.
type TwoStation struct {
	// Objective is Throughput, unless it says otherwise.
	Objective Objective

	// Busy is the share of the usable CPU to keep busy, in [0.5, 0.999]. 0 is 0.97.
	Busy float64

	// Crowded is, with Latency, the share of the time in which more than twice as many tasks as there are cores
	// may be at the CPU, in [0.0001, 0.5]. 0 is 0.01.
	Crowded float64

	// Margin is how many standard deviations of what running tasks will take in memory are kept free, in
	// [0.5, 10]. 0 is 2.5. Less is more throughput, and more tasks that the kernel kills.
	Margin float64

	// Memory is the share of all memory in use over which nothing starts, in [0.1, 0.98]. 0 is 0.9.
	Memory float64
}

func (c *TwoStation) setDefaults() {
	setDefault(&c.Objective, Throughput)
	setDefault(&c.Busy, 0.97)
	setDefault(&c.Crowded, 0.01)
	setDefault(&c.Margin, 2.5)
	setDefault(&c.Memory, 0.9)
}

func (c *TwoStation) validate() error {
	var errs []error
	if c.Objective != Throughput && c.Objective != Latency {
		errs = append(errs, fmt.Errorf("objective: %q is neither %s nor %s", c.Objective, Throughput, Latency))
	}
	errs = append(errs,
		within("busy", c.Busy, 0.5, 0.999), within("crowded", c.Crowded, 0.0001, 0.5),
		within("margin", c.Margin, 0.5, 10), within("memory", c.Memory, 0.1, 0.98))
	return errors.Join(errs...)
}

// within returns an error unless low <= x <= high.
func within(name string, x, low, high float64) error {
	if x >= low && x <= high {
		return nil
	}
	return fmt.Errorf("%s: %v is not in [%v, %v]", name, x, low, high)
}

// NewTwoStation returns the law "twostation". It computes the limit from what ran in the last window: the host
// is a network of two stations, the CPU and everything else, and the ratio of the times that tasks spend in
// them says how many keep the CPU busy. It shares cores and bytes between the pools, max-min by their weights,
// and turns the shares into permits. All faults of the settings are reported at once.
func NewTwoStation(c TwoStation) (Law, error) {
	c.setDefaults()
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("limit: twostation: %w", err)
	}
	return &twostation{config: c, pools: make(map[string]*station), givesWay: -1}, nil
}

// The pace of the law "twostation".
const (
	slowStart   = 10 * time.Second       // how long after its first task a pool may grow fast
	firstSteps  = 3 * time.Second        // after its first task in which the law steps often
	latencyStep = 350 * time.Millisecond // from step to step with Latency: at every fourth reading of a pool
	settling    = 8 * time.Second        // how long after it a pool's limit is taken as it is computed
	leastWindow = 100 * time.Millisecond // a shorter window is not learned from

	// A longer window is learned from as if it were this long.
	longestWindow = 5 * time.Second
	shortStep     = 150 * time.Millisecond // the same in the first steps: at every second reading of a pool
	pace          = time.Second            // of a rise
	forgotten     = time.Minute            // after which a pool that is not there any more is forgotten
)

// mostPermits is far over what any machine runs, and keeps the arithmetic exact.
const mostPermits = 1e9

type twostation struct {
	config   TwoStation
	pools    map[string]*station
	memory   footprints
	stepped  bool
	givesWay time.Duration // since when pools give way to others that begin; -1 where they do not
	last     time.Duration // when it stepped last
	due      time.Duration // from last to the next step
	others   float64       // cores that others use
	owed     float64       // what rounding took of all quotas
	queued   float64       // tasks of others at the CPU

	active float64 // pools that have or want permits, at least 1

	// Of one step; kept for their memory only.
	stations         []*station
	demands, weights []float64
	alone            [1]Pool
}

// station is what the law knows of a pool.
type station struct {
	Pool  // of this step, with sound figures
	seen  time.Duration
	began time.Duration // when it first had a task, of late
	ran   bool          // it had one

	span  float64 // seconds of its window
	fresh bool    // something can be learned from it

	quota float64 // what it may have, before it is rounded
	limit int64   // the same, rounded
	from  int64   // what limit was before
	owed  float64 // what rounding took of quota, of late
	few   bool    // quota is so small that this matters

	away, used float64 // permits that waited for anything but a CPU, and cores used: decayed sums of windows
	windows    float64 // in away and used so far, in seconds
	ramp       ramp
	atCPU      float64 // of its tasks in the last window, on average
	ends       float64 // tasks that end in a second, in the last window that something was learned from
	handsOver  bool    // it falls slowly in this step
	late       bool    // its tasks used no CPU when they began
	renewed    float64 // what completed will be when all that ran at the last rise have ended

	started, completed float64 // ever
	footprint          float64 // bytes of a task, in the end; 0 if not known
	held               float64 // bytes of a permit in use, whatever the age of its task; 0 if not known
	evidence           float64 // grown tasks that both were learned from
	ceiling            ceiling

	fair   float64 // cores, of the usable ones
	lean   float64 // logarithm of what fair is multiplied with, since the pool uses less or more than was planned
	share  float64 // cores, with that
	busy   float64 // of these that are to be in use
	queue  float64 // tasks that are to be at the CPU
	target float64
	bound  binding
	figure [3]float64 // of bound

	// elsewhere says that something else than the CPU bound it in the last step.
	elsewhere bool
}

// gamma is the time that the tasks of a pool wait per time of CPU; known only where used is over 0.
func (s *station) gamma() float64 { return s.away / s.used * s.ramp.bias() }

func (*twostation) Name() string { return "twostation" }

func (t *twostation) Step(in Input) Decision {
	in.Host = sound(in.Host, in.Newest)
	dt := min(in.Window, longestWindow).Seconds()
	learn := in.Window >= leastWindow
	if len(in.Pools) == 0 {
		t.alone[0] = Pool{
			InUse: float64(in.Charge), Leased: in.Charge, Waiting: max(0, in.Want-in.Charge),
		}
		in.Pools = t.alone[:]
	}
	t.enter(&in)
	if learn {
		t.measure(&in)
	}
	t.memory.observe(&in, t.stations, dt, learn)
	cpu := t.shareCPU(&in, learn)
	t.grow(&in)
	t.handOver(&in)
	t.shareMemory(&in)
	d := t.decide(&in, learn)
	if len(t.stations) == 1 {
		d.Binding = d.Shares[0].Binding
	} else {
		d.Binding = fmt.Sprintf("%d pools share: %s", len(t.stations), cpu)
	}
	t.last, t.stepped, t.due = in.At, true, d.Pace
	return d
}

// enter finds the stations of the pools of this step.
func (t *twostation) enter(in *Input) {
	t.stations, t.active = t.stations[:0], 0
	for i := range in.Pools {
		id := in.Pools[i].ID
		s := t.pools[id]
		if s == nil || slices.Contains(t.stations, s) {
			s = &station{seen: in.At}
			t.pools[id] = s
		}
		before := s.Leased
		s.Pool = soundPool(in.Pools[i])
		s.seen = in.At
		window := in.Window
		if s.Window > 0 {
			window = s.Window
		}
		s.span, s.fresh = min(window, longestWindow).Seconds(), !s.Stale && window >= leastWindow
		if s.fresh {
			s.ends = float64(s.Completed) / s.span
		}
		if s.windows == 0 && s.fresh {
			s.Started = max(s.Started, s.Leased-before+s.Completed) // it may have begun before there was anything to read
		}
		if s.InUse > 0 || s.Leased > 0 {
			if !s.ran {
				s.ran, s.began = true, in.At
			}
		} else if s.ran && s.Waiting == 0 {
			s.ran = false
		}
		t.stations = append(t.stations, s)
		if s.ran || s.Waiting > 0 {
			t.active++
		}
	}
	t.active = max(1, t.active)
	if len(t.pools) > len(t.stations) {
		for id, s := range t.pools {
			if in.At-s.seen > forgotten {
				delete(t.pools, id)
			}
		}
	}
}

// decide turns the targets into limits.
func (t *twostation) decide(in *Input, learn bool) Decision {
	d := Decision{Pace: pace, Next: t.next(in), Shares: make([]Share, len(t.stations)), Gate: t.gate(in)}
	if d.Next > 0 {
		d.Pace = d.Next
	}
	critical := t.memory.critical(in)
	for _, s := range t.stations {
		n := max(s.InUse, float64(s.Leased))
		if s.fresh {
			s.ceiling.observe(in.At, s, s.span)
		}
		if c := s.ceiling.at; c > 0 && s.target > c {
			s.target = c
			s.bind(boundClient, c, s.ceiling.low, s.ceiling.high)
		}
		if critical && s.target > n/2 {
			s.target = n / 2
			s.bind(boundCritical, float64(in.Host.MemoryUsed), float64(in.Host.MemoryTotal), 100*in.Host.Stalled)
		}
		low, high := s.bounds(len(t.stations))
		if s.target >= high {
			s.bind(boundMax, high)
		}
		if s.target <= float64(s.Min) {
			s.bind(boundMin, float64(s.Min))
		}
		s.target = max(low, min(high, s.target))
		s.elsewhere = s.bound >= boundMemory
		switch {
		case s.quota == 0:
			s.limit = int64(max(1, in.Host.Cores/t.active)) // where the first rise begins
			s.from = s.limit
		case t.early(in):
			s.from = max(min(s.from, s.limit), s.Leased)
		default:
			s.from = s.limit
		}
		s.settle(in, critical, learn)
		s.quota = max(low, min(high, s.quota)) // a dead band must not hold it outside
	}
	t.round(learn)
	for i, s := range t.stations {
		from := min(s.from, s.limit)
		d.Shares[i] = Share{
			Limit: s.limit, From: from, Binding: s.explain(), Footprint: bytesOf(s.footprint),
			ByMemory: s.bound == boundMemory || s.bound == boundKill || s.bound == boundCritical,
		}
		d.Limit += s.limit
		d.From += from
	}
	return d
}

// early reports whether the law is stepped long before it wanted to be, since a verdict changed. What may begin by the last
// step still may then: what began by now is a part of it. The first step after a rest has no window either. What was known
// before the rest still holds, but with Latency the rise begins anew, since tasks that start together come back together.
func (t *twostation) early(in *Input) bool {
	since := in.Window
	if t.config.Objective == Latency {
		since = in.At - t.last
	}
	return t.stepped && 3*since < 2*t.due
}

// next returns when to step again.
func (t *twostation) next(in *Input) time.Duration {
	if !t.stepped {
		return shortStep // what starts now is to be seen soon
	}
	for _, s := range t.stations {
		if s.Waiting > 0 && (!s.ran || in.At-s.began < firstSteps) {
			return shortStep
		}
	}
	if t.config.Objective == Latency {
		return latencyStep
	}
	return 0
}
