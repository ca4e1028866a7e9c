package wire_test

import (
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/internal/wire"
	"github.com/headroom-rpc/headroom/permit"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

func TestWorkerFrameRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	for range 5_000 {
		want := randomWorkerFrame(r)
		got, err := wire.WorkerFrameFrom(overTheWire(t, wire.WorkerFrame(&want)))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("got  %+v, %v\nwant %+v", got, err, want)
		}
	}
}

func TestServerFrameRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	for range 5_000 {
		want := randomServerFrame(r)
		got, err := wire.ServerFrameFrom(overTheWire(t, wire.ServerFrame(&want)))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("got  %+v, %v\nwant %+v", got, err, want)
		}
	}
}

func TestAccountsRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	for range 5_000 {
		account := permit.SessionAccount{
			Name: randomText(r), Client: randomText(r), Silence: randomWait(r),
			Party: permit.Party{Identity: randomText(r), PID: r.IntN(3)},
			State: permit.SessionState(1 + r.IntN(2)),
		}
		for range r.IntN(4) {
			account.Shares = append(account.Shares, randomShare(r))
		}
		if got := wire.SessionAccountFrom(overTheWire(t, wire.SessionAccount(&account))); !reflect.DeepEqual(got, account) {
			t.Fatalf("got  %+v\nwant %+v", got, account)
		}
		explanation := permit.Explanation{
			Account: permit.ResourceAccount{
				Resource: randomText(r), Limit: randomPermits(r), Charge: randomPermits(r), Unknown: randomPermits(r),
				Held: randomPermits(r), Want: randomPermits(r), Sessions: r.IntN(9), Law: randomText(r),
				Binding: randomText(r), Mode: randomMode(r), OldestWait: randomWait(r),
			},
			Share:      randomShare(r),
			QueueAhead: randomPermits(r),
		}
		if explanation.HasWait = flip(r); explanation.HasWait {
			explanation.Wait = randomWait(r)
		}
		for range r.IntN(3) {
			explanation.Reasons = append(explanation.Reasons, randomText(r))
		}
		if got := wire.ExplanationFrom(overTheWire(t, wire.Explanation(&explanation))); !reflect.DeepEqual(got, explanation) {
			t.Fatalf("got  %+v\nwant %+v", got, explanation)
		}
		fence := permit.Fence{Epoch: r.Int64(), Counter: r.Int64()}
		if got := wire.FenceFrom(overTheWire(t, wire.Fence(fence))); got != fence {
			t.Fatalf("fence = %+v, want %+v", got, fence)
		}
	}
}

// What does not name a session or a process cannot be acted on.
func TestFramesThatNameNobody(t *testing.T) {
	short, long := make([]byte, 15), make([]byte, 17)
	reports := make([]*headroomv1.PermitReport, permit.MaxReports+1)
	for name, p := range map[string]*headroomv1.AttachRequest{
		"no instance":    {Hello: &headroomv1.Hello{}},
		"short instance": {Hello: &headroomv1.Hello{InstanceId: short}},
		"long instance":  {Hello: &headroomv1.Hello{InstanceId: long}},
		"short session": {Hello: &headroomv1.Hello{
			InstanceId: make([]byte, 16), Resume: &headroomv1.SessionToken{SessionId: short},
		}},
		"too many holdings": {Hello: &headroomv1.Hello{
			InstanceId: make([]byte, 16), Held: make([]*headroomv1.Holding, permit.MaxReports+1),
		}},
		"too many reports": {Reports: reports},
	} {
		if got, err := wire.WorkerFrameFrom(p); err == nil || !reflect.DeepEqual(got, permit.WorkerFrame{}) {
			t.Errorf("%s: %+v, %v; want only an error", name, got, err)
		}
	}
	times := func(ttl, heartbeat time.Duration, id []byte) *headroomv1.AttachResponse {
		return &headroomv1.AttachResponse{Welcome: &headroomv1.Welcome{
			Session: &headroomv1.SessionToken{SessionId: id, Epoch: 1},
			Ttl:     durationpb.New(ttl), Heartbeat: durationpb.New(heartbeat),
		}}
	}
	for name, p := range map[string]*headroomv1.AttachResponse{
		"no session":       {Welcome: &headroomv1.Welcome{Ttl: durationpb.New(1), Heartbeat: durationpb.New(1)}},
		"long session":     times(1, 1, long),
		"no ttl":           times(0, 1, make([]byte, 16)),
		"no heartbeat":     times(1, 0, make([]byte, 16)),
		"negative ttl":     times(-1, 1, make([]byte, 16)),
		"too many targets": {Targets: make([]*headroomv1.Target, 2*permit.MaxReports+1)},
	} {
		if got, err := wire.ServerFrameFrom(p); err == nil || !reflect.DeepEqual(got, permit.ServerFrame{}) {
			t.Errorf("%s: %+v, %v; want only an error", name, got, err)
		}
	}
}

// Numbers out of their range become the nearest within, so that no sum of them overflows.
func TestFramesWithAbsurdNumbers(t *testing.T) {
	never := &durationpb.Duration{Seconds: math.MaxInt64}
	before := &durationpb.Duration{Seconds: math.MinInt64}
	f, err := wire.WorkerFrameFrom(&headroomv1.AttachRequest{Sequence: -1, Reports: []*headroomv1.PermitReport{
		nil,
		{
			Version: -1, Held: -1, Want: math.MaxInt64, Ceiling: proto.Int64(-1), Weight: math.MaxInt32, Need: -1,
			Priority: math.MinInt32, Guarantee: math.MaxInt64, OldestWait: before, MeanHold: never,
			Usage: &headroomv1.PermitUsage{
				Uptime: before, MemoryBytes: proto.Int64(math.MinInt64), Starts: proto.Int64(math.MaxInt64), CpuTime: before,
				Grown: proto.Float64(math.NaN()),
			},
		},
	}})
	usage := permit.UnknownUsage(0)
	usage.Starts = 1 << 53
	want := permit.WorkerFrame{Reports: []permit.Report{{}, {
		Want: permit.MaxLimit, HasCeiling: true, Weight: permit.MaxWeight, Priority: permit.MinPriority,
		Guarantee: permit.MaxLimit, MeanHold: math.MaxInt64, HasUsage: true,
		Usage: usage,
	}}}
	if err != nil || !reflect.DeepEqual(f, want) {
		t.Errorf("got  %+v, %v\nwant %+v", f, err, want)
	}
	got, err := wire.ServerFrameFrom(&headroomv1.AttachResponse{
		Sequence: -1, Epoch: -1, Drain: &headroomv1.Drain{Within: before}, Kicked: &headroomv1.Kicked{},
		Welcome: &headroomv1.Welcome{
			Session: &headroomv1.SessionToken{SessionId: make([]byte, 16), Epoch: -1}, Ttl: never, Heartbeat: durationpb.New(1),
			Grace: before, Recovery: never,
		},
		Targets: []*headroomv1.Target{
			nil, {Version: -1, Target: -1, Guarantee: math.MaxInt64, Fence: -1, Mode: 99, CancelAfter: before, EstimatedWait: before},
		},
	})
	wantServer := permit.ServerFrame{
		Draining: true, Kicked: "no reason given",
		Welcome: &permit.Welcome{TTL: time.Hour, Heartbeat: 10 * time.Millisecond, Recovery: time.Hour},
		Targets: []permit.Target{
			{Mode: permit.ModeNormal}, {Guarantee: permit.MaxLimit, Mode: permit.ModeDrain, HasWait: true},
		},
	}
	if err != nil || !reflect.DeepEqual(got, wantServer) {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, wantServer)
	}
}

func TestNothingOfPermits(t *testing.T) {
	if f, err := wire.WorkerFrameFrom(nil); err != nil || !reflect.DeepEqual(f, permit.WorkerFrame{}) {
		t.Errorf("no worker frame = %+v, %v", f, err)
	}
	if f, err := wire.ServerFrameFrom(nil); err != nil || !reflect.DeepEqual(f, permit.ServerFrame{}) {
		t.Errorf("no server frame = %+v, %v", f, err)
	}
	if got := wire.FenceFrom(nil); got != (permit.Fence{}) {
		t.Errorf("no fence = %v", got)
	}
	if got := wire.SessionAccountFrom(nil); got.State != permit.SessionSuspect {
		t.Errorf("no session = %+v, want one that is not live", got)
	}
	if got := wire.ExplanationFrom(nil); got.Account.Mode != permit.ModeNormal || got.HasWait {
		t.Errorf("no explanation = %+v", got)
	}
	if got := wire.Mode(0); got != headroomv1.PermitMode_PERMIT_MODE_NORMAL {
		t.Errorf("no mode = %v, want NORMAL", got)
	}
}
