package limit_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/limit"
)

const ms = time.Millisecond

func near(got, want float64) bool { return math.Abs(got-want) <= 1e-9+1e-6*math.Abs(want) }

func TestHostMeter(t *testing.T) {
	var m limit.HostMeter
	if h, span := m.Window(); span != 0 || h.BusyKnown || h.RunQueueKnown {
		t.Errorf("before a reading: %+v, %v, want nothing known", h, span)
	}
	read := func(at time.Duration, cpu time.Duration, queue float64) {
		m.Read(at, limit.HostReading{Cores: 2, CPU: cpu, CPUKnown: true, RunQueue: queue, RunQueueKnown: true,
			MemoryUsed: int64(at), MemoryTotal: 1 << 40, Stalled: at / 4, StalledKnown: true, Kills: 3})
	}
	read(0, 0, 100)
	read(100*ms, 150*ms, 4)
	read(300*ms, 450*ms, 4.5)
	read(400*ms, 600*ms, 1)
	h, span := m.Window()
	if span != 400*ms || !h.BusyKnown || !near(h.Busy, 1.5) || !h.RunQueueKnown || !near(h.RunQueue, (0.4+0.9+0.1)/0.4) ||
		!near(h.Crowded, 0.5) || !h.StalledKnown || !near(h.Stalled, 0.25) || h.Kills != 3 || h.Cores != 2 ||
		h.MemoryUsed != int64(400*ms) || h.MemoryTotal != 1<<40 {
		t.Errorf("%+v over %v, want 1.5 busy, 3.5 in the queue, half of the time crowded, a quarter stalled", h, span)
	}
	// The next window begins at the last reading, and a counter that begins anew is not known.
	read(500*ms, 650*ms, 0)
	if h, span = m.Window(); span != 100*ms || !near(h.Busy, 0.5) || h.RunQueue != 0 {
		t.Errorf("%+v over %v, want 0.5 busy over 100 ms", h, span)
	}
	read(600*ms, 10*ms, 0)
	if h, _ = m.Window(); h.BusyKnown {
		t.Errorf("a counter that fell: %+v, want busy not known", h)
	}
	m.Read(700*ms, limit.HostReading{})
	if h, _ = m.Window(); h.BusyKnown || h.RunQueueKnown || h.StalledKnown || h.MemoryTotal != 0 {
		t.Errorf("nothing known: %+v", h)
	}
}

func TestPoolMeter(t *testing.T) {
	var m limit.PoolMeter
	read := func(at, cpu time.Duration, runnable float64, memory int64) {
		m.Read(at, limit.PoolReading{CPU: cpu, CPUKnown: true, Runnable: runnable, RunnableKnown: true,
			Memory: memory, MemoryKnown: true})
	}
	read(0, 0, 9, 1)
	m.Start(0, 1)
	m.Start(500*ms, 2)
	m.Call(10, 1)
	read(500*ms, 250*ms, 1, 50)
	m.End(750*ms, 0, 1, true)
	read(1000*ms, 1250*ms, 3, 70)
	m.Call(5, 2)
	p := m.Window(1000 * ms)
	if !near(p.InUse, 0.5+0.75+0.5) || p.Leased != 2 || !p.CPUKnown || !near(p.CPU, 1.25) || !p.RunnableKnown ||
		!near(p.Runnable, 2) || p.Memory != 70 || !p.MemoryKnown || p.Started != 2 || p.Completed != 1 || p.Failed != 1 ||
		p.Throttled != 3 || p.Calls != 15 {
		t.Errorf("first window: %+v", p)
	}
	// Of the squares of the ages that were reached: one ended at 750 ms, two are 500 ms old.
	if want := time.Duration(math.Sqrt(math.Pi*(750*750+2*500*500))/2) * ms; (p.Duration - want).Abs() > ms {
		t.Errorf("duration %v, want %v", p.Duration, want)
	}
	if want := 2 * limit.Growth(500*ms, p.Duration); !near(p.Grown, want) {
		t.Errorf("grown %v, want %v", p.Grown, want)
	}
	read(1500*ms, 1250*ms, 0, 10)
	p = m.Window(2 * time.Second)
	if !near(p.InUse, 2) || p.Started != 0 || p.Completed != 0 || p.Calls != 0 || p.CPU != 0 || p.Runnable != 0 {
		t.Errorf("second window: %+v, want two in use and nothing else", p)
	}
	// Without a reading in it, a window says nothing of the CPU.
	if p = m.Window(3 * time.Second); p.CPUKnown || p.RunnableKnown || p.Memory != 10 {
		t.Errorf("third window: %+v, want no CPU", p)
	}
}

// What is used is as of the time at which it was so: else it would seem to go up and down with the ages of the readings.
func TestPoolMeterReadingsOfAnAge(t *testing.T) {
	var m limit.PoolMeter
	read := func(at, age time.Duration) { // of tasks that use a core and a half all the time
		m.Read(at, limit.PoolReading{CPU: (at - age) * 3 / 2, CPUKnown: true, Runnable: 2, RunnableKnown: true, Age: age})
	}
	m.Start(0, 3)
	read(100*ms, 0)
	for i, ages := range [][2]time.Duration{{100 * ms, 0}, {20 * ms, 90 * ms}, {50 * ms, 10 * ms}, {110 * ms, 210 * ms}, {0, 130 * ms}} {
		at := time.Duration(i+1) * 200 * ms
		read(at, ages[0])
		read(at+100*ms, ages[1])
		p := m.Window(at + 100*ms)
		if !p.CPUKnown || !near(p.CPU, 1.5) || !p.RunnableKnown || !near(p.Runnable, 2) {
			t.Errorf("window %d: CPU %v, %v, runnable %v, %v, want 1.5 and 2", i, p.CPU, p.CPUKnown, p.Runnable, p.RunnableKnown)
		}
	}
}

// Of readings that get ever older the means do not hold for ever.
func TestPoolMeterReadingsOfADeadSource(t *testing.T) {
	var m limit.PoolMeter
	m.Start(0, 3)
	for at := time.Duration(0); at <= 10*time.Second; at += 200 * ms {
		as := min(at, time.Second)
		m.Read(at, limit.PoolReading{CPU: as * 3 / 2, CPUKnown: true, Runnable: 2, RunnableKnown: true, Age: at - as})
		p := m.Window(at)
		if want := at > 0 && at-as <= 3*time.Second; p.CPUKnown != want || want && !near(p.CPU, 1.5) || p.RunnableKnown != want {
			t.Errorf("a reading of %v at %v: CPU %v, %v, runnable %v, %v", as, at, p.CPU, p.CPUKnown, p.Runnable, p.RunnableKnown)
		}
	}
}

func TestGrowth(t *testing.T) {
	const s = time.Second
	for _, tt := range []struct {
		age, duration time.Duration
		want          float64
	}{
		{0, 0, 0.4}, {100 * s, 0, 0.4}, {0, 10 * s, 0.3}, {-s, 10 * s, 0.3}, {2500 * ms, 10 * s, 0.65}, {5 * s, 10 * s, 1},
		{100 * s, 10 * s, 1},
	} {
		if got := limit.Growth(tt.age, tt.duration); !near(got, tt.want) {
			t.Errorf("Growth(%v, %v) = %v, want %v", tt.age, tt.duration, got, tt.want)
		}
	}
}

// The sum that a meter keeps in groups is that of Growth over all tasks, and its duration that of the tasks.
func TestGrownIsTheSum(t *testing.T) {
	type task struct {
		start, end time.Duration
		permits    int64
	}
	rng := rand.New(rand.NewPCG(1, 2))
	var m limit.PoolMeter
	var running []task
	now := time.Duration(0)
	for range 200_000 {
		now += time.Duration(rng.ExpFloat64() * float64(ms))
		for i := 0; i < len(running); i++ {
			if task := running[i]; task.end <= now {
				m.End(now, task.start, task.permits, false)
				running[i] = running[len(running)-1]
				running = running[:len(running)-1]
				i--
			}
		}
		if len(running) < 100 || now > 50*time.Second && len(running) < 1000 {
			task := task{now, now + time.Duration((0.5+rng.Float64())*float64(2*time.Second)), 1 + rng.Int64N(3)}
			m.Start(now, task.permits)
			running = append(running, task)
		}
		if rng.IntN(1000) == 0 && m.Duration() > 0 {
			var want float64
			for _, task := range running {
				want += float64(task.permits) * limit.Growth(now-task.start, m.Duration())
			}
			if got := m.Grown(now); math.Abs(got-want) > 0.02*want {
				t.Fatalf("%v: grown %v, want %v", now, got, want)
			}
		}
	}
	if got := m.Duration(); (got - 2*time.Second).Abs() > 200*ms {
		t.Errorf("duration %v, want about 2s", got)
	}
}

func BenchmarkPoolMeter(b *testing.B) {
	var m limit.PoolMeter
	now := time.Duration(0)
	b.ReportAllocs()
	for b.Loop() {
		now += ms
		m.Start(now, 1)
		m.Read(now, limit.PoolReading{CPU: now, CPUKnown: true})
		m.End(now+ms/2, now, 1, false)
		if now%time.Second == 0 {
			m.Window(now + ms/2)
		}
	}
}
