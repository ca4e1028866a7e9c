package limit_test

import (
	"runtime"
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

// Where no capacity was read it is what the Go runtime sees.
func TestCapacityWithoutReading(t *testing.T) {
	in := input(0, snapshot.StateUnknown, 0)
	in.Newest = nil
	law, err := limit.NewAIMD(limit.AIMD{})
	if err != nil {
		t.Fatal(err)
	}
	if got := law.Step(in).Limit; got != int64(runtime.NumCPU()) {
		t.Errorf("first limit = %d, want the CPUs, %d", got, runtime.NumCPU())
	}
}
