package wire

import (
	"slices"
	"time"

	"github.com/headroom-rpc/headroom/permit"
	"google.golang.org/protobuf/encoding/protowire"
)

// AppendWorkerFrame appends what [WorkerFrame] is encoded as, without the message between, which takes most of the time.
// It knows the frames by which permits come and go, and reports false, with b as it was, for another: one with a hello, a
// goodbye or a usage.
func AppendWorkerFrame(b []byte, f *permit.WorkerFrame) (_ []byte, ok bool) {
	if f.Hello != nil || f.Goodbye || slices.ContainsFunc(f.Reports, func(r permit.Report) bool { return r.HasUsage }) {
		return b, false
	}
	b = appendInt(b, workerSequence, f.Sequence)
	b = appendInt(b, workerSendNanos, int64(f.Sent))
	for i := range f.Reports {
		var start int
		b, start = beginMessage(b, workerReports)
		b = endMessage(appendReport(b, &f.Reports[i]), start)
	}
	return b, true
}

func appendReport(b []byte, r *permit.Report) []byte {
	b = appendText(b, reportResource, r.Resource)
	b = appendInt(b, reportVersion, r.Version)
	b = appendInt(b, reportHeld, r.Held)
	b = appendInt(b, reportWant, r.Want)
	if r.HasCeiling {
		b = appendPresentInt(b, reportCeiling, r.Ceiling)
	}
	b = appendInt(b, reportWeight, int64(int32Of(r.Weight)))
	b = appendInt(b, reportPriority, int64(int32Of(r.Priority)))
	b = appendInt(b, reportGuarantee, r.Guarantee)
	b = appendDurationIf(b, r.OldestWait > 0, reportOldestWait, r.OldestWait)
	b = appendDurationIf(b, r.MeanHold > 0, reportMeanHold, r.MeanHold)
	return appendInt(b, reportNeed, r.Need)
}

// AppendServerFrame is [AppendWorkerFrame] for the frames of a server. Others are those with a welcome, a drain or a kick.
func AppendServerFrame(b []byte, f *permit.ServerFrame) (_ []byte, ok bool) {
	if f.Welcome != nil || f.Draining || f.Kicked != "" {
		return b, false
	}
	b = appendInt(b, serverSequence, f.Sequence)
	b = appendInt(b, serverEpoch, f.Epoch)
	b = appendInt(b, serverEchoNanos, int64(f.Echo))
	for i := range f.Targets {
		var start int
		b, start = beginMessage(b, serverTargets)
		b = endMessage(appendTarget(b, &f.Targets[i]), start)
	}
	return b, true
}

func appendTarget(b []byte, t *permit.Target) []byte {
	b = appendText(b, targetResource, t.Resource)
	b = appendInt(b, targetVersion, t.Version)
	b = appendInt(b, targetTarget, t.Target)
	b = appendInt(b, targetGuarantee, t.Guarantee)
	if t.Contended {
		b = appendPresentInt(b, targetContended, 1)
	}
	b = appendInt(b, targetFence, t.Fence)
	b = appendInt(b, targetMode, int64(Mode(t.Mode)))
	b = appendDurationIf(b, t.CancelAfter > 0, targetCancelAfter, t.CancelAfter)
	b = appendText(b, targetBinding, t.Binding)
	b = appendText(b, targetRefused, string(t.Refused))
	b = appendDurationIf(b, t.HasWait, targetEstimatedWait, t.Wait)
	if t.Most > 0 {
		b = appendPresentInt(b, targetMost, t.Most)
	}
	return appendDurationIf(b, t.ReportWithin > 0, targetReportWithin, t.ReportWithin)
}

// appendInt appends a field that is absent where it is 0.
func appendInt(b []byte, tag uint64, n int64) []byte {
	if n == 0 {
		return b
	}
	return appendPresentInt(b, tag, n)
}

func appendPresentInt(b []byte, tag uint64, n int64) []byte {
	return protowire.AppendVarint(protowire.AppendVarint(b, tag), uint64(n))
}

func appendText(b []byte, tag uint64, s string) []byte {
	if s == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendVarint(b, tag), text(s))
}

func appendDurationIf(b []byte, known bool, tag uint64, d time.Duration) []byte {
	if !known {
		return b
	}
	b, start := beginMessage(b, tag)
	b = appendInt(b, durationSeconds, int64(d/time.Second))
	b = appendInt(b, durationNanos, int64(d%time.Second))
	return endMessage(b, start)
}

// beginMessage appends the tag of a field that is a message, and one byte for its length. What is appended from start on,
// up to endMessage, is the message.
func beginMessage(b []byte, tag uint64) (_ []byte, start int) {
	b = append(protowire.AppendVarint(b, tag), 0)
	return b, len(b)
}

func endMessage(b []byte, start int) []byte {
	size := uint64(len(b) - start)
	if more := protowire.SizeVarint(size) - 1; more > 0 {
		b = slices.Insert(b, start, make([]byte, more)...)
	}
	protowire.AppendVarint(b[:start-1], size)
	return b
}
