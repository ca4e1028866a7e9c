package diagnostics

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// The bounds of what is read at the start.
const (
	maxManifest = 64 << 10
	maxJournal  = 8 << 20
)

// endedEarly is what an artifact says of itself that an earlier process left open.
const endedEarly = "the server ended before the artifact was complete"

// scan reads the directory into the index.
func (s *Store) scan() (Found, error) {
	var found Found
	contents, err := s.names(dataDir)
	if err != nil {
		return found, err
	}
	has := make(map[string]bool, len(contents))
	for _, name := range contents {
		has[name] = true
	}
	known, lines := s.readIndex()
	if err := s.readManifests(has, known, &found); err != nil {
		return found, err
	}
	fromIndex := 0
	for id, a := range s.all {
		if known[id] == a {
			fromIndex++
		}
	}
	known = nil
	if err := s.openIndex(lines, fromIndex); err != nil {
		return found, err
	}
	if err := s.recoverOpen(has, &found); err != nil {
		found.Faults = err
	}
	for name := range has {
		// Content that nothing speaks of was about to be deleted. That of a damaged manifest stays.
		if _, known := s.all[name]; !known && ValidID(name) && !slices.Contains(found.Damaged, name) {
			if err := s.remove(stepDeleteData, dataPath(name)); err != nil {
				return found, err
			}
		}
	}
	for _, a := range s.all {
		if a.Sealed {
			found.Artifacts++
		}
		s.addLocked(a.Owner, a.Size)
	}
	slices.Sort(found.Damaged)
	return found, nil
}

func (s *Store) names(dir string) ([]string, error) {
	f, err := s.root.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

// readManifests reads all manifests that are not known, in as many goroutines as there are processors: each costs
// some system calls.
func (s *Store) readManifests(has map[string]bool, known map[string]*Artifact, found *Found) error {
	names, err := s.names(manifestDir)
	if err != nil {
		return err
	}
	var (
		ids     []string
		damaged []string
		errs    []error
	)
	for _, name := range names {
		id, isManifest := strings.CutSuffix(name, manifestEnd)
		bad, isBad := strings.CutSuffix(name, manifestEnd+badEnd)
		switch {
		case isManifest && ValidID(id):
			if a := known[id]; a != nil && has[id] {
				s.enterLocked(a)
				continue
			}
			ids = append(ids, id)
		case isBad:
			found.Damaged = append(found.Damaged, bad)
		case strings.HasSuffix(name, temporaryEnd):
			errs = append(errs, s.remove(stepDeleteManifest, manifestDir+"/"+name))
		}
	}
	workers := max(1, min(runtime.GOMAXPROCS(0), len(ids)/64))
	var wait sync.WaitGroup
	var mu sync.Mutex
	for n := range workers {
		wait.Go(func() {
			for i := n; i < len(ids); i += workers {
				a, err := s.readManifest(ids[i])
				mu.Lock()
				switch {
				case err != nil || !has[ids[i]]:
					damaged = append(damaged, ids[i])
				default:
					s.enterLocked(a)
				}
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	for _, id := range damaged {
		found.Damaged = append(found.Damaged, id)
		errs = append(errs, s.root.Rename(manifestPath(id), manifestPath(id)+badEnd))
	}
	return errors.Join(errs...)
}

func (s *Store) readManifest(id string) (*Artifact, error) {
	text, err := s.read(manifestPath(id), maxManifest)
	if err != nil {
		return nil, err
	}
	a, err := parseArtifact(text)
	if err != nil {
		return nil, err
	}
	if a.ID != id || !a.Sealed {
		return nil, fmt.Errorf("the manifest of %s is of another artifact", id)
	}
	return a, nil
}

func parseArtifact(text []byte) (*Artifact, error) {
	var a Artifact
	if err := json.Unmarshal(text, &a); err != nil {
		return nil, err
	}
	if err := a.validate(); err != nil {
		return nil, err
	}
	if !ValidID(a.ID) || a.Size < 0 {
		return nil, errors.New("the manifest is of no artifact")
	}
	return &a, nil
}

// read reads a file of at most the given size.
func (s *Store) read(name string, most int64) ([]byte, error) {
	f, err := s.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > most {
		return nil, fmt.Errorf("%s is no regular file of at most %d bytes", name, most)
	}
	text := make([]byte, info.Size())
	_, err = io.ReadFull(f, text)
	return text, err
}

// recoverOpen seals what an earlier process left open, as far as it was written.
func (s *Store) recoverOpen(has map[string]bool, found *Found) error {
	names, err := s.names(openDir)
	if err != nil {
		return err
	}
	var errs []error
	journals := make(map[string]bool)
	for _, name := range names {
		if id, ok := strings.CutSuffix(name, journalEnd); ok && ValidID(id) {
			journals[id] = true
		}
	}
	for _, name := range names {
		if id, ok := strings.CutSuffix(name, dataEnd); ok && ValidID(id) && !journals[id] {
			errs = append(errs, s.remove(stepDeleteData, openDir+"/"+name)) // it was discarded
		}
	}
	for id := range journals {
		if _, sealed := s.all[id]; sealed {
			errs = append(errs, s.remove(stepRemoveJournal, journalPath(id)))
			continue
		}
		a, err := s.recoverOne(id, has[id])
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("recover %s: %w", id, err))
		case a != nil:
			found.Recovered = append(found.Recovered, *a)
		}
	}
	slices.SortFunc(found.Recovered, func(a, b Artifact) int { return cmp.Compare(a.ID, b.ID) })
	return errors.Join(errs...)
}

// recoverOne seals one artifact, or removes one that has no content at all. moved is whether its content is where
// that of sealed artifacts is.
func (s *Store) recoverOne(id string, moved bool) (*Artifact, error) {
	text, err := s.read(journalPath(id), maxJournal)
	if err != nil {
		return nil, err
	}
	journal := readJournal(text)
	path := writingPath(id)
	if moved {
		path = dataPath(id)
	}
	a, err := parseArtifact(journal.begin)
	if err != nil || a.ID != id { // killed before the first record was whole: nothing was appended
		return nil, errors.Join(s.remove(stepDeleteData, path), s.remove(stepRemoveJournal, journalPath(id)))
	}
	f, err := s.root.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	w := &Writer{store: s, id: id, data: f, hash: sha256.New(), noted: int64(len(text)), ended: true, finalled: true, moved: moved}
	defer w.closeFiles()
	last, err := w.measure(journal.segments)
	if err != nil {
		return nil, err
	}
	if final, err := parseArtifact(journal.final); err == nil && final.ID == id && final.Size == w.size {
		a = final
	} else {
		a.Truncated, a.Failed, a.Sealed = endedEarly, true, true
		a.End = last
		if a.End.Before(a.Begin) {
			a.End = a.Begin
		}
		a.Size = w.size
		a.Expire = s.config.Now().Add(s.config.FailedTTL)
		w.hash.Sum(a.SHA256[:0])
		if s.settleLocked(a) || a.Size == 0 {
			return nil, errors.Join(s.remove(stepDeleteData, path), s.remove(stepRemoveJournal, journalPath(id)))
		}
	}
	if err := s.sync(stepSyncData, f); err != nil {
		return nil, err
	}
	w.closeFiles()
	w.artifact = *a
	unsealed := *a
	unsealed.Sealed = false
	s.enterLocked(&unsealed)
	s.writers[id] = w // for Expire to try again if this fails
	if err := w.seal(); err != nil {
		return nil, err
	}
	return a, nil
}

// measure hashes the content as far as the segments tell of it, cuts off what follows, and returns when it was
// written last.
func (w *Writer) measure(segments []segment) (last time.Time, err error) {
	info, err := w.data.Stat()
	if err != nil {
		return last, err
	}
	var content []byte
	for _, seg := range segments {
		if seg.size > info.Size()-w.size {
			break
		}
		content = slices.Grow(content[:0], int(seg.size))[:seg.size]
		if _, err := w.data.ReadAt(content, w.size); err != nil {
			return last, err
		}
		if crc32.Checksum(content, castagnoli) != seg.sum {
			break
		}
		w.hash.Write(content)
		w.size += seg.size
	}
	if info.Size() == w.size {
		return info.ModTime(), nil
	}
	return info.ModTime(), w.data.Truncate(w.size)
}
