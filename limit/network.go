package limit

import "math"

// network is a closed queueing network of two stations: a CPU of some cores that all who are there share, and
// a place where tasks wait for anything else, without end. Its stationary distribution has product form and
// depends on the distributions of the two times only by their means (Baskett, Chandy, Muntz and Palacios,
// 1975), so that one measurable ratio says all.
type network struct {
	cores float64 // of the CPU; over 0
	gamma float64 // time outside the CPU per time of CPU, of a task
	task  float64 // CPU seconds of a task; 0 if they are not known
}

// occupancy is what a network comes to on average.
type occupancy struct {
	busy  float64 // cores in use
	queue float64 // tasks at the CPU: they run or wait for it
	over  float64 // share of the time in which more tasks are at the CPU than asked about, on average over an instant
}

// maxGamma bounds the work of a solution: the busy cores and the queue do not change any more above it, since
// arrivals are then as good as Poisson.
const maxGamma = 1000

// What of a queue that is too long is too short to be noticed.
const (
	instant   = 0.1 // seconds over which a queue is taken on average, for people notice no less
	varied    = 0.7 // standard deviation of the CPU times of tasks, by their mean; of exponential ones it is 1
	mostBrief = 4   // since some tasks vary more than that
)

// negligible is the probability, against the most likely state, at which a distribution is cut off.
const negligible = 1e-9

// step is the probability of k+1 tasks at the CPU over that of k, of n in all; it falls with k.
func (w network) step(n, k float64) float64 { return (n - k) / (w.gamma * min(k+1, w.cores)) }

// occupy returns what n tasks come to, and how often more than most are at the CPU. It adds up outwards
// from the most likely state, so that it neither overflows nor takes longer than a few times the standard
// deviation.
func (w network) occupy(n, most float64) occupancy {
	if w.gamma <= 1e-6 {
		return occupancy{busy: min(n, w.cores), queue: n, over: min(1, max(0, n-most))}
	}
	last := math.Floor(n)
	low, high := 0.0, last // of the first state that is not less likely than the next
	for low < high {
		mid := math.Floor((low + high) / 2)
		if w.step(n, mid) <= 1 {
			high = mid
		} else {
			low = mid + 1
		}
	}
	var sum float64
	var o occupancy
	add := func(k, p float64) {
		sum += p
		o.busy += p * min(k, w.cores)
		o.queue += p * k
		// Between two whole numbers it is in proportion, so that a little less does not count for a whole task.
		o.over += p * min(1, max(0, k-most))
	}
	add(low, 1)
	for k, p := low, 1.0; k < last; k++ {
		if p *= w.step(n, k); p < negligible {
			break
		}
		add(k+1, p)
	}
	for k, p := low, 1.0; k > 0; k-- {
		if p /= w.step(n, k-1); p < negligible {
			break
		}
		add(k-1, p)
	}
	o.busy /= sum
	o.queue /= sum
	o.over /= sum * w.brief(w.step(n, most))
	return o
}

// brief returns how much more often the queue is too long at some moment than on average over an instant, where one comes
// rho times as often as one leaves. A long queue is then a Brownian motion with a drift, and x such instants by the time
// in which it forgets itself: were it at v at first, its mean over the instant is normal with the mean v - x/2 and the
// variance x/3, and the tail of v falls with exp(-2v), so that the tail of the mean is exp(-x/3) times as large.
func (w network) brief(rho float64) float64 {
	if w.task <= 0 || rho <= 0 || rho >= 1 { // from 1 on it is mostly too long, on average too
		return 1
	}
	forget := w.task * (1 + varied*varied) / 2 * (1 + rho) / (w.cores * (1 - rho) * (1 - rho))
	return min(mostBrief, math.Exp(instant/forget/3))
}

// Of a CPU that is busier than full nobody can tell by that how many wait for it: a share of all tasks is taken to do so
// needlessly.
const (
	full     = 0.99
	needless = 0.2
)

// queueOf returns how many of n tasks are at the CPU on average where that many cores are busy: of the networks of that
// many cores the one with the longest waits that keeps them so busy. For a full CPU it returns more, so that whoever goes
// by it needs fewer tasks, until the CPU is not.
func queueOf(n, busy, cores float64) float64 {
	if busy > full*cores {
		queue := queueOf(n, full*cores, cores)
		return queue + needless*max(0, n-queue)
	}
	low, high := math.Log(1e-6), math.Log(maxGamma)
	for range 30 {
		mid := (low + high) / 2
		if (network{cores: cores, gamma: math.Exp(mid)}).occupy(n, n).busy >= busy {
			low = mid
		} else {
			high = mid
		}
	}
	return network{cores: cores, gamma: math.Exp(low)}.occupy(n, n).queue
}

// goal is what the population of a network is fitted to.
type goal struct {
	busy  float64 // share of the cores to keep busy
	queue float64 // no more tasks at the CPU than this on average
	most  float64 // no more at the CPU than this ...
	over  float64 // ... but for this share of the time
}

// exceeds reports whether a population is too large, however little of the CPU is busy.
func (g goal) exceeds(o occupancy) bool { return o.queue > g.queue || o.over > g.over }

// first returns the least whole number in [low, high] for which ok holds; high if there is none under it. ok
// must hold for all numbers above one for which it holds.
func first(low, high int64, ok func(int64) bool) int64 {
	for low < high {
		if mid := low + (high-low)/2; ok(mid) {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return low
}

// fit returns what the least population comes to that reaches the goal, or the largest that does not exceed
// it, at least 1, if that is less. It also reports whether the second was the case.
func (w network) fit(g goal) (o occupancy, capped bool) {
	w.gamma = min(w.gamma, maxGamma)
	all := w.gamma * w.cores
	most := int64(all+w.cores+6*math.Sqrt(all)) + 64
	n := first(1, most, func(n int64) bool { return w.occupy(float64(n), g.most).busy >= g.busy*w.cores })
	if o = w.occupy(float64(n), g.most); g.exceeds(o) && n > 1 {
		n = first(2, n, func(n int64) bool { return g.exceeds(w.occupy(float64(n), g.most)) }) - 1
		return w.occupy(float64(n), g.most), true
	}
	return o, false
}
