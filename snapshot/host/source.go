package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"
)

// firstLook is the interval that a first reading looks at, that of Crawlee.
const firstLook = 100 * time.Millisecond

// errFirst is returned by a reader that compares two readings and has only one.
var errFirst = errors.New("no reading to compare with")

// A source reads one thing again and again, and measures what that costs.
type source[T any] struct {
	cost *cost

	mu     sync.Mutex // held over a reading, so that Close waits for it
	closed bool
	read   func(ctx context.Context, now time.Time) (T, error)
}

// addSource makes a source of the Host. release closes what read keeps open; nil if that is nothing.
func addSource[T any](h *Host, name string, read func(context.Context, time.Time) (T, error), release func()) *source[T] {
	s := &source[T]{cost: &cost{name: name}, read: read}
	h.costs = append(h.costs, s.cost)
	h.closers = append(h.closers, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.closed && release != nil {
			release()
		}
		s.closed = true
	})
	return s
}

// get returns a reading. Where it is the first of two, get waits for the second.
func (s *source[T]) get(ctx context.Context) (T, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.once(ctx)
	if !errors.Is(err, errFirst) {
		return v, err
	}
	timer := time.NewTimer(firstLook)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return v, ctx.Err()
	case <-timer.C:
		return s.once(ctx)
	}
}

func (s *source[T]) once(ctx context.Context) (T, error) {
	var none T
	if s.closed {
		return none, fmt.Errorf("read %s: %w", s.cost.name, fs.ErrClosed)
	}
	if err := ctx.Err(); err != nil {
		return none, err
	}
	begun := time.Now()
	v, err := s.read(ctx, begun)
	s.cost.add(time.Since(begun), err != nil && !errors.Is(err, errFirst))
	return v, err
}
