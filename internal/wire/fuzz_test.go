package wire_test

import (
	"fmt"
	"testing"

	"github.com/headroom-rpc/headroom/internal/wire"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/snapshot"
	"google.golang.org/protobuf/proto"
)

// FuzzSnapshotFrom holds that whatever can be decoded can be translated, and that a second trip changes
// nothing.
func FuzzSnapshotFrom(f *testing.F) {
	for _, s := range []snapshot.Snapshot{
		{},
		{Unknown: "no", HasLastGood: true},
		{Resource: snapshot.CPU, CPU: snapshot.CPUReading{Used: 1}},
		{Resource: snapshot.CPU, CPU: snapshot.CPUReading{
			Limit: "cpu.max of /a", HostKnown: true, ThrottledKnown: true, LoadKnown: true, Runnable: 2}},
		{Resource: snapshot.Memory, Memory: snapshot.MemoryReading{Used: 1, HostKnown: true}},
		{Resource: snapshot.Memory, Memory: snapshot.MemoryReading{Limit: "memory.max of /a", SwapKnown: true,
			Tightest: snapshot.MemoryLevel{Used: 1, Total: 2, Limit: "memory.high of /"}}},
		{Resource: snapshot.EventLoop, EventLoop: snapshot.EventLoopReading{Delay: -1, Judged: 4, Reporters: 1}},
		{Resource: snapshot.Client, Client: snapshot.ClientReading{New: -1}},
		{Resource: snapshot.Pressure},
		{Resource: snapshot.Custom},
	} {
		raw, err := proto.Marshal(wire.Snapshot(&s, now))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var p headroomv1.Snapshot
		if proto.Unmarshal(raw, &p) != nil {
			return
		}
		first := wire.SnapshotFrom(&p, now)
		second := wire.SnapshotFrom(overTheWire(t, wire.Snapshot(&first, now)), now)
		if got, want := fmt.Sprint(second), fmt.Sprint(first); got != want { // text, since NaN != NaN
			t.Fatalf("second trip: %s\nfirst trip:  %s", got, want)
		}
	})
}

// FuzzStatusFrom holds the same for statuses.
func FuzzStatusFrom(f *testing.F) {
	raw, err := proto.Marshal(wire.Status(&snapshot.Status{State: snapshot.StateOverloaded, Signals: []snapshot.SignalStatus{
		{Signal: "cpu", Resource: snapshot.CPU, State: snapshot.StateOverloaded, HasValue: true, Actual: 1, Limit: 0.4},
		{Signal: "memory", Resource: snapshot.Memory, State: snapshot.StateUnknown, Reason: "no"},
	}}))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		var p headroomv1.Status
		if proto.Unmarshal(raw, &p) != nil {
			return
		}
		first := wire.StatusFrom(&p)
		second := wire.StatusFrom(overTheWire(t, wire.Status(&first)))
		if got, want := fmt.Sprint(second), fmt.Sprint(first); got != want {
			t.Fatalf("second trip: %s\nfirst trip:  %s", got, want)
		}
	})
}
