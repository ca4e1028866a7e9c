package client

import (
	"context"
	"errors"
)

// Acquire takes one permit of the resource, for programs without a pool: it is [Permits.Acquire] of a handle that
// the Client keeps. It blocks until it has the permit, ctx is done or the server refuses it.
func (c *Client) Acquire(ctx context.Context, resource string) (Permit, error) {
	return Permit{}, errors.ErrUnsupported
}

// AcquireAll takes permits of several resources, all or none: needs says how many of each, from 1 to
// [permit.MaxLimit]. It returns them in the order of the resources' names. It blocks until it has them, ctx is
// done or the server refuses one of them.
//
// It takes them in the order of their names, which is the same for everybody, so that two programs never wait
// for each other. While it waits for one it holds those before it, for 1 s at first; then it gives all back and
// begins anew, and is twice as patient each time. So it ends even where others take permits in another order.
// It begins anew too when a permit is lost before it has the last.
func (c *Client) AcquireAll(ctx context.Context, needs map[string]int64) ([]Permit, error) {
	return nil, errors.ErrUnsupported
}
