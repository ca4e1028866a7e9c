package wire

import (
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/severity"
	"github.com/headroom-rpc/headroom/snapshot"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

// noView stands for the condition that could not be judged when nothing could be.
const noView = "view of the machine"

// Severity returns the report of an engine of levels 1 to maxLevel as a message. last is the transition that
// the report names, nil before the first.
func Severity(r *severity.Report, maxLevel int, last *severity.Transition) *headroomv1.Severity {
	p := &headroomv1.Severity{
		Level:    int32Of(r.Level),
		Evidence: evidenceList(r.Firing),
		Unknown:  evidenceList(r.Unknown),
		Sequence: int64(r.Sequence),
		MaxLevel: int32Of(maxLevel),
	}
	for n := r.Level; n > 0; n-- {
		p.LevelsInEffect = append(p.LevelsInEffect, int32Of(n))
	}
	if r.Err != nil {
		p.Unknown = append(p.Unknown, &headroomv1.Evidence{Condition: noView, UnknownReason: text(r.Err.Error())})
	}
	if r.Err == nil && r.Exhaustion.Known && r.Exhaustion.InSight {
		p.ExhaustionIn = durationpb.New(max(r.Exhaustion.In, 0))
	}
	if r.Level < maxLevel && !nextIsUnknown(r) {
		p.Fraction = proto.Float64(r.Fraction)
	}
	if last != nil {
		p.SinceTime = timestamp(last.Time)
	}
	return p
}

// nextIsUnknown reports whether the condition of the next level cannot be judged. What is unknown and yet decides
// nothing, such as a signal that the host does not have, does not count.
func nextIsUnknown(r *severity.Report) bool {
	if r.Err != nil {
		return true
	}
	if r.Held != severity.HeldUnknown {
		return false
	}
	for i := range r.Unknown {
		if r.Unknown[i].Level == r.Level+1 {
			return true
		}
	}
	return false
}

// Transition returns the step as a message. At, of a clock that nobody else has, is not sent.
func Transition(t *severity.Transition) *headroomv1.Transition {
	return &headroomv1.Transition{
		FromLevel: int32Of(t.From),
		ToLevel:   int32Of(t.To),
		Time:      timestamp(t.Time),
		Sequence:  int64(t.Sequence),
		Evidence:  evidenceList(t.Evidence),
	}
}

func evidenceList(list []severity.Evidence) []*headroomv1.Evidence {
	if len(list) == 0 {
		return nil
	}
	all := make([]*headroomv1.Evidence, len(list))
	for i := range list {
		all[i] = severityEvidence(&list[i])
	}
	return all
}

func severityEvidence(e *severity.Evidence) *headroomv1.Evidence {
	p := &headroomv1.Evidence{
		Resource:      resourceOfSignal(e.Signal),
		Condition:     text(e.Text),
		Unit:          text(e.Unit),
		Level:         int32Of(e.Level),
		UnknownReason: text(e.Reason),
		Signal:        text(e.Signal),
		LimitSource:   text(e.Limit),
	}
	if e.Truth == severity.Unknown {
		if p.UnknownReason == "" {
			p.UnknownReason = noReason
		}
	} else {
		p.Holds = proto.Bool(e.Truth == severity.True)
	}
	if e.HasValue {
		p.Value = proto.Float64(e.Value)
	}
	if e.HasValue || e.Bound != 0 {
		p.Bound = proto.Float64(e.Bound)
	}
	if e.LimitBytes != 0 {
		p.LimitBytes = proto.Int64(e.LimitBytes)
	}
	if e.HasValue || e.Age > 0 {
		p.Age = nonNegative(e.Age)
	}
	return p
}

// resourceOfSignal returns the kind of thing that a signal of the name measures: the name of a built-in one is
// that of its resource, and the others are the program's own.
func resourceOfSignal(signal string) headroomv1.ResourceKind {
	switch signal {
	case "":
		return headroomv1.ResourceKind_RESOURCE_KIND_UNSPECIFIED
	case signalProcess:
		return headroomv1.ResourceKind_RESOURCE_KIND_MEMORY
	}
	if signal == snapshot.SignalPressureCPU || signal == snapshot.SignalPressureMemory || signal == snapshot.SignalPressureIO {
		return headroomv1.ResourceKind_RESOURCE_KIND_PRESSURE
	}
	for r := snapshot.CPU; r < snapshot.Custom; r++ {
		if r.String() == signal {
			return Resource(r)
		}
	}
	return headroomv1.ResourceKind_RESOURCE_KIND_CUSTOM
}

// signalProcess is what the local conditions look at.
const signalProcess = "process"
