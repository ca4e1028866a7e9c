package server

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/headroom-rpc/headroom/internal/wire"
	"github.com/headroom-rpc/headroom/limit"
	"github.com/headroom-rpc/headroom/permit"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/snapshot"
)

// paceInterval is the time between two parts of a rise that a law wants to be gradual.
const paceInterval = 100 * time.Millisecond

// A regime is the law of HostResource at work: what it looked at last, and what it decided. Its mutex is locked before
// the arbiter is entered, never after.
type regime struct {
	mu       sync.Mutex
	windows  usageWindows
	busy     busyHistory
	users    []permit.User
	decision limit.Decision
	at       time.Duration // of the decision
	divides  bool          // whether the sessions have parts by a decision
	set      hostState     // last
	setPart  int64         // of new sessions, likewise
	shadow   *limit.Shadow // nil without any

	// shadowed is what other laws decided last, for whoever is in the arbiter. The messages are not changed any more.
	shadowed atomic.Pointer[[]*headroomv1.ShadowLimit]
}

// step lets the law decide anew. It returns when there is more to do with what it decided, and when it is to decide
// again.
func (s *permitService) step(a *arbiter) (again, next time.Duration) {
	r := &s.regime
	r.mu.Lock()
	defer r.mu.Unlock()
	view, _, err := s.snapshotter.View()
	if err != nil {
		return inactiveTry, inactiveTry // it does not run any more
	}
	account, users, now, err := a.hostUsers(r.users)
	if err != nil {
		return stepInterval, stepInterval
	}
	s.sensor.want(users)
	pools, since := r.windows.look(now, users, s.sensor.cpu)
	law := *s.law.Load()
	seen := hostWindow(&view)
	if at, ok := readAt(&view, snapshot.CPU); ok && seen.BusyKnown {
		r.busy.add(at+now-view.At, seen.Busy)
		if from, to, ok := r.windows.span(); ok {
			if cores, ok := r.busy.over(from, to); ok {
				seen.Busy, seen.Newest = cores, seen.Busy
			}
		}
		seen.Others, seen.OthersKnown = r.windows.usedByOthers(&r.busy)
	}
	kept := s.reserve(users)
	seen.MemoryReserved = kept.bytes
	in := limit.Input{
		At: now, Window: since, Current: view.Current, Historical: view.Historical, Newest: view.Newest,
		Charge: account.Charge, Want: account.Want, Host: seen, Pools: pools,
	}
	r.decision, r.users, r.at = law.Step(in), users, now
	kept.tell(&r.decision)
	if r.shadow != nil {
		shadowed := shadowsOf(r.shadow.Step(in))
		r.shadowed.Store(&shadowed)
	}
	if next = r.decision.Next; next <= 0 || len(users) == 0 {
		next = stepInterval
	}
	return s.applyLocked(a, &view, now), min(max(next, paceInterval), stepInterval)
}

func shadowsOf(decided []limit.ShadowDecision) []*headroomv1.ShadowLimit {
	all := make([]*headroomv1.ShadowLimit, len(decided))
	for i := range decided {
		d := &decided[i]
		all[i] = &headroomv1.ShadowLimit{Law: d.Law, Limit: d.Decision.Limit, Binding: d.Decision.Binding}
	}
	return all
}

// shadows returns what other laws decided last.
func (r *regime) shadows() []*headroomv1.ShadowLimit {
	if shadowed := r.shadowed.Load(); shadowed != nil {
		return *shadowed
	}
	return nil
}

// pace goes on with a rise that is gradual, and looks whether memory lets anything start. It returns when it is to be
// called again.
func (s *permitService) pace(a *arbiter) time.Duration {
	r := &s.regime
	r.mu.Lock()
	defer r.mu.Unlock()
	now := s.config.Clock()
	if len(r.users) == 0 || !rises(&r.decision, now-r.at) && r.decision.Gate == (limit.Gate{}) {
		return stepInterval
	}
	view, _, err := s.snapshotter.View()
	if err != nil {
		return inactiveTry
	}
	return s.applyLocked(a, &view, now)
}

// applyLocked sets what the decision says for now, and what the severity makes of it.
func (s *permitService) applyLocked(a *arbiter, view *snapshot.View, now time.Duration) time.Duration {
	r := &s.regime
	d := &r.decision
	elapsed := now - r.at
	decided := limit.Decision{Limit: min(max(d.After(elapsed), 1), permit.MaxLimit), Binding: d.Binding}
	report, _ := s.severity.Latest()
	host := severityEffect(s.config.Host.Severity, report.Level, decided)
	if used, _, ok := memoryOf(view.Newest); ok {
		host.hold(a.hostHeld(), d, r.users, used)
	}
	parts, newPart := s.partsLocked(elapsed), r.newPart(hostWindow(view).Cores)
	if len(parts) > 0 || host != r.set || newPart != r.setPart {
		if err := a.setHost(host, parts, newPart); err != nil {
			s.log.Error("the limit of the host cannot be set", "reason", err.Error())
		} else {
			r.set, r.setPart = host, newPart
		}
	}
	if len(r.users) > 0 && rises(d, elapsed) {
		return paceInterval
	}
	return stepInterval
}

// rises reports whether the decision will give more than it gives now, without another step.
func rises(d *limit.Decision, elapsed time.Duration) bool {
	if d.After(elapsed) < d.Limit {
		return true
	}
	for i := range d.Shares {
		if d.ShareAfter(i, elapsed) < d.Shares[i].Limit {
			return true
		}
	}
	return false
}

// hold keeps the limit at what is held while memory lets nothing start, but for one.
func (h *hostState) hold(held int64, d *limit.Decision, users []permit.User, used int64) {
	var growth int64
	for i := range users[:min(len(users), len(d.Shares))] {
		if u := &users[i]; u.HasUsage && u.Usage.Grown >= 0 {
			growth += d.Shares[i].Growth(u.Held, u.Usage.Grown)
		}
	}
	if d.Gate.Open(used, growth) || max(held, 1) >= h.limit {
		return
	}
	h.limit = max(held, 1)
	h.binding = "memory: nothing starts before some is free; " + h.binding
}

// A partOf is what one session has of HostResource.
type partOf struct {
	session permit.SessionID
	part    int64
	binding string
}

// partsLocked returns what the decision gives to each session, or no bound to each once it divides nothing any more.
// A session whose next task needs more at once may have that: else it would wait for ever.
func (s *permitService) partsLocked(elapsed time.Duration) []partOf {
	r := &s.regime
	divides := len(r.decision.Shares) >= max(len(r.users), 1) // a law may decide for one where there is none
	if !divides && !r.divides {
		return nil
	}
	r.divides = divides
	parts := make([]partOf, len(r.users))
	for i := range r.users {
		u := &r.users[i]
		parts[i] = partOf{session: u.Session, part: permit.MaxLimit}
		if divides {
			parts[i].part = max(r.decision.ShareAfter(i, elapsed), u.Need) // at least 1: the limit makes them take turns
			parts[i].binding = r.decision.Shares[i].Binding
		}
	}
	return parts
}

// newPart is what a session has that begins before the next step: the cores that would be its own.
func (r *regime) newPart(cores float64) int64 {
	if !r.divides {
		return permit.MaxLimit
	}
	return max(int64(math.Ceil(cores/float64(len(r.users)+1))), 1)
}

// accountMessage returns the account as the API has it.
func (s *permitService) accountMessage(account *permit.ResourceAccount) *headroomv1.ResourceAccount {
	return s.shadow(wire.ResourceAccount(account))
}

// shadow adds what laws say that are not followed.
func (s *permitService) shadow(p *headroomv1.ResourceAccount) *headroomv1.ResourceAccount {
	if p.GetResource() == HostResource {
		p.Shadows = s.regime.shadows()
	}
	return p
}

// hostUsers returns the account and the users of HostResource; into is room for them.
func (a *arbiter) hostUsers(into []permit.User) (account permit.ResourceAccount, users []permit.User, now time.Duration, err error) {
	if now, err = a.enter(); err != nil {
		return account, into, now, err
	}
	defer a.leave(&err)
	if account, err = a.ledger.Account(now, HostResource); err != nil {
		return account, into, now, err
	}
	users, err = a.ledger.Users(now, HostResource, into[:0])
	a.unused = len(users) == 0
	return account, users, now, err
}

// hostHeld returns how many permits of HostResource are held.
func (a *arbiter) hostHeld() int64 {
	account, err := a.account(HostResource)
	if err != nil {
		return 0
	}
	return account.Held
}

// hostWindow returns what the newest snapshots say of the host, as a law looks at it.
func hostWindow(view *snapshot.View) limit.Host {
	var h limit.Host
	for i := range view.Newest {
		s := &view.Newest[i]
		if !s.Known() {
			continue
		}
		switch s.Resource {
		case snapshot.CPU:
			c := &s.CPU
			h.Cores, h.Busy, h.BusyKnown = c.Cores, c.Used*c.Cores, true
			if c.LoadKnown {
				h.RunQueue, h.RunQueueKnown = float64(c.Runnable), true
				if h.RunQueue > 2*c.Cores {
					h.Crowded = 1
				}
			}
		case snapshot.Pressure:
			if s.Pressure.Stalled == snapshot.Memory {
				h.Stalled, h.StalledKnown = s.Pressure.Some, true
			}
		}
	}
	if used, total, ok := memoryOf(view.Newest); ok {
		h.MemoryUsed, h.MemoryTotal = used, total
	}
	return h
}

// readAt returns when the resource was read last, by the clock of the view.
func readAt(view *snapshot.View, resource snapshot.Resource) (time.Duration, bool) {
	for i := range view.Newest {
		if s := &view.Newest[i]; s.Resource == resource && s.Known() {
			return s.At, true
		}
	}
	return 0, false
}

// memoryOf returns how much memory is in use and how much there is, by the limit that has the least left.
func memoryOf(newest []snapshot.Snapshot) (used, total int64, ok bool) {
	for i := range newest {
		s := &newest[i]
		if s.Resource != snapshot.Memory || !s.Known() {
			continue
		}
		if t := &s.Memory.Tightest; t.Limit != "" {
			return t.Used, t.Total, true
		}
		return s.Memory.Used, s.Memory.Total, true
	}
	return 0, 0, false
}
