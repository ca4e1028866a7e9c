package server

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/headroom-rpc/headroom/internal/wire"
	"github.com/headroom-rpc/headroom/limit"
	"github.com/headroom-rpc/headroom/permit"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

// defaultPageSize is how many sessions ListSessions returns to a caller who does not say.
const defaultPageSize = 1000

// lawError reports a limit that an operator may not set because it follows the load.
type lawError struct{ resource, law string }

func (e *lawError) Error() string {
	return fmt.Sprintf("the limit of %q follows the law %q: it can be set under the law %q", e.resource, e.law, fixedLaw)
}

// sessionError reports a session that there is not, or that the caller may not know of.
type sessionError struct {
	name  string
	known []permit.SessionAccount // those that the caller may know of
}

func (e *sessionError) Error() string { return fmt.Sprintf("server: no session %q", e.name) }

// view is what the caller of one call may see.
type view struct {
	identity string
	all      bool // also what belongs to others
}

func viewOf(ctx context.Context) (view, error) {
	identity, ok := IdentityFrom(ctx)
	if !ok {
		return view{}, errors.New("a call without identity")
	}
	return view{identity.Name, identity.Role >= RoleObserver}, nil
}

func (v view) sees(p permit.Party) bool { return v.all || p.Identity == v.identity }

// Explain implements headroom.v1.PermitService.
func (s *permitService) Explain(
	ctx context.Context, req *headroomv1.ExplainRequest,
) (*headroomv1.ExplainResponse, error) {
	a, err := s.arbiter()
	if err != nil {
		return nil, err
	}
	v, err := viewOf(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := s.allowed(req.GetResource(), permit.Party{Identity: v.identity}); err != nil && !v.all {
		return nil, err
	}
	found := req.GetSession() == ""
	keep := func(name string, p permit.Party) bool {
		if req.GetSession() == "" {
			return p.Identity == v.identity
		}
		match := name == req.GetSession() && v.sees(p)
		found = found || match
		return match
	}
	explanation, err := a.explain(req.GetResource(), keep)
	switch {
	case errors.Is(err, permit.ErrNoResource):
		return nil, s.noResource(req.GetResource(), v)
	case err != nil:
		return nil, err
	case !found:
		if err := s.exists(a, v, req.GetSession()); err != nil {
			return nil, err
		}
	}
	resp := wire.Explanation(&explanation)
	s.shadow(resp.GetAccount())
	return resp, nil
}

func (a *arbiter) explain(resource string, keep func(string, permit.Party) bool) (e permit.Explanation, err error) {
	now, err := a.enter()
	if err != nil {
		return e, err
	}
	defer a.leave(&err)
	return a.ledger.Explain(now, resource, keep)
}

// exists returns nil if there is such a session that the caller may see, though it has nothing of a resource.
func (s *permitService) exists(a *arbiter, v view, name string) error {
	sessions, err := a.sessions(v)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(sessions, func(one permit.SessionAccount) bool { return one.Name == name }) {
		return &sessionError{name, sessions}
	}
	return nil
}

// sessions returns those that the caller may see, by name.
func (a *arbiter) sessions(v view) (all []permit.SessionAccount, err error) {
	now, err := a.enter()
	if err != nil {
		return nil, err
	}
	defer a.leave(&err)
	return a.ledger.Sessions(now, v.sees), nil
}

// ListSessions implements headroom.v1.PermitService.
func (s *permitService) ListSessions(
	ctx context.Context, req *headroomv1.ListSessionsRequest,
) (*headroomv1.ListSessionsResponse, error) {
	a, err := s.arbiter()
	if err != nil {
		return nil, err
	}
	v, err := viewOf(ctx)
	if err != nil {
		return nil, err
	}
	if name, err := hex.DecodeString(req.GetPageToken()); err != nil || len(name) != 0 && len(name) != 8 {
		return nil, badPage(req.GetPageToken())
	}
	resp := &headroomv1.ListSessionsResponse{Epoch: s.epoch}
	if resp.Resources, err = s.accounts(a, v, req.GetResource()); err != nil {
		return nil, err
	}
	left := int(req.GetPageSize())
	if left == 0 {
		left = defaultPageSize
	}
	size := proto.Size(resp)
	sessions, err := a.sessions(v)
	if err != nil {
		return nil, err
	}
	for _, one := range sessions {
		if one.Name <= req.GetPageToken() || !has(&one, req.GetResource()) {
			continue
		}
		message := wire.SessionAccount(&one)
		size += proto.Size(message) + 8 // for its tag and length
		if left == 0 || size > s.limits.MaxSendBytes-64 && len(resp.Sessions) > 0 {
			resp.NextPageToken = resp.Sessions[len(resp.Sessions)-1].GetSession()
			break
		}
		left--
		resp.Sessions = append(resp.Sessions, message)
	}
	return resp, nil
}

// has reports whether the session has a share of the resource, and keeps only that; "" is all.
func has(one *permit.SessionAccount, resource string) bool {
	if resource == "" {
		return true
	}
	for _, share := range one.Shares {
		if share.Resource == resource {
			one.Shares = []permit.SessionShare{share}
			return true
		}
	}
	return false
}

// accounts returns the accounts of the resources that the caller may see: the one of the name, or all.
func (s *permitService) accounts(a *arbiter, v view, name string) (accounts []*headroomv1.ResourceAccount, err error) {
	now, err := a.enter()
	if err != nil {
		return nil, err
	}
	defer a.leave(&err)
	names := []string{name}
	if name == "" {
		names = a.ledger.Resources()
	}
	for _, resource := range names {
		if _, err := s.allowed(resource, permit.Party{Identity: v.identity}); err != nil && !v.all {
			if name != "" {
				return nil, err
			}
			continue
		}
		account, err := a.ledger.Account(now, resource)
		if err != nil {
			return nil, s.noResource(resource, v)
		}
		accounts = append(accounts, s.accountMessage(&account))
	}
	return accounts, nil
}

// SetLimit implements headroom.v1.PermitService.
func (s *permitService) SetLimit(
	ctx context.Context, req *headroomv1.SetLimitRequest,
) (*headroomv1.SetLimitResponse, error) {
	a, err := s.arbiter()
	if err != nil {
		return nil, err
	}
	identity, _ := IdentityFrom(ctx)
	name, n := req.GetResource(), req.GetLimit()
	if name == HostResource {
		return s.setHostLimit(a, identity, n)
	}
	before, after, err := a.setLimit(name, n, "set by an operator")
	switch {
	case errors.Is(err, permit.ErrNoResource):
		return nil, s.noResource(name, view{identity: identity.Name, all: true})
	case err != nil:
		return nil, err
	}
	s.logLimit(identity, &before, n)
	return &headroomv1.SetLimitResponse{Account: s.accountMessage(&after), PreviousLimit: before.Limit}, nil
}

// setHostLimit puts another fixed limit in the place of one.
func (s *permitService) setHostLimit(a *arbiter, identity Identity, n int64) (*headroomv1.SetLimitResponse, error) {
	if law := *s.law.Load(); law.Name() != fixedLaw {
		return nil, &lawError{HostResource, law.Name()}
	}
	law, err := limit.NewFixed(n)
	if err != nil {
		invalid := &invalidError{}
		invalid.add("limit", "%d: the limit of %q is at least 1", n, HostResource)
		return nil, invalid
	}
	s.law.Store(&law)
	before, err := a.account(HostResource)
	if err != nil {
		return nil, err
	}
	s.step(a)
	after, err := a.account(HostResource)
	if err != nil {
		return nil, err
	}
	s.logLimit(identity, &before, n)
	return &headroomv1.SetLimitResponse{Account: s.accountMessage(&after), PreviousLimit: before.Limit}, nil
}

func (s *permitService) logLimit(identity Identity, before *permit.ResourceAccount, n int64) {
	s.log.LogAttrs(context.Background(), slog.LevelInfo, "set the limit of a resource",
		slog.String("identity", identity.Name), slog.Int("pid", identity.PID),
		slog.String("resource", before.Resource), slog.Int64("previous", before.Limit), slog.Int64("limit", n))
}

// account returns the account of a resource.
func (a *arbiter) account(resource string) (account permit.ResourceAccount, err error) {
	now, err := a.enter()
	if err != nil {
		return account, err
	}
	defer a.leave(&err)
	return a.ledger.Account(now, resource)
}

// setLimit sets the limit of a resource, and returns its account before and after.
func (a *arbiter) setLimit(resource string, n int64, binding string) (before, after permit.ResourceAccount, err error) {
	now, err := a.enter()
	if err != nil {
		return before, after, err
	}
	defer a.leave(&err)
	if before, err = a.ledger.Account(now, resource); err != nil {
		return before, after, err
	}
	if err = a.ledger.SetLimit(now, resource, n, binding); err != nil {
		return before, after, err
	}
	a.change()
	a.queues.setLimit(resource, n)
	after, err = a.ledger.Account(now, resource)
	return before, after, err
}

// KickSession implements headroom.v1.PermitService.
func (s *permitService) KickSession(
	ctx context.Context, req *headroomv1.KickSessionRequest,
) (*headroomv1.KickSessionResponse, error) {
	a, err := s.arbiter()
	if err != nil {
		return nil, err
	}
	reason := req.GetReason()
	if reason == "" {
		reason = "no reason was given"
	}
	identity, _ := IdentityFrom(ctx)
	account, err := a.kick(req.GetSession(), reason)
	if err != nil {
		return nil, err
	}
	s.log.LogAttrs(ctx, slog.LevelWarn, "ended a session",
		slog.String("identity", identity.Name), slog.Int("pid", identity.PID),
		slog.String("session", account.Name), slog.String("owner", account.Party.Identity),
		slog.String("client", account.Client), slog.String("reason", clip(reason)))
	return &headroomv1.KickSessionResponse{Session: wire.SessionAccount(&account)}, nil
}

func (a *arbiter) kick(name, reason string) (account permit.SessionAccount, err error) {
	now, err := a.enter()
	if err != nil {
		return account, err
	}
	defer a.leave(&err)
	account, id, err := a.ledger.Kick(now, name, reason)
	if errors.Is(err, permit.ErrNoSession) {
		return account, &sessionError{name, a.ledger.Sessions(now, nil)}
	}
	if err != nil {
		return account, err
	}
	a.change()
	if w := a.streams[id]; w != nil {
		w.tellKick(reason)
	}
	a.queues.kick(id, reason)
	return account, nil
}
