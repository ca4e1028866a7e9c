package limit

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// The occupancy is that of the formula p(k+1) = p(k) (n-k) / (gamma min(k+1, c)), added up from zero.
func TestOccupy(t *testing.T) {
	for _, tt := range []struct {
		w network
		n int
	}{
		{network{cores: 2, gamma: 3}, 1}, {network{cores: 2, gamma: 3}, 8}, {network{cores: 1.3, gamma: 0.2}, 5},
		{network{cores: 2, gamma: 64}, 127}, {network{cores: 32, gamma: 10}, 300}, {network{cores: 0.1, gamma: 50}, 12},
	} {
		const most = 4
		p, sum := 1.0, 0.0
		var want occupancy
		for k := range tt.n + 1 {
			all := float64(k)
			sum += p
			want.busy += p * min(all, tt.w.cores)
			want.queue += p * all
			want.over += p * min(1, max(0, all-most))
			p *= float64(tt.n-k) / (tt.w.gamma * min(all+1, tt.w.cores))
		}
		want.busy /= sum
		want.queue /= sum
		want.over /= sum
		got := tt.w.occupy(float64(tt.n), most)
		for i, pair := range [][2]float64{{got.busy, want.busy}, {got.queue, want.queue}, {got.over, want.over}} {
			if math.Abs(pair[0]-pair[1]) > 1e-6 {
				t.Errorf("%+v, n = %d: figure %d is %v, want %v", tt.w, tt.n, i, pair[0], pair[1])
			}
		}
		// Little's law: what is not at the CPU waits, for gamma times the CPU time.
		if away := float64(tt.n) - got.queue; math.Abs(away-tt.w.gamma*got.busy) > 1e-6*float64(tt.n) {
			t.Errorf("%+v, n = %d: %v wait, want gamma times %v", tt.w, tt.n, away, got.busy)
		}
	}
}

// A network of which all are always at the CPU.
func TestOccupyWithoutWaits(t *testing.T) {
	for _, n := range []float64{1, 2, 3, 1e6} {
		want := occupancy{busy: min(n, 2), queue: n}
		if n > 2 {
			want.over = 1
		}
		if got := (network{cores: 2}).occupy(n, 2); got != want {
			t.Errorf("n = %v: %+v, want %+v", n, got, want)
		}
	}
}

// The queue on average over an instant is too long about as often as in a chain of the same rates; or less, since the CPU
// times of that are exponential.
func TestOccupyOnAverage(t *testing.T) {
	for _, tt := range []struct {
		w network
		n int
	}{
		{network{2, 10, 0.1}, 11}, {network{2, 75, 0.02}, 59}, {network{8, 10, 0.1}, 68}, {network{8, 75, 0.02}, 430},
		{network{8, 4, 0.02}, 35}, {network{32, 75, 0.02}, 2250},
	} {
		r := rand.New(rand.NewPCG(1, 1))
		most := 2 * tt.w.cores
		k, sum, left, over := tt.w.cores, 0.0, instant, 0
		const ticks = 50_000
		for done := 0; done < ticks; {
			arrive, leave := (float64(tt.n)-k)/(tt.w.gamma*tt.w.task), min(k, tt.w.cores)/tt.w.task
			dt := r.ExpFloat64() / (arrive + leave)
			for ; dt >= left; left = instant {
				if sum+k*left > most*instant {
					over++
				}
				dt -= left
				sum = 0
				done++
			}
			sum += k * dt
			left -= dt
			if r.Float64()*(arrive+leave) < arrive {
				k++
			} else {
				k--
			}
		}
		got, want := tt.w.occupy(float64(tt.n), most).over, float64(over)/ticks
		if got < want/2.5 || got > 1.5*want {
			t.Errorf("%+v, n = %d: %.4f, want %.4f, or 0.4 to 1.5 times as much", tt.w, tt.n, got, want)
		}
	}
}

// A queue that is nearly always too long is so on average as well.
func TestOccupyOnAverageInASurge(t *testing.T) {
	for _, n := range []float64{150, 200, 400} {
		if w := (network{2, 10, 0.02}); w.occupy(n, 4).over < 0.99 {
			t.Errorf("%+v, n = %v: too long in %.2f of the time, want all", w, n, w.occupy(n, 4).over)
		}
	}
}

// The tail of a mixture is that of its classes: a class of mere computation of 2 tasks, and 72, 6 and 9 that wait 37.5, 2 and 4
// times as long as they compute, have more than 16 at 8 cores in 1.245 % of the time, and 7.2 cores busy.
func TestMixtureHasTheTailOfItsClasses(t *testing.T) {
	law := &twostation{}
	for _, c := range []struct{ away, used, share float64 }{{0, 100, 1.77}, {3750, 100, 1.86}, {200, 100, 1.92}, {400, 100, 1.79}} {
		s := &station{away: c.away, used: c.used, share: c.share}
		law.stations = append(law.stations, s)
	}
	w, ok := law.mixture(8, 2)
	if !ok {
		t.Fatal("no network, want one")
	}
	n := first(1, 1000, func(n int64) bool { return w.occupy(float64(n), 16).busy >= 7.2 })
	if low, high := w.occupy(float64(n-1), 16).over, w.occupy(float64(n), 16).over; low > 0.0125 || high < 0.0125 {
		t.Errorf("%+v: more than 16 at the CPU in %.4f to %.4f of the time, want 0.0125 between them", w, low, high)
	}
}

// The share of the CPU in use with at most 1 % of the time more than twice the cores at it: a cap on the tail does
// not scale down to few cores.
func TestFitTail(t *testing.T) {
	for _, tt := range []struct{ gamma, cores, want float64 }{
		{3, 2, 0.60}, {3, 4, 0.72}, {3, 8, 0.86}, {3, 16, 0.94}, {3, 64, 0.99},
		{10, 2, 0.45}, {10, 4, 0.61}, {10, 8, 0.75}, {10, 16, 0.87}, {50, 2, 0.38}, {50, 4, 0.55}, {50, 8, 0.71},
	} {
		g := goal{busy: 0.999, queue: math.Inf(1), most: 2 * tt.cores, over: 0.01}
		o, capped := network{cores: tt.cores, gamma: tt.gamma}.fit(g)
		if got := o.busy / tt.cores; !capped && tt.cores < 64 || math.Abs(got-tt.want) > 0.035 {
			t.Errorf("gamma %v on %v cores: %.2f busy, want %v", tt.gamma, tt.cores, got, tt.want)
		}
	}
}

// It is the least population: one less does not reach the goal.
func TestFitBusy(t *testing.T) {
	for _, cores := range []float64{0.1, 1, 2, 3.5, 8, 32, 512} {
		for _, gamma := range []float64{0, 0.05, 1, 3, 64, 999, 1e5, 1e12} {
			g := goal{busy: 0.95, queue: math.Inf(1), most: math.Inf(1), over: 1}
			w := network{cores: cores, gamma: gamma}
			o, capped := w.fit(g)
			w.gamma = min(gamma, maxGamma)
			n := math.Round(w.gamma*o.busy + o.queue)
			if capped || o.busy < 0.95*cores-1e-9 || n > 1 && w.occupy(n-1, 0).busy >= 0.95*cores {
				t.Errorf("gamma %v on %v cores: %+v with %v, want the least population that keeps 95 %% busy",
					gamma, cores, o, n)
			}
		}
	}
}

func TestWaterfill(t *testing.T) {
	inf := math.Inf(1)
	for _, tt := range []struct {
		capacity               float64
		demands, weights, want []float64
		left                   float64
	}{
		{6, []float64{inf, inf, inf}, []float64{1, 1, 1}, []float64{2, 2, 2}, 0},
		{6, []float64{1, inf, inf}, []float64{1, 1, 1}, []float64{1, 2.5, 2.5}, 0},
		{6, []float64{1, 2, inf}, []float64{1, 1, 1}, []float64{1, 2, 3}, 0},
		{6, []float64{inf, inf}, []float64{1, 2}, []float64{2, 4}, 0},
		{6, []float64{3, inf}, []float64{1, 5}, []float64{1, 5}, 0},
		{6, []float64{1, 2}, []float64{1, 1}, []float64{1, 2}, 3},
		{0, []float64{1, inf}, []float64{1, 1}, []float64{0, 0}, 0},
		{6, nil, nil, nil, 6},
	} {
		name := fmt.Sprint(tt.capacity, tt.demands, tt.weights)
		left := waterfill(tt.capacity, tt.demands, tt.weights)
		if fmt.Sprint(tt.demands) != fmt.Sprint(tt.want) || left != tt.left {
			t.Errorf("%s: %v, left %v, want %v, left %v", name, tt.demands, left, tt.want, tt.left)
		}
	}
}
