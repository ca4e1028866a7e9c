package permit_test

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

const room = "room"

// attached is a worker whose stream the test answers by hand.
type attached struct {
	*permit.Lessee
	now   time.Duration
	last  time.Duration // Sent of the newest frame
	epoch int64
}

func (a *attached) frame(t *testing.T) permit.WorkerFrame {
	t.Helper()
	f, ok := a.Frame(a.now)
	if !ok {
		t.Fatalf("at %v: no frame is due", a.now)
	}
	a.last = f.Sent
	return f
}

func (a *attached) silent(t *testing.T) {
	t.Helper()
	if f, ok := a.Frame(a.now); ok {
		t.Fatalf("at %v: frame %+v is due, want none", a.now, f)
	}
}

func (a *attached) targets(ts ...permit.Target) {
	a.Receive(a.now, permit.ServerFrame{Epoch: a.epoch, Echo: a.last, Targets: ts})
}

func (a *attached) welcome(resumed bool, session byte, ts ...permit.Target) {
	a.Receive(a.now, permit.ServerFrame{Epoch: a.epoch, Echo: a.last, Targets: ts, Welcome: &permit.Welcome{
		Session: permit.SessionID{session}, Epoch: a.epoch, Resumed: resumed,
		TTL: permit.DefaultTTL, Heartbeat: permit.DefaultHeartbeat, Grace: permit.DefaultGrace,
	}})
}

// attach returns a worker at 1 s with a session that asked for room, and its first report sent.
func attach(t *testing.T, c permit.LesseeConfig) *attached {
	t.Helper()
	a := &attached{Lessee: permit.NewLessee(c), now: time.Second, epoch: 1}
	a.Gate(room)
	a.Lessee.Demand(room, permit.Demand{Waiting: 1})
	a.Connect(a.now)
	a.frame(t)
	a.welcome(false, 1)
	a.frame(t)
	return a
}

func target(version, n int64) permit.Target {
	return permit.Target{Resource: room, Version: version, Target: n, Fence: 100, Mode: permit.ModeNormal}
}

func contended(version, n int64) permit.Target {
	t := target(version, n)
	t.Contended = true
	return t
}

func TestGateTakesWithinTargetAndLease(t *testing.T) {
	const end = time.Second + 1 + 4950*time.Millisecond // attach sends two frames at 1 s
	tests := []struct {
		name   string
		target int64
		held   int64 // taken before at once, under a target of the same
		at     time.Duration
		n      int64
		want   bool
	}{
		{"one", 1, 0, time.Second, 1, true},
		{"all", 5, 0, time.Second, 5, true},
		{"more than all takes none", 5, 0, time.Second, 6, false},
		{"the rest", 5, 4, time.Second, 1, true},
		{"full", 5, 5, time.Second, 1, false},
		{"lowered below what is held", 2, 5, time.Second, 1, false},
		{"no target", 0, 0, time.Second, 1, false},
		{"none", 5, 0, time.Second, 0, false},
		{"fewer than none", 5, 1, time.Second, -1, false},
		{"the most there is", permit.MaxLimit, permit.MaxLimit - 1, time.Second, 1, true},
		{"a number out of range", permit.MaxLimit, 1, time.Second, 1<<63 - 1, false},
		{"in the last instant of the lease", 5, 0, end - 1, 1, true},
		{"at the end of the lease", 5, 0, end, 1, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := attach(t, permit.LesseeConfig{})
			g := a.Gate(room)
			if tt.held > 0 {
				a.targets(target(1, tt.held))
				if _, ok := g.TryAcquire(a.now, tt.held); !ok {
					t.Fatal("cannot hold that many")
				}
			}
			a.targets(target(2, tt.target))
			_, got := g.TryAcquire(tt.at, tt.n)
			if got != tt.want {
				t.Errorf("TryAcquire(%v, %d) = %v, want %v", tt.at, tt.n, got, tt.want)
			}
			want := tt.held
			if tt.want {
				want += tt.n
			}
			if g.Held() != want {
				t.Errorf("Held() = %d, want %d", g.Held(), want)
			}
		})
	}
}

func TestGateRelease(t *testing.T) {
	guaranteed := contended(2, 5)
	guaranteed.Guarantee = 3
	tests := []struct {
		name   string
		held   int64
		target permit.Target // when it is released
		n      int64
		tell   bool
		limit  int64 // after it
	}{
		{"within the target", 5, target(2, 5), 1, false, 5},
		{"nothing", 5, target(2, 3), 0, false, 3},
		{"above the target", 5, target(2, 3), 1, true, 3},
		{"from above the target to under it", 5, target(2, 3), 4, true, 3},
		{"to just the target", 5, target(2, 4), 1, true, 4},
		{"more than is held", 2, target(2, 5), 9, false, 5},
		{"while others wait", 5, contended(2, 5), 1, true, 4},
		{"while others wait and less is held", 3, contended(2, 5), 1, true, 2},
		{"above the target while others wait", 5, contended(2, 3), 1, true, 3},
		{"what is guaranteed stays", 3, guaranteed, 2, true, 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := attach(t, permit.LesseeConfig{})
			g := a.Gate(room)
			a.targets(target(1, tt.held))
			g.TryAcquire(a.now, tt.held)
			a.Lessee.Demand(room, permit.Demand{Waiting: 9})
			a.targets(tt.target)
			a.now += time.Second
			a.frame(t)
			if got := g.Release(tt.n); got != tt.tell {
				t.Errorf("Release(%d) = %v, want %v", tt.n, got, tt.tell)
			}
			if g.Limit() != tt.limit {
				t.Errorf("Limit() = %d, want %d", g.Limit(), tt.limit)
			}
			if _, ok := a.Frame(a.now); ok != tt.tell {
				t.Errorf("a frame is due: %v, want %v", ok, tt.tell)
			}
		})
	}
}

// A burst of releases asks for one frame, not for many.
func TestGateTellsOnceForEachFrame(t *testing.T) {
	a := attach(t, permit.LesseeConfig{})
	g := a.Gate(room)
	a.targets(contended(1, 3))
	g.TryAcquire(a.now, 3)
	for i, want := range []bool{true, false} {
		if got := g.Release(1); got != want {
			t.Errorf("release %d: tell = %v, want %v", i, got, want)
		}
	}
	if r := a.frame(t).Reports[0]; r.Held != 1 || r.Ceiling != 1 {
		t.Errorf("report %+v, want 1 held and a ceiling of 1", r)
	}
	if !g.Release(1) {
		t.Error("after the frame: tell = false, want true")
	}
}

// Fences grow from start to start, and each is one of the block that came with the target.
func TestGateFence(t *testing.T) {
	a := attach(t, permit.LesseeConfig{})
	g := a.Gate(room)
	last := permit.Fence{}
	take := func(n, base int64) {
		t.Helper()
		got, ok := g.TryAcquire(a.now, n)
		if !ok || got.Epoch != 1 || got.Counter < base || got.Counter >= base+permit.FenceBlock || got.Compare(last) <= 0 {
			t.Errorf("TryAcquire = %v, %v, want more than %v, of the block at %d", got, ok, last, base)
		}
		last = got
		g.Release(n)
	}
	a.targets(target(1, permit.MaxLimit))
	take(1, 100)
	take(permit.MaxLimit, 100)
	take(3, 100)
	a.targets(target(2, permit.MaxLimit-1)) // lowered: the same block goes on
	take(1, 100)
	a.frame(t)
	take(1, 100)
	raised := target(3, permit.MaxLimit)
	raised.Fence = 100 + 5*permit.FenceBlock
	a.targets(raised)
	take(1, raised.Fence)
}

func TestGateOffline(t *testing.T) {
	a := &attached{Lessee: permit.NewLessee(permit.LesseeConfig{}), now: time.Second, epoch: 1}
	g := a.Gate(room)
	try := func(when string, want bool) {
		t.Helper()
		f, ok := g.TryAcquire(a.now, 1)
		if ok != want {
			t.Errorf("%s: TryAcquire = %v, want %v", when, ok, want)
		}
		if ok && f != (permit.Fence{}) {
			t.Errorf("%s: fence %v without a lease", when, f)
		}
	}
	try("by default", false)
	g.SetOffline(1)
	try("with one offline permit", true)
	try("with none left", false)

	a.Lessee.Demand(room, permit.Demand{Waiting: 1})
	a.Connect(a.now)
	a.frame(t)
	a.welcome(false, 1)
	g.SetOffline(9)
	try("with a lease and no target", false)
	a.now += permit.DefaultTTL
	try("after the lease", true)
	a.Receive(a.now, permit.ServerFrame{Epoch: 1, Echo: a.last, Kicked: "test"})
	try("after a kick", false)
	a.Connect(a.now)
	a.frame(t)
	a.welcome(false, 2)
	a.now += permit.DefaultTTL
	try("after the lease of another session", true)
	a.Goodbye(a.now)
	try("after goodbye", false)
	if g.Held() != 3 {
		t.Errorf("Held() = %d, want 3", g.Held())
	}
}

// While goroutines take and release, what a report states as held or as a ceiling bounds what is held from then
// on, until a newer target.
func TestGateCeilingExcludesStarts(t *testing.T) {
	a := attach(t, permit.LesseeConfig{})
	g := a.Gate(room)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, ok := g.TryAcquire(time.Second, 1); ok {
					g.Release(1)
				}
			}
		})
	}
	random := rand.New(rand.NewPCG(1, 2))
	for version := int64(1); version <= 2000; version++ {
		next := target(version, random.Int64N(5))
		next.Contended = random.IntN(2) == 0
		a.targets(next)
		a.Lessee.Demand(room, permit.Demand{Waiting: version % 2, Priority: int(version%2) + 1})
		for range 2 {
			a.now = min(a.now+time.Microsecond, 2*time.Second)
			f, ok := a.Frame(a.now)
			if !ok {
				continue
			}
			r := f.Reports[0]
			bound := max(r.Held, next.Target)
			if r.HasCeiling {
				bound = r.Ceiling
				if r.Ceiling < r.Held || r.Ceiling > next.Target {
					t.Fatalf("version %d: ceiling %d with %d held of %d", version, r.Ceiling, r.Held, next.Target)
				}
			}
			for range 20 {
				if held := g.Held(); held > bound {
					t.Fatalf("version %d: %d held after report %+v of %d", version, held, r, next.Target)
				}
			}
		}
	}
	close(stop)
	wg.Wait()
	if g.Held() != 0 {
		t.Errorf("at the end: Held() = %d, want 0", g.Held())
	}
}

func TestGateDoesNotAllocate(t *testing.T) {
	a := attach(t, permit.LesseeConfig{})
	g := a.Gate(room)
	a.targets(contended(1, 5))
	g.SetOffline(1)
	for _, at := range []time.Duration{time.Second, time.Hour} {
		allocs := testing.AllocsPerRun(1000, func() {
			if _, ok := g.TryAcquire(at, 1); ok {
				g.Release(1)
			}
		})
		if allocs != 0 {
			t.Errorf("at %v: %v allocations, want 0", at, allocs)
		}
	}
}
