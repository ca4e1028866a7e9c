// Package wire translates between the domain types and the messages of headroom.v1, both ways.
//
// A domain value that was sent and received is the value that was sent, but for this: At and LastGood move
// from the sender's clock to the receiver's, strings are made valid UTF-8, and a reading's own Source becomes
// that of its snapshot. No message makes it panic: what is missing or beyond this version's knowledge becomes
// the cautious value that the contract names.
package wire

import (
	"math"
	"strings"
	"time"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/snapshot"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Resource returns the kind of r on the wire; 0 is UNSPECIFIED, which in a request stands for all.
func Resource(r snapshot.Resource) headroomv1.ResourceKind {
	if r > snapshot.Custom {
		return headroomv1.ResourceKind_RESOURCE_KIND_CUSTOM
	}
	return headroomv1.ResourceKind(r)
}

// ResourceFrom returns the resource of a kind: 0 for UNSPECIFIED, and Custom for one that this version
// does not know.
func ResourceFrom(k headroomv1.ResourceKind) snapshot.Resource {
	if k < 0 || k > headroomv1.ResourceKind_RESOURCE_KIND_CUSTOM {
		return snapshot.Custom
	}
	return snapshot.Resource(k)
}

// text makes s fit a proto string: one stray byte, say of a file name in an error, would make the whole
// message impossible to encode.
func text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// timestamp maps the zero time to absence.
func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func timeFrom(p *timestamppb.Timestamp) time.Time {
	if p == nil {
		return time.Time{}
	}
	return p.AsTime()
}

// age states how long before now something happened. Never negative: the reader of a snapshot may have
// looked at its clock just before the writer did.
func age(at, now time.Duration) *durationpb.Duration {
	return durationpb.New(max(now-at, 0))
}

func atFrom(age *durationpb.Duration, now time.Duration) time.Duration {
	return now - max(age.AsDuration(), 0)
}

// durationIf returns d where known is true, else absence.
func durationIf(known bool, d time.Duration) *durationpb.Duration {
	if !known {
		return nil
	}
	return durationpb.New(d)
}

// int32Of returns the int32 nearest to n, so that an absurd number stays absurd and is refused.
func int32Of(n int) int32 { return int32(max(math.MinInt32, min(n, math.MaxInt32))) }

// count reads a number of things.
func count(n int32) int { return int(max(n, 0)) }
