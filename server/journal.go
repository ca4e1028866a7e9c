package server

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/headroom-rpc/headroom/permit"
)

// The files in the state directory. The first is the journal, the second is one that could not be read, and the
// third is locked while a server uses the directory.
const (
	journalName    = "permits.journal"
	journalBadName = "permits.journal.bad"
	journalNewName = "permits.journal.new"
	journalLock    = "permits.lock"
)

const (
	// maxJournal bounds what is read at the start.
	maxJournal = 256 << 20

	// compactFrom is the size from which a journal is written anew once half of it is of no use any more.
	compactFrom = 1 << 20

	// journalRetry is the time between two attempts to begin a journal anew that could not be written.
	journalRetry = 10 * time.Second
)

// journal writes down what this server may have granted, so that the next one knows. It survives the end of the
// process, not that of the host: nothing is flushed to the disk, and the next server tells by the host's boot.
// It is not safe for concurrent use.
type journal struct {
	root *os.Root
	lock *os.File
	file *os.File
	size int64 // of the file
	live int64 // of the file when it was last written anew

	begin    journalBegin
	ceilings map[ceilingKey]permit.Record
	leases   map[leaseID]lease
	buf      []byte
	bad      bool          // it could not be written: nothing is written down until it was begun anew
	retryAt  time.Duration // when that is tried next
}

// ceilingKey is what one ceiling is of.
type ceilingKey struct {
	session  permit.SessionID
	resource string
}

// recovered is what a journal says of the earlier life of the server.
type recovered struct {
	epoch    int64 // of this life
	ceilings []permit.Record
	leases   []lease

	// amnesia is why nothing is known for sure. Empty when all is.
	amnesia string

	// unkept is why this life cannot write its own journal, or nil.
	unkept error

	// window is how long what earlier lives granted may be in use yet, except for leases.
	window time.Duration

	// sameBoot is whether the clock of the leases still runs.
	sameBoot bool
}

// wallEpoch is the epoch of a life that no earlier one is known of: greater than that of each earlier one, if
// the wall clock does not go back.
func wallEpoch() int64 { return max(1, time.Now().UnixNano()) }

// openJournal takes the directory, reads its journal and writes it anew for the life that begins at now. Where it cannot
// be written, what was read holds all the same, and the next life finds none, as after a write that fails. boot names
// the host's boot, and lease is how long what this life grants may be in use after its end.
func openJournal(dir, boot string, now, lease time.Duration) (_ *journal, _ recovered, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, recovered{}, fmt.Errorf("state directory: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, recovered{}, fmt.Errorf("state directory: %w", err)
	}
	j := &journal{root: root}
	defer func() {
		if err != nil {
			j.close()
			err = fmt.Errorf("state directory %s: %w", dir, err)
		}
	}()
	if j.lock, err = root.OpenFile(journalLock, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, recovered{}, err
	}
	if err := lockFile(j.lock); err != nil {
		return nil, recovered{}, fmt.Errorf("another server uses it (%s is locked): stop that, or choose another "+
			"directory: %w", filepath.Join(dir, journalLock), err)
	}
	was, err := j.read()
	if err != nil {
		return nil, recovered{}, err
	}
	r := j.recover(was, boot, now, lease)
	j.begin = journalBegin{
		epoch: r.epoch, boot: boot, began: now, lease: lease, window: r.window, blind: r.amnesia != "",
	}
	if r.unkept = j.compact(); r.unkept != nil {
		if err := j.fail(now, r.unkept); errors.Is(err, errJournalStale) {
			return nil, recovered{}, err
		}
	}
	return j, r, nil
}

// errNoJournal reports that there is nothing to read.
var errNoJournal = errors.New("there is no journal")

// read reads the journal that stands in the directory into j. Only an error of the file system itself is
// returned as such; a journal that cannot be trusted is kept aside and told as was.fault. Of one that others may have
// written nothing is known.
func (j *journal) read() (was journalContent, err error) {
	text, err := j.load()
	var foreign *foreignError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return journalContent{fault: errNoJournal}, nil
	case errors.As(err, &foreign):
		was.fault = foreign
	case err != nil:
		return was, err
	default:
		was = readJournal(text)
	}
	if was.fault != nil {
		if err := j.root.Rename(journalName, journalBadName); err != nil {
			return was, err
		}
	}
	return was, nil
}

// A foreignError reports a file or directory that others than this user and root may have written.
type foreignError struct {
	path string
	why  error
}

func (e *foreignError) Error() string { return fmt.Sprintf("%s is not trusted: %v", e.path, e.why) }

// trustDirectory returns a foreignError if others can put another journal in the place of this one.
func (j *journal) trustDirectory() error {
	info, err := j.root.Stat(".")
	if err != nil {
		return err
	}
	if why := distrusted(info); why != nil {
		return &foreignError{j.root.Name(), why}
	}
	return nil
}

func (j *journal) load() ([]byte, error) {
	info, err := j.root.Lstat(journalName)
	if err != nil {
		return nil, err
	}
	if err := j.trustDirectory(); err != nil {
		return nil, err
	}
	why := distrusted(info)
	if !info.Mode().IsRegular() {
		why = errors.New("it is not a regular file")
	}
	if why != nil {
		return nil, &foreignError{filepath.Join(j.root.Name(), journalName), why}
	}
	file, err := j.root.Open(journalName)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, maxJournal+1))
}

// journalContent is what a journal says.
type journalContent struct {
	begin    journalBegin
	ceilings map[ceilingKey]permit.Record
	leases   map[leaseID]lease
	fault    error // why the rest cannot be trusted
}

// readJournal reads a whole journal. The first entry that does not hold ends trust in what was granted; the leases
// before it are known all the same.
//
// An entry that was begun at the end of the file and not ended is as if it had not been: the server that wrote it
// was killed before it told anybody of what the entry is about. (A write that fails takes the name from the file.)
func readJournal(text []byte) journalContent {
	c := journalContent{ceilings: map[ceilingKey]permit.Record{}, leases: map[leaseID]lease{}}
	if len(text) > maxJournal {
		c.fault = fmt.Errorf("it is larger than %d bytes", maxJournal)
		return c
	}
	if len(text) < len(journalMagic) || string(text[:len(journalMagic)]) != journalMagic {
		c.fault = errors.New("it does not begin as a journal does")
		return c
	}
	for at := len(journalMagic); at < len(text); {
		e, size, err := nextEntry(text[at:])
		if err != nil && c.begin.epoch != 0 && torn(text[at:]) {
			break
		}
		if first := at == len(journalMagic); err == nil && first != (e.kind == entryBegin) {
			err = fmt.Errorf("%w: kind %q at this place", errJournalEntry, e.kind)
		}
		if err != nil {
			c.fault = fmt.Errorf("at byte %d: %w", at, err)
			return c
		}
		c.apply(&e)
		at += size
	}
	if c.begin.epoch == 0 {
		c.fault = errors.New("it is empty")
	}
	return c
}

func (c *journalContent) apply(e *journalEntry) {
	switch e.kind {
	case entryBegin:
		c.begin = e.begin
	case entryCeiling:
		setCeiling(c.ceilings, e.ceiling)
	case entryLease:
		c.leases[e.lease.id] = e.lease
	case entryEnd:
		delete(c.leases, e.end)
	}
}

func setCeiling(ceilings map[ceilingKey]permit.Record, r permit.Record) {
	key := ceilingKey{r.Session, r.Resource}
	if r.Ceiling == 0 {
		delete(ceilings, key)
		return
	}
	ceilings[key] = r
}

// recover says what follows from the journal, and takes over what this life has to write down again. granted is
// how long what this life grants may be in use after its end.
func (j *journal) recover(was journalContent, boot string, now, granted time.Duration) recovered {
	b := &was.begin
	r := recovered{epoch: b.epoch + 1, sameBoot: boot != "" && boot == b.boot}
	left := b.window
	if r.sameBoot {
		left = min(max(b.began+b.window-now, 0), b.window)
	}
	r.window = max(granted, b.lease, left)
	switch {
	case was.fault != nil:
		r.amnesia = was.fault.Error()
	case !r.sameBoot: // the end of what was written may not have reached the disk when the host went down
		r.amnesia = "the host was started since"
	case b.blind && left > 0:
		r.amnesia = "the server before this one did not know yet what the one before it had granted"
	}
	if was.fault != nil || !r.sameBoot {
		r.epoch = max(r.epoch, wallEpoch())
	}
	j.ceilings, j.leases = map[ceilingKey]permit.Record{}, map[leaseID]lease{}
	maps.Copy(j.leases, was.leases)
	if r.amnesia == "" {
		maps.Copy(j.ceilings, was.ceilings) // the ledger says when each of them is over
	}
	for _, c := range was.ceilings {
		r.ceilings = append(r.ceilings, c)
	}
	for _, l := range was.leases {
		r.leases = append(r.leases, l)
	}
	return r
}

// errJournalStale reports that the next life of the server would trust a journal that can no longer be written.
var errJournalStale = errors.New("it can be neither written nor removed")

// errJournalPause reports that nothing is written for a while after an error.
var errJournalPause = errors.New("it could not be written a moment ago")

// write appends the entries. After an error it keeps them in mind only, and the next life of the server finds no
// journal, and charges in full; where not even that can be had it returns errJournalStale. Every now and then it
// begins the journal anew, with all that it was ever told and is still of use, until that succeeds; between two
// attempts it returns errJournalPause.
func (j *journal) write(now time.Duration, entries []journalEntry) error {
	if len(entries) == 0 && !j.bad {
		return nil
	}
	j.buf = j.buf[:0]
	for i := range entries {
		e := &entries[i]
		switch e.kind {
		case entryCeiling:
			setCeiling(j.ceilings, e.ceiling)
		case entryLease:
			j.leases[e.lease.id] = e.lease
		case entryEnd:
			delete(j.leases, e.end)
		}
		if !j.bad {
			j.buf = appendEntry(j.buf, e)
		}
	}
	if j.bad {
		return j.retry(now)
	}
	n, err := j.file.Write(j.buf)
	j.size += int64(n)
	if err != nil {
		return j.fail(now, err)
	}
	if j.size > max(compactFrom, 2*j.live) && j.compact() != nil {
		j.live = j.size // what stands is whole: it is tried again once it has doubled
	}
	return nil
}

// fail notes that the journal could not be written because of err, and makes the next life of the server forget this
// one.
func (j *journal) fail(now time.Duration, err error) error {
	j.bad, j.retryAt = true, now+journalRetry
	if stale := j.distrust(); stale != nil {
		return fmt.Errorf("%w: %w; %w", errJournalStale, err, stale)
	}
	return err
}

// retry begins a journal anew that could not be written.
func (j *journal) retry(now time.Duration) error {
	if now < j.retryAt {
		return errJournalPause
	}
	j.retryAt = now + journalRetry
	if err := j.compact(); err != nil {
		return err
	}
	j.bad = false
	return nil
}

// distrust takes the name from the journal that stands.
func (j *journal) distrust() error {
	err := j.root.Rename(journalName, journalBadName)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if j.file == nil {
		return err
	}
	return j.file.Truncate(0)
}

// compact writes the journal anew with what is still of use, and goes on in that.
func (j *journal) compact() error {
	if err := j.trustDirectory(); err != nil {
		return err
	}
	if err := j.root.Remove(journalNewName); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := j.root.OpenFile(journalNewName, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	text := append(j.buf[:0], journalMagic...)
	text = appendEntry(text, &journalEntry{kind: entryBegin, begin: j.begin})
	for _, r := range j.ceilings {
		text = appendEntry(text, &journalEntry{kind: entryCeiling, ceiling: r})
	}
	for _, l := range j.leases {
		text = appendEntry(text, &journalEntry{kind: entryLease, lease: l})
	}
	if _, err = file.Write(text); err == nil {
		err = j.root.Rename(journalNewName, journalName)
	}
	if err != nil {
		file.Close()
		_ = j.root.Remove(journalNewName) // it takes room where there may be none
		return err
	}
	if j.file != nil {
		j.file.Close() // nothing in it is of use any more
	}
	j.file, j.size, j.live, j.buf = file, int64(len(text)), int64(len(text)), nil
	return nil
}

// close gives the directory back.
func (j *journal) close() {
	for _, f := range []*os.File{j.file, j.lock} {
		if f != nil {
			f.Close()
		}
	}
	j.root.Close()
}
