package wire

import (
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/severity"
	"github.com/headroom-rpc/headroom/snapshot"
)

// TransitionFrom returns the transition of a message. Its At is zero, for a clock that decides is never sent;
// its levels are within those that there can be.
func TransitionFrom(p *headroomv1.Transition) severity.Transition {
	t := severity.Transition{
		From:     LevelFrom(p.GetFromLevel()),
		To:       LevelFrom(p.GetToLevel()),
		Sequence: SequenceFrom(p.GetSequence()),
		Time:     timeFrom(p.GetTime()),
	}
	t.Evidence = EvidenceFrom(p.GetEvidence(), severity.TruthOf(t.Up()))
	return t
}

// EvidenceFrom returns the evidence of a message. truth is the verdict that its place in the message stands for,
// where it states none itself: True on the way up and for what holds a level, False on the way down. What has a
// reason for being unknown is Unknown. Zero, of which only a fraction is made, is not sent.
func EvidenceFrom(list []*headroomv1.Evidence, truth severity.Truth) []severity.Evidence {
	if len(list) == 0 {
		return nil
	}
	all := make([]severity.Evidence, len(list))
	for i, p := range list {
		all[i] = evidenceFrom(p, truth)
	}
	return all
}

func evidenceFrom(p *headroomv1.Evidence, truth severity.Truth) severity.Evidence {
	e := severity.Evidence{
		Level: LevelFrom(p.GetLevel()),
		Text:  p.GetCondition(),
		Finding: severity.Finding{
			Truth:      truth,
			Value:      p.GetValue(),
			Bound:      p.GetBound(),
			Unit:       p.GetUnit(),
			Signal:     p.GetSignal(),
			Limit:      p.GetLimitSource(),
			LimitBytes: p.GetLimitBytes(),
			Age:        max(p.GetAge().AsDuration(), 0),
			Reason:     p.GetUnknownReason(),
		},
	}
	e.HasValue = p != nil && p.Value != nil && p.Bound != nil
	switch {
	case e.Reason != "":
		e.Truth = severity.Unknown
	case p != nil && p.Holds != nil:
		e.Truth = severity.TruthOf(p.GetHolds())
	}
	if r := ResourceFrom(p.GetResource()); e.Signal == "" && r != 0 && r != snapshot.Custom {
		e.Signal = r.String()
	}
	return e
}

// LevelFrom returns a level of a message, within those that there can be.
func LevelFrom(level int32) int { return max(0, min(int(level), severity.MaxLevels)) }

// SequenceFrom returns the sequence of a transition; none is 0.
func SequenceFrom(sequence int64) uint64 { return uint64(max(sequence, 0)) }
