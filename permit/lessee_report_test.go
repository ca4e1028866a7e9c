package permit_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

// Changes gather in one frame; without any there is a heartbeat, and in two of them every resource is heard of.
func TestLesseeFrameGathers(t *testing.T) {
	a := &attached{Lessee: permit.NewLessee(permit.LesseeConfig{}), now: time.Second, epoch: 1}
	for i := range permit.MaxReports + 6 {
		name := fmt.Sprintf("r%02d", i)
		a.Gate(name)
		a.Lessee.Demand(name, permit.Demand{Waiting: 1})
	}
	a.Connect(a.now)
	a.frame(t)
	a.welcome(false, 1)
	if n := len(a.frame(t).Reports); n != permit.MaxReports {
		t.Errorf("first frame has %d reports, want %d", n, permit.MaxReports)
	}
	if n := len(a.frame(t).Reports); n != 6 {
		t.Errorf("second frame has %d reports, want the other 6", n)
	}
	a.silent(t)

	a.Lessee.Demand("r03", permit.Demand{Waiting: 2})
	a.Lessee.Demand("r05", permit.Demand{Waiting: 1, Priority: 1})
	if got := names(a.frame(t).Reports); !slices.Equal(got, []string{"r03", "r05"}) {
		t.Errorf("frame reports %v, want r03 and r05", got)
	}
	a.now += time.Second / 2
	a.Lessee.Demand("r05", permit.Demand{Waiting: 0, Priority: 1}) // nobody waits for that
	if at, ok := a.Next(); !ok || at > a.now {
		t.Errorf("Next() = %v, want at most %v, 100 ms after the last report", at, a.now)
	}
	a.frame(t)
	a.silent(t)
	if at, ok := a.Next(); !ok || at != a.now+time.Second {
		t.Errorf("Next() = %v, %v, want a heartbeat at %v", at, ok, a.now+time.Second)
	}
	heard := make(map[string]bool)
	for end := a.now + 2*time.Second; ; {
		at, _ := a.Next()
		if a.now = max(a.now, at); a.now > end {
			break
		}
		for _, name := range names(a.frame(t).Reports) {
			heard[name] = true
		}
	}
	if len(heard) != permit.MaxReports+6 {
		t.Errorf("%d resources were heard of in two heartbeats, want all", len(heard))
	}
}

func names(reports []permit.Report) []string {
	var names []string
	for _, r := range reports {
		names = append(names, r.Resource)
	}
	return names
}

// A heartbeat that came late does not put off the time at which a resource is heard of again.
func TestLesseeReportsInTwoHeartbeats(t *testing.T) {
	a := attach(t, permit.LesseeConfig{})
	reported := a.now
	a.now += 1300 * time.Millisecond
	if f := a.frame(t); f.Reports != nil {
		t.Errorf("reports %+v, want none", f.Reports)
	}
	if at, ok := a.Next(); !ok || at != reported+2*time.Second {
		t.Errorf("Next() = %v, %v, want %v", at, ok, reported+2*time.Second)
	}
}

// While the server knows little of the work it is told more often what that uses; not of work that has yet to begin.
func TestLesseeReportsUsageSoonAtFirst(t *testing.T) {
	a := attach(t, permit.LesseeConfig{})
	usage := time.Duration(0)
	expect := func(when string, wait time.Duration) {
		t.Helper()
		usage++
		a.Lessee.Demand(room, permit.Demand{Waiting: 1, Usage: permit.Usage{CPU: usage}, HasUsage: true})
		want := a.now + wait
		if at, ok := a.Next(); !ok || at != want {
			t.Fatalf("usage %d, %s: due at %v, %v, want %v", usage, when, at, ok, want)
		}
		a.now = want
		if r := a.frame(t).Reports; len(r) != 1 || r[0].Usage.CPU != usage {
			t.Fatalf("usage %d, %s: reports %+v", usage, when, r)
		}
		a.targets() // that the frame came keeps the lease
	}
	const later = permit.DefaultHeartbeat * 3 / 4
	for range 20 {
		expect("with nothing held", later)
	}
	a.targets(target(1, 1))
	if _, ok := a.Gate(room).TryAcquire(a.now, 1); !ok {
		t.Fatal("it was given nothing")
	}
	a.Lessee.Demand(room, permit.Demand{Waiting: 1, Usage: permit.Usage{CPU: usage}, HasUsage: true})
	a.frame(t)                                                  // that it holds one
	expect("with a permit for the first time", time.Nanosecond) // at once, but after the last frame
	for range 14 {
		expect("with a permit", 200*time.Millisecond)
	}
	for range 8 {
		expect("with a permit, later", later)
	}
}

// What is used is told when it is new, where that is about as often as there is a heartbeat, and not with the next one.
func TestLesseeReportsUsageWhenItIsNew(t *testing.T) {
	a := attach(t, permit.LesseeConfig{})
	for usage := range time.Duration(8) {
		a.now += permit.DefaultHeartbeat * 9 / 10
		a.Lessee.Demand(room, permit.Demand{Usage: permit.Usage{CPU: usage + 1}, HasUsage: true})
		if at, ok := a.Next(); !ok || at > a.now {
			t.Fatalf("usage %d is due at %v, %v, want at once, at %v", usage, at, ok, a.now)
		}
		if f := a.frame(t); len(f.Reports) != 1 {
			t.Fatalf("usage %d: reports %+v", usage, f.Reports)
		}
		a.targets() // that the frame came keeps the lease
	}
}
