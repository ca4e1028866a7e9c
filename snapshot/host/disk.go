package host

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

// The defaults of DiskConfig.
const (
	DefaultDiskDeadline = time.Minute
	DefaultDiskShare    = 0.2

	// diskGrace is how much longer than its deadline a walk may take until it is taken for hung: it looks at the
	// time between two system calls, each of which may wait for a slow disk.
	diskGrace = 10 * time.Second

	// maxHung bounds the walks that hang in the kernel, each with its thread.
	maxHung = 16

	maxDiskEntries = 50_000_000

	// maxProjectChecks bounds the folders of which it is known whether they are projects.
	maxProjectChecks = 1000
)

// DiskConfig says how folders are walked. The zero value of each field is its default.
type DiskConfig struct {
	// Deadline is how long one walk may take, from 1 s to 1 h, by default 1 min. What it found by then is partial.
	Deadline time.Duration

	// Share is the part of one core that the walks of one mount take, over 0 and up to 1, by default 0.2.
	Share float64

	// Remote walks network and FUSE file systems too. By default they are unknown: a server that does not
	// answer makes a walk hang.
	Remote bool
}

// DiskRequest names a folder to walk.
type DiskRequest struct {
	// Path is absolute.
	Path string

	// UID is whose rights the walk has, where this process may take them: what the user cannot see is left out,
	// and a folder that is not the user's is refused. Negative is this process's own.
	UID int

	// AllMounts also counts other file systems that are mounted below the folder.
	AllMounts bool
}

// DiskWalker walks folders in the background: those of one mount one after the other, those of different mounts at
// the same time. A walk that hangs in the kernel is left behind, and its mount is unknown until it returns. All
// methods are safe for concurrent use, and none blocks.
//
// On Linux, a folder that is a project, of which the kernel keeps account, is walked once an hour only: in between, its
// usage is that account, if it was what the last walk found. That takes CAP_SYS_ADMIN and Linux 5.14.
type DiskWalker struct {
	cfg  DiskConfig
	walk func(*folderWalk) snapshot.DiskReading // replaced in tests

	mu     sync.Mutex
	closed bool
	mounts map[string]*mountQueue
	checks map[DiskRequest]projectCheck
	hung   int
}

// mountQueue is what is to be walked of one mount.
type mountQueue struct {
	waiting []waitingWalk
	running *folderWalk
	hung    time.Time // since when its walk does not return; zero while none does so
}

type waitingWalk struct {
	walk *folderWalk
	done func(snapshot.DiskReading)
}

// folderWalk is one walk.
type folderWalk struct {
	DiskRequest
	cfg      DiskConfig
	deadline time.Time
	check    projectCheck // of the last walk; then that of this one
	stop     atomic.Bool
	entries  atomic.Int64
}

// NewDiskWalker returns a walker that starts nothing.
func NewDiskWalker(c DiskConfig) *DiskWalker {
	if c.Deadline <= 0 {
		c.Deadline = DefaultDiskDeadline
	}
	if !(c.Share > 0 && c.Share <= 1) {
		c.Share = DefaultDiskShare
	}
	return &DiskWalker{cfg: c, walk: walkDisk, mounts: make(map[string]*mountQueue),
		checks: make(map[DiskRequest]projectCheck)}
}

// Start has the folder walked, and calls done with what was found, once, on another goroutine: after at most the
// deadline and 10 s from when its turn comes. stop, which does not wait, has the walk end when it looks next: then what it
// found by then is partial, and unknown where its turn had not come.
func (d *DiskWalker) Start(r DiskRequest, done func(snapshot.DiskReading)) (stop func()) {
	w := &folderWalk{cfg: d.cfg}
	stop = func() { w.stop.Store(true) }
	unknown := func(format string, args ...any) {
		go done(snapshot.DiskReading{Reason: fmt.Sprintf(format, args...)})
	}
	if !filepath.IsAbs(r.Path) {
		unknown("%q is no absolute path", r.Path)
		return stop
	}
	r.Path = filepath.Clean(r.Path)
	w.DiskRequest = r
	point, kind, err := mountOf(r.Path)
	if err != nil {
		unknown("%v", err)
		return stop
	}
	if isRemote(kind) && !d.cfg.Remote {
		unknown("%s at %s may hang: such are not walked unless task-disk-remote is set", kind, point)
		return stop
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	q := d.mounts[point]
	if q == nil {
		q = new(mountQueue)
		d.mounts[point] = q
	}
	switch {
	case d.closed:
		unknown("the walker is closed")
	case !q.hung.IsZero():
		unknown("the mount %s does not answer since %v", point, time.Since(q.hung).Round(time.Second))
	case d.hung >= maxHung:
		unknown("%d mounts do not answer", d.hung)
	default:
		q.waiting = append(q.waiting, waitingWalk{w, done})
		d.nextLocked(point, q)
	}
	return stop
}

// nextLocked starts the walk of a mount whose turn it is.
func (d *DiskWalker) nextLocked(point string, q *mountQueue) {
	if q.running != nil {
		return
	}
	if len(q.waiting) == 0 {
		delete(d.mounts, point)
		return
	}
	next := q.waiting[0]
	q.waiting = slices.Delete(q.waiting, 0, 1)
	q.running = next.walk
	next.walk.deadline = time.Now().Add(d.cfg.Deadline)
	next.walk.check = d.checks[next.walk.DiskRequest]
	var once sync.Once
	tell := func(r snapshot.DiskReading) { once.Do(func() { next.done(r) }) }
	late := time.AfterFunc(d.cfg.Deadline+diskGrace, func() { d.hang(point, q, next.walk, tell) })
	go func() {
		r := snapshot.DiskReading{Reason: walkStopped}
		if !next.walk.stop.Load() {
			r = d.walk(next.walk)
		}
		late.Stop()
		tell(r)
		d.mu.Lock()
		defer d.mu.Unlock()
		d.keepLocked(next.walk)
		if !q.hung.IsZero() {
			q.hung = time.Time{}
			d.hung--
		}
		q.running = nil
		d.nextLocked(point, q)
	}()
}

// keepLocked keeps what a walk has learned of the folder as a project.
func (d *DiskWalker) keepLocked(w *folderWalk) {
	if w.check == (projectCheck{}) {
		delete(d.checks, w.DiskRequest)
		return
	}
	if _, known := d.checks[w.DiskRequest]; !known && len(d.checks) >= maxProjectChecks {
		clear(d.checks) // most are of tasks that have ended; the others cost a walk
	}
	d.checks[w.DiskRequest] = w.check
}

// hang leaves a walk behind.
func (d *DiskWalker) hang(point string, q *mountQueue, w *folderWalk, tell func(snapshot.DiskReading)) {
	d.mu.Lock()
	if q.running != w {
		d.mu.Unlock()
		return // it returned just now
	}
	w.stop.Store(true)
	q.hung = time.Now()
	d.hung++
	waiting := q.waiting
	q.waiting = nil
	d.mu.Unlock()
	r := snapshot.DiskReading{Reason: fmt.Sprintf("the mount %s does not answer", point), Entries: w.entries.Load()}
	tell(r)
	for _, other := range waiting {
		other.done(r)
	}
}

// Hung returns how many mounts do not answer.
func (d *DiskWalker) Hung() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.hung
}

// Close ends the walks as soon as they look. It does not wait for them.
func (d *DiskWalker) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for _, q := range d.mounts {
		if q.running != nil {
			q.running.stop.Store(true)
		}
		for _, other := range q.waiting {
			go other.done(snapshot.DiskReading{Reason: "the walker is closed"})
		}
		q.waiting = nil
	}
}

const walkStopped = "the walk was stopped"

// over returns why the walk has to end now, or "".
func (w *folderWalk) over() string {
	switch {
	case w.stop.Load():
		return walkStopped
	case !time.Now().Before(w.deadline):
		return fmt.Sprintf("the walk took longer than %v", w.cfg.Deadline)
	case w.entries.Load() >= maxDiskEntries:
		return fmt.Sprintf("there are more than %d entries", int64(maxDiskEntries))
	default:
		return ""
	}
}

// pause returns how long to do nothing after being busy for so long.
func (w *folderWalk) pause(busy time.Duration) time.Duration {
	pause := float64(busy) * (1 - w.cfg.Share) / w.cfg.Share
	return time.Duration(math.Min(pause, float64(time.Second)))
}
