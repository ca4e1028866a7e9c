package wire

import (
	"github.com/headroom-rpc/headroom/permit"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

// ResourceAccount returns the account as a message. Mismatches are not sent.
func ResourceAccount(a *permit.ResourceAccount) *headroomv1.ResourceAccount {
	return &headroomv1.ResourceAccount{
		Resource:     text(a.Resource),
		Limit:        a.Limit,
		Charge:       a.Charge,
		Unknown:      a.Unknown,
		Held:         a.Held,
		Want:         a.Want,
		SessionCount: int32Of(a.Sessions),
		Law:          text(a.Law),
		Binding:      text(a.Binding),
		Mode:         Mode(a.Mode),
		OldestWait:   durationIf(a.OldestWait > 0, a.OldestWait),
	}
}

// ResourceAccountFrom returns the account of a message.
func ResourceAccountFrom(p *headroomv1.ResourceAccount) permit.ResourceAccount {
	return permit.ResourceAccount{
		Resource:   p.GetResource(),
		Limit:      max(p.GetLimit(), 0),
		Charge:     max(p.GetCharge(), 0),
		Unknown:    max(p.GetUnknown(), 0),
		Held:       max(p.GetHeld(), 0),
		Want:       max(p.GetWant(), 0),
		Sessions:   count(p.GetSessionCount()),
		Law:        p.GetLaw(),
		Binding:    p.GetBinding(),
		Mode:       ModeFrom(p.GetMode()),
		OldestWait: max(p.GetOldestWait().AsDuration(), 0),
	}
}

// SessionAccount returns the account as a message. Of the party its identity and pid are sent; the instance and
// the versions of the shares are not.
func SessionAccount(a *permit.SessionAccount) *headroomv1.SessionAccount {
	p := &headroomv1.SessionAccount{
		Session:  text(a.Name),
		Client:   text(a.Client),
		Identity: text(a.Party.Identity),
		Pid:      int64If(a.Party.PID > 0, int64(a.Party.PID)),
		State:    headroomv1.SessionState(a.State),
		Silence:  nonNegative(a.Silence),
	}
	for i := range a.Shares {
		p.Shares = append(p.Shares, SessionShare(&a.Shares[i]))
	}
	return p
}

// SessionAccountFrom returns the account of a message. A state that this version does not know is SessionSuspect.
func SessionAccountFrom(p *headroomv1.SessionAccount) permit.SessionAccount {
	a := permit.SessionAccount{
		Name:    p.GetSession(),
		Client:  p.GetClient(),
		Party:   permit.Party{Identity: p.GetIdentity(), PID: int(max(p.GetPid(), 0))},
		State:   permit.SessionSuspect,
		Silence: max(p.GetSilence().AsDuration(), 0),
	}
	if p.GetState() == headroomv1.SessionState_SESSION_STATE_LIVE {
		a.State = permit.SessionLive
	}
	for _, s := range p.GetShares() {
		a.Shares = append(a.Shares, SessionShareFrom(s))
	}
	return a
}

// SessionShare returns the share as a message. Its version is not sent.
func SessionShare(s *permit.SessionShare) *headroomv1.SessionShare {
	return &headroomv1.SessionShare{
		Resource:   text(s.Resource),
		Charge:     s.Charge,
		Held:       s.Held,
		Target:     s.Target,
		Want:       s.Want,
		Guarantee:  s.Guarantee,
		Limit:      s.Limit,
		Priority:   int32Of(s.Priority),
		Weight:     int32Of(s.Weight),
		OldestWait: durationIf(s.OldestWait > 0, s.OldestWait),
	}
}

// SessionShareFrom returns the share of a message.
func SessionShareFrom(p *headroomv1.SessionShare) permit.SessionShare {
	return permit.SessionShare{
		Resource:   p.GetResource(),
		Charge:     max(p.GetCharge(), 0),
		Held:       max(p.GetHeld(), 0),
		Target:     max(p.GetTarget(), 0),
		Want:       max(p.GetWant(), 0),
		Guarantee:  max(p.GetGuarantee(), 0),
		Limit:      max(p.GetLimit(), 0),
		Priority:   priority(p.GetPriority()),
		Weight:     count(p.GetWeight()),
		OldestWait: max(p.GetOldestWait().AsDuration(), 0),
	}
}

// Explanation returns the explanation as a message.
func Explanation(e *permit.Explanation) *headroomv1.ExplainResponse {
	p := &headroomv1.ExplainResponse{
		Account:       ResourceAccount(&e.Account),
		Share:         SessionShare(&e.Share),
		QueueAhead:    e.QueueAhead,
		EstimatedWait: durationIf(e.HasWait, e.Wait),
	}
	for _, r := range e.Reasons {
		p.Reasons = append(p.Reasons, text(r))
	}
	return p
}

// ExplanationFrom returns the explanation of a message.
func ExplanationFrom(p *headroomv1.ExplainResponse) permit.Explanation {
	return permit.Explanation{
		Account:    ResourceAccountFrom(p.GetAccount()),
		Share:      SessionShareFrom(p.GetShare()),
		QueueAhead: max(p.GetQueueAhead(), 0),
		Wait:       max(p.GetEstimatedWait().AsDuration(), 0),
		HasWait:    p.GetEstimatedWait() != nil,
		Reasons:    p.GetReasons(),
	}
}
