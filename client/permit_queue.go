package client

import (
	"container/list"
	"errors"
	"fmt"
	"time"
)

// TooManyError reports that more permits are asked for at once than can ever be had unless an operator changes the
// limit of the resource, or what the identity may have of it.
type TooManyError struct {
	Resource    string
	Count, Most int64
}

// Error names the resource and both numbers.
func (e *TooManyError) Error() string {
	return fmt.Sprintf("client: acquire %q: %d permits at once, but there are never more than %d", e.Resource, e.Count, e.Most)
}

// waiter is a call of Acquire that waits. permit and err are set before ready is closed.
type waiter struct {
	handle *Permits
	count  int64
	since  time.Duration
	ready  chan struct{}
	permit Permit
	err    error
}

// enqueue adds a call that waits, and serves it at once if it can be. It has the server told where that is urgent.
func (s *share) enqueue(h *Permits, n int64) (*waiter, *list.Element, error) {
	w, e, urgent, err := s.await(h, n)
	if urgent {
		signal(s.attach.wake)
	}
	return w, e, err
}

// await is enqueue, but that the caller has to have the server told.
func (s *share) await(h *Permits, n int64) (w *waiter, e *list.Element, urgent bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.errLocked(h); err != nil {
		return nil, nil, false, err
	}
	w = &waiter{handle: h, count: n, since: s.attach.now(), ready: make(chan struct{})}
	e = s.queue.PushBack(w)
	s.waiting += n
	s.slow.Store(true)
	s.serveLocked()
	// How many more wait is no news to a server that does not give what it was asked for, so it is told with the
	// next frame, or in 100 ms.
	s.dirty.Store(true)
	return w, e, !s.asked, nil
}

// abandon takes a call of Acquire out of the queue; if it was served meanwhile it gives back what it got.
func (s *share) abandon(w *waiter, e *list.Element) {
	s.mu.Lock()
	select {
	case <-w.ready:
		s.mu.Unlock()
		w.permit.Release()
		return
	default:
	}
	s.queue.Remove(e)
	s.waiting -= w.count
	s.serveLocked() // it may have been in the way of others
	s.dirty.Store(true)
	if s.queue.Len() == 0 {
		signal(s.attach.wake)
	}
	s.mu.Unlock()
}

// gaveUp returns the error of a call that waited in vain until that cause: with what binds, where that is known.
func (s *share) gaveUp(op string, cause error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.target.Binding == "" {
		return &callError{op: op, err: cause}
	}
	return &callError{op: op, cause: cause, err: errors.New(s.target.Binding)}
}

// serveLocked lets those who wait go on, in their order: one that must wait lets nobody overtake, or a stream of
// small ones would keep a large one waiting for ever.
func (s *share) serveLocked() {
	err := s.errLocked(nil)
	served, failed := false, false
	for e := s.queue.Front(); e != nil; e = s.queue.Front() {
		w := e.Value.(*waiter)
		if err != nil {
			s.failLocked(e, err)
			continue
		}
		if most := s.target.Most; most > 0 && w.count > most && s.state.leased {
			s.failLocked(e, &TooManyError{s.name, w.count, most})
			failed = true
			continue
		}
		p, ok := s.takeLocked(w.count)
		if !ok {
			break
		}
		s.queue.Remove(e)
		s.waiting -= w.count
		w.permit = p
		close(w.ready)
		served = true
	}
	if served || failed {
		s.dirty.Store(true)
		if s.queue.Len() == 0 {
			s.asked = false
			if failed || s.gate.Held() < s.gate.Limit() {
				signal(s.attach.wake) // what the server then still gives can be of use to others at once
			}
		}
	}
	s.slow.Store(s.queue.Len() > 0 || s.state.stale || err != nil)
}

func (s *share) failLocked(e *list.Element, err error) {
	w := e.Value.(*waiter)
	s.queue.Remove(e)
	s.waiting -= w.count
	w.err = err
	close(w.ready)
}
