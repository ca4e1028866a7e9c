package wire

import (
	"math"
	"time"
	"unicode/utf8"

	"github.com/headroom-rpc/headroom/permit"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"google.golang.org/protobuf/encoding/protowire"
)

// The tags of the fields of AttachRequest, PermitReport, AttachResponse, Target and Duration: a number and a wire type.
const (
	workerSequence  = 1<<3 | uint64(protowire.VarintType)
	workerSendNanos = 2<<3 | uint64(protowire.VarintType)
	workerReports   = 4<<3 | uint64(protowire.BytesType)

	reportResource   = 1<<3 | uint64(protowire.BytesType)
	reportVersion    = 2<<3 | uint64(protowire.VarintType)
	reportHeld       = 3<<3 | uint64(protowire.VarintType)
	reportWant       = 4<<3 | uint64(protowire.VarintType)
	reportCeiling    = 5<<3 | uint64(protowire.VarintType)
	reportWeight     = 6<<3 | uint64(protowire.VarintType)
	reportPriority   = 7<<3 | uint64(protowire.VarintType)
	reportGuarantee  = 8<<3 | uint64(protowire.VarintType)
	reportOldestWait = 9<<3 | uint64(protowire.BytesType)
	reportMeanHold   = 10<<3 | uint64(protowire.BytesType)
	reportNeed       = 12<<3 | uint64(protowire.VarintType)

	serverSequence  = 1<<3 | uint64(protowire.VarintType)
	serverEpoch     = 2<<3 | uint64(protowire.VarintType)
	serverEchoNanos = 3<<3 | uint64(protowire.VarintType)
	serverTargets   = 5<<3 | uint64(protowire.BytesType)

	targetResource      = 1<<3 | uint64(protowire.BytesType)
	targetVersion       = 2<<3 | uint64(protowire.VarintType)
	targetTarget        = 3<<3 | uint64(protowire.VarintType)
	targetGuarantee     = 4<<3 | uint64(protowire.VarintType)
	targetContended     = 5<<3 | uint64(protowire.VarintType)
	targetFence         = 6<<3 | uint64(protowire.VarintType)
	targetMode          = 7<<3 | uint64(protowire.VarintType)
	targetCancelAfter   = 8<<3 | uint64(protowire.BytesType)
	targetBinding       = 9<<3 | uint64(protowire.BytesType)
	targetRefused       = 10<<3 | uint64(protowire.BytesType)
	targetEstimatedWait = 11<<3 | uint64(protowire.BytesType)
	targetMost          = 12<<3 | uint64(protowire.VarintType)
	targetReportWithin  = 13<<3 | uint64(protowire.BytesType)

	durationSeconds = 1<<3 | uint64(protowire.VarintType)
	durationNanos   = 2<<3 | uint64(protowire.VarintType)
)

// ParseWorkerFrame decodes to f what [WorkerFrameFrom] makes of the message that b encodes, without the message between,
// which takes most of the time. It uses the memory of f again. It knows the frames by which permits come and go, and
// reports false for any other, for a number out of its range, and for what may be no message: f is then of no use. Whether
// a resource has the form of a name it leaves to the caller.
func ParseWorkerFrame(b []byte, f *permit.WorkerFrame) (ok bool) {
	*f = permit.WorkerFrame{Reports: emptied(f.Reports)}
	p := parser{rest: b}
	for p.next() {
		switch p.tag {
		case workerSequence:
			f.Sequence = p.upTo(math.MaxInt64)
		case workerSendNanos:
			f.Sent = time.Duration(p.number)
		case workerReports:
			if len(f.Reports) == permit.MaxReports {
				return false
			}
			f.Reports = oneMore(f.Reports)
			if !parseReport(p.bytes, &f.Reports[len(f.Reports)-1]) {
				return false
			}
		default:
			return false
		}
	}
	return !p.odd && f.Sequence > 0
}

func parseReport(b []byte, r *permit.Report) (ok bool) {
	last := r.Resource
	*r = permit.Report{}
	p := parser{rest: b}
	for p.next() {
		switch p.tag {
		case reportResource:
			r.Resource = p.text(last)
		case reportVersion:
			r.Version = p.upTo(math.MaxInt64)
		case reportHeld:
			r.Held = p.upTo(permit.MaxLimit)
		case reportWant:
			r.Want = p.upTo(permit.MaxLimit)
		case reportCeiling:
			r.Ceiling, r.HasCeiling = p.upTo(permit.MaxLimit), true
		case reportWeight:
			r.Weight = int(p.upTo(permit.MaxWeight))
		case reportPriority:
			r.Priority = int(p.within(permit.MinPriority, permit.MaxPriority))
		case reportGuarantee:
			r.Guarantee = p.upTo(permit.MaxLimit)
		case reportOldestWait:
			r.OldestWait = p.duration(r.OldestWait)
		case reportMeanHold:
			r.MeanHold = p.duration(r.MeanHold)
		case reportNeed:
			r.Need = p.upTo(permit.MaxLimit)
		default:
			return false
		}
	}
	return !p.odd
}

// ParseServerFrame is [ParseWorkerFrame] for the frames of a server, as [ServerFrameFrom] makes them.
func ParseServerFrame(b []byte, f *permit.ServerFrame) (ok bool) {
	*f = permit.ServerFrame{Targets: emptied(f.Targets)}
	p := parser{rest: b}
	for p.next() {
		switch p.tag {
		case serverSequence:
			f.Sequence = p.upTo(math.MaxInt64)
		case serverEpoch:
			f.Epoch = p.upTo(math.MaxInt64)
		case serverEchoNanos:
			f.Echo = time.Duration(p.number)
		case serverTargets:
			if len(f.Targets) == 2*permit.MaxReports {
				return false
			}
			f.Targets = oneMore(f.Targets)
			if !parseTarget(p.bytes, &f.Targets[len(f.Targets)-1]) {
				return false
			}
		default:
			return false
		}
	}
	return !p.odd
}

func parseTarget(b []byte, t *permit.Target) (ok bool) {
	resource, binding := t.Resource, t.Binding
	*t = permit.Target{Mode: permit.ModeNormal}
	p := parser{rest: b}
	for p.next() {
		switch p.tag {
		case targetResource:
			t.Resource = p.text(resource)
		case targetVersion:
			t.Version = p.upTo(math.MaxInt64)
		case targetTarget:
			t.Target = p.upTo(permit.MaxLimit)
		case targetGuarantee:
			t.Guarantee = p.upTo(permit.MaxLimit)
		case targetContended:
			t.Contended = p.number != 0
		case targetFence:
			t.Fence = p.upTo(math.MaxInt64)
		case targetMode:
			t.Mode = ModeFrom(headroomv1.PermitMode(p.upTo(math.MaxInt32)))
		case targetCancelAfter:
			t.CancelAfter = p.duration(t.CancelAfter)
		case targetBinding:
			t.Binding = p.text(binding)
		case targetRefused:
			t.Refused = permit.Refusal(p.text(""))
		case targetEstimatedWait:
			t.Wait, t.HasWait = p.duration(t.Wait), true
		case targetMost:
			t.Most = p.upTo(permit.MaxLimit)
		case targetReportWithin:
			t.ReportWithin = p.duration(t.ReportWithin)
			p.odd = p.odd || t.ReportWithin > maxLease
		default:
			return false
		}
	}
	return !p.odd
}

// mostKept bounds the memory that is used again.
const mostKept = 4

// emptied returns a slice of no elements, in the memory of s if that is little.
func emptied[T any](s []T) []T {
	if cap(s) > mostKept {
		return nil
	}
	return s[:0]
}

// oneMore returns s with one more element, of any content.
func oneMore[T any](s []T) []T {
	if len(s) < cap(s) {
		return s[:len(s)+1]
	}
	var next T
	return append(s, next)
}

// parser takes a message apart. What is odd the decoder of protobuf is to judge.
type parser struct {
	rest []byte
	odd  bool

	// The field that next found.
	tag    uint64
	number int64
	bytes  []byte
}

// next goes to the next field, if there is one and nothing was odd.
func (p *parser) next() bool {
	if p.odd || len(p.rest) == 0 {
		return false
	}
	tag, n := protowire.ConsumeVarint(p.rest)
	if n < 0 {
		p.odd = true
		return false
	}
	p.tag, p.rest = tag, p.rest[n:]
	switch protowire.Type(tag & 7) {
	case protowire.VarintType:
		var number uint64
		number, n = protowire.ConsumeVarint(p.rest)
		p.number = int64(number)
	case protowire.BytesType:
		p.bytes, n = protowire.ConsumeBytes(p.rest)
	default:
		n = -1
	}
	if n < 0 {
		p.odd = true
		return false
	}
	p.rest = p.rest[n:]
	return true
}

func (p *parser) upTo(most int64) int64 { return p.within(0, most) }

func (p *parser) within(least, most int64) int64 {
	p.odd = p.odd || p.number < least || p.number > most
	return p.number
}

// text returns the text of the field: last, if that is the same.
func (p *parser) text(last string) string {
	if string(p.bytes) == last {
		return last
	}
	if !utf8.Valid(p.bytes) {
		p.odd = true
		return "" // the frame is no use, but its texts are compared with those of the next
	}
	return string(p.bytes)
}

// maxSpan is the longest duration that is not odd.
const maxSpan = 1e9 // seconds, some 30 years

// duration returns the duration of the field. One that comes again, on top of what it was before, is odd.
func (p *parser) duration(before time.Duration) time.Duration {
	var seconds, nanos int64
	d := parser{rest: p.bytes, odd: before != 0}
	for d.next() {
		switch d.tag {
		case durationSeconds:
			seconds = d.upTo(maxSpan)
		case durationNanos:
			nanos = d.upTo(999_999_999)
		default:
			d.odd = true
		}
	}
	p.odd = p.odd || d.odd
	return time.Duration(seconds)*time.Second + time.Duration(nanos)
}
