package limit_test

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/limit"
	"github.com/headroom-rpc/headroom/snapshot"
)

func input(at time.Duration, state snapshot.State, charge int64) limit.Input {
	in := limit.Input{At: at, Charge: charge}
	in.Current = snapshot.Status{Window: 5 * time.Second, State: state, Signals: []snapshot.SignalStatus{
		{Signal: "memory", State: state, Actual: 0.5, Limit: 0.2},
	}}
	in.Newest = []snapshot.Snapshot{{Signal: "cpu", Resource: snapshot.CPU, CPU: snapshot.CPUReading{Cores: 3.5}}}
	return in
}

func TestStatus(t *testing.T) {
	type step struct {
		at      time.Duration
		state   snapshot.State
		charge  int64
		want    int64
		binding string
	}
	const idle, overloaded, unknown = snapshot.StateIdle, snapshot.StateOverloaded, snapshot.StateUnknown
	for _, tt := range []struct {
		name  string
		steps []step
	}{
		{"begins at the cores, rounded up", []step{{0, unknown, 0, 4, "unknown"}}},
		{"grows by one a second while it is used", []step{
			{0, idle, 4, 5, "grows"}, {time.Second / 2, idle, 5, 5, "grows"}, {time.Second, idle, 5, 6, "grows"},
		}},
		{"stays while it is not used", []step{{0, idle, 3, 4, "not all"}, {time.Second, idle, 3, 4, "not all"}}},
		{"nine tenths are used", []step{
			{0, idle, 4, 5, ""}, {1 * time.Second, idle, 5, 6, ""}, {2 * time.Second, idle, 6, 7, ""},
			{3 * time.Second, idle, 7, 8, ""}, {4 * time.Second, idle, 8, 9, ""}, {5 * time.Second, idle, 9, 10, ""},
			{6 * time.Second, idle, 8, 10, "not all"}, {7 * time.Second, idle, 9, 11, "grows"},
		}},
		{"falls by one a second and never under one", []step{
			{0, overloaded, 0, 3, "memory is overloaded"}, {time.Second - 1, overloaded, 0, 3, "memory"},
			{time.Second, overloaded, 0, 2, ""}, {2 * time.Second, overloaded, 0, 1, ""},
			{3 * time.Second, overloaded, 0, 1, ""},
		}},
		{"stays while the load is unknown", []step{{0, idle, 4, 5, ""}, {time.Second, unknown, 5, 5, "unknown"}}},
		{"falls at once after a rise of a second ago", []step{{0, idle, 4, 5, ""}, {time.Second, overloaded, 5, 4, ""}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			law := limit.NewStatus()
			for i, s := range tt.steps {
				got := law.Step(input(s.at, s.state, s.charge))
				if got.Limit != s.want || !strings.Contains(got.Binding, s.binding) {
					t.Errorf("step %d: %d, %q, want %d and %q", i, got.Limit, got.Binding, s.want, s.binding)
				}
			}
		})
	}
}

// A large limit moves by shares of itself.
func TestStatusInProportion(t *testing.T) {
	law := limit.NewStatus()
	last, at := int64(0), time.Duration(0)
	for last < 1000 {
		next := law.Step(input(at, snapshot.StateIdle, 1<<40)).Limit
		if last >= 100 && (next < last+last/25 || next > last+last/15) {
			t.Fatalf("from %d to %d, want a twentieth more", last, next)
		}
		last, at = next, at+time.Second
	}
	if got := law.Step(input(at, snapshot.StateOverloaded, 0)).Limit; got < last*89/100 || got > last*91/100 {
		t.Errorf("from %d to %d, want a tenth less", last, got)
	}
}

func TestStatusWithoutReading(t *testing.T) {
	in := input(0, snapshot.StateUnknown, 0)
	in.Newest = nil
	if got := limit.NewStatus().Step(in).Limit; got != int64(runtime.NumCPU()) {
		t.Errorf("first limit = %d, want the CPUs, %d", got, runtime.NumCPU())
	}
}

func TestFixed(t *testing.T) {
	law, err := limit.NewFixed(7)
	if err != nil {
		t.Fatal(err)
	}
	for _, state := range []snapshot.State{snapshot.StateIdle, snapshot.StateOverloaded} {
		if got := law.Step(input(0, state, 100)).Limit; got != 7 || law.Name() != "fixed" {
			t.Errorf("%s: %d, want fixed: 7", law.Name(), got)
		}
	}
	if _, err := limit.NewFixed(0); err == nil {
		t.Error("NewFixed(0) = nil, want an error")
	}
}
