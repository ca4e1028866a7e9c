package wire_test

import (
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/internal/wire"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/severity"
	"github.com/headroom-rpc/headroom/snapshot"
	"google.golang.org/protobuf/proto"
)

func randomEvidence(r *rand.Rand) severity.Evidence {
	e := severity.Evidence{Level: r.IntN(severity.MaxLevels + 1), Text: randomText(r)}
	e.Signal = []string{"", "cpu", "memory", "event_loop", "client", "pressure", "pressure_memory", "process", "custom", "queue_depth"}[r.IntN(10)]
	e.Unit = randomText(r)
	if flip(r) {
		e.Age = time.Duration(r.Int64())
	}
	switch r.IntN(4) {
	case 0:
		e.Reason = "reason " + randomText(r)
		return e
	case 1: // judged without a number, as an exhaustion that is out of sight
		e.Bound = r.Float64()
	default:
		e.Value, e.Bound, e.HasValue = r.NormFloat64(), r.NormFloat64(), true
	}
	e.Truth = severity.TruthOf(flip(r))
	if flip(r) {
		e.Limit, e.LimitBytes = randomText(r), r.Int64N(3)
	}
	return e
}

func TestTransitionRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 5_000 {
		want := severity.Transition{From: r.IntN(severity.MaxLevels), Sequence: r.Uint64N(1 << 63), Time: randomTime(r)}
		want.To = want.From + 1
		if flip(r) {
			want.From, want.To = want.To, want.From
		}
		for range r.IntN(5) {
			want.Evidence = append(want.Evidence, randomEvidence(r))
		}
		got := wire.TransitionFrom(overTheWire(t, wire.Transition(&want)))
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got  %+v\nwant %+v", got, want)
		}
	}
}

func TestTransitionWithoutVerdicts(t *testing.T) {
	list := []*headroomv1.Evidence{nil, {Value: proto.Float64(1)}, {UnknownReason: "gone", Holds: proto.Bool(true)}}
	up := wire.TransitionFrom(&headroomv1.Transition{ToLevel: 1, Evidence: list})
	down := wire.TransitionFrom(&headroomv1.Transition{FromLevel: 1, Evidence: list})
	for i, want := range []severity.Truth{severity.True, severity.True, severity.Unknown} {
		if got := up.Evidence[i].Truth; got != want {
			t.Errorf("up, evidence %d: %v, want %v", i, got, want)
		}
	}
	if got := down.Evidence[0].Truth; got != severity.False {
		t.Errorf("down: %v, want false", got)
	}
	if up.Evidence[1].HasValue {
		t.Error("a value without a bound counts as one that was compared")
	}
	if got := wire.TransitionFrom(nil); got.Evidence != nil || got.Sequence != 0 {
		t.Errorf("no transition = %+v, want zero", got)
	}
}

func TestEvidenceNamesItsResource(t *testing.T) {
	for signal, want := range map[string]headroomv1.ResourceKind{
		"":            headroomv1.ResourceKind_RESOURCE_KIND_UNSPECIFIED,
		"cpu":         headroomv1.ResourceKind_RESOURCE_KIND_CPU,
		"memory":      headroomv1.ResourceKind_RESOURCE_KIND_MEMORY,
		"pressure_io": headroomv1.ResourceKind_RESOURCE_KIND_PRESSURE,
		"process":     headroomv1.ResourceKind_RESOURCE_KIND_MEMORY,
		"pressure":    headroomv1.ResourceKind_RESOURCE_KIND_PRESSURE,
		"queue_depth": headroomv1.ResourceKind_RESOURCE_KIND_CUSTOM,
	} {
		e := severity.Evidence{Finding: severity.Finding{Signal: signal}}
		got := wire.Transition(&severity.Transition{Evidence: []severity.Evidence{e}}).GetEvidence()[0]
		if got.GetResource() != want || got.GetUnknownReason() == "" {
			t.Errorf("signal %q: %v because %q, want %v and a reason", signal, got.GetResource(), got.GetUnknownReason(), want)
		}
	}
}

func TestSeverity(t *testing.T) {
	held := severity.Evidence{Level: 2, Text: "global_relative(15)", Finding: severity.Finding{
		Truth: severity.True, Value: 0.1, Bound: 0.15, HasValue: true, Signal: "memory", Unit: "ratio",
	}}
	gone := severity.Evidence{Level: 3, Text: "pressure_some(memory, 0.2)", Finding: severity.Finding{Reason: "not read"}}
	at := time.Unix(1_700_000_000, 0).UTC()
	report := severity.Report{
		Outcome: severity.Outcome{
			Level: 2, Sequence: 7, Fraction: 0.5, Firing: []severity.Evidence{held}, Unknown: []severity.Evidence{gone},
		},
		Exhaustion: severity.Exhaustion{Known: true, InSight: true, In: 12 * time.Second},
	}
	got := overTheWire(t, wire.Severity(&report, 3, &severity.Transition{Time: at}))
	if in := got.GetLevelsInEffect(); got.GetLevel() != 2 || got.GetMaxLevel() != 3 || !reflect.DeepEqual(in, []int32{2, 1}) {
		t.Errorf("level %d of %d with %v in effect, want 2 of 3 with 2 and 1", got.GetLevel(), got.GetMaxLevel(), in)
	}
	if got.GetSequence() != 7 || !got.GetSinceTime().AsTime().Equal(at) || got.GetExhaustionIn().AsDuration() != 12*time.Second {
		t.Errorf("sequence %d since %v, exhausted in %v; want 7, %v, 12s", got.GetSequence(), got.GetSinceTime(), got.GetExhaustionIn(), at)
	}
	if len(got.GetEvidence()) != 1 || !got.GetEvidence()[0].GetHolds() || got.GetEvidence()[0].GetLevel() != 2 {
		t.Errorf("evidence = %v, want that of level 2", got.GetEvidence())
	}
	if len(got.GetUnknown()) != 1 || got.GetUnknown()[0].Holds != nil || got.GetUnknown()[0].GetUnknownReason() != "not read" {
		t.Errorf("unknown = %v, want the pressure with its reason", got.GetUnknown())
	}
	if got.Fraction == nil || got.GetFraction() != 0.5 {
		t.Errorf("fraction = %v, want 0.5: what is unknown holds nothing", got.Fraction)
	}

	report.Held = severity.HeldUnknown
	if got := wire.Severity(&report, 3, nil); got.Fraction != nil || got.GetSinceTime() != nil {
		t.Errorf("fraction = %v since %v, want neither while the next level is unknown and before a transition", got.Fraction, got.GetSinceTime())
	}
	if got := wire.Severity(&report, 4, nil); got.Fraction != nil {
		t.Errorf("fraction = %v, want none", got.Fraction)
	}
	report.Held = severity.NotHeld
	if got := wire.Severity(&report, 2, nil); got.Fraction != nil {
		t.Errorf("fraction at the highest level = %v, want none", got.Fraction)
	}
	report.Err, report.Exhaustion.InSight = snapshot.ErrInactive, true
	got = wire.Severity(&report, 3, nil)
	if last := got.GetUnknown()[1]; last.GetUnknownReason() != report.Err.Error() ||
		got.Fraction != nil || got.GetExhaustionIn() != nil {
		t.Errorf("without a view: %v, want its error as unknown, and neither fraction nor exhaustion", got)
	}
}
