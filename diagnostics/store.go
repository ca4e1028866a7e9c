package diagnostics

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
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

// ttl returns how long an artifact of a task is kept that failed or did not.
func (c *Config) ttl(failed bool) time.Duration {
	if failed {
		return c.FailedTTL
	}
	return c.TTL
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
			_ = f.Close() // what counts was synced
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
