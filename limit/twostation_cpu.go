package limit

import (
	"fmt"
	"math"

	"github.com/headroom-rpc/headroom/snapshot"
)

// The CPU side of the law "twostation".
const (
	decay      = 0.93  // of what is known of a pool, in a second
	quickDecay = 0.75  // of the same in the first seconds
	quick      = 12    // how many of those there are
	firstTasks = 2     // for each core are let start before anything is known
	leastUse   = 0.005 // core-seconds from which the CPU time of a pool's tasks is known
	idleUse    = 0.5   // of the cores: tasks that use less and of which no more is known are let double
	leastBurst = 0.001 // seconds of CPU that tasks use in their first second, unless they use it late
	firstUse   = 0.5   // seconds in which that is looked at
	unproven   = 4     // permits for each core and second, before a task that uses its CPU late ended
	smoothing  = 0.2   // of a new mean in what others use, in a window
	planned    = 0.6   // of the share of crowded time is planned for; changes take the rest
	leastCores = 0.05  // of the capacity are left to the pools whatever others use, with Latency
	fairCores  = 0.5   // of the same else, since the kernel takes from others what the pools are due
	mostQueue  = 8     // times the cores is what the tasks at the CPU may come to on average
)

// measure learns from the windows of the stations.
func (t *twostation) measure(in *Input) {
	var known, queued, blind, unqueued, unseen float64
	for _, s := range t.stations {
		if s.CPUKnown {
			known += s.CPU
		} else {
			blind += s.InUse
		}
		if s.RunnableKnown {
			queued += s.Runnable
		} else {
			unqueued += s.InUse
			unseen += s.CPU
		}
	}
	if in.Host.BusyKnown && blind > 0 {
		unseen += max(0, in.Host.Busy-known) // see below
	}
	for _, s := range t.stations {
		if !s.Stale {
			s.started += float64(s.Started)
			s.completed += float64(s.Completed)
		}
		u, ok := s.CPU, s.CPUKnown
		if !ok && in.Host.BusyKnown && blind > 0 {
			// What no pool accounts for is taken for theirs, by their permits.
			u, ok = max(0, in.Host.Busy-known)*s.InUse/blind, true
			s.CPU, s.CPUKnown = u, true
		}
		n := s.InUse - min(float64(s.Delayed), s.InUse)
		if !ok || n <= 0 || !s.fresh {
			continue
		}
		dt := s.span
		r, inferred := s.Runnable, false
		switch {
		case s.RunnableKnown:
		case in.Host.RunQueueKnown && (blind > 0 || unqueued == s.InUse):
			// Likewise, but for what others use at the least.
			others := 0.0
			if blind == 0 && in.Host.BusyKnown {
				others = max(0, in.Host.Busy-known)
			}
			r = (in.Host.RunQueue - queued - others) * s.InUse / unqueued
		case unqueued > 0:
			// By the model, of the cores that nobody else uses.
			cores := in.Host.Cores
			if in.Host.BusyKnown {
				cores -= max(0, in.Host.Busy-unseen)
			}
			r, inferred = queueOf(unqueued, unseen, max(cores, unseen, leastCores*in.Host.Cores))*s.InUse/unqueued, true
		}
		r = min(max(r, u), n)
		lasts := decay
		if s.windows < quick {
			lasts = quickDecay
		}
		// At first a window counts in proportion to how long after the first one it was.
		d := min(math.Pow(lasts, dt), math.Exp(-dt/(s.windows+dt)))
		if s.windows < firstUse {
			s.late = s.used+u*dt < leastBurst*max(n, s.started)
		}
		if s.atCPU = r; inferred {
			s.atCPU = n // at the most
		}
		s.away = d*s.away + (n-r)*dt
		s.used = d*s.used + u*dt
		s.windows += dt
		s.ramp.observe(&s.Pool, n, u, r, dt, d)
	}
}

// shareCPU shares the cores and computes the targets from them. It returns what all rests on, for people.
func (t *twostation) shareCPU(in *Input, learn bool) string {
	floor := fairCores
	if t.config.Objective == Latency {
		floor = leastCores
	}
	t.watchOthers(in, learn)
	t.lean(in, learn)
	usable := max(in.Host.Cores-t.others, floor*in.Host.Cores)
	left := t.waterfillCores(usable)
	t.balance()
	var spare float64
	for _, s := range t.stations {
		if s.Waiting == 0 {
			spare += float64(s.Weight)
		}
	}
	for _, s := range t.stations {
		if s.Waiting == 0 && spare > 0 {
			s.share += left * float64(s.Weight) / spare
		}
		if s.elsewhere {
			s.share = max(s.share, usable/t.active)
		}
	}
	var o occupancy
	var capped bool
	g := goal{busy: t.config.Busy, queue: mostQueue * in.Host.Cores, most: math.MaxFloat64, over: 1}
	slow := 1.0
	if t.config.Objective == Latency {
		g.most = max(2*in.Host.Cores-t.queued, 1.2*usable)
		g.over = planned * t.config.Crowded
		slow = g.most / usable
	}
	if w, ok := t.mixture(usable, slow); ok {
		o, capped = w.fit(g)
	}
	for _, s := range t.stations {
		n := max(s.InUse, float64(s.Leased))
		switch {
		case s.known():
			s.target = (s.gamma()*o.busy + o.queue) * s.share / usable
			s.busy, s.queue = o.busy*s.share/usable, o.queue*s.share/usable
			s.bind(boundCPU, s.share, s.gamma(), o.queue)
			if capped {
				s.bound = boundQueue
			}
		case s.Stale:
			s.target = max(n, firstTasks*usable/t.active)
			s.bind(boundStart, n)
		case in.Window <= 0 && s.quota == 0:
			s.target = firstTasks * usable / t.active
			s.bind(boundStart, n)
		case s.CPUKnown && s.CPU < idleUse*in.Host.Cores || !s.ran:
			// It used no CPU yet.
			s.target = max(2*n, firstTasks*usable/t.active)
			s.bind(boundStart, n)
		default:
			t.grope(in, s, n)
		}
	}
	return fmt.Sprintf("%.3g of %.3g cores are theirs, %.3g used by others", usable, in.Host.Cores, t.others)
}

// mixture returns the network of tasks that are all alike, of which as many are at the CPU when everything takes slow times
// as long there as of those of the pools. ok is false where no pool is known.
func (t *twostation) mixture(cores, slow float64) (w network, ok bool) {
	var all, atCPU, used float64
	ended := true
	for _, s := range t.stations {
		if !s.known() {
			continue
		}
		p := s.presence(slow)
		all += s.share
		atCPU += s.share * p
		ended = ended && s.ramp.ended >= 1
		if s.ramp.ended > 0 {
			// Those that never leave the CPU make the queue neither longer nor shorter.
			used += s.share * (1 - p) * s.used / s.ramp.ended
		}
	}
	w = network{cores: cores, gamma: slow * (all/atCPU - 1)}
	if ended && all > atCPU {
		w.task = used / (all - atCPU)
	}
	return w, all > 0
}

// presence is the share of its life that a task of the pool is at the CPU when everything takes slow times as long there.
// Of a pool of few permits it is what makes their number there vary as much, since it changes from step to step.
func (s *station) presence(slow float64) float64 {
	p := slow / (slow + s.gamma())
	if s.few {
		_, f := math.Modf(s.quota)
		p *= 1 - f*(1-f)/s.quota
	}
	return p
}

// known reports whether the CPU time of the pool's tasks is.
func (s *station) known() bool { return s.used > leastUse }

// grope moves the target by the verdict alone, where no CPU time is known.
func (t *twostation) grope(in *Input, s *station, n float64) {
	s.bind(boundVerdict, float64(in.Current.State))
	s.target = max(s.quota, in.Host.Cores/t.active)
	switch {
	case in.Window <= 0 || !s.ran:
	case in.Current.State == snapshot.StateOverloaded:
		s.target = s.quota - max(1, 0.1*s.quota)
	case in.Current.State == snapshot.StateIdle && n >= 0.9*math.Floor(s.quota):
		s.target = s.quota + max(1, 0.05*s.quota)
	}
}

// watchOthers follows what others use of the CPU: large changes at once, small ones as means, for those are mostly
// errors of the sensors.
func (t *twostation) watchOthers(in *Input, learn bool) {
	follow := func(x *float64, to, least float64) {
		if math.Abs(to-*x) > least {
			*x = to
		} else {
			*x += smoothing * (to - *x)
		}
	}
	if !learn || !in.Host.BusyKnown {
		return
	}
	others := in.Host.Busy
	if t.config.Objective == Latency {
		others = max(others, in.Host.Newest) // what the pools use more by now is in the way of the next as well
	}
	for _, s := range t.stations {
		others -= s.CPU
	}
	if in.Host.OthersKnown && t.config.Objective != Latency {
		others = in.Host.Others
	}
	follow(&t.others, max(0, others), 0.1*in.Host.Cores)
	if !in.Host.RunQueueKnown {
		t.queued = t.others
		return
	}
	queued := in.Host.RunQueue
	for _, s := range t.stations {
		if !s.RunnableKnown {
			t.queued = t.others
			return
		}
		queued -= s.Runnable
	}
	// No more than they use would be at the CPU at once, but for that they wait too.
	follow(&t.queued, max(0, min(queued, 2*others)), 0.5*in.Host.Cores)
}

// waterfillCores gives each station its share of the usable cores and returns what is left over.
func (t *twostation) waterfillCores(usable float64) float64 {
	t.demands, t.weights = t.demands[:0], t.weights[:0]
	for _, s := range t.stations {
		n := max(s.InUse, float64(s.Leased))
		demand := math.Inf(1)
		switch {
		case s.Waiting == 0:
			demand = max(s.CPU, 0.02)
		case s.elsewhere && n > 0:
			demand = max(0.02, 1.1*s.CPU*max(1, float64(s.limit)/n))
		}
		t.demands = append(t.demands, demand)
		t.weights = append(t.weights, float64(s.Weight))
	}
	left := waterfill(usable, t.demands, t.weights)
	for i, s := range t.stations {
		s.share = t.demands[i]
	}
	return left
}

// grow bounds how fast a target moves.
func (t *twostation) grow(in *Input) {
	for _, s := range t.stations {
		n := max(s.InUse, float64(s.Leased))
		allowed := 0.0
		if t.early(in) {
			allowed = s.quota
		}
		factor := 4.0
		switch {
		case in.At-s.began > slowStart && !s.late:
			factor = 2
		case s.completed >= n && !s.late:
			factor = 8
		}
		if in.Window > 0 {
			// Short windows come one after the other: four of them allow twice as much as one that is as long.
			factor = math.Pow(factor, min(1, 2*in.Window.Seconds()))
		}
		most := max(factor*n, firstTasks*in.Host.Cores/t.active, allowed)
		if burst, sure := s.ramp.burst(); burst > 0 && in.Window > 0 && s.ramp.grows(n) && !s.late {
			if in.At-s.began <= firstSteps {
				t.fill(s, n, burst)
			}
			if taken := max(n+s.busy*in.Window.Seconds()/burst, allowed); sure && s.target > taken {
				s.target = taken
				s.bind(boundFill, s.busy, burst)
			}
		}
		switch {
		case !s.late || s.target <= s.quota:
		case s.completed == 0:
			// Nothing says yet what these tasks will come to.
			most = min(most, unproven*in.Host.Cores*max(unproven, (in.At-s.began).Seconds()))
			s.renewed = min(s.target, most)
		case s.completed < s.renewed:
			most = min(most, s.quota)
		default:
			s.renewed = s.completed + min(s.target, most)
		}
		if s.target > most {
			s.target = most
			s.bind(boundGrowth, factor, n)
		}
		if in.Window > 0 {
			s.target = max(s.target, n/2)
		}
		if s.Waiting == 0 && s.ran && s.quota > 0 && s.target > s.quota {
			s.target = s.quota
			s.bind(boundBacklog, n)
		}
	}
}

// fill raises the target to what keeps the CPU as busy as is planned. In a window it takes the beginnings of so many tasks;
// those count that follow others that end, and those that already are at the CPU over what is planned.
func (t *twostation) fill(s *station, n, burst float64) {
	target := s.quota // until it is known what came of the last one
	if s.fresh {
		room := s.busy
		if t.config.Objective == Latency && s.completed == 0 {
			// Tasks that start together come back together, for nobody knows how long. What is left beside those that run
			// counts: they go on as they did, or have nothing before them but what is left of their beginning.
			room = max(0, room-min(s.CPU, s.atCPU*burst/s.span))
		}
		target = n + room*s.span/burst - float64(s.Completed) + s.queue - s.atCPU
	}
	if target > s.target {
		s.target = target
		s.bind(boundFill, s.busy, burst)
	}
}
