package diagnostics

import (
	"errors"
	"fmt"
	"time"
)

// Pin pins or unpins a sealed artifact. The change is on the disk when it returns.
func (s *Store) Pin(id string, pinned bool) (Artifact, error) {
	s.disk.Lock()
	defer s.disk.Unlock()
	a, err := s.sealed(id)
	if err != nil || a.Pinned == pinned {
		return a, err
	}
	a.Pinned = pinned
	if err := s.change(a); err != nil {
		return Artifact{}, fmt.Errorf("diagnostics: pin: %w", err)
	}
	return a, nil
}

// sealed returns the artifact, if it may be changed or deleted.
func (s *Store) sealed(id string) (Artifact, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.all[id]
	switch {
	case s.closed:
		return Artifact{}, ErrClosed
	case !ok:
		return Artifact{}, ErrNotFound
	case !a.Sealed:
		return *a, ErrNotSealed
	default:
		return *a, nil
	}
}

// change puts the sealed artifact on the disk, and then where others see it. disk is held.
func (s *Store) change(a Artifact) error {
	s.mu.Lock()
	was := s.all[a.ID].Sealed
	s.mu.Unlock()
	if err := s.writeManifest(&a, was); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	*s.all[a.ID] = a
	return nil
}

// concludeSlack is by how much an artifact of a run may expire before the others.
const concludeSlack = time.Minute

// Conclude says how the recording of the task ended: all its artifacts, those that are still being written too, are kept from now
// on for the time of a task that ended so, whatever was thought of it before, as when the server was restarted.
func (s *Store) Conclude(owner, task, run string, failed bool) error {
	if run == "" {
		return nil
	}
	s.disk.Lock()
	defer s.disk.Unlock()
	due := s.config.Now().Round(0).Add(s.config.ttl(failed))
	var sealed []Artifact
	s.mu.Lock()
	for _, a := range s.tasks[taskKey{owner, task}] {
		switch {
		case a.Run != run:
		case !a.Sealed:
			a.Failed = failed
		case a.Failed != failed || due.Sub(a.Expire) > concludeSlack:
			sealed = append(sealed, *a)
		}
	}
	s.mu.Unlock()
	var errs []error
	for _, a := range sealed {
		a.Failed, a.Expire = failed, due
		if err := s.change(a); err != nil {
			errs = append(errs, fmt.Errorf("diagnostics: %s: %w", a.ID, err))
		}
	}
	return errors.Join(errs...)
}

// Delete deletes a sealed artifact, pinned or not.
func (s *Store) Delete(id string) error {
	s.disk.Lock()
	defer s.disk.Unlock()
	if _, err := s.sealed(id); err != nil {
		return err
	}
	return s.delete(id)
}

// delete removes the manifest first: content without one is removed by the next scan. disk is held.
func (s *Store) delete(id string) error {
	if err := s.remove(stepDeleteManifest, manifestPath(id)); err != nil {
		return fmt.Errorf("diagnostics: delete %s: %w", id, err)
	}
	s.mu.Lock()
	s.forgetLocked(s.all[id])
	s.mu.Unlock()
	if err := s.remove(stepDeleteData, dataPath(id)); err != nil {
		return fmt.Errorf("diagnostics: delete %s: %w", id, err)
	}
	return nil
}

// forgetLocked takes the artifact out of the index.
func (s *Store) forgetLocked(a *Artifact) {
	delete(s.all, a.ID)
	delete(s.tasks[a.key()], a.ID)
	if len(s.tasks[a.key()]) == 0 {
		delete(s.tasks, a.key())
	}
	s.addLocked(a.Owner, -a.Size)
}

// addLocked counts bytes of the owner.
func (s *Store) addLocked(owner string, n int64) {
	s.bytes += n
	if s.owners[owner] += n; s.owners[owner] <= 0 {
		delete(s.owners, owner)
	}
}
