package client

import (
	"context"
	"sync"
)

// mailbox holds what a receiver, which never waits, has for the loop that takes.
type mailbox[T any] struct {
	replaces func(waiting, next T) bool // whether next makes the newest one that waits superfluous
	changed  chan struct{}              // capacity 1: holds an element while there may be something to take
	emptied  chan struct{}              // capacity 1: gets an element when the last one was taken

	mu      sync.Mutex
	waiting []T // oldest first
}

func newMailbox[T any](replaces func(waiting, next T) bool) *mailbox[T] {
	return &mailbox[T]{replaces: replaces, changed: make(chan struct{}, 1), emptied: make(chan struct{}, 1)}
}

// put adds the next one, in the place of the newest if that is superfluous now, and returns how many wait.
func (m *mailbox[T]) put(next T) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if last := len(m.waiting) - 1; last >= 0 && m.replaces(m.waiting[last], next) {
		m.waiting[last] = next
	} else {
		m.waiting = append(m.waiting, next)
	}
	signal(m.changed)
	return len(m.waiting)
}

// take returns the oldest one that waits.
func (m *mailbox[T]) take() (oldest T, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.waiting) == 0 {
		return oldest, false
	}
	var none T
	oldest, m.waiting[0] = m.waiting[0], none
	if len(m.waiting) == 1 {
		m.waiting = m.waiting[:0] // the same place again for the next one
		signal(m.emptied)
	} else {
		m.waiting = m.waiting[1:]
	}
	return oldest, true
}

// awaitEmpty blocks until everything was taken, ctx is done or closed is.
func (m *mailbox[T]) awaitEmpty(ctx context.Context, closed <-chan struct{}) {
	for m.count() > 0 {
		select {
		case <-m.emptied:
		case <-ctx.Done():
			return
		case <-closed:
			return
		}
	}
}

func (m *mailbox[T]) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.waiting)
}

// signal leaves an element in a channel of capacity 1.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
