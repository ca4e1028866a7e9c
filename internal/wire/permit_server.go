package wire

import (
	"errors"
	"fmt"
	"time"

	"github.com/headroom-rpc/headroom/permit"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"google.golang.org/protobuf/types/known/durationpb"
)

// The bounds of the times that a server may state.
const (
	minHeartbeat = 10 * time.Millisecond
	maxLease     = time.Hour
)

// kickedNoReason stands for the reason of a kick that states none, for permit.ServerFrame.Kicked is empty where there
// was none.
const kickedNoReason = "no reason given"

// ServerFrame returns the frame of a server as a message.
func ServerFrame(f *permit.ServerFrame) *headroomv1.AttachResponse {
	p := &headroomv1.AttachResponse{Sequence: f.Sequence, Epoch: f.Epoch, EchoNanos: int64(f.Echo)}
	if f.Welcome != nil {
		p.Welcome = welcome(f.Welcome)
	}
	if len(f.Targets) > 0 {
		p.Targets = make([]*headroomv1.Target, len(f.Targets))
		for i := range f.Targets {
			p.Targets[i] = target(&f.Targets[i])
		}
	}
	if f.Draining {
		p.Drain = &headroomv1.Drain{Within: durationpb.New(f.Drain)}
	}
	if f.Kicked != "" {
		p.Kicked = &headroomv1.Kicked{Reason: text(f.Kicked)}
	}
	return p
}

// ServerFrameFrom returns the frame of a message. A welcome without a session id of 16 bytes or without its
// times is an error, and so are more than twice [permit.MaxReports] targets; a number out of its range becomes
// the nearest one within, a heartbeat at least 10 ms and every time of a lease at most an hour.
func ServerFrameFrom(p *headroomv1.AttachResponse) (permit.ServerFrame, error) {
	f := permit.ServerFrame{
		Sequence: max(p.GetSequence(), 0),
		Epoch:    max(p.GetEpoch(), 0),
		Echo:     time.Duration(p.GetEchoNanos()),
		Draining: p.GetDrain() != nil,
		Drain:    max(p.GetDrain().GetWithin().AsDuration(), 0),
	}
	var errs []error
	if p.GetWelcome() != nil {
		w, err := welcomeFrom(p.GetWelcome())
		if err != nil {
			errs = append(errs, err)
		}
		f.Welcome = &w
	}
	// A session that asks for more than it may have is refused what is over.
	if n := len(p.GetTargets()); n > 2*permit.MaxReports {
		errs = append(errs, fmt.Errorf("targets: %d: want at most %d", n, 2*permit.MaxReports))
	} else if n > 0 {
		f.Targets = make([]permit.Target, n)
		for i, t := range p.GetTargets() {
			f.Targets[i] = targetFrom(t)
		}
	}
	if p.GetKicked() != nil {
		if f.Kicked = p.GetKicked().GetReason(); f.Kicked == "" {
			f.Kicked = kickedNoReason
		}
	}
	if err := errors.Join(errs...); err != nil {
		return permit.ServerFrame{}, err
	}
	return f, nil
}

func welcome(w *permit.Welcome) *headroomv1.Welcome {
	return &headroomv1.Welcome{
		Session:       sessionToken(w.Session, w.Epoch),
		InstanceId:    text(w.Instance),
		ServerVersion: text(w.Version),
		Ttl:           durationpb.New(w.TTL),
		Heartbeat:     durationpb.New(w.Heartbeat),
		Grace:         durationpb.New(w.Grace),
		Resumed:       w.Resumed,
		Recovery:      durationIf(w.Recovery > 0, w.Recovery),
	}
}

func welcomeFrom(p *headroomv1.Welcome) (permit.Welcome, error) {
	session, epoch, err := sessionTokenFrom("welcome.session", p.GetSession())
	w := permit.Welcome{
		Session:   session,
		Epoch:     epoch,
		Instance:  p.GetInstanceId(),
		Version:   p.GetServerVersion(),
		TTL:       min(p.GetTtl().AsDuration(), maxLease),
		Heartbeat: min(p.GetHeartbeat().AsDuration(), maxLease),
		Grace:     max(0, min(p.GetGrace().AsDuration(), maxLease)),
		Resumed:   p.GetResumed(),
		Recovery:  max(0, min(p.GetRecovery().AsDuration(), maxLease)),
	}
	if w.TTL <= 0 || w.Heartbeat <= 0 {
		err = errors.Join(err, fmt.Errorf("welcome: ttl %v and heartbeat %v: want both above 0", w.TTL, w.Heartbeat))
	}
	w.Heartbeat = max(w.Heartbeat, minHeartbeat)
	return w, err
}

func target(t *permit.Target) *headroomv1.Target {
	return &headroomv1.Target{
		Resource:      text(t.Resource),
		Version:       t.Version,
		Target:        t.Target,
		Guarantee:     t.Guarantee,
		Contended:     t.Contended,
		Fence:         t.Fence,
		Mode:          Mode(t.Mode),
		CancelAfter:   durationIf(t.CancelAfter > 0, t.CancelAfter),
		Binding:       text(t.Binding),
		Refused:       text(string(t.Refused)),
		EstimatedWait: durationIf(t.HasWait, t.Wait),
		Most:          int64If(t.Most > 0, t.Most),
		ReportWithin:  durationIf(t.ReportWithin > 0, t.ReportWithin),
	}
}

func targetFrom(p *headroomv1.Target) permit.Target {
	return permit.Target{
		Resource:     p.GetResource(),
		Version:      max(p.GetVersion(), 0),
		Target:       permits(p.GetTarget()),
		Guarantee:    permits(p.GetGuarantee()),
		Contended:    p.GetContended(),
		Fence:        max(p.GetFence(), 0),
		Mode:         ModeFrom(p.GetMode()),
		CancelAfter:  max(p.GetCancelAfter().AsDuration(), 0),
		Binding:      p.GetBinding(),
		Refused:      permit.Refusal(p.GetRefused()),
		Wait:         max(p.GetEstimatedWait().AsDuration(), 0),
		HasWait:      p.GetEstimatedWait() != nil,
		Most:         permits(p.GetMost()),
		ReportWithin: max(0, min(p.GetReportWithin().AsDuration(), maxLease)),
	}
}

// Mode returns the mode on the wire; one that is not set is NORMAL.
func Mode(m permit.Mode) headroomv1.PermitMode {
	if m == 0 {
		m = permit.ModeNormal
	}
	return headroomv1.PermitMode(m)
}

// ModeFrom returns a mode of a message: ModeDrain for one that this version does not know.
func ModeFrom(m headroomv1.PermitMode) permit.Mode {
	switch m {
	case headroomv1.PermitMode_PERMIT_MODE_UNSPECIFIED, headroomv1.PermitMode_PERMIT_MODE_NORMAL:
		return permit.ModeNormal
	case headroomv1.PermitMode_PERMIT_MODE_CANCEL:
		return permit.ModeCancel
	default:
		return permit.ModeDrain
	}
}

// Fence returns the fence as a message.
func Fence(f permit.Fence) *headroomv1.Fence {
	return &headroomv1.Fence{Epoch: f.Epoch, Counter: f.Counter, Text: f.String()}
}

// FenceFrom returns the fence of a message, whose text it does not read.
func FenceFrom(p *headroomv1.Fence) permit.Fence {
	return permit.Fence{Epoch: max(p.GetEpoch(), 0), Counter: max(p.GetCounter(), 0)}
}
