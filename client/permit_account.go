package client

import (
	"context"

	"github.com/headroom-rpc/headroom/internal/wire"
	"github.com/headroom-rpc/headroom/permit"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

// Explain says how many permits of the resource the sessions of the caller's identity have, and why not more. It
// blocks until the server answered or ctx is done, and retries nothing.
func (c *Client) Explain(ctx context.Context, resource string) (permit.Explanation, error) {
	p, err := c.permits.Explain(ctx, &headroomv1.ExplainRequest{Resource: resource})
	if err != nil {
		return permit.Explanation{}, c.callError(ctx, "explain", err)
	}
	return wire.ExplanationFrom(p), nil
}

// PermitSessions lists the resources by name and the sessions that have or want some of them: all of them for an
// observer, else those of the caller's identity. An empty resource is all. It blocks until the server answered,
// in several pages if need be, or ctx is done, and retries nothing.
func (c *Client) PermitSessions(ctx context.Context, resource string) ([]permit.ResourceAccount, []permit.SessionAccount, error) {
	var resources []permit.ResourceAccount
	var sessions []permit.SessionAccount
	req := &headroomv1.ListSessionsRequest{Resource: resource}
	for {
		p, err := c.permits.ListSessions(ctx, req)
		if err != nil {
			return nil, nil, c.callError(ctx, "list sessions", err)
		}
		if req.PageToken == "" {
			for _, a := range p.GetResources() {
				resources = append(resources, wire.ResourceAccountFrom(a))
			}
		}
		for _, a := range p.GetSessions() {
			sessions = append(sessions, wire.SessionAccountFrom(a))
		}
		if p.GetNextPageToken() == "" || p.GetNextPageToken() == req.PageToken {
			return resources, sessions, nil
		}
		req.PageToken = p.GetNextPageToken()
	}
}

// SetLimit sets the limit of the resource, from 0 to [permit.MaxLimit], until the server ends, and returns the
// account of the resource after that and the limit before. It blocks until the server answered or ctx is done,
// and may be called again with the same limit.
func (c *Client) SetLimit(ctx context.Context, resource string, limit int64) (after permit.ResourceAccount, before int64, err error) {
	p, err := c.permits.SetLimit(ctx, &headroomv1.SetLimitRequest{Resource: resource, Limit: limit})
	if err != nil {
		return permit.ResourceAccount{}, 0, c.callError(ctx, "set limit", err)
	}
	return wire.ResourceAccountFrom(p.GetAccount()), max(p.GetPreviousLimit(), 0), nil
}

// KickSession ends the session of that name, which is [permit.SessionAccount.Name], for the reason, of at most
// 256 characters, and returns it as it was. It blocks until the server answered or ctx is done, and retries
// nothing.
func (c *Client) KickSession(ctx context.Context, name, reason string) (permit.SessionAccount, error) {
	p, err := c.permits.KickSession(ctx, &headroomv1.KickSessionRequest{Session: name, Reason: reason})
	if err != nil {
		return permit.SessionAccount{}, c.callError(ctx, "kick session", err)
	}
	return wire.SessionAccountFrom(p.GetSession()), nil
}
