package diagnostics

import (
	"cmp"
	"errors"
	"slices"
	"time"
)

// Expiring returns the artifacts, of those that q means, that will be deleted by the time at, and beyond them those
// that are deleted to make room for need bytes, in the order in which they go. It changes nothing.
func (s *Store) Expiring(q Query, at time.Time, need int64) []Artifact {
	s.mu.Lock()
	defer s.mu.Unlock()
	gone := s.expiredLocked(at)
	var victims []*Artifact
	if need > 0 {
		victims, _ = s.victimsLocked(gone, need, 1) // those that may go, also where they make too little room
	}
	var all []Artifact
	for _, a := range append(gone, victims...) {
		if q.matches(a) {
			all = append(all, *a)
		}
	}
	return all
}

// Expire deletes what has expired, and seals what could not be sealed before, such as while the disk was full. It
// returns what it deleted, and goes on after an error.
func (s *Store) Expire() ([]Artifact, error) {
	errs := []error{s.retry()}
	s.disk.Lock()
	defer s.disk.Unlock()
	var deleted []Artifact
	for _, a := range s.Expiring(Query{}, s.config.Now(), 0) {
		if err := s.delete(a.ID); err != nil {
			errs = append(errs, err)
			continue
		}
		deleted = append(deleted, a)
	}
	return deleted, errors.Join(errs...)
}

// mayGo reports whether the artifact can be deleted without being asked for.
func (a *Artifact) mayGo() bool { return a.Sealed && !a.Pinned }

// expiredLocked returns what has expired by the time at, the earliest first. As long as something of a recording is
// being written, the rest of it does not expire.
func (s *Store) expiredLocked(at time.Time) []*Artifact {
	type run struct{ owner, run string }
	goOn := make(map[run]bool)
	for id := range s.writers {
		if a := s.all[id]; a.Run != "" {
			goOn[run{a.Owner, a.Run}] = true
		}
	}
	var gone []*Artifact
	for _, a := range s.all {
		if a.mayGo() && !a.Expire.After(at) && !goOn[run{a.Owner, a.Run}] {
			gone = append(gone, a)
		}
	}
	slices.SortFunc(gone, earlier)
	return gone
}

func earlier(a, b *Artifact) int { return cmp.Or(a.Expire.Compare(b.Expire), cmp.Compare(a.ID, b.ID)) }

// takeTries bounds how often room is made that others take at once.
const takeTries = 8

// take counts n bytes and more artifacts by calling add with mu held, once there is room for them.
func (s *Store) take(n int64, more int, add func()) error {
	for range takeTries {
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return ErrClosed
		}
		if s.bytes+n <= s.config.MaxBytes && len(s.all)+more <= s.config.MaxArtifacts {
			add()
			s.mu.Unlock()
			return nil
		}
		s.mu.Unlock()
		if err := s.makeRoom(n, more); err != nil {
			return err
		}
	}
	return ErrFull
}

// makeRoom deletes what has to go for n bytes and more artifacts. It deletes nothing when it cannot make enough.
func (s *Store) makeRoom(n int64, more int) error {
	s.disk.Lock()
	defer s.disk.Unlock()
	s.mu.Lock()
	victims, ok := s.victimsLocked(nil, n, more)
	ids := make([]string, len(victims))
	for i, a := range victims {
		ids[i] = a.ID
	}
	s.mu.Unlock()
	if !ok {
		return ErrFull
	}
	for _, id := range ids {
		if err := s.delete(id); err != nil {
			return err
		}
	}
	return nil
}

// victimsLocked returns what is deleted to make room for need bytes and for more artifacts once those in gone are:
// always of the owner who then has the most bytes, that which expires first. ok is false where that is not enough.
func (s *Store) victimsLocked(gone []*Artifact, need int64, more int) (victims []*Artifact, ok bool) {
	bytes, count := s.bytes+need, len(s.all)+more
	owners := make(map[string]int64, len(s.owners))
	for owner, n := range s.owners {
		owners[owner] = n
	}
	for _, a := range gone {
		bytes, count = bytes-a.Size, count-1
		owners[a.Owner] -= a.Size
	}
	var left map[string][]*Artifact // of each owner, the earliest first; made when it is needed
	for bytes > s.config.MaxBytes || count > s.config.MaxArtifacts {
		if left == nil {
			left = s.leftLocked(gone)
		}
		most := ""
		for owner, list := range left {
			if len(list) > 0 && (most == "" || owners[owner] > owners[most] || owners[owner] == owners[most] && owner < most) {
				most = owner
			}
		}
		if most == "" {
			return victims, false
		}
		a := left[most][0]
		left[most] = left[most][1:]
		bytes, count = bytes-a.Size, count-1
		owners[most] -= a.Size
		victims = append(victims, a)
	}
	return victims, true
}

// leftLocked returns by owner what may be deleted and is not gone, the earliest first.
func (s *Store) leftLocked(gone []*Artifact) map[string][]*Artifact {
	skip := make(map[string]bool, len(gone))
	for _, a := range gone {
		skip[a.ID] = true
	}
	left := make(map[string][]*Artifact)
	for _, a := range s.all {
		if a.mayGo() && !skip[a.ID] {
			left[a.Owner] = append(left[a.Owner], a)
		}
	}
	for _, list := range left {
		slices.SortFunc(list, earlier)
	}
	return left
}
