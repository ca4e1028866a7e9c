package pool_test

import (
	"context"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/limit"
	"github.com/headroom-rpc/headroom/pool"
	"github.com/headroom-rpc/headroom/snapshot"
)

// recorder is a law that keeps what it is told and says what the test does.
type recorder struct {
	mu     sync.Mutex
	inputs []limit.Input
	limit  limit.Decision
}

func (*recorder) Name() string { return "recorder" }

func (r *recorder) Step(in limit.Input) limit.Decision {
	r.mu.Lock()
	defer r.mu.Unlock()
	in.Pools = append([]limit.Pool(nil), in.Pools...)
	r.inputs = append(r.inputs, in)
	return r.limit
}

func (r *recorder) say(d limit.Decision) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.limit = d
}

func (r *recorder) seen() []limit.Input {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]limit.Input(nil), r.inputs...)
}

// The law is stepped once a second with what was seen of the tasks in between.
func TestLawIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		law, shadow := &recorder{limit: limit.Decision{Limit: 4}}, &recorder{limit: limit.Decision{Limit: 9, Binding: "a shadow"}}
		l := newLoad(snapshot.StateIdle)
		began := time.Now()
		// No task ends at the instant of a step, where it would be chance which of the two is first.
		w := newWork(1000, 370*time.Millisecond)
		p := newPool(t, pool.Options{
			Law: law, Shadow: []limit.Law{shadow}, Min: 2, Max: 50, Run: w.run, Ready: w.ready, Status: l.status,
			Usage: func() pool.Usage {
				return pool.Usage{CPU: time.Since(began) * 3 / 2, Runnable: 2, Memory: 100}
			},
			Host: func() pool.Host {
				return pool.Host{Cores: 2, Busy: time.Since(began) * 7 / 4, RunQueue: 5, MemoryUsed: 300, MemoryTotal: 1000, Stalled: time.Since(began) / 10, Kills: 1}
			},
		})
		result := start(t, p)
		time.Sleep(10500 * time.Millisecond)
		inputs := law.seen()
		if len(inputs) != 11 || inputs[0].Window != 0 || len(shadow.seen()) != 11 {
			t.Fatalf("%d steps, the first over %v; want 11, the first over nothing", len(inputs), inputs[0].Window)
		}
		in := inputs[5]
		if in.Window != time.Second || in.Charge != 4 || in.Want != 8 || in.Current.State != snapshot.StateIdle || len(in.Pools) != 1 {
			t.Errorf("step 5: %+v", in)
		}
		as, host := in.Pools[0], in.Host
		want := limit.Pool{
			ID: "pool", Weight: 1, Min: 2, Max: 50, InUse: as.InUse, Leased: 4, Waiting: 4, CPU: 1.5, CPUKnown: true, Runnable: 2,
			RunnableKnown: true, Memory: 100, MemoryKnown: true, Started: as.Started, Completed: as.Started, Calls: as.Started, Duration: as.Duration, Grown: as.Grown,
		}
		if as != want || as.Started < 8 || as.Started > 12 || math.Abs(as.InUse-4) > 0.01 || (as.Duration-370*time.Millisecond).Abs() > 100*time.Millisecond || as.Grown <= 1 {
			t.Errorf("pool %+v, want %+v", as, want)
		}
		if host.Busy != 1.75 || !host.BusyKnown || math.Abs(host.RunQueue-5) > 1e-9 || host.Crowded != 1 || host.MemoryUsed != 300 || host.Cores != 2 ||
			math.Abs(host.Stalled-0.1) > 1e-9 || host.Kills != 1 {
			t.Errorf("host %+v", host)
		}
		if s := p.Stats(); s.Law != "recorder" || len(s.Shadow) != 1 || s.Shadow[0].Law != "recorder" || s.Shadow[0].Decision.Binding != "a shadow" || s.Desired != 4 {
			t.Errorf("stats %+v", s)
		}
		if err := p.Abort(); err != nil {
			t.Error(err)
		}
		<-result
	})
}

// A rise is made in parts over the pace of the decision, a fall at once.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		law := &recorder{limit: limit.Decision{Limit: 10, From: 10}}
		w := newWork(1000, time.Hour)
		p := newPool(t, pool.Options{Law: law, Run: w.run, Ready: w.ready})
		result := start(t, p)
		law.say(limit.Decision{Limit: 110, From: 10, Pace: time.Second, Binding: "why not more"})
		time.Sleep(time.Second + time.Millisecond)
		for i, want := range []int64{20, 30, 40, 50, 60} {
			if got := p.Current(); got != want {
				t.Errorf("part %d: %d run, want %d", i, got, want)
			}
			time.Sleep(100 * time.Millisecond)
		}
		law.say(limit.Decision{Limit: 5, From: 5, Pace: time.Second, Binding: "why not more"})
		time.Sleep(time.Second)
		if p.Desired() != 5 || !strings.Contains(p.Explain(), "of 5 in use: why not more") {
			t.Errorf("desired %d: %s; want 5 at once", p.Desired(), p.Explain())
		}
		if err := p.Abort(); err != nil {
			t.Error(err)
		}
		<-result
	})
}

// What is set holds until the next step of the law.
func TestSetDesiredUnderALaw(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		law := &recorder{limit: limit.Decision{Limit: 10, From: 10}}
		w := newWork(1000, time.Hour)
		p := newPool(t, pool.Options{Law: law, Desired: 3, Run: w.run, Ready: w.ready})
		result := start(t, p)
		for _, want := range []int64{3, 10} {
			if p.Current() != want {
				t.Errorf("%d run, want %d", p.Current(), want)
			}
			time.Sleep(1050 * time.Millisecond)
		}
		p.SetDesired(20)
		time.Sleep(250 * time.Millisecond)
		if p.Current() != 20 || p.Desired() != 20 || !strings.Contains(p.Explain(), "was set to 20") {
			t.Errorf("%d run after SetDesired(20): %s", p.Current(), p.Explain())
		}
		time.Sleep(750 * time.Millisecond)
		if p.Desired() != 10 {
			t.Errorf("desired %d a second later, want that of the law", p.Desired())
		}
		if err := p.Abort(); err != nil {
			t.Error(err)
		}
		<-result
	})
}

// A verdict that changes has the law step at once.
func TestVerdictStepsTheLaw(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		law := &recorder{limit: limit.Decision{Limit: 1}}
		var used atomic.Uint64
		s, err := snapshot.New(snapshot.Config{Scope: snapshot.ScopeHost, CPUInterval: 300 * time.Millisecond, Sources: snapshot.Sources{
			CPU: func(context.Context) (snapshot.CPUReading, error) {
				return snapshot.CPUReading{Used: float64(used.Load()), Cores: 3}, nil
			},
			Memory: func(context.Context) (snapshot.MemoryReading, error) {
				return snapshot.MemoryReading{Used: 10, Total: 100}, nil
			},
		}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		stopped := make(chan error)
		go func() { stopped <- s.Run(ctx) }()
		time.Sleep(370 * time.Millisecond) // out of step with the Snapshotter
		w := newWork(1000, time.Hour)
		p := newPool(t, pool.Options{Law: law, Snapshotter: s, Run: w.run, Ready: w.ready})
		result := start(t, p)
		time.Sleep(20 * time.Second)
		before := law.seen()
		if in := before[len(before)-1]; in.Host.Cores != 3 || in.Host.MemoryTotal != 100 || len(in.Newest) == 0 || !in.Host.BusyKnown {
			t.Errorf("host %+v, want that of the Snapshotter", in.Host)
		}
		used.Store(1)
		time.Sleep(400 * time.Millisecond)
		after := law.seen()[len(before):]
		if !slices.ContainsFunc(after, func(in limit.Input) bool { return in.Window < time.Second && in.Newest[0].Value == 1 }) {
			t.Errorf("%d steps in 400 ms after the change, want one out of turn", len(after))
		}
		if err := p.Abort(); err != nil {
			t.Error(err)
		}
		<-result
		cancel()
		<-stopped
	})
}

// The default law finds what the machine takes: here the tasks use nothing, and so many run.
func TestDefaultLaw(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWork(1_000_000, time.Second)
		p := newPool(t, pool.Options{
			Run: w.run, Ready: w.ready,
			Usage: func() pool.Usage { return pool.Usage{} },
			Host:  func() pool.Host { return pool.Host{Cores: 2, MemoryTotal: 1 << 30} },
		})
		result := start(t, p)
		first := p.Current()
		time.Sleep(10 * time.Second)
		if first < 1 || first > 100 || p.Current() < 10*first {
			t.Errorf("%d run at first and %d after 10 s: %s", first, p.Current(), p.Explain())
		}
		if err := p.Abort(); err != nil {
			t.Error(err)
		}
		<-result
	})
}

// Where the law does not let the limit jump, what waited for its key starts gradually when that is over, and what has
// another key is not kept from starting meanwhile.
func TestThrottledComeBackGradually(t *testing.T) {
	for name, tt := range map[string]struct {
		pace   time.Duration
		others int      // tasks of another key that come while the first rests
		want   [3]int64 // that run then, when the wait is over, half a second later, and after a second
	}{
		"a law that paces a rise": {pace: time.Second, want: [3]int64{2, 12, 20}},
		"with others":             {pace: time.Second, others: 10, want: [3]int64{11, 16, 20}},
		"a law that does not":     {want: [3]int64{20, 20, 20}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				at := func(d time.Duration) { time.Sleep(time.Until(began.Add(d))) }
				g, err := pool.NewGroup(t.Context(), pool.Options{
					Law: &recorder{limit: limit.Decision{Limit: 20, From: 20, Pace: tt.pace}},
				})
				if err != nil {
					t.Fatal(err)
				}
				refused := false
				for range 41 {
					if err := g.Submit(pool.Task{Key: "k", Run: func(context.Context) error {
						if !refused {
							refused = true
							return pool.RetryAfter(10*time.Second, nil)
						}
						time.Sleep(3 * time.Second)
						return nil
					}}); err != nil {
						t.Fatal(err)
					}
					synctest.Wait() // the first is refused before others are there
				}
				at(8 * time.Second) // from now on readings are taken at whole tenths of a second
				for range tt.others {
					g.Go(func(context.Context) error {
						time.Sleep(6 * time.Second)
						return nil
					})
				}
				synctest.Wait()
				if n := g.Pool().Current(); n != int64(tt.others) {
					t.Errorf("%d of the others run while a key rests, want all %d", n, tt.others)
				}
				for i, d := range []time.Duration{10050, 10550, 11050} {
					at(d * time.Millisecond)
					if n := g.Pool().Current(); n != tt.want[i] {
						t.Errorf("%v after the start %d run, want %d", d*time.Millisecond, n, tt.want[i])
					}
				}
				if err := g.Wait(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}
