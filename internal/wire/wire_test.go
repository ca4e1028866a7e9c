package wire_test

import (
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/internal/wire"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/snapshot"
	"google.golang.org/protobuf/proto"
)

// now is the time of both clocks in the round trips, later than any At that is made up here.
const now = 100 * time.Hour

// overTheWire encodes and decodes m, as the transport does.
func overTheWire[M proto.Message](t testing.TB, m M) M {
	t.Helper()
	raw, err := proto.Marshal(m)
	if err != nil {
		t.Fatalf("marshal: %v", err)
	}
	got := m.ProtoReflect().New().Interface().(M)
	if err := proto.Unmarshal(raw, got); err != nil {
		t.Fatalf("unmarshal: %v", err)
	}
	return got
}

func TestSnapshotRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		want := randomSnapshot(r)
		got := wire.SnapshotFrom(overTheWire(t, wire.Snapshot(&want, now)), now)
		if got != want {
			t.Fatalf("got  %+v\nwant %+v", got, want)
		}
	}
}

func TestStatusRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 5_000 {
		want := randomStatus(r)
		got := wire.StatusFrom(overTheWire(t, wire.Status(&want)))
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got  %+v\nwant %+v", got, want)
		}
	}
}

func TestReportRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 5_000 {
		want := randomReport(r)
		req := overTheWire(t, wire.ReportRequest("crawler-7", want))
		if got := req.GetReporter(); got != "crawler-7" {
			t.Fatalf("reporter = %q, want crawler-7", got)
		}
		if got := wire.Report(req); !reflect.DeepEqual(got, want) {
			t.Fatalf("got  %+v\nwant %+v", got, want)
		}
	}
}

func TestSnapshotTimes(t *testing.T) {
	s := snapshot.Snapshot{Unknown: "gone", At: 8 * time.Second, LastGood: 3 * time.Second, HasLastGood: true}
	for _, test := range []struct {
		name              string
		sent, received    time.Duration // by two clocks
		wantAt, wantGood  time.Duration
		wantAge, wantLast time.Duration
	}{
		{"one clock", 10 * time.Second, 10 * time.Second, 8 * time.Second, 3 * time.Second, 2 * time.Second, 7 * time.Second},
		{"two clocks", 10 * time.Second, time.Second, -time.Second, -6 * time.Second, 2 * time.Second, 7 * time.Second},
		{"read after now", 5 * time.Second, 10 * time.Second, 10 * time.Second, 8 * time.Second, 0, 2 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := wire.Snapshot(&s, test.sent)
			if got := p.GetAge().AsDuration(); got != test.wantAge {
				t.Errorf("age = %v, want %v", got, test.wantAge)
			}
			if got := p.GetUnknown().GetLastGoodAge().AsDuration(); got != test.wantLast {
				t.Errorf("last good age = %v, want %v", got, test.wantLast)
			}
			got := wire.SnapshotFrom(p, test.received)
			if got.At != test.wantAt || got.LastGood != test.wantGood {
				t.Errorf("At, LastGood = %v, %v, want %v, %v", got.At, got.LastGood, test.wantAt, test.wantGood)
			}
		})
	}
}

func TestBindingEvidence(t *testing.T) {
	s := snapshot.Status{State: snapshot.StateOverloaded, Signals: []snapshot.SignalStatus{
		{Signal: "cpu", Resource: snapshot.CPU, State: snapshot.StateOverloaded, Actual: 0.5, Limit: 0.4,
			Value: 0.97, Bound: 0.95, Age: time.Second, HasValue: true},
		{Signal: "memory", Resource: snapshot.Memory, State: snapshot.StateIdle, Limit: 0.2},
		{Signal: "event_loop", Resource: snapshot.EventLoop, State: snapshot.StateOverloaded, Actual: 1, Limit: 0.6},
	}}
	want := []*headroomv1.Evidence{
		{Resource: headroomv1.ResourceKind_RESOURCE_KIND_EVENT_LOOP, Condition: "event_loop", Unit: "seconds"},
		{Resource: headroomv1.ResourceKind_RESOURCE_KIND_CPU, Condition: "cpu", Unit: "ratio",
			Value: proto.Float64(0.97), Bound: proto.Float64(0.95)},
	}
	got := wire.Status(&s).GetBinding()
	if len(got) != 2 || got[1].GetAge().AsDuration() != time.Second || got[0].GetAge() != nil {
		t.Fatalf("binding = %v", got)
	}
	got[1].Age = nil
	for i := range want {
		if !proto.Equal(got[i], want[i]) {
			t.Errorf("evidence %d = %v, want %v", i, got[i], want[i])
		}
	}
}

func TestBeyondTheContract(t *testing.T) {
	const kind, state = headroomv1.ResourceKind(99), headroomv1.LoadState(-7)
	if got := wire.ResourceFrom(kind); got != snapshot.Custom {
		t.Errorf("resource of kind 99 = %v, want custom", got)
	}
	if got := wire.ResourceFrom(-1); got != snapshot.Custom {
		t.Errorf("resource of kind -1 = %v, want custom", got)
	}
	if got := wire.ResourceFrom(0); got != 0 {
		t.Errorf("resource of UNSPECIFIED = %v, want 0", got)
	}
	if got := wire.Resource(77); got != headroomv1.ResourceKind_RESOURCE_KIND_CUSTOM {
		t.Errorf("kind of resource 77 = %v, want CUSTOM", got)
	}
	if got := wire.StatusFrom(&headroomv1.Status{State: state}).State; got != snapshot.StateOverloaded {
		t.Errorf("state of LoadState(-7) = %v, want overloaded", got)
	}
	if got := wire.StatusFrom(nil).State; got != snapshot.StateUnknown {
		t.Errorf("state of no status = %v, want unknown", got)
	}
	if got := wire.StatusFrom(&headroomv1.Status{Resources: []*headroomv1.ResourceStatus{nil}}); len(got.Signals) != 1 {
		t.Errorf("status with a nil entry = %+v, want one signal", got)
	}
	for name, p := range map[string]*headroomv1.Snapshot{
		"nil":            nil,
		"empty":          {},
		"no limit":       {Value: proto.Float64(1), Overloaded: true},
		"empty unknown":  {Unknown: &headroomv1.Unknown{}, Value: proto.Float64(1), Limit: proto.Float64(1)},
		"nil in a oneof": {Reading: &headroomv1.Snapshot_Memory{}},
	} {
		if got := wire.SnapshotFrom(p, 0); got.Known() || got.Overloaded {
			t.Errorf("%s: %+v, want an unknown snapshot", name, got)
		}
	}
	loop := wire.SnapshotFrom(&headroomv1.Snapshot{
		Resource: headroomv1.ResourceKind_RESOURCE_KIND_EVENT_LOOP, Value: proto.Float64(1), Limit: proto.Float64(1),
		Reading: &headroomv1.Snapshot_EventLoop{EventLoop: &headroomv1.EventLoopReading{Judged: 300}},
	}, 0).EventLoop.Judged
	if loop != 0 {
		t.Errorf("loop source 300 = %v, want 0", loop)
	}
	stalled := wire.SnapshotFrom(&headroomv1.Snapshot{
		Resource: headroomv1.ResourceKind_RESOURCE_KIND_PRESSURE, Value: proto.Float64(1), Limit: proto.Float64(1),
		Reading: &headroomv1.Snapshot_Pressure{Pressure: &headroomv1.PressureReading{Stalled: 9}},
	}, 0).Pressure.Stalled
	if stalled != snapshot.Custom {
		t.Errorf("stalled resource 9 = %v, want custom", stalled)
	}
}

func TestUnknownIsAbsent(t *testing.T) {
	loop := wire.Snapshot(&snapshot.Snapshot{Resource: snapshot.EventLoop, EventLoop: snapshot.EventLoopReading{Delay: 1}}, 0).GetEventLoop()
	if loop.SchedulerP99 != nil || loop.ProbeMax != nil || loop.ReportedDelay != nil || loop.TimerLag == nil {
		t.Errorf("event loop = %v, want a delay and a timer lag", loop)
	}
	mem := wire.Snapshot(&snapshot.Snapshot{Resource: snapshot.Memory, Memory: snapshot.MemoryReading{Used: 1}}, 0).GetMemory()
	if mem.Tightest != nil || mem.SwapUsedBytes != nil || mem.SwapTotalBytes != nil || mem.LimitSource != "" || mem.MaxBytes != nil || mem.HostUsedBytes != nil || mem.HostTotalBytes != nil || mem.UsedBytes == nil {
		t.Errorf("memory = %v, want only what is used", mem)
	}
	core := wire.Snapshot(&snapshot.Snapshot{Resource: snapshot.CPU, CPU: snapshot.CPUReading{Used: 1}}, 0).GetCpu()
	if core.HostUsedRatio != nil || core.HostCores != nil || core.HottestCoreRatio != nil || core.IowaitRatio != nil ||
		core.StealRatio != nil || core.ThrottledRatio != nil || core.RunnableCount != nil || core.LoadAverage != nil {
		t.Errorf("CPU = %v, want only what is used", core)
	}
	gone := wire.Snapshot(&snapshot.Snapshot{Resource: snapshot.CPU, Unknown: "no", CPU: snapshot.CPUReading{Used: 1}}, 0)
	if gone.Value != nil || gone.Limit != nil || gone.Reading != nil || gone.SampleTime != nil || gone.Unknown.LastGoodAge != nil {
		t.Errorf("unknown = %v, want no value", gone)
	}
	p := wire.Status(&snapshot.Status{Signals: []snapshot.SignalStatus{{State: snapshot.StateUnknown, Actual: 1}}}).GetResources()[0]
	if p.ActualRatio != nil || p.Value != nil || p.Limit != nil || p.Age != nil {
		t.Errorf("resource status = %v, want no numbers", p)
	}
}

// What is known only together is unknown where one half is missing, and a limit without a name is none.
func TestHalfOfAReadingIsUnknown(t *testing.T) {
	one, half := proto.Int64(1), proto.Float64(0.5)
	for _, m := range []*headroomv1.MemoryReading{
		{HostUsedBytes: one}, {HostTotalBytes: one}, {SwapUsedBytes: one}, {SwapTotalBytes: one},
		{Tightest: &headroomv1.MemoryLevel{UsedBytes: 1, LimitBytes: 2}},
	} {
		got := wire.SnapshotFrom(&headroomv1.Snapshot{
			Resource: headroomv1.ResourceKind_RESOURCE_KIND_MEMORY, Value: proto.Float64(0), Limit: proto.Float64(1),
			Reading: &headroomv1.Snapshot_Memory{Memory: m},
		}, 0).Memory
		if got != (snapshot.MemoryReading{}) {
			t.Errorf("memory = %+v of %v, want nothing known", got, m)
		}
	}
	for _, c := range []*headroomv1.CpuReading{
		{HostUsedRatio: half, HostCores: half, IowaitRatio: half, StealRatio: half},
		{HottestCoreRatio: half}, {RunnableCount: one}, {LoadAverage: half},
	} {
		got := wire.SnapshotFrom(&headroomv1.Snapshot{
			Resource: headroomv1.ResourceKind_RESOURCE_KIND_CPU, Value: proto.Float64(0), Limit: proto.Float64(1),
			Reading: &headroomv1.Snapshot_Cpu{Cpu: c},
		}, 0).CPU
		if got != (snapshot.CPUReading{}) {
			t.Errorf("CPU = %+v of %v, want nothing known", got, c)
		}
	}
}

func TestNumbersThatDoNotFit(t *testing.T) {
	p := wire.ReportRequest("r", snapshot.Report{ClientErrors: map[int]int64{math.MaxInt: 1}})
	if got := p.GetClientErrors()[0].GetRetryIndex(); got != math.MaxInt32 {
		t.Errorf("retry index = %d, want %d", got, math.MaxInt32)
	}
}

func TestRawBytesInTexts(t *testing.T) {
	bad := "open /proc/\xff: no"
	s := snapshot.Snapshot{Signal: bad, Unknown: bad, Source: bad}
	if got, want := overTheWire(t, wire.Snapshot(&s, 0)).GetUnknown().GetReason(), "open /proc/\uFFFD: no"; got != want {
		t.Errorf("reason = %q, want %q", got, want)
	}
	overTheWire(t, wire.Status(&snapshot.Status{State: snapshot.StateOverloaded,
		Signals: []snapshot.SignalStatus{{Signal: bad, Reason: bad, State: snapshot.StateOverloaded}}}))
	overTheWire(t, wire.ReportRequest(bad, snapshot.Report{Signals: map[string]snapshot.ReportedSignal{bad: {}}}))
	mem := snapshot.Snapshot{Resource: snapshot.Memory, Memory: snapshot.MemoryReading{Definition: bad}}
	overTheWire(t, wire.Snapshot(&mem, 0))
}

func TestReportIsDeterministic(t *testing.T) {
	p := wire.ReportRequest("r", snapshot.Report{
		ClientErrors: map[int]int64{3: 1, 0: 2, 7: 3},
		Signals:      map[string]snapshot.ReportedSignal{"b": {}, "a": {}, "c": {}},
	})
	if !slices.IsSortedFunc(p.GetClientErrors(), func(a, b *headroomv1.RetryErrors) int {
		return int(a.GetRetryIndex() - b.GetRetryIndex())
	}) || p.GetSignals()[0].GetName() != "a" || p.GetSignals()[2].GetName() != "c" {
		t.Errorf("request = %v, want entries in order", p)
	}
}
