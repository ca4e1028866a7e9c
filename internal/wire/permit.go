package wire

import (
	"errors"
	"fmt"
	"time"

	"github.com/headroom-rpc/headroom/permit"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

// WorkerFrame returns the frame of a worker as a message.
func WorkerFrame(f *permit.WorkerFrame) *headroomv1.AttachRequest {
	p := &headroomv1.AttachRequest{Sequence: f.Sequence, SendNanos: int64(f.Sent)}
	if f.Hello != nil {
		p.Hello = hello(f.Hello)
	}
	if len(f.Reports) > 0 {
		p.Reports = make([]*headroomv1.PermitReport, len(f.Reports))
		for i := range f.Reports {
			p.Reports[i] = permitReport(&f.Reports[i])
		}
	}
	if f.Goodbye {
		p.Goodbye = &headroomv1.Goodbye{}
	}
	return p
}

// WorkerFrameFrom returns the frame of a message. It names an id that has not 16 bytes, and a list of more than
// [permit.MaxReports], as errors; a number out of its range becomes the nearest one within.
func WorkerFrameFrom(p *headroomv1.AttachRequest) (permit.WorkerFrame, error) {
	f := permit.WorkerFrame{
		Sequence: max(p.GetSequence(), 0),
		Sent:     time.Duration(p.GetSendNanos()),
		Goodbye:  p.GetGoodbye() != nil,
	}
	var errs []error
	if p.GetHello() != nil {
		h, err := helloFrom(p.GetHello())
		if err != nil {
			errs = append(errs, err)
		}
		f.Hello = &h
	}
	if n := len(p.GetReports()); n > permit.MaxReports {
		errs = append(errs, fmt.Errorf("reports: %d: want at most %d", n, permit.MaxReports))
	} else if n > 0 {
		f.Reports = make([]permit.Report, n)
		for i, r := range p.GetReports() {
			f.Reports[i] = permitReportFrom(r)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return permit.WorkerFrame{}, err
	}
	return f, nil
}

func hello(h *permit.Hello) *headroomv1.Hello {
	p := &headroomv1.Hello{Client: text(h.Client), InstanceId: h.Instance[:], Exclusive: h.Exclusive}
	if h.Process.PID > 0 {
		p.Process = &headroomv1.ProcessIdentity{Pid: h.Process.PID, StartTicks: h.Process.Start}
	}
	if h.Resume {
		p.Resume = sessionToken(h.Session, h.Epoch)
	}
	for i := range h.Held {
		held := &h.Held[i]
		p.Held = append(p.Held, &headroomv1.Holding{
			Resource: text(held.Resource),
			Held:     held.Held,
			Version:  held.Version,
			Target:   held.Target,
			Ceiling:  int64If(held.HasCeiling, held.Ceiling),
		})
	}
	return p
}

func helloFrom(p *headroomv1.Hello) (permit.Hello, error) {
	h := permit.Hello{
		Client: p.GetClient(), Exclusive: p.GetExclusive(), Process: ProcessFrom(p.GetProcess()), Resume: p.GetResume() != nil,
	}
	var errs []error
	var err error
	if h.Instance, err = id("hello.instance_id", p.GetInstanceId()); err != nil {
		errs = append(errs, err)
	}
	if h.Resume {
		if h.Session, h.Epoch, err = sessionTokenFrom("hello.resume", p.GetResume()); err != nil {
			errs = append(errs, err)
		}
	}
	if n := len(p.GetHeld()); n > permit.MaxReports {
		return permit.Hello{}, errors.Join(append(errs, fmt.Errorf("hello.held: %d: want at most %d", n, permit.MaxReports))...)
	}
	for _, held := range p.GetHeld() {
		h.Held = append(h.Held, permit.Holding{
			Resource:   held.GetResource(),
			Held:       permits(held.GetHeld()),
			Version:    max(held.GetVersion(), 0),
			Target:     permits(held.GetTarget()),
			Ceiling:    permits(held.GetCeiling()),
			HasCeiling: held != nil && held.Ceiling != nil,
		})
	}
	return h, errors.Join(errs...)
}

// ProcessFrom returns the process; the zero one where there is none, or where it cannot be.
func ProcessFrom(p *headroomv1.ProcessIdentity) permit.Process {
	if p.GetPid() < 1 || p.GetStartTicks() < 0 {
		return permit.Process{}
	}
	return permit.Process{PID: p.GetPid(), Start: p.GetStartTicks()}
}

func permitReport(r *permit.Report) *headroomv1.PermitReport {
	p := &headroomv1.PermitReport{
		Resource:   text(r.Resource),
		Version:    r.Version,
		Held:       r.Held,
		Want:       r.Want,
		Ceiling:    int64If(r.HasCeiling, r.Ceiling),
		Weight:     int32Of(r.Weight),
		Priority:   int32Of(r.Priority),
		Guarantee:  r.Guarantee,
		OldestWait: durationIf(r.OldestWait > 0, r.OldestWait),
		MeanHold:   durationIf(r.MeanHold > 0, r.MeanHold),
		Need:       r.Need,
	}
	if r.HasUsage {
		p.Usage = permitUsage(&r.Usage)
	}
	return p
}

func permitReportFrom(p *headroomv1.PermitReport) permit.Report {
	r := permit.Report{
		Resource:   p.GetResource(),
		Version:    max(p.GetVersion(), 0),
		Held:       permits(p.GetHeld()),
		Want:       permits(p.GetWant()),
		Ceiling:    permits(p.GetCeiling()),
		HasCeiling: p != nil && p.Ceiling != nil,
		Weight:     weight(p.GetWeight()),
		Priority:   priority(p.GetPriority()),
		Guarantee:  permits(p.GetGuarantee()),
		Need:       permits(p.GetNeed()),
		OldestWait: max(p.GetOldestWait().AsDuration(), 0),
		MeanHold:   max(p.GetMeanHold().AsDuration(), 0),
		HasUsage:   p.GetUsage() != nil,
	}
	if u := p.GetUsage(); u != nil {
		r.Usage = permitUsageFrom(u)
	}
	return r
}

func sessionToken(session permit.SessionID, epoch int64) *headroomv1.SessionToken {
	return &headroomv1.SessionToken{SessionId: session[:], Epoch: epoch}
}

func sessionTokenFrom(field string, p *headroomv1.SessionToken) (permit.SessionID, int64, error) {
	session, err := id(field+".session_id", p.GetSessionId())
	return session, max(p.GetEpoch(), 0), err
}

// id reads 16 bytes.
func id(field string, raw []byte) ([16]byte, error) {
	if len(raw) != 16 {
		return [16]byte{}, fmt.Errorf("%s: %d bytes: want 16", field, len(raw))
	}
	return [16]byte(raw), nil
}

// permits reads a number of permits.
func permits(n int64) int64 { return max(0, min(n, permit.MaxLimit)) }

func weight(n int32) int { return int(max(0, min(n, permit.MaxWeight))) }

func priority(n int32) int { return int(max(permit.MinPriority, min(n, permit.MaxPriority))) }

// int64If returns n where known is true, else absence.
func int64If(known bool, n int64) *int64 {
	if !known {
		return nil
	}
	return proto.Int64(n)
}

// unknownCount returns the count, and -1 for one that is absent or cannot be.
func unknownCount(n *int64) int64 {
	if n == nil {
		return -1
	}
	return min(max(*n, -1), maxCount)
}

// maxCount is far over what any machine has or does, and a sum of many does not overflow.
const maxCount = 1 << 53

func unknownDuration(d *durationpb.Duration) time.Duration {
	if d == nil {
		return -1
	}
	return max(d.AsDuration(), -1)
}
