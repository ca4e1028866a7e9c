package diagnostics

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"
)

// The defaults of [Config].
const (
	DefaultTTL              = 24 * time.Hour
	DefaultFailedTTL        = 72 * time.Hour
	DefaultMaxBytes         = 1 << 30
	DefaultMaxArtifactBytes = 64 << 20
	DefaultMaxArtifacts     = 100_000
)

var (
	// ErrNotFound reports an artifact that there is not, or no longer.
	ErrNotFound = errors.New("diagnostics: no such artifact")
	// ErrFull reports that there is no room: everything else is pinned or still being written.
	ErrFull = errors.New("diagnostics: the quota is used up by artifacts that are pinned or still being written")
	// ErrTooLarge reports an artifact that would be larger than [Config.MaxArtifactBytes].
	ErrTooLarge = errors.New("diagnostics: the artifact is larger than the limit")
	// ErrNotSealed reports an artifact that is still being written.
	ErrNotSealed = errors.New("diagnostics: the artifact is still being written")
	// ErrDamaged reports an artifact whose content is not what its manifest says.
	ErrDamaged = errors.New("diagnostics: the content of the artifact is damaged")
	// ErrReplaced reports an artifact that was cut short where there is a whole one already, which stays.
	ErrReplaced = errors.New("diagnostics: there is a whole artifact already")
	// ErrClosed reports a Store that was closed.
	ErrClosed = errors.New("diagnostics: the store is closed")
)

// Config says where a [Store] keeps artifacts, and for how long. Zero fields but Dir are their defaults.
type Config struct {
	// Dir is the directory, which is made with mode 0700 unless it is there. Required.
	Dir string

	// Lock takes the lock file of the directory until it is closed, without waiting, so that two stores never
	// share one. nil takes none.
	Lock func(*os.File) error

	// TTL is how long an artifact is kept after its end, and FailedTTL that of a task that failed.
	TTL, FailedTTL time.Duration

	// MaxBytes bounds the content of all artifacts together. For more room those of the owner who has most are
	// deleted, the one that expires first before the others; never one that is pinned or still being written.
	MaxBytes int64

	// MaxArtifactBytes bounds one artifact; what is over it is not taken, and the artifact says so.
	MaxArtifactBytes int64

	// MaxArtifacts bounds how many there are, in the same way as MaxBytes.
	MaxArtifacts int

	// Now is the wall clock, which alone goes on over restarts. nil means [time.Now].
	Now func() time.Time

	// before is called before each step that touches the disk, in tests; an error is that of the step.
	before func(step) error

	// unsynced leaves out waiting for the disk, in tests that make many artifacts.
	unsynced bool
}

func (c *Config) setDefaults() error {
	c.TTL = cmp.Or(c.TTL, DefaultTTL)
	c.FailedTTL = cmp.Or(c.FailedTTL, DefaultFailedTTL)
	c.MaxBytes = cmp.Or(c.MaxBytes, DefaultMaxBytes)
	c.MaxArtifactBytes = cmp.Or(c.MaxArtifactBytes, DefaultMaxArtifactBytes)
	c.MaxArtifacts = cmp.Or(c.MaxArtifacts, DefaultMaxArtifacts)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.before == nil {
		c.before = func(step) error { return nil }
	}
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("Dir: none is given"))
	}
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"TTL", int64(c.TTL)}, {"FailedTTL", int64(c.FailedTTL)}, {"MaxBytes", c.MaxBytes},
		{"MaxArtifactBytes", c.MaxArtifactBytes}, {"MaxArtifacts", int64(c.MaxArtifacts)},
	} {
		if f.value < 0 {
			errs = append(errs, fmt.Errorf("%s: %d is negative", f.name, f.value))
		}
	}
	return errors.Join(errs...)
}

// Store keeps artifacts in a directory that is its alone. Its methods are safe for concurrent use.
type Store struct {
	config Config
	root   *os.Root
	lock   *os.File

	// disk is held while manifests change and while artifacts are deleted, and taken before mu, which is never held
	// for the time of the disk.
	disk  sync.Mutex
	index index

	mu      sync.Mutex
	closed  bool
	all     map[string]*Artifact // by ID; those still being written too
	tasks   map[taskKey]map[string]*Artifact
	writers map[string]*Writer // of those
	bytes   int64              // of all
	owners  map[string]int64   // bytes by owner
}

// taskKey names a task: what others call theirs does not matter.
type taskKey struct{ owner, task string }

func (a *Artifact) key() taskKey { return taskKey{a.Owner, a.Task} }

// enterLocked puts the artifact into the index.
func (s *Store) enterLocked(a *Artifact) {
	s.all[a.ID] = a
	of := s.tasks[a.key()]
	if of == nil {
		of = make(map[string]*Artifact, 1)
		s.tasks[a.key()] = of
	}
	of[a.ID] = a
}

// A Found is what [Open] found in the directory.
type Found struct {
	// Artifacts counts the sealed ones, those of Recovered among them.
	Artifacts int

	// Recovered are those that an earlier process left open, sealed now as far as they were written.
	Recovered []Artifact

	// Damaged are the IDs of those whose manifest cannot be read or whose content is missing. Their files stay,
	// the manifest with the ending ".bad", and take no part any more.
	Damaged []string

	// Faults is why others that were left open could not be sealed yet; nil for none. [Store.Expire] tries again
	// where that may help.
	Faults error
}

// The places in the directory. A sealed artifact ID is manifests/ID.json and data/ID; one that is being written is
// open/ID.journal and open/ID.data.
const (
	lockName     = "lock"
	manifestDir  = "manifests"
	dataDir      = "data"
	openDir      = "open"
	manifestEnd  = ".json"
	temporaryEnd = ".new"
	badEnd       = ".bad"
	journalEnd   = ".journal"
	dataEnd      = ".data"
)

func manifestPath(id string) string { return manifestDir + "/" + id + manifestEnd }
func dataPath(id string) string     { return dataDir + "/" + id }
func journalPath(id string) string  { return openDir + "/" + id + journalEnd }
func writingPath(id string) string  { return openDir + "/" + id + dataEnd }

// Open takes the directory, reads what is in it, and seals what an earlier process left open. It reports every
// fault of c at once. Artifacts that are damaged do not keep it from opening.
func Open(c Config) (_ *Store, _ Found, err error) {
	if err := c.setDefaults(); err != nil {
		return nil, Found{}, fmt.Errorf("diagnostics: %w", err)
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, Found{}, fmt.Errorf("diagnostics: %w", err)
	}
	s := &Store{config: c, all: make(map[string]*Artifact), tasks: make(map[taskKey]map[string]*Artifact),
		writers: make(map[string]*Writer), owners: make(map[string]int64)}
	defer func() {
		if err != nil {
			s.release()
			err = fmt.Errorf("diagnostics: %s: %w", c.Dir, err)
		}
	}()
	if s.root, err = os.OpenRoot(c.Dir); err != nil {
		return nil, Found{}, err
	}
	if s.lock, err = s.root.OpenFile(lockName, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, Found{}, err
	}
	if c.Lock != nil {
		if err := c.Lock(s.lock); err != nil {
			return nil, Found{}, fmt.Errorf("another server keeps its artifacts there: stop that, or choose another directory: %w", err)
		}
	}
	for _, dir := range []string{manifestDir, dataDir, openDir} {
		if err := s.root.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, Found{}, err
		}
	}
	found, err := s.scan()
	if err != nil {
		return nil, Found{}, err
	}
	return s, found, nil
}

// release closes what the store holds open.
func (s *Store) release() {
	for _, f := range []*os.File{s.index.file, s.lock} {
		if f != nil {
			_ = f.Close()
		}
	}
	if s.root != nil {
		_ = s.root.Close()
	}
}

// Close lets go of the directory. What is still being written stays there, for the next [Open] to seal. Other
// methods return [ErrClosed] afterwards.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	writers := s.writers
	s.mu.Unlock()
	for _, w := range writers {
		w.mu.Lock()
		w.closeFiles()
		w.mu.Unlock()
	}
	s.disk.Lock()
	defer s.disk.Unlock()
	s.release()
	return nil
}

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
		_ = f.Close()
		return nil, a, err
	}
	return f, a, nil
}

// openRegular opens a file that is no link, no pipe and no device.
func (s *Store) openRegular(name string) (*os.File, error) {
	info, err := s.root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	f, err := s.root.Open(name)
	if err != nil {
		return nil, err
	}
	opened, err := f.Stat()
	if err == nil && !os.SameFile(info, opened) {
		err = fmt.Errorf("%s was exchanged while it was opened", name)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

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

// Fail keeps all sealed artifacts of the run, and those that are still being written, for the time of failed
// tasks.
func (s *Store) Fail(owner, run string) error {
	if run == "" {
		return nil
	}
	s.disk.Lock()
	defer s.disk.Unlock()
	var sealed []Artifact
	s.mu.Lock()
	for _, a := range s.all {
		switch {
		case a.Run != run || a.Owner != owner || a.Failed:
		case a.Sealed:
			sealed = append(sealed, *a)
		default:
			a.Failed = true
		}
	}
	s.mu.Unlock()
	var errs []error
	for _, a := range sealed {
		a.Failed, a.Expire = true, a.Expire.Add(s.config.FailedTTL-s.config.TTL)
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

// remove removes a file; one that is gone is removed.
func (s *Store) remove(at step, name string) error {
	if err := s.config.before(at); err != nil {
		return err
	}
	if err := s.root.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// syncDir waits until the names in a directory are on the disk. Windows has no such thing.
func (s *Store) syncDir(at step, name string) error {
	if err := s.config.before(at); err != nil {
		return err
	}
	if s.config.unsynced || runtime.GOOS == "windows" {
		return nil
	}
	dir, err := s.root.Open(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// sync waits until a file is on the disk.
func (s *Store) sync(at step, f *os.File) error {
	if err := s.config.before(at); err != nil {
		return err
	}
	if s.config.unsynced {
		return nil
	}
	return f.Sync()
}
