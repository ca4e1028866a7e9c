package diagnostics

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
)

// A Query says which artifacts are meant; an empty field means any.
type Query struct{ Owner, Task, Run, Name string }

func (q *Query) matches(a *Artifact) bool {
	return (q.Owner == "" || q.Owner == a.Owner) && (q.Task == "" || q.Task == a.Task) &&
		(q.Run == "" || q.Run == a.Run) && (q.Name == "" || q.Name == a.Name)
}

// List returns the artifacts that q means, those that are still being written too, in the order of their IDs from
// the one after `after` on, at most `most`.
func (s *Store) List(q Query, after string, most int) []Artifact {
	s.mu.Lock()
	from := s.all
	if q.Owner != "" && q.Task != "" {
		from = s.tasks[taskKey{q.Owner, q.Task}]
	}
	var all []Artifact
	for id, a := range from {
		if id > after && q.matches(a) {
			all = append(all, *a)
		}
	}
	s.mu.Unlock()
	slices.SortFunc(all, func(a, b Artifact) int { return cmp.Compare(a.ID, b.ID) })
	return all[:min(len(all), most)]
}

// Get returns the artifact of that ID, or [ErrNotFound].
func (s *Store) Get(id string) (Artifact, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a, ok := s.all[id]; ok {
		return *a, nil
	}
	return Artifact{}, ErrNotFound
}

// Used returns how many bytes all artifacts have together, and how many artifacts there are.
func (s *Store) Used() (bytes int64, artifacts int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes, len(s.all)
}

// MaxBytes returns the quota.
func (s *Store) MaxBytes() int64 { return s.config.MaxBytes }

// Content opens the content of a sealed artifact, to be closed by the caller; it stays readable when the artifact
// is deleted meanwhile. It checks the size; who reads all of it can check the digest.
func (s *Store) Content(id string) (*os.File, Artifact, error) {
	a, err := s.Get(id)
	if err != nil {
		return nil, Artifact{}, err
	}
	if !a.Sealed {
		return nil, a, ErrNotSealed
	}
	f, err := s.openRegular(dataPath(id))
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := s.Get(id); err != nil {
			return nil, a, err // it was deleted in between
		}
		return nil, a, fmt.Errorf("%w: it is missing", ErrDamaged)
	}
	if err != nil {
		return nil, a, fmt.Errorf("diagnostics: %w", err)
	}
	info, err := f.Stat()
	if err == nil && info.Size() != a.Size {
		err = fmt.Errorf("%w: it has %d bytes, not %d", ErrDamaged, info.Size(), a.Size)
	}
	if err != nil {
		_ = f.Close() // nothing was written
		return nil, a, err
	}
	return f, a, nil
}

// NextPart returns which part of the run an artifact would be that goes on from what there is of that owner, task, run
// and name, whole or not: 0 where there is nothing.
func (s *Store) NextPart(h *Header) (part int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.tasks[taskKey{h.Owner, h.Task}] {
		if a.Run == h.Run && a.Name == h.Name {
			part = max(part, a.Part+1)
		}
	}
	return part
}
