package permit_test

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

// The first frame of a stream is a hello, and nothing follows before its answer: a report would name versions of
// a session that may be over.
func TestLesseeGreetsFirst(t *testing.T) {
	config := permit.LesseeConfig{Client: "worker", Instance: permit.InstanceID{7}, Exclusive: true}
	a := &attached{Lessee: permit.NewLessee(config), now: time.Second, epoch: 1}
	a.Gate(room)
	a.Lessee.Demand(room, permit.Demand{Waiting: 2})
	a.silent(t) // no stream
	a.Connect(a.now)
	f := a.frame(t)
	want := &permit.Hello{Client: "worker", Instance: permit.InstanceID{7}, Exclusive: true}
	if f.Sequence != 1 || !reflect.DeepEqual(f.Hello, want) || f.Reports != nil {
		t.Errorf("first frame %+v with %+v, want sequence 1 and %+v", f, f.Hello, want)
	}
	a.now += time.Minute
	a.silent(t)
	a.welcome(false, 1)
	f = a.frame(t)
	if f.Sequence != 2 || f.Hello != nil || len(f.Reports) != 1 || f.Reports[0].Want != 2 {
		t.Errorf("second frame %+v, want sequence 2 and a report of what is wanted", f)
	}
}

func TestLesseeDeadlineCountsFromSending(t *testing.T) {
	var lost int
	a := attach(t, permit.LesseeConfig{Lost: func() { lost++ }})
	deadline := func(want time.Duration) {
		t.Helper()
		if got, ok := a.Deadline(); !ok || got != want {
			t.Errorf("Deadline() = %v, %v, want %v", got, ok, want)
		}
	}
	const lease = 4950 * time.Millisecond
	deadline(time.Second + lease) // the welcome echoed the hello of 1 s

	a.now = 2500 * time.Millisecond
	sent := a.frame(t).Sent
	a.now = 4 * time.Second
	a.frame(t)
	a.last = sent
	a.now = 5 * time.Second // the answer to the first comes late
	a.targets()
	deadline(2500*time.Millisecond + lease)

	a.last = time.Second
	a.targets() // an older echo after a newer one
	deadline(2500*time.Millisecond + lease)
	a.last = 9 * time.Second
	a.targets() // an echo of what was never sent
	deadline(2500*time.Millisecond + lease)

	a.Advance(2500*time.Millisecond + lease - 1)
	if lost != 0 {
		t.Error("lost before the deadline")
	}
	a.Advance(2500*time.Millisecond + lease)
	a.Advance(2500*time.Millisecond + lease + time.Second)
	if lost != 1 {
		t.Errorf("lost %d times, want once", lost)
	}
}

// A lease whose deadline has passed goes on where an echo shows that the server heard later.
func TestLesseeLeaseComesBack(t *testing.T) {
	var changes int
	a := attach(t, permit.LesseeConfig{Changed: func(string) { changes++ }})
	a.targets(target(1, 1))
	a.now = 5900 * time.Millisecond
	f := a.frame(t)
	a.now = 6 * time.Second
	a.Advance(a.now)
	g := a.Gate(room)
	if _, ok := g.TryAcquire(a.now, 1); ok {
		t.Error("started after the deadline")
	}
	a.last, changes = f.Sent, 0
	a.targets()
	if _, ok := g.TryAcquire(a.now, 1); !ok || changes != 1 {
		t.Errorf("after the echo: started %v with %d changes, want true with 1", ok, changes)
	}
}

func TestLesseeIgnoresWhatIsNotNewer(t *testing.T) {
	tests := []struct {
		name string
		f    func(a *attached) permit.ServerFrame
	}{
		{"an older version", func(a *attached) permit.ServerFrame {
			return permit.ServerFrame{Epoch: 3, Echo: a.last, Targets: []permit.Target{target(4, 9)}}
		}},
		{"the same version", func(a *attached) permit.ServerFrame {
			return permit.ServerFrame{Epoch: 3, Echo: a.last, Targets: []permit.Target{target(5, 9)}}
		}},
		{"an older epoch", func(a *attached) permit.ServerFrame {
			return permit.ServerFrame{Epoch: 2, Echo: a.last, Targets: []permit.Target{target(6, 9)}}
		}},
		{"an earlier stream", func(a *attached) permit.ServerFrame {
			return permit.ServerFrame{Epoch: 3, Echo: a.last - time.Minute, Targets: []permit.Target{target(6, 9)}}
		}},
		{"a second welcome", func(a *attached) permit.ServerFrame {
			return permit.ServerFrame{Epoch: 3, Echo: a.last, Targets: []permit.Target{target(1, 9)},
				Welcome: &permit.Welcome{Session: permit.SessionID{9}, Epoch: 3, TTL: time.Hour}}
		}},
		{"another resource", func(a *attached) permit.ServerFrame {
			other := target(6, 9)
			other.Resource = "hall"
			return permit.ServerFrame{Epoch: 3, Echo: a.last, Targets: []permit.Target{other}}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := attach(t, permit.LesseeConfig{})
			a.epoch, a.now = 3, time.Hour
			a.Connect(a.now)
			a.frame(t)
			a.welcome(false, 2, target(5, 2))
			a.frame(t)
			session, _ := a.Session()
			deadline, _ := a.Deadline()
			a.Receive(a.now, tt.f(a))
			if got := a.Gate(room).Limit(); got != 2 {
				t.Errorf("Limit() = %d, want 2", got)
			}
			if got, _ := a.Target(room); got.Version != 5 {
				t.Errorf("version %d is applied, want 5", got.Version)
			}
			if got, _ := a.Session(); got != session {
				t.Errorf("session %+v, want %+v", got, session)
			}
			if got, _ := a.Deadline(); got < deadline || got > deadline+time.Second {
				t.Errorf("deadline %v, want %v or a little more", got, deadline)
			}
		})
	}
}

// Any multiset and order of the frames that were delivered gives the state of the newest ones.
func TestLesseeOrderOfFramesDoesNotMatter(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		a := attach(t, permit.LesseeConfig{})
		var frames []permit.ServerFrame
		newest := target(0, 0)
		for version := int64(1); version <= 8; version++ {
			newest = target(version, random.Int64N(9))
			newest.Contended = random.IntN(2) == 0
			frames = append(frames, permit.ServerFrame{Epoch: 1, Echo: a.last, Targets: []permit.Target{newest}})
		}
		frames = append(frames, frames[random.IntN(8)], frames[random.IntN(8)])
		random.Shuffle(len(frames), func(i, j int) { frames[i], frames[j] = frames[j], frames[i] })
		for _, f := range frames {
			a.Receive(a.now, f)
		}
		if got, _ := a.Target(room); got != newest || a.Gate(room).Limit() != newest.Target {
			t.Fatalf("target %+v with limit %d, want %+v", got, a.Gate(room).Limit(), newest)
		}
	}
}

// What is given back is given back for good, until a newer target: it is repeated, may fall and does not rise.
func TestLesseeYields(t *testing.T) {
	a := attach(t, permit.LesseeConfig{})
	g := a.Gate(room)
	a.targets(contended(1, 4))
	g.TryAcquire(a.now, 4)
	a.now += 200 * time.Millisecond
	report := func(held int64, ceiling int64, has bool) {
		t.Helper()
		a.now += 200 * time.Millisecond
		a.Lessee.Demand(room, permit.Demand{Waiting: 1, Priority: int(a.now / (200 * time.Millisecond) % 7)})
		r := a.frame(t).Reports[0]
		if r.Held != held || r.Ceiling != ceiling || r.HasCeiling != has {
			t.Errorf("report %+v, want held %d and ceiling %d, %v", r, held, ceiling, has)
		}
	}
	report(4, 0, false)
	g.Release(1)
	report(3, 3, true)
	report(3, 3, true)
	g.Release(2)
	report(1, 1, true)
	if _, ok := g.TryAcquire(a.now, 1); ok {
		t.Error("started above the ceiling")
	}
	a.targets(contended(1, 4)) // the same again does not open it
	report(1, 1, true)
	a.Connect(a.now)
	want := permit.Holding{Resource: room, Held: 1, Version: 1, Target: 4, Ceiling: 1, HasCeiling: true}
	if h := a.frame(t).Hello; !h.Resume || h.Epoch != 1 || h.Session != (permit.SessionID{1}) ||
		!slices.Equal(h.Held, []permit.Holding{want}) {
		t.Errorf("hello %+v, want to resume with %+v", h, want)
	}
	a.welcome(true, 1)
	report(1, 1, true)
	a.targets(contended(2, 2))
	report(1, 0, false)
	if _, ok := g.TryAcquire(a.now, 1); !ok {
		t.Error("cannot start under a newer target")
	}
}

// What others wait for is not kept by a worker that has no use for it.
func TestLesseeYieldsWhatIsIdle(t *testing.T) {
	a := attach(t, permit.LesseeConfig{})
	g := a.Gate(room)
	a.targets(target(1, 5))
	g.TryAcquire(a.now, 2)
	a.targets(contended(2, 5)) // it still waits for one
	a.silent(t)
	a.Lessee.Demand(room, permit.Demand{})
	if r := a.frame(t).Reports[0]; r.Held != 2 || !r.HasCeiling || r.Ceiling != 2 || g.Limit() != 2 {
		t.Errorf("report %+v with limit %d, want to keep the 2 that are held", r, g.Limit())
	}
	a.targets(contended(3, 5))
	if r := a.frame(t).Reports[0]; !r.HasCeiling || r.Ceiling != 2 || r.Version != 3 {
		t.Errorf("report %+v, want a ceiling of 2 under version 3", r)
	}
}

func TestLesseeAnswers(t *testing.T) {
	tests := []struct {
		name  string
		t     permit.Target
		delay time.Duration
	}{
		{"a lowered target at once", target(2, 3), 0},
		{"a raised one with the heartbeat", target(2, 9), time.Second},
		{"a raised one that others wait for soon", contended(2, 9), 100 * time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := attach(t, permit.LesseeConfig{})
			a.targets(target(1, 4))
			a.now = a.last + 2*time.Second // when all is reported again
			a.frame(t)
			a.targets(tt.t)
			if at, ok := a.Next(); !ok || max(at, a.now) != a.now+tt.delay {
				t.Errorf("Next() = %v, want %v", at, a.now+tt.delay)
			}
			a.now += tt.delay
			if r := a.frame(t).Reports[0]; r.Version != 2 {
				t.Errorf("report of version %d, want 2", r.Version)
			}
		})
	}
}

func TestLesseeAfterAnEndedSession(t *testing.T) {
	tests := []struct {
		name    string
		resumed bool
		session byte
		epoch   int64
		limit   int64
		version int64
		lost    int
	}{
		{"resumed", true, 1, 1, 4, 7, 0},
		{"given up by the same life", false, 2, 1, 0, 0, 1},
		{"a new life", false, 2, 2, 0, 0, 0},
		{"said to be resumed by a new life", true, 1, 2, 0, 0, 0},
		{"said to be resumed as another", true, 2, 1, 0, 0, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var lost int
			a := attach(t, permit.LesseeConfig{Lost: func() { lost++ }})
			g := a.Gate(room)
			a.targets(target(7, 4))
			g.TryAcquire(a.now, 3)
			a.now += time.Second
			a.Disconnect(a.now)
			a.targets(target(8, 9)) // nothing comes from a stream that is over
			a.Connect(a.now)
			a.targets(target(8, 9))
			h := a.frame(t).Hello
			want := permit.Holding{Resource: room, Held: 3, Version: 7, Target: 4}
			if !h.Resume || !slices.Equal(h.Held, []permit.Holding{want}) {
				t.Errorf("hello %+v, want %+v", h, want)
			}
			a.targets(target(8, 9)) // nor before the answer
			a.epoch = tt.epoch
			a.welcome(tt.resumed, tt.session)
			if g.Limit() != tt.limit || g.Held() != 3 || lost != tt.lost {
				t.Errorf("limit %d with %d held, lost %d times, want %d with 3, %d times",
					g.Limit(), g.Held(), lost, tt.limit, tt.lost)
			}
			if r := a.frame(t).Reports[0]; r.Version != tt.version || r.Held != 3 {
				t.Errorf("report %+v, want version %d and 3 held", r, tt.version)
			}
		})
	}
}

// A worker whose lease is over claims what runs, and starts nothing before the server said more, not even by a
// call that had looked at the clock before.
func TestLesseeClaimsWhatRunsAfterItsLease(t *testing.T) {
	for _, tt := range []struct {
		name    string
		resumed bool
		limit   int64
	}{{"resumed", true, 3}, {"a new life", false, 0}} {
		t.Run(tt.name, func(t *testing.T) {
			a := attach(t, permit.LesseeConfig{})
			g := a.Gate(room)
			sure := target(7, 9)
			sure.Guarantee = 5
			a.targets(sure)
			g.TryAcquire(a.now, 3)
			before := a.now
			a.Disconnect(a.now)
			a.now += permit.DefaultTTL
			a.Connect(a.now)
			got := a.frame(t).Hello.Held
			want := permit.Holding{Resource: room, Held: 3, Version: 7, Target: 9, Ceiling: 3, HasCeiling: true}
			if !slices.Equal(got, []permit.Holding{want}) {
				t.Errorf("held %+v, want %+v", got, want)
			}
			if _, ok := g.TryAcquire(before, 1); ok {
				t.Error("started more than was claimed")
			}
			if !tt.resumed {
				a.epoch++
			}
			a.welcome(tt.resumed, 1)
			if g.Limit() != tt.limit {
				t.Errorf("limit %d, want %d", g.Limit(), tt.limit)
			}
			a.targets(target(8, 6))
			if _, ok := g.TryAcquire(a.now, 3); !ok {
				t.Error("a newer target does not count")
			}
		})
	}
}

// A worker that the server of an older epoch welcomes does not believe it.
func TestLesseeRefusesAnOlderLife(t *testing.T) {
	a := attach(t, permit.LesseeConfig{})
	a.epoch = 5
	a.Connect(a.now)
	a.frame(t)
	a.welcome(false, 2, target(1, 2))
	a.Connect(a.now)
	a.frame(t)
	a.epoch = 4
	a.welcome(false, 3, target(9, 9))
	if g := a.Gate(room); g.Limit() != 2 {
		t.Errorf("Limit() = %d, want the 2 of the newer life", g.Limit())
	}
}

func TestLesseeIsKicked(t *testing.T) {
	var lost int
	a := attach(t, permit.LesseeConfig{Lost: func() { lost++ }})
	g := a.Gate(room)
	a.targets(target(1, 4))
	g.TryAcquire(a.now, 1)
	a.Receive(a.now, permit.ServerFrame{Epoch: 1, Echo: a.last, Kicked: "by the operator"})
	if _, ok := g.TryAcquire(a.now, 1); ok || lost != 1 {
		t.Errorf("started %v, lost %d times, want false, once", ok, lost)
	}
	if _, ok := a.Session(); ok {
		t.Error("there is still a session")
	}
	if _, ok := a.Deadline(); ok {
		t.Error("there is still a lease")
	}
	a.silent(t)
	a.Connect(a.now)
	if h := a.frame(t).Hello; h.Resume || h.Held != nil {
		t.Errorf("hello %+v, want one that does not resume", h)
	}
	a.welcome(false, 2, target(1, 2))
	if _, ok := g.TryAcquire(a.now, 1); !ok {
		t.Error("cannot start in the next session")
	}
}

func TestLesseeSaysGoodbye(t *testing.T) {
	var lost int
	a := attach(t, permit.LesseeConfig{Lost: func() { lost++ }})
	a.targets(target(1, 4))
	if f := a.Goodbye(a.now); !f.Goodbye || f.Sequence != 3 || lost != 1 {
		t.Errorf("frame %+v, lost %d times, want a goodbye with sequence 3, once", f, lost)
	}
	if _, ok := a.Gate(room).TryAcquire(a.now, 1); ok {
		t.Error("started after goodbye")
	}
	a.Connect(a.now)
	a.silent(t)
	if at, ok := a.Next(); ok {
		t.Errorf("Next() = %v, want none", at)
	}
	if a.Goodbye(a.now); lost != 1 {
		t.Errorf("after another goodbye: lost %d times, want once", lost)
	}
}

func TestLesseeTellsOfChanges(t *testing.T) {
	var changed []string
	a := attach(t, permit.LesseeConfig{Changed: func(resource string) { changed = append(changed, resource) }})
	changed = nil
	a.targets(target(1, 4))
	a.targets(target(1, 4))
	a.Advance(time.Hour)
	a.Advance(time.Hour)
	if !slices.Equal(changed, []string{room, room}) {
		t.Errorf("changes of %v, want one for the target and one for the end of the lease", changed)
	}
}
