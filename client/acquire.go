package client

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

// Acquire takes one permit of the resource, for programs without a pool: it is [Permits.Acquire] of a handle that
// the Client keeps. It blocks until it has the permit, ctx is done or the server refuses it.
func (c *Client) Acquire(ctx context.Context, resource string) (Permit, error) {
	h, err := c.plainPermits(resource)
	if err != nil {
		return Permit{}, err
	}
	return h.Acquire(ctx, 1)
}

// plainPermits returns the handle of a resource that the Client keeps.
func (c *Client) plainPermits(resource string) (*Permits, error) {
	if err := (&permitConfig{weight: 1}).validate(resource, false); err != nil {
		return nil, fmt.Errorf("client: acquire: %w", err)
	}
	a, err := c.attach()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.plain[resource]; h != nil {
		return h, nil
	}
	h, err := a.open(resource, nil)
	if err != nil {
		return nil, err
	}
	c.plain[resource] = h
	return h, nil
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
	resources := slices.Sorted(maps.Keys(needs))
	handles := make([]*Permits, len(resources))
	var errs []error
	for i, resource := range resources {
		var err error
		if n := needs[resource]; n < 1 || n > permit.MaxLimit {
			err = fmt.Errorf("client: acquire %q: %d permits: want 1 to %d", resource, n, permit.MaxLimit)
		} else {
			handles[i], err = c.plainPermits(resource)
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for patience := firstPatience; ; patience *= 2 {
		permits, err := acquireInOrder(ctx, handles, needs, patience)
		if !errors.Is(err, errImpatient) {
			return permits, err
		}
	}
}

// firstPatience is for how long permits are held at first while others are waited for.
const firstPatience = time.Second

// errImpatient is why what was taken was given back without the rest.
var errImpatient = errors.New("client: other permits were not to be had in time")

// acquireInOrder takes the permits one after the other, or none. It gives up with errImpatient where it would hold
// some for longer than patience without the rest, or loses one.
func acquireInOrder(
	ctx context.Context, handles []*Permits, needs map[string]int64, patience time.Duration,
) (_ []Permit, err error) {
	permits := make([]Permit, 0, len(handles))
	defer func() {
		if err != nil {
			for i := range permits {
				permits[i].Release()
			}
		}
	}()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for i, h := range handles {
		p, err := h.Acquire(ctx, needs[h.Resource()])
		if err != nil {
			return nil, err
		}
		permits = append(permits, p)
		lost := p.Context()
		defer context.AfterFunc(lost, func() { cancel(errImpatient) })()
		if i == 0 {
			defer time.AfterFunc(patience, func() { cancel(errImpatient) }).Stop()
		}
	}
	if context.Cause(ctx) != nil && errors.Is(context.Cause(ctx), errImpatient) {
		return nil, errImpatient
	}
	return permits, nil
}
