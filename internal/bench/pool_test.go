package bench

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alitto/pond/v2"
	"github.com/headroom-rpc/headroom/limit"
	"github.com/headroom-rpc/headroom/pool"
	"github.com/panjf2000/ants/v2"
	conc "github.com/sourcegraph/conc/pool"
	"golang.org/x/sync/errgroup"
)

// poolLimit is how many tasks run at once in the benchmarks of pools.
const poolLimit = 8

// poolWays are several that run n tasks, at most poolLimit at once but for the first.
var poolWays = []struct {
	name string
	run  func(n int, task func()) error
}{
	{"goroutine", func(n int, task func()) error {
		var all sync.WaitGroup
		for range n {
			all.Go(task)
		}
		all.Wait()
		return nil
	}},
	{"errgroup", func(n int, task func()) error {
		var g errgroup.Group
		g.SetLimit(poolLimit)
		for range n {
			g.Go(func() error {
				task()
				return nil
			})
		}
		return g.Wait()
	}},
	{"conc", func(n int, task func()) error {
		p := conc.New().WithMaxGoroutines(poolLimit)
		for range n {
			p.Go(task)
		}
		p.Wait()
		return nil
	}},
	{"pond", func(n int, task func()) error {
		p := pond.NewPool(poolLimit)
		for range n {
			p.Submit(task)
		}
		p.StopAndWait()
		return nil
	}},
	{"ants", func(n int, task func()) error {
		p, err := ants.NewPool(poolLimit)
		if err != nil {
			return err
		}
		defer p.Release()
		var all sync.WaitGroup
		all.Add(n)
		for range n {
			if err := p.Submit(func() {
				task()
				all.Done()
			}); err != nil {
				return err
			}
		}
		all.Wait()
		return nil
	}},
	{"foreach", func(n int, task func()) error {
		return pool.ForEach(context.Background(), countTo(n), func(context.Context, int) error {
			task()
			return nil
		}, pool.Options{Law: poolLaw()})
	}},
	{"group", func(n int, task func()) error {
		g, err := pool.NewGroup(context.Background(), pool.Options{Law: poolLaw()})
		if err != nil {
			return err
		}
		for range n {
			if err := g.Go(func(context.Context) error {
				task()
				return nil
			}); err != nil {
				return err
			}
		}
		return g.Wait()
	}},
	{"run", func(n int, task func()) error {
		left := n
		p, err := pool.New(pool.Options{
			Law: poolLaw(),
			Run: func(context.Context) error {
				task()
				return nil
			},
			Ready: func(context.Context) (bool, error) {
				left--
				return left >= 0, nil
			},
		})
		if err != nil {
			return err
		}
		return p.Run(context.Background())
	}},
}

func poolLaw() limit.Law {
	law, err := limit.NewFixed(poolLimit)
	if err != nil {
		return nil
	}
	return law
}

func countTo(n int) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
}

// measurePools has each way run n empty tasks in turns, and returns the medians of the turns: the time for each task,
// and the CPU time, in ns.
func measurePools(b testing.TB, turns, n int) (wall, cpu map[string]float64) {
	b.Helper()
	walls, cpus := make(map[string][]float64), make(map[string][]float64)
	for range turns {
		for _, way := range poolWays {
			var done atomic.Int64
			used, began := cpuNanos(), time.Now()
			err := way.run(n, func() { done.Add(1) })
			took := time.Since(began)
			used = cpuNanos() - used
			if err != nil || done.Load() != int64(n) {
				b.Fatalf("%s: %v after %d tasks, want %d", way.name, err, done.Load(), n)
			}
			walls[way.name] = append(walls[way.name], float64(took)/float64(n))
			cpus[way.name] = append(cpus[way.name], float64(used)/float64(n))
		}
	}
	return medians(walls), medians(cpus)
}

func medians(all map[string][]float64) map[string]float64 {
	median := make(map[string]float64, len(all))
	for name, values := range all {
		slices.Sort(values)
		median[name] = values[len(values)/2]
	}
	return median
}

// BenchmarkPool measures what an empty task costs in a pool, beside what users would pick instead, with at most 8 at
// once. They take turns of 100,000 tasks, and the medians of the turns are compared.
//
//	ns/WAY        time for each task
//	cpu-ns/WAY    CPU time, user and system, for each task
//	x-errgroup/OURS  the second of a form of ours over that of errgroup.SetLimit
func BenchmarkPool(b *testing.B) {
	var wall, cpu map[string]float64
	for b.Loop() {
		wall, cpu = measurePools(b, 11, 100_000)
	}
	for _, way := range poolWays {
		b.ReportMetric(wall[way.name], "ns/"+way.name)
		b.ReportMetric(cpu[way.name], "cpu-ns/"+way.name)
	}
	for _, ours := range []string{"foreach", "group", "run"} {
		b.ReportMetric(cpu[ours]/cpu["errgroup"], "x-errgroup/"+ours)
	}
	b.ReportMetric(0, "ns/op")
}

// BenchmarkPoolAllocs measures what an empty task allocates in the forms of ours and in errgroup.
func BenchmarkPoolAllocs(b *testing.B) {
	for _, way := range poolWays {
		b.Run(way.name, func(b *testing.B) {
			const n = 10_000
			var allocs float64
			for b.Loop() {
				allocs = testing.AllocsPerRun(1, func() {
					if err := way.run(n, func() {}); err != nil {
						b.Fatal(err)
					}
				})
			}
			b.ReportMetric(allocs/n, "allocs/task")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// freedSlots returns how long it takes from the end of a task to the start of the one that waits for its slot, in
// order, while all slots are in use by tasks that hold them for a time.
func freedSlots(b testing.TB, n int, hold time.Duration) []time.Duration {
	b.Helper()
	var mu sync.Mutex
	var ended []time.Time
	var took []time.Duration
	err := pool.ForEach(context.Background(), countTo(n), func(context.Context, int) error {
		now := time.Now()
		mu.Lock()
		if len(ended) > 0 {
			took = append(took, now.Sub(ended[0]))
			ended = ended[1:]
		}
		mu.Unlock()
		time.Sleep(hold)
		mu.Lock()
		ended = append(ended, time.Now())
		mu.Unlock()
		return nil
	}, pool.Options{Law: poolLaw()})
	if err != nil {
		b.Fatal(err)
	}
	slices.Sort(took)
	return took
}

// BenchmarkFreedSlot measures how long a slot of a pool is free while a task waits for it: from the end of one task to
// the start of the next.
//
//	ns/p50, ns/p99  of 20,000 tasks that hold their slots for 1 ms
func BenchmarkFreedSlot(b *testing.B) {
	var took []time.Duration
	for b.Loop() {
		took = freedSlots(b, 20_000, time.Millisecond)
	}
	b.ReportMetric(float64(took[len(took)/2]), "ns/p50")
	b.ReportMetric(float64(took[len(took)*99/100]), "ns/p99")
	b.ReportMetric(0, "ns/op")
}

// TestPools runs each of them once, small, and holds what does not depend on the machine: one allocation for a task.
func TestPools(t *testing.T) {
	measurePools(t, 1, 100)
	if took := freedSlots(t, 100, time.Microsecond); len(took) == 0 {
		t.Error("no slot was used twice")
	}
	const n = 10_000
	for _, way := range poolWays {
		switch way.name {
		case "foreach", "group", "run":
			allocs := testing.AllocsPerRun(1, func() {
				if err := way.run(n, func() {}); err != nil {
					t.Error(err)
				}
			})
			if allocs/n > 1.05 {
				t.Errorf("%s allocates %.2f times for a task, want once", way.name, allocs/n)
			}
		}
	}
}
