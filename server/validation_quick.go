package server

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

// valid reports whether m keeps the rules of its proto for sure. It knows the messages with which permits come and go,
// for which the validator takes longer than all else that is done with them. Where it reports false, which it also
// does of what is rare, the validator decides.
func valid(m proto.Message) bool {
	switch m := m.(type) {
	case *headroomv1.AttachRequest:
		return validFrame(m)
	case *headroomv1.AcquirePermitRequest:
		return validResource(m.Resource) && named(m.RequestId, &requestBytes) &&
			within(m.Count, 0, 1_000_000) && m.Ttl == nil && within(int64(m.Priority), -10, 10) && m.Client == ""
	case *headroomv1.ReleasePermitRequest:
		return within(int64(len(m.PermitId)), 1, maxNamed)
	default:
		return false
	}
}

func validFrame(m *headroomv1.AttachRequest) bool {
	if m.Sequence < 1 || m.Hello != nil || len(m.Reports) > 64 {
		return false
	}
	for _, r := range m.Reports {
		if r == nil || !validReport(r) {
			return false
		}
	}
	return true
}

func validReport(r *headroomv1.PermitReport) bool {
	return validResource(r.Resource) &&
		r.Version >= 0 && r.Held >= 0 && r.Want >= 0 && r.GetCeiling() >= 0 && r.Guarantee >= 0 && r.Need >= 0 &&
		within(int64(r.Weight), 0, 1000) && within(int64(r.Priority), -10, 10) &&
		validSpan(r.OldestWait) && validSpan(r.MeanHold) && (r.Usage == nil || validUsage(r.Usage))
}

func validUsage(u *headroomv1.PermitUsage) bool {
	return u.Uptime != nil && validSpan(u.Uptime) && validSpan(u.CpuTime) && validSpan(u.RunnableTime) &&
		validSpan(u.PermitTime) && validSpan(u.ExpectedDuration) && u.Grown == nil &&
		u.GetMemoryBytes() >= 0 && u.GetStarts() >= 0 && u.GetCompletions() >= 0 && u.GetFailures() >= 0 &&
		u.GetCalls() >= 0 && u.GetThrottled() >= 0 && u.GetDelayed() >= 0
}

// validSpan reports whether d is absent, or a time of 0 to 30 years or so.
func validSpan(d *durationpb.Duration) bool {
	return d == nil || within(d.Seconds, 0, 1e9) && within(int64(d.Nanos), 0, 999_999_999)
}

func within(n, least, most int64) bool { return least <= n && n <= most }

// maxNamed is the greatest length of a name, in bytes.
const maxNamed = 64

// byteSet has the bytes of a name.
type byteSet [256]bool

func newByteSet(bytes string) (s byteSet) {
	for i := range len(bytes) {
		s[bytes[i]] = true
	}
	return s
}

const (
	lowerAndDigits = "abcdefghijklmnopqrstuvwxyz0123456789"
	upper          = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

var (
	resourceBytes = newByteSet(lowerAndDigits + "._-")
	requestBytes  = newByteSet(lowerAndDigits + upper + "._:-")
)

// validResource reports whether s is the name of a resource.
func validResource(s string) bool {
	return named(s, &resourceBytes) && s[0] != '.' && s[0] != '_' && s[0] != '-'
}

// named reports whether s is a name of such bytes.
func named(s string, set *byteSet) bool {
	if len(s) < 1 || len(s) > maxNamed {
		return false
	}
	for i := range len(s) {
		if !set[s[i]] {
			return false
		}
	}
	return true
}
