package pool_test

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/limit"
	"github.com/headroom-rpc/headroom/pool"
)

func newBudget(t *testing.T, o pool.BudgetOptions) *pool.Budget {
	t.Helper()
	b, err := pool.NewBudget(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// member is a pool of a budget with its work.
type member struct {
	*work
	*pool.Pool
	result <-chan error
}

func join(t *testing.T, b *pool.Budget, name string, weight int, w *work, o pool.Options) member {
	t.Helper()
	share, err := b.Share(name, weight)
	if err != nil {
		t.Fatal(err)
	}
	o.Permits, o.Run, o.Ready = share, w.run, w.ready
	p := newPool(t, o)
	return member{w, p, start(t, p)}
}

// Pools that share a budget are given it by weight, and what one does not use the others may.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(t, pool.BudgetOptions{Law: fixed(t, 12)})
		// The first comes first, with long tasks, and has all; the others get their parts as it gives back.
		a := join(t, b, "a", 1, newWork(1000, 3*time.Second), pool.Options{})
		if a.Current() != 12 {
			t.Errorf("%d in use by the only pool, want all 12", a.Current())
		}
		time.Sleep(time.Second)
		c := join(t, b, "c", 2, newWork(200, 200*time.Millisecond), pool.Options{})
		d := join(t, b, "d", 1, newWork(1000, 500*time.Millisecond), pool.Options{Max: 2})
		if c.Current() != 0 || !strings.Contains(c.Explain(), "others hold 12 of 12") {
			t.Errorf("%d in use by a late pool: %s", c.Current(), c.Explain())
		}
		time.Sleep(4100 * time.Millisecond)
		// The tenth of what is left is as much one's as the other's.
		if n := a.Current(); n < 3 || n > 4 || c.Current() != 10-n || d.Current() != 2 {
			t.Errorf("in use: %d, %d and %d; want 3 or 4, the rest of 10, and 2: one takes no more than its maximum", a.Current(), c.Current(), d.Current())
		}
		for sum := range 100 {
			if n := a.running.Load() + c.running.Load() + d.running.Load(); n > 12 {
				t.Fatalf("%d run, of a budget of 12 (%d)", n, sum)
			}
			time.Sleep(77 * time.Millisecond)
		}
		if err := <-c.result; err != nil { // it has ended, and leaves all to the others
			t.Error(err)
		}
		time.Sleep(4 * time.Second)
		if a.Current() != 10 || d.Current() != 2 {
			t.Errorf("in use: %d and %d, want 10 and 2", a.Current(), d.Current())
		}
		for _, m := range []member{a, d} {
			if err := m.Abort(); err != nil {
				t.Error(err)
			}
			<-m.result
		}
	})
}

// Whoever waits gets its turn, however scarce the permits are and however busy the others.
func TestBudgetStarvesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(t, pool.BudgetOptions{Law: fixed(t, 1)})
		var all []member
		for i := range 4 {
			all = append(all, join(t, b, fmt.Sprint(i), 1, newWork(1<<40, 100*time.Millisecond), pool.Options{}))
		}
		time.Sleep(40 * time.Second)
		for i, m := range all {
			if n := m.done.Load(); n < 90 || n > 110 {
				t.Errorf("pool %d ran %d tasks of 400, want a quarter", i, n)
			}
		}
		// One that pauses does not hold the others up.
		for synctest.Wait(); all[0].Current() != 0; synctest.Wait() {
			time.Sleep(10 * time.Millisecond)
		}
		all[0].Pause() // while it waits
		before := all[1].done.Load()
		time.Sleep(30 * time.Second)
		if n := all[1].done.Load() - before; n < 90 || n > 110 {
			t.Errorf("%d tasks of 300 in the time in which one of four was paused, want a third", n)
		}
		for _, m := range all {
			if err := m.Abort(); err != nil {
				t.Error(err)
			}
			<-m.result
		}
	})
}

// One law decides for all, of all, and its shares are kept.
func TestBudgetLaw(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		law := &sharing{recorder{limit: limit.Decision{Limit: 10, From: 10, Binding: "both"}}, [2]int64{7, 3}}
		b := newBudget(t, pool.BudgetOptions{
			Law: law, Host: func() pool.Host { return pool.Host{Cores: 4, Busy: -1, RunQueue: -1, Stalled: -1, MemoryTotal: 1000} },
		})
		usage := func() pool.Usage { return pool.Usage{CPU: -1, Runnable: 1, Memory: 5} }
		a := join(t, b, "a", 3, newWork(1000, 900*time.Millisecond), pool.Options{Usage: usage})
		c := join(t, b, "c", 1, newWork(1000, 900*time.Millisecond), pool.Options{Usage: usage, Min: 2})
		if a.Current() != 7 || c.Current() != 2 || !strings.Contains(c.Explain(), "not seen this pool yet") {
			t.Errorf("in use at first: %d and %d, want 7, and as many as there are cores for each of two: %s", a.Current(), c.Current(), c.Explain())
		}
		time.Sleep(5500 * time.Millisecond)
		synctest.Wait()
		if a.Current() != 7 || c.Current() != 3 || !strings.Contains(c.Explain(), "3 for c") {
			t.Errorf("in use: %d and %d, want 7 and 3: %s", a.Current(), c.Current(), c.Explain())
		}
		inputs := law.seen()
		in := inputs[len(inputs)-1]
		if len(in.Pools) != 2 || in.Charge != 10 || in.Pools[0].Weight != 3 || in.Pools[0].Waiting == 0 || math.Abs(in.Pools[0].InUse-7) > 0.5 ||
			in.Pools[1].Memory != 5 || in.Pools[0].Min != 0 || in.Pools[1].Min != 2 || in.Host.Cores != 4 {
			t.Errorf("the law was told %+v", in)
		}
		for _, m := range []member{a, c} {
			if err := m.Abort(); err != nil {
				t.Error(err)
			}
			<-m.result
		}
	})
}

// The windows of the pools are those of the machine, however often the law steps, and hold nothing twice.
func TestBudgetWindows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		law := &recorder{limit: limit.Decision{Limit: 4, From: 4, Next: 250 * time.Millisecond}}
		b := newBudget(t, pool.BudgetOptions{Law: law, Host: func() pool.Host {
			return pool.Host{Cores: 2, Busy: 2 * time.Since(begin), RunQueue: -1, Stalled: -1}
		}})
		usage := func() pool.Usage { return pool.Usage{CPU: time.Since(begin), Runnable: -1, Memory: -1} }
		a := join(t, b, "a", 1, newWork(1000, 330*time.Millisecond), pool.Options{Usage: usage})
		time.Sleep(170 * time.Millisecond)
		c := join(t, b, "c", 1, newWork(1000, 440*time.Millisecond), pool.Options{Usage: usage})
		time.Sleep(5500 * time.Millisecond)
		var ended int64
		for i, in := range law.seen() {
			for _, p := range in.Pools {
				ended += p.Completed
				if i > 2 && (!p.CPUKnown || math.Abs(2*p.CPU-in.Host.Busy) > 1e-6) {
					t.Errorf("step %d at %v, after %v: %v cores for %s of %v", i, in.At, in.Window, p.CPU, p.ID, in.Host.Busy)
				}
			}
		}
		if n := a.done.Load() + c.done.Load(); ended > n || ended < n-6 {
			t.Errorf("%d ended in all windows, want %d but for the last", ended, n)
		}
		for _, m := range []member{a, c} {
			if err := m.Abort(); err != nil {
				t.Error(err)
			}
			<-m.result
		}
	})
}

// sharing is a law that gives the first two pools fixed shares.
type sharing struct {
	recorder
	shares [2]int64
}

func (l *sharing) Step(in limit.Input) limit.Decision {
	d := l.recorder.Step(in)
	for i := range in.Pools {
		n := l.shares[i]
		d.Shares = append(d.Shares, limit.Share{Limit: n, From: n, Binding: fmt.Sprintf("%d for %s", n, strings.Split(in.Pools[i].ID, "#")[0])})
	}
	return d
}

// What the process uses is divided among pools of goroutines by their permits.
func TestBudgetOfGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		law := &recorder{limit: limit.Decision{Limit: 4, From: 4}}
		b := newBudget(t, pool.BudgetOptions{Law: law})
		a := join(t, b, "a", 3, newWork(1000, time.Second), pool.Options{})
		c := join(t, b, "c", 1, newWork(1000, time.Second), pool.Options{})
		time.Sleep(5500 * time.Millisecond)
		inputs := law.seen()
		p := inputs[len(inputs)-1].Pools
		if len(p) != 2 || !p[0].MemoryKnown || p[0].Memory < 2*p[1].Memory || p[0].Memory > 4*p[1].Memory+4 || !p[1].CPUKnown {
			t.Errorf("%+v, want memory in proportion to 3 and 1 permits", p)
		}
		for _, m := range []member{a, c} {
			if err := m.Abort(); err != nil {
				t.Error(err)
			}
			<-m.result
		}
	})
}

func TestBudgetOptions(t *testing.T) {
	_, err := pool.NewBudget(pool.BudgetOptions{Memory: pool.Memory{High: 3}})
	if err == nil || !strings.Contains(err.Error(), "Memory.High") {
		t.Errorf("NewBudget = %v", err)
	}
	b := newBudget(t, pool.BudgetOptions{Law: fixed(t, 3)})
	if _, err := b.Share("x", 0); err == nil {
		t.Error("a weight of 0 is accepted")
	}
	s, err := b.Share("x", 1)
	if err != nil {
		t.Fatal(err)
	}
	run := func(context.Context) error { return nil }
	if _, err := pool.New(pool.Options{Run: run, Permits: s, Law: fixed(t, 1)}); err == nil || !strings.Contains(err.Error(), "Law") {
		t.Errorf("a pool with permits and a law: %v", err)
	}
	p, ok := s.TryAcquire(5) // heavier than the limit: it runs alone
	if _, more := s.TryAcquire(1); !ok || more {
		t.Errorf("5 of 3: %v, one more: %v; want the heavy one alone", ok, more)
	}
	for _, n := range []int64{0, -5} {
		if _, ok := s.TryAcquire(n); ok {
			t.Errorf("%d permits are given", n)
		}
	}
	s.Close()
	p.Release()
	if _, ok := s.TryAcquire(1); ok {
		t.Error("a closed share gives permits")
	}
}

// A pool does not wait for ever for permits of a share that is closed, and leaves what it had to others.
func TestClosedShare(t *testing.T) {
	for name, before := range map[string]bool{"before": true, "while it runs": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBudget(t, pool.BudgetOptions{Law: fixed(t, 4)})
				other := join(t, b, "other", 1, newWork(10_000, time.Second), pool.Options{})
				share, err := b.Share("closed", 1)
				if err != nil {
					t.Fatal(err)
				}
				w := newWork(10_000, time.Second)
				if before {
					share.Close()
				}
				result := start(t, newPool(t, pool.Options{Permits: share, Run: w.run, Ready: w.ready}))
				time.Sleep(10500 * time.Millisecond) // between the ends of tasks, as below
				share.Close()
				time.Sleep(9750 * time.Millisecond)
				if err := outcome(t, result); err == nil || !strings.Contains(err.Error(), "closed") {
					t.Errorf("Run = %v, want that the share is closed", err)
				}
				if done := w.done.Load(); done == 0 != before {
					t.Errorf("%d tasks ended", done)
				}
				if other.Current() != 4 {
					t.Errorf("%d run in the other pool, want all 4", other.Current())
				}
				if err := other.Abort(); err != nil {
					t.Error(err)
				}
				<-other.result
			})
		})
	}
}

// A pool of heavy tasks gets its turn among those of light ones that never leave so much free at once.
func TestBudgetStarvesNoHeavyTasks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(t, pool.BudgetOptions{Law: fixed(t, 4)})
		light := newWork(100_000, 0)
		share, err := b.Share("light", 1)
		if err != nil {
			t.Fatal(err)
		}
		p := newPool(t, pool.Options{Permits: share, Run: func(context.Context) error {
			time.Sleep(time.Duration(900+37*(light.done.Add(1)%7)) * time.Millisecond)
			return nil
		}})
		result := start(t, p)
		time.Sleep(500 * time.Millisecond)
		heavy := join(t, b, "heavy", 1, newWork(1000, time.Second), pool.Options{Weight: 3})
		before := light.done.Load()
		time.Sleep(time.Minute)
		if n, m := heavy.done.Load(), light.done.Load()-before; n < 20 || m < 20 {
			t.Errorf("%d heavy and %d light tasks in a minute, want many of both", n, m)
		}
		for _, p := range []*pool.Pool{heavy.Pool, p} {
			if err := p.Abort(); err != nil {
				t.Error(err)
			}
		}
		<-heavy.result
		<-result
	})
}

// A pool whose sequence waits for something keeps nothing from the others meanwhile.
func TestBudgetOfASlowSequence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(t, pool.BudgetOptions{Law: fixed(t, 4)})
		share, err := b.Share("slow", 1)
		if err != nil {
			t.Fatal(err)
		}
		values, ended := make(chan int), make(chan error)
		go func() {
			ended <- pool.ForEach(t.Context(), func(yield func(int) bool) {
				for v := range values {
					if !yield(v) {
						return
					}
				}
			}, func(context.Context, int) error {
				time.Sleep(time.Second)
				return nil
			}, pool.Options{Permits: share})
		}()
		busy := join(t, b, "busy", 1, newWork(1000, time.Second), pool.Options{})
		values <- 1
		time.Sleep(10500 * time.Millisecond)
		if n := busy.done.Load(); n < 30 || busy.Current() != 4 {
			t.Errorf("%d tasks in 10.5 s and %d run, want about 38, and all 4", n, busy.Current())
		}
		close(values)
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := busy.Abort(); err != nil {
			t.Error(err)
		}
		<-busy.result
	})
}

// growingAll is growing for two pools.
type growingAll struct{ growing }

func (l growingAll) Step(in limit.Input) limit.Decision {
	d := l.growing.Step(in)
	for len(d.Shares) < len(in.Pools) {
		d.Shares = append(d.Shares, d.Shares[0])
	}
	return d
}

// What started since the memory was read is in nothing that was read: it counts in full, whichever pool it is of, and no
// more once it has ended.
func TestBudgetMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var used box
		used.used.Store(100)
		b := newBudget(t, pool.BudgetOptions{Law: growingAll{growing{line: 500, footprint: 100}}, Host: used.host})
		var shares [2]*pool.Share
		for i, name := range []string{"a", "b"} {
			var err error
			if shares[i], err = b.Share(name, 1); err != nil {
				t.Fatal(err)
			}
		}
		var held [2][]pool.Permit
		for i, step := range []struct {
			share, acquire, release int
			want                    int // that are acquired
		}{
			{share: 0, acquire: 3, want: 3}, // 247 of the 400 that are left
			{share: 1, acquire: 9, want: 2}, // 412
			{share: 0, acquire: 1, want: 0},
			{share: 0, release: 1},
			{share: 1, acquire: 9, want: 1},
			{share: 1, release: 2},
			{share: 0, acquire: 9, want: 2},
		} {
			for range step.release {
				last := len(held[step.share]) - 1
				held[step.share][last].Release()
				held[step.share] = held[step.share][:last]
			}
			got := 0
			for range step.acquire {
				if p, ok := shares[step.share].TryAcquire(1); ok {
					held[step.share] = append(held[step.share], p)
					got++
				}
			}
			shares[step.share].Demand(0, 0) // it does not wait for more
			if got != step.want {
				t.Errorf("step %d: %d permits, want %d", i, got, step.want)
			}
		}
		// However many ran meanwhile.
		for range 100 {
			held[0][0].Release()
			p, ok := shares[0].TryAcquire(1)
			if !ok {
				t.Fatal("no permit for one that was given back")
			}
			held[0][0] = p
		}
	})
}

// A reading counts what has grown by then, and the next starts in full again.
func TestBudgetMemoryIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var used box
		used.used.Store(1000)
		b := newBudget(t, pool.BudgetOptions{Law: growingAll{growing{line: 500, footprint: 100}}, Host: used.host})
		a := join(t, b, "a", 1, newWork(1000, time.Hour), pool.Options{})
		c := join(t, b, "c", 1, newWork(1000, time.Hour), pool.Options{})
		time.Sleep(1050 * time.Millisecond)
		if n, m := a.Current(), c.Current(); n != 1 || m != 1 {
			t.Errorf("%d and %d run over the line, want one each", n, m)
		}
		// Each of the two that run has 0.4 of its footprint, and 42.5 bytes are to come: 6 more start in the 415 that are left.
		used.used.Store(0)
		time.Sleep(100 * time.Millisecond)
		if n := a.Current() + c.Current(); n != 8 {
			t.Errorf("%d run after one reading, want 8", n)
		}
		time.Sleep(2 * time.Second)
		if n := a.Current() + c.Current(); n != 12 {
			t.Errorf("%d run, want 12: 12 times 42.5 is over 500", n)
		}
		for _, m := range []member{a, c} {
			if err := m.Abort(); err != nil {
				t.Error(err)
			}
			<-m.result
		}
	})
}
