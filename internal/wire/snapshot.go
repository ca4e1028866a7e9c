package wire

import (
	"time"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/snapshot"
	"google.golang.org/protobuf/proto"
)

// noReason stands for the reason that a peer did not give.
const noReason = "no reading and no reason were sent"

// Snapshot returns s as a message made at the time now of the clock of s.At. Raw readings that are zero,
// as of a signal that replaces a built-in one, are left out.
func Snapshot(s *snapshot.Snapshot, now time.Duration) *headroomv1.Snapshot {
	p := &headroomv1.Snapshot{
		Resource:      Resource(s.Resource),
		Signal:        text(s.Signal),
		SampleTime:    timestamp(s.Time),
		Age:           age(s.At, now),
		Source:        text(s.Source),
		Discontinuity: s.Discontinuity,
	}
	if !s.Known() {
		p.Unknown = &headroomv1.Unknown{Reason: text(s.Unknown)}
		if s.HasLastGood {
			p.Unknown.LastGoodAge = age(s.LastGood, now)
		}
		return p
	}
	p.Overloaded, p.Value, p.Limit = s.Overloaded, proto.Float64(s.Value), proto.Float64(s.Limit)
	setReading(p, s)
	return p
}

// SnapshotFrom returns the snapshot of a message that arrived at the time now of the receiver's clock: At
// and LastGood are by that clock. The transport's delay is not known and not counted. A message without a
// value and a limit is an unknown snapshot.
func SnapshotFrom(p *headroomv1.Snapshot, now time.Duration) snapshot.Snapshot {
	s := snapshot.Snapshot{
		Signal:        p.GetSignal(),
		Resource:      ResourceFrom(p.GetResource()),
		Time:          timeFrom(p.GetSampleTime()),
		At:            atFrom(p.GetAge(), now),
		Source:        p.GetSource(),
		Discontinuity: p.GetDiscontinuity(),
	}
	if p.GetUnknown() != nil || p == nil || p.Value == nil || p.Limit == nil {
		s.Unknown = p.GetUnknown().GetReason()
		if s.Unknown == "" {
			s.Unknown = noReason
		}
		if last := p.GetUnknown().GetLastGoodAge(); last != nil {
			s.LastGood, s.HasLastGood = atFrom(last, now), true
		}
		return s
	}
	s.Overloaded, s.Value, s.Limit = p.GetOverloaded(), p.GetValue(), p.GetLimit()
	readingFrom(&s, p)
	return s
}
