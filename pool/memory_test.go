package pool_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/limit"
	"github.com/headroom-rpc/headroom/pool"
)

// box is a machine with memory of 1000 bytes that the test fills.
type box struct{ used atomic.Int64 }

func (b *box) host() pool.Host {
	return pool.Host{Cores: 4, RunQueue: -1, Busy: -1, Stalled: -1, MemoryUsed: b.used.Load(), MemoryTotal: 1000}
}

// While memory is over its line nothing starts beside the minimum, and what runs goes on.
func TestMemoryGate(t *testing.T) {
	for _, tt := range []struct {
		name  string
		o     pool.Options
		under int64 // that shuts nothing
		over  int64 // that does
		floor int64 // how many run all the same
	}{
		{"at the default line", pool.Options{}, 900, 901, 1},
		{"at another line", pool.Options{Memory: pool.Memory{High: 0.5}}, 500, 501, 1},
		{"down to the minimum", pool.Options{Min: 3}, 900, 901, 3},
		{"off", pool.Options{Memory: pool.Memory{Off: true}}, 900, 1000, 10},
		{"a crawlee profile has none", pool.Options{Profile: pool.ProfileCrawleePython}, 900, 1000, 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, restore := pool.CountFrees()
				defer restore()
				var b box
				b.used.Store(tt.under)
				w := newWork(1000, 10*time.Second)
				o := tt.o
				o.Law, o.Host, o.Run, o.Ready = fixed(t, 10), b.host, w.run, w.ready
				p := newPool(t, o)
				result := start(t, p)
				time.Sleep(time.Second)
				if p.Current() != 10 {
					t.Errorf("%d run under the line, want 10", p.Current())
				}
				b.used.Store(tt.over)
				time.Sleep(10 * time.Second)
				s := p.Stats()
				if s.Current != tt.floor {
					t.Errorf("%d run over the line, want %d", s.Current, tt.floor)
				}
				if tt.floor < 10 && (s.Block != pool.BlockMemory || !strings.HasPrefix(s.Binding, "memory")) {
					t.Errorf("%q blocks: %s; want memory", s.Block, s.Binding)
				}
				b.used.Store(tt.under)
				time.Sleep(200 * time.Millisecond)
				if p.Current() != 10 {
					t.Errorf("%d run under the line again, want 10", p.Current())
				}
				if err := p.Abort(); err != nil {
					t.Error(err)
				}
				<-result
			})
		})
	}
}

// growing is a law that knows what a task will take in the end.
type growing struct {
	line, footprint int64
}

func (growing) Name() string { return "growing" }

func (l growing) Step(limit.Input) limit.Decision {
	return limit.Decision{
		Limit: 100, From: 100, Gate: limit.Gate{Line: l.line, Shed: 950, ShedTo: 930},
		Shares: []limit.Share{{Limit: 100, From: 100, Binding: "growing", Footprint: l.footprint}},
	}
}

// The gate counts what the tasks that run will still take, not only what is used.
func TestMemoryGateCountsGrowth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b box
		b.used.Store(1000)
		w := newWork(1000, time.Hour)
		p := newPool(t, pool.Options{
			Law: growing{line: 500, footprint: 100}, Host: b.host, Run: w.run, Ready: w.ready,
			Usage: func() pool.Usage { return pool.Usage{CPU: -1, Runnable: -1, Memory: 0} },
		})
		result := start(t, p)
		if n := p.Current(); n != 1 {
			t.Errorf("%d run over the line, want 1", n)
		}
		time.Sleep(1050 * time.Millisecond)
		b.used.Store(0)
		// What started since that was read counts in full, 82.5 of 100 bytes on average: 6 more start in the 457.5 that are
		// left beside the first one.
		time.Sleep(100 * time.Millisecond)
		if n := p.Current(); n != 7 {
			t.Errorf("%d run after one reading, want 7", n)
		}
		// Then it has 0.4 of its footprint, and 42.5 bytes are to come.
		time.Sleep(time.Second)
		if n := p.Current(); n != 12 {
			t.Errorf("%d run, want 12: 12 times 42.5 is over 500", n)
		}
		b.used.Store(460)
		time.Sleep(time.Second)
		if s := p.Stats(); s.Current != 12 || s.Block != pool.BlockMemory || s.MemoryUsed != 460 || s.MemoryLine != 500 {
			t.Errorf("%+v, want the gate shut", s)
		}
		if err := p.Abort(); err != nil {
			t.Error(err)
		}
		<-result
	})
}

// A task that starts in the place of one that ended counts no more than that one did.
func TestMemoryGateCountsEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b box
		var started atomic.Int64
		p := newPool(t, pool.Options{
			Law: growing{line: 500, footprint: 100}, Host: b.host, Max: 5,
			Usage: func() pool.Usage { return pool.Usage{CPU: -1, Runnable: -1, Memory: 0} },
			Ready: func(context.Context) (bool, error) { return true, nil },
			// The first five end one after the other, between two readings; the others stay.
			Run: func(ctx context.Context) error {
				lasts := time.Hour
				if n := started.Add(1); n <= 5 {
					lasts = 2*time.Second + time.Duration(n)*10*time.Millisecond
				}
				select {
				case <-time.After(lasts):
				case <-ctx.Done():
				}
				return ctx.Err()
			},
		})
		result := start(t, p)
		time.Sleep(1050 * time.Millisecond)
		b.used.Store(250)
		time.Sleep(1010 * time.Millisecond)
		if n := p.Current(); n != 5 || started.Load() != 10 {
			t.Errorf("%d run of %d that started, want 5 of 10", n, started.Load())
		}
		if err := p.Abort(); err != nil {
			t.Error(err)
		}
		<-result
	})
}

// A shut gate has garbage collected at most twice a second, where the tasks are goroutines; that opens it again.
func TestShutGateFreesMemory(t *testing.T) {
	for name, usage := range map[string]func() pool.Usage{
		"goroutines": nil,
		"processes":  func() pool.Usage { return pool.Usage{CPU: -1, Runnable: -1, Memory: -1} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				frees, restore := pool.CountFrees()
				defer restore()
				var b box
				w := newWork(1000, time.Hour)
				p := newPool(t, pool.Options{Law: fixed(t, 10), Host: b.host, Usage: usage, Run: w.run, Ready: w.ready, Max: 10})
				b.used.Store(990)
				result := start(t, p)
				time.Sleep(10050 * time.Millisecond)
				got := frees.Load()
				if usage == nil && (got < 15 || got > 21) || usage != nil && got != 0 {
					t.Errorf("%d collections in 10 s", got)
				}
				if p.Current() != 1 {
					t.Errorf("%d run, want 1", p.Current())
				}
				if err := p.Abort(); err != nil {
					t.Error(err)
				}
				<-result
			})
		})
	}
}

// A law that finds memory short has garbage collected at each of its steps, where the tasks are goroutines: what they left
// may be what is short.
func TestShortMemoryFreesGarbage(t *testing.T) {
	processes := func() pool.Usage { return pool.Usage{CPU: -1, Runnable: -1, Memory: -1} }
	for _, tt := range []struct {
		name        string
		usage       func() pool.Usage
		byMemory    bool
		least, most int64
	}{
		{"goroutines", nil, true, 8, 12},
		{"goroutines, bound by something else", nil, false, 0, 0},
		{"processes", processes, true, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				frees, restore := pool.CountFrees()
				defer restore()
				law := &recorder{limit: limit.Decision{Limit: 2, Shares: []limit.Share{{Limit: 2, From: 2, ByMemory: tt.byMemory}}}}
				w := newWork(1000, time.Hour)
				var b box
				p := newPool(t, pool.Options{Law: law, Host: b.host, Usage: tt.usage, Run: w.run, Ready: w.ready})
				result := start(t, p)
				time.Sleep(10050 * time.Millisecond)
				if got := frees.Load(); got < tt.least || got > tt.most {
					t.Errorf("%d collections in 10 s, want %d to %d", got, tt.least, tt.most)
				}
				if err := p.Abort(); err != nil {
					t.Error(err)
				}
				<-result
			})
		})
	}
}

// untilShed returns what runs until its context ends, and counts those that were shed.
func untilShed(shed *atomic.Int64) func(context.Context) error {
	return func(ctx context.Context) error {
		<-ctx.Done()
		if errors.Is(context.Cause(ctx), pool.ErrShed) {
			shed.Add(1)
		}
		return ctx.Err()
	}
}

// At critical memory the youngest tasks are cancelled until what is left is under the line, one is left to run, and
// what was cancelled runs again.
func TestShed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b box
		var mu sync.Mutex
		var shed, done []int
		var tasks []pool.Task
		for i := range 10 {
			tasks = append(tasks, pool.Task{Run: func(ctx context.Context) error {
				b.used.Add(90)
				defer b.used.Add(-90)
				mu.Lock()
				first := !slices.Contains(shed, i)
				mu.Unlock()
				time.Sleep(time.Duration(i) * time.Millisecond)
				select {
				case <-ctx.Done():
					if !errors.Is(context.Cause(ctx), pool.ErrShed) || !first {
						t.Errorf("task %d ended with %v", i, context.Cause(ctx))
					}
					mu.Lock()
					shed = append(shed, i)
					mu.Unlock()
					return context.Cause(ctx)
				case <-time.After(20 * time.Second):
				}
				mu.Lock()
				done = append(done, i)
				mu.Unlock()
				return nil
			}})
		}
		go func() {
			time.Sleep(5 * time.Second)
			b.used.Add(80) // 980 in all
			time.Sleep(5 * time.Second)
			b.used.Add(-80)
		}()
		err := pool.All(t.Context(), slices.Values(tasks), pool.Options{
			Law: growing{line: 880}, Host: b.host, Memory: pool.Memory{Shed: true},
			Usage: func() pool.Usage { return pool.Usage{CPU: -1, Runnable: -1, Memory: b.used.Load()} },
		})
		// 98 each are taken for theirs: without one 882 are left.
		if err != nil || len(done) != 10 || !slices.Equal(shed, []int{9}) {
			t.Errorf("All = %v, done %v, shed %v; want all done, and the youngest shed once", err, done, shed)
		}
	})
}

// Memory that rises from reading to reading is shed before it is critical, a leap that ends under the line is not.
func TestShedGoesByTheRise(t *testing.T) {
	for _, c := range []struct {
		name      string
		used      []int64 // in thousandths, a tenth of a second apart
		inProcess bool
		want      bool
	}{
		{"rises over the line by the next reading", []int64{700, 700, 820, 880, 940}, false, true},
		{"rises by garbage", []int64{700, 700, 820, 880, 940}, true, false},
		{"leaps", []int64{700, 700, 700, 940, 940}, false, false},
		{"rises slowly", []int64{900, 910, 920, 930, 940}, false, false},
		{"falls", []int64{700, 700, 940, 930, 920}, false, false},
		{"is over the line", []int64{700, 700, 700, 700, 951}, false, true},
		{"is over the line in this process", []int64{700, 700, 700, 700, 951}, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var b box
				var shed atomic.Int64
				b.used.Store(c.used[0])
				usage := func() pool.Usage { return pool.Usage{CPU: -1, Runnable: -1, Memory: 500} }
				if c.inProcess {
					usage = nil
				}
				p := newPool(t, pool.Options{
					Law: growing{line: 1 << 40}, Host: b.host, Usage: usage, Memory: pool.Memory{Shed: true}, Max: 10,
					Run: untilShed(&shed),
				})
				result := start(t, p)
				time.Sleep(2050 * time.Millisecond) // between two readings
				for _, used := range c.used {
					b.used.Store(used)
					time.Sleep(100 * time.Millisecond)
				}
				if got := shed.Load() > 0; got != c.want {
					t.Errorf("%d tasks were shed, want some: %v", shed.Load(), c.want)
				}
				if err := p.Abort(); err != nil {
					t.Error(err)
				}
				<-result
			})
		})
	}
}

func TestShedLeavesOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b box
		go func() {
			time.Sleep(time.Second)
			b.used.Store(1000)
		}()
		var ended atomic.Int64
		p := newPool(t, pool.Options{
			Law: growing{line: 1 << 40}, Host: b.host, Memory: pool.Memory{Shed: true}, Max: 5,
			Usage: func() pool.Usage { return pool.Usage{CPU: -1, Runnable: -1, Memory: 10} },
			Ready: func(context.Context) (bool, error) { return ended.Load() == 0, nil },
			Run: func(ctx context.Context) error {
				select {
				case <-ctx.Done():
					ended.Add(1)
				case <-time.After(time.Minute):
				}
				return ctx.Err()
			},
		})
		if err := p.Run(t.Context()); err != nil || ended.Load() != 4 {
			t.Errorf("Run = %v, %d were shed, want 4 of 5", err, ended.Load())
		}
		if s := p.Stats(); s.Shed != 4 || s.Failed != 0 || s.Completed < 5 {
			t.Errorf("%d shed, %d failed, %d completed; want 4, none and all", s.Shed, s.Failed, s.Completed)
		}
	})
}

// By a known footprint the youngest have taken less than the others, so that more of them go.
func TestShedCountsWhatTasksHaveTaken(t *testing.T) {
	for _, c := range []struct {
		footprint int64
		want      int64
	}{{0, 1}, {100, 2}} {
		synctest.Test(t, func(t *testing.T) {
			var b box
			b.used.Store(500)
			var shed atomic.Int64
			p := newPool(t, pool.Options{
				Law: growing{line: 1 << 40, footprint: c.footprint}, Host: b.host, Memory: pool.Memory{Shed: true}, Max: 10,
				Usage: func() pool.Usage { return pool.Usage{CPU: -1, Runnable: -1, Memory: b.used.Load()} },
				Run:   untilShed(&shed),
			})
			result := start(t, p)
			time.Sleep(2050 * time.Millisecond)
			b.used.Store(990) // 99 each, and 40 of a footprint of 100 while nothing says how long they take
			time.Sleep(100 * time.Millisecond)
			if got := shed.Load(); got != c.want {
				t.Errorf("footprint %d: %d were shed, want %d", c.footprint, got, c.want)
			}
			if err := p.Abort(); err != nil {
				t.Error(err)
			}
			<-result
		})
	}
}

// What was cancelled does not come back before the law had its next step.
func TestShedTasksWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b box
		var shed atomic.Int64
		p := newPool(t, pool.Options{
			Law: growing{line: 2000}, Host: b.host, Memory: pool.Memory{Shed: true}, Max: 10,
			Usage: func() pool.Usage { return pool.Usage{CPU: -1, Runnable: -1, Memory: b.used.Load()} },
			Run: func(ctx context.Context) error {
				b.used.Add(98)
				defer b.used.Add(-98)
				return untilShed(&shed)(ctx)
			},
		})
		result := start(t, p)
		time.Sleep(4500 * time.Millisecond)
		if n := shed.Load(); n < 4 || n > 5 {
			t.Errorf("%d tasks were shed in 4.5 s, want one each second", n)
		}
		if err := p.Abort(); err != nil {
			t.Error(err)
		}
		<-result
	})
}
