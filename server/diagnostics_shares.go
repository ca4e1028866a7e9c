package server

import (
	"sync"
	"time"
)

// shares bounds how many of something go on, and how many an identity that is no operator begins: it has a quarter of
// them at a time, and begins as many at once and as many a second on average. It is safe for concurrent use.
type shares struct {
	what, field string
	most        int
	now         func() time.Time

	mu    sync.Mutex
	total int
	of    map[string]*share
}

// share is that of one identity.
type share struct {
	count int
	free  time.Time // when its bucket of tokens is full again
}

func newShares(what, field string, most int, now func() time.Time) *shares {
	return &shares{what: what, field: field, most: most, now: now, of: make(map[string]*share)}
}

// enter counts one more of the identity, and returns a function that undoes it.
func (s *shares) enter(id Identity) (exit func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	most, now := s.most, s.now()
	own := s.of[id.Name]
	if own == nil {
		s.sweepLocked(now)
		own = &share{}
	}
	if id.Role < RoleOperator {
		most = max(1, most/4)
	}
	if s.total >= s.most || own.count >= most {
		return nil, &recordingsError{what: s.what, field: s.field, limit: most}
	}
	if id.Role < RoleOperator {
		// A token comes back each part of a second; the bucket holds those of one second.
		token := time.Second / time.Duration(most)
		if own.free.Before(now) {
			own.free = now
		}
		if own.free.Add(token).After(now.Add(time.Second)) {
			return nil, &recordingsError{what: s.what, field: s.field, limit: most, rate: true}
		}
		own.free = own.free.Add(token)
	}
	s.total++
	own.count++
	s.of[id.Name] = own
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.total--
		own.count--
	}), nil
}

// sweepLocked forgets identities that have nothing going on and a full bucket.
func (s *shares) sweepLocked(now time.Time) {
	for name, own := range s.of {
		if own.count == 0 && !own.free.After(now) {
			delete(s.of, name)
		}
	}
}

// count returns how many go on.
func (s *shares) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}
