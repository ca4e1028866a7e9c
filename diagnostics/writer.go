package diagnostics

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"os"
	"sync"
	"time"
)

// A step is one thing that is done to the disk.
type step string

// The steps of an artifact, in their order.
const (
	stepCreateJournal  step = "create the journal"
	stepCreateData     step = "create the content"
	stepAppendData     step = "append content"
	stepAppendSegment  step = "append a segment to the journal"
	stepSyncSegment    step = "sync a segment"
	stepSyncData       step = "sync the content"
	stepAppendFinal    step = "append the end to the journal"
	stepSyncJournal    step = "sync the journal"
	stepMoveData       step = "move the content"
	stepSyncDataDir    step = "sync the folder of contents"
	stepWriteManifest  step = "write the manifest"
	stepSyncManifest   step = "sync the manifest"
	stepNote           step = "append to the index"
	stepSyncNote       step = "sync the index"
	stepNameManifest   step = "name the manifest"
	stepSyncManifests  step = "sync the folder of manifests"
	stepRemoveJournal  step = "remove the journal"
	stepDeleteManifest step = "delete the manifest"
	stepDeleteData     step = "delete the content"
)

// syncEvery is how much of an artifact, and syncAfter how long, may be lost when the host loses its power. When
// the process is killed, nothing is.
const (
	syncEvery = 4 << 20
	syncAfter = 10 * time.Second
)

// Writer writes one artifact. Its methods are safe for concurrent use.
type Writer struct {
	store *Store
	id    string

	mu       sync.Mutex
	artifact Artifact // as it would be sealed
	journal  *os.File
	data     *os.File
	hash     hash.Hash
	size     int64 // of the content
	noted    int64 // size of the journal
	failed   error // of an append; nothing more is taken
	ended    bool  // Seal or Discard was called
	finalled bool  // the journal holds the end
	moved    bool  // the content is where it is to be
	unsynced int64
	synced   time.Time
}

// Create begins an artifact, and makes room for it. It reports every fault of h at once, and [ErrFull] when there
// is no room.
func (s *Store) Create(h Header) (*Writer, error) {
	if err := h.validate(); err != nil {
		return nil, fmt.Errorf("diagnostics: %w", err)
	}
	w := &Writer{store: s, id: newID(), hash: sha256.New(), synced: s.config.Now()}
	w.artifact = Artifact{ID: w.id, Header: h}
	w.artifact.Begin = h.Begin.Round(0)
	begin, err := json.Marshal(&w.artifact)
	if err != nil {
		return nil, fmt.Errorf("diagnostics: %w", err)
	}
	if err := s.take(0, 1, func() {
		a := w.artifact
		s.enterLocked(&a)
		s.writers[w.id] = w
	}); err != nil {
		return nil, err
	}
	if err := w.create(begin); err != nil {
		w.drop()
		return nil, fmt.Errorf("diagnostics: create an artifact: %w", err)
	}
	return w, nil
}

func (w *Writer) create(begin []byte) (err error) {
	const flags = os.O_RDWR | os.O_CREATE | os.O_EXCL
	s := w.store
	if err := s.config.before(stepCreateJournal); err != nil {
		return err
	}
	if w.journal, err = s.root.OpenFile(journalPath(w.id), flags, 0o600); err != nil {
		return err
	}
	if err := w.note(appendRecord(nil, recordBegin, begin)); err != nil {
		return err
	}
	if err := s.config.before(stepCreateData); err != nil {
		return err
	}
	w.data, err = s.root.OpenFile(writingPath(w.id), flags, 0o600)
	return err
}

// note appends a record to the journal, whole or not at all.
func (w *Writer) note(record []byte) error {
	n, err := w.journal.WriteAt(record, w.noted)
	if err != nil {
		return errors.Join(err, w.journal.Truncate(w.noted))
	}
	w.noted += int64(n)
	return nil
}

// ID returns the ID of the artifact.
func (w *Writer) ID() string { return w.id }

// Append appends one segment: after the process was killed, either all of it is there or nothing. It takes no more
// than the limits allow, returns [ErrTooLarge] or [ErrFull] then, and after any error takes nothing more; what
// there is can still be sealed. p is at most 1 GiB.
func (w *Writer) Append(p []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.ended:
		return errors.New("diagnostics: append after the end")
	case w.failed != nil:
		return w.failed
	case len(p) == 0:
		return nil
	}
	if w.failed = w.append(p); w.failed != nil {
		w.failed = fmt.Errorf("diagnostics: append to %s: %w", w.id, w.failed)
	}
	return w.failed
}

func (w *Writer) append(p []byte) error {
	s, n := w.store, int64(len(p))
	if w.size+n > s.config.MaxArtifactBytes || w.noted+recordHead > maxJournal {
		return ErrTooLarge
	}
	if err := s.grow(w.id, n); err != nil {
		return err
	}
	err := s.config.before(stepAppendData)
	if err == nil {
		_, err = w.data.WriteAt(p, w.size)
	}
	if err == nil {
		err = s.config.before(stepAppendSegment)
	}
	if err == nil {
		err = w.note(segmentRecord(p))
	}
	if err != nil {
		s.shrink(w.id, n)
		return errors.Join(err, w.data.Truncate(w.size))
	}
	w.hash.Write(p)
	w.size += n
	w.unsynced += n
	now := s.config.Now()
	if w.unsynced < syncEvery && now.Sub(w.synced) < syncAfter {
		return nil
	}
	w.unsynced, w.synced = 0, now
	if err := s.sync(stepSyncSegment, w.data); err != nil {
		return err
	}
	return s.sync(stepSyncSegment, w.journal)
}

// grow counts n more bytes of an artifact that is being written, and makes room for them.
func (s *Store) grow(id string, n int64) error {
	return s.take(n, 0, func() {
		a := s.all[id]
		a.Size += n
		s.addLocked(a.Owner, n)
	})
}

func (s *Store) shrink(id string, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.all[id]
	a.Size -= n
	s.addLocked(a.Owner, -n)
}

// An End is how an artifact ended.
type End struct {
	// Time is when what it tells of ended. Zero means now.
	Time time.Time

	// Truncated says why it is not the whole; empty when it is, unless an Append failed.
	Truncated string

	// Failed keeps it for the time of failed tasks.
	Failed bool
}

// Seal ends the artifact and returns it as it is kept from now on: it is on the disk, with its manifest. After an
// error nothing is lost: [Store.Expire] tries again, and so does the next [Open]. It returns [ErrReplaced] for one
// that was cut short where the run has a whole one of that name, which stays. A second call returns an error.
func (w *Writer) Seal(end End) (Artifact, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return Artifact{}, errors.New("diagnostics: the artifact was ended before")
	}
	w.ended = true
	s, a := w.store, &w.artifact
	now := s.config.Now().Round(0) // of the wall clock alone, as it is kept
	a.End = end.Time.Round(0)
	if a.End.IsZero() {
		a.End = now
	}
	if a.End.Before(a.Begin) {
		a.End = a.Begin
	}
	a.Truncated = end.Truncated
	if a.Truncated == "" && w.failed != nil {
		a.Truncated = cause(w.failed)
	}
	a.Size, a.Sealed = w.size, true
	w.hash.Sum(a.SHA256[:0])
	s.mu.Lock()
	a.Failed = a.Failed || end.Failed || s.all[w.id].Failed
	redundant := s.settleLocked(a)
	s.mu.Unlock()
	// From now and not from its End, which a worker may have stated.
	a.Expire = now.Add(s.config.ttl(a.Failed))
	if redundant {
		w.drop()
		return *a, ErrReplaced
	}
	if err := w.seal(); err != nil {
		return *a, fmt.Errorf("diagnostics: seal %s: %w", w.id, err)
	}
	return *a, nil
}

// cause returns the part of an error that an artifact says of itself.
func cause(err error) string {
	switch {
	case errors.Is(err, ErrTooLarge):
		return "larger than the limit of one artifact"
	case errors.Is(err, ErrFull):
		return "the quota of artifacts is used up"
	default:
		return "could not be written: " + noSpace(err)
	}
}

// settleLocked says of the artifact what it was recorded with, and reports whether there is a better one already.
func (s *Store) settleLocked(a *Artifact) (redundant bool) {
	for _, other := range s.tasks[a.key()] {
		if a.overlaps(other) && (a.Run == "" || other.Run != a.Run || other.Name != a.Name) {
			a.together(other.Name)
		}
		redundant = redundant || a.Truncated != "" && a.replaces(other) && other.Sealed && other.Truncated == ""
	}
	return redundant
}

// seal does what is left to do, in an order in which each step can be the last.
func (w *Writer) seal() error {
	s, a := w.store, &w.artifact
	final, err := json.Marshal(a)
	if err != nil {
		return err
	}
	if !w.finalled {
		if err := s.sync(stepSyncData, w.data); err != nil {
			return err
		}
		if err := s.config.before(stepAppendFinal); err != nil {
			return err
		}
		if err := w.note(appendRecord(nil, recordFinal, final)); err != nil {
			return err
		}
		if err := s.sync(stepSyncJournal, w.journal); err != nil {
			return err
		}
		w.finalled = true
		w.closeFiles() // before the move: Windows does not rename an open file
	}
	if !w.moved {
		if err := s.config.before(stepMoveData); err != nil {
			return err
		}
		if err := s.root.Rename(writingPath(w.id), dataPath(w.id)); err != nil {
			return err
		}
		w.moved = true
	}
	if err := s.syncDir(stepSyncDataDir, dataDir); err != nil {
		return err
	}
	s.disk.Lock()
	defer s.disk.Unlock()
	s.mu.Lock()
	closed, failed := s.closed, s.all[w.id].Failed
	s.mu.Unlock()
	if closed {
		return ErrClosed
	}
	if failed && !a.Failed { // since Seal looked
		a.Failed, a.Expire = true, a.Expire.Add(s.config.FailedTTL-s.config.TTL)
	}
	if err := s.change(*a); err != nil {
		return err
	}
	var replaced []string
	s.mu.Lock()
	delete(s.writers, w.id)
	for id, other := range s.tasks[a.key()] {
		if a.replaces(other) && other.mayGo() {
			replaced = append(replaced, id)
		}
	}
	s.mu.Unlock()
	// The artifact is sealed. What fails from here leaves more behind than it should, which the next Open removes.
	for _, id := range replaced {
		_ = s.delete(id)
	}
	_ = s.remove(stepRemoveJournal, journalPath(w.id))
	return nil
}

// writeManifest puts the manifest on the disk, whole or not at all. changed is whether there is an older one.
func (s *Store) writeManifest(a *Artifact, changed bool) error {
	text, err := json.Marshal(a)
	if err != nil {
		return err
	}
	name := manifestPath(a.ID)
	if err := s.config.before(stepWriteManifest); err != nil {
		return err
	}
	f, err := s.root.OpenFile(name+temporaryEnd, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	if err == nil {
		err = s.sync(stepSyncManifest, f)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, s.root.Remove(name+temporaryEnd))
	}
	s.note(text, changed)
	if err := s.config.before(stepNameManifest); err != nil {
		return err
	}
	if err := s.root.Rename(name+temporaryEnd, name); err != nil {
		return err
	}
	return s.syncDir(stepSyncManifests, manifestDir)
}

// Discard ends the artifact and deletes it. After Seal it does nothing.
func (w *Writer) Discard() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.ended {
		w.ended = true
		w.drop()
	}
}

// drop deletes what was written. The journal goes first: content without one is removed by the next scan, which
// tries again what fails here.
func (w *Writer) drop() {
	s := w.store
	w.closeFiles()
	s.mu.Lock()
	closed := s.closed
	if !closed {
		delete(s.writers, w.id)
		s.forgetLocked(s.all[w.id])
	}
	s.mu.Unlock()
	if !closed { // what cannot be removed now, the next Open seals or removes
		_ = s.remove(stepDeleteManifest, journalPath(w.id))
		_ = s.remove(stepDeleteData, writingPath(w.id))
	}
}

// closeFiles closes the files. Nothing is left to be done about an error: what counts was synced.
func (w *Writer) closeFiles() {
	for _, f := range []*os.File{w.journal, w.data} {
		if f != nil {
			_ = f.Close()
		}
	}
}

// retry seals what could not be sealed when it ended.
func (s *Store) retry() error {
	s.mu.Lock()
	var writers []*Writer
	for _, w := range s.writers {
		writers = append(writers, w)
	}
	s.mu.Unlock()
	var errs []error
	for _, w := range writers {
		w.mu.Lock()
		if w.ended && !s.isSealed(w.id) {
			if err := w.seal(); err != nil {
				errs = append(errs, fmt.Errorf("diagnostics: seal %s: %w", w.id, err))
			}
		}
		w.mu.Unlock()
	}
	return errors.Join(errs...)
}

func (s *Store) isSealed(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.all[id]
	return !ok || a.Sealed
}

// noSpace returns the error without the path, which is nobody's business.
func noSpace(err error) string {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err.Error()
	}
	return err.Error()
}
