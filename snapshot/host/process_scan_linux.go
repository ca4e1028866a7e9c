package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/headroom-rpc/headroom/snapshot"
)

// ProcessScanner reads all processes of the host in one pass, for everybody who asks about some of them. What it
// has read of a process whose stat is kept open costs one pread; a process that nobody watches is only listed.
//
// The list says which processes are still the same: beside each pid it has the number of the inode of its
// directory, which is bound to the process. A descriptor of its stat is so too: when the process has ended it
// reads nothing, whoever has the pid then. It is not safe for concurrent use.
type ProcessScanner struct {
	proc    int // descriptor of the directory
	name    string
	maxHeld int
	held    int

	list  []byte // directory entries as the kernel gives them
	found []listed
	text  []byte // of one stat
	path  []byte

	now, last         snapshot.Processes
	nowKept, lastKept []kept
	serial            uint64 // of the last process that was met
}

// kept is what is kept of a process of a pass beside its entry.
type kept struct {
	fd    int32 // its stat, or -1
	inode uint64

	// resident is its RSS, and counted what its stat said when that was read. The kernel adds up the counters of its
	// CPUs for statm but, from Linux 6.16 on, not for stat, which lags behind by 32 pages and more for each CPU. As
	// long as the one stands still the other is taken to.
	counted, resident int64
}

// listed is one process of the list.
type listed struct {
	pid   int32
	inode uint64
}

// anyInode is the number of an inode that the kernel could not make; it identifies nothing.
const anyInode = 1

// OpenProcesses opens the list of processes: /proc, or the directory that HOST_PROC names. It keeps at most
// maxHeld files open besides; the processes over that are read by opening their stat anew.
func OpenProcesses(maxHeld int) (*ProcessScanner, error) {
	name := cmp.Or(os.Getenv("HOST_PROC"), procfs)
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return &ProcessScanner{
		proc: fd, name: name, maxHeld: maxHeld,
		list: make([]byte, 32<<10), text: make([]byte, 1<<10), path: make([]byte, 0, 32),
	}, nil
}

// Scan makes a pass and returns it; it is good until the next one, and until then Watch is the caller's to set. With
// all it reads every process anew, also those that nobody watches. It allocates nothing once it has seen as many
// processes before. After an error the pass before is lost, and what was watched with it.
func (s *ProcessScanner) Scan(ctx context.Context, all bool) (*snapshot.Processes, error) {
	if s.proc < 0 {
		return nil, fmt.Errorf("scan processes: %w", fs.ErrClosed)
	}
	s.now, s.last = s.last, s.now
	s.nowKept, s.lastKept = s.lastKept[:0], s.nowKept
	s.now.Reset()
	s.now.Began = ticksSinceBoot()
	if err := s.readList(); err != nil {
		s.forget()
		return nil, fmt.Errorf("scan processes: %w", err)
	}
	old := 0
	for _, l := range s.found {
		for ; old < s.last.Len() && s.last.PID[old] < l.pid; old++ {
			s.missing(old)
		}
		was := -1
		if old < s.last.Len() && s.last.PID[old] == l.pid {
			was = old
			old++
		}
		s.one(l, was, all)
		if ctx.Err() != nil {
			break
		}
	}
	for ; old < s.last.Len(); old++ {
		s.missing(old)
	}
	if err := ctx.Err(); err != nil {
		s.forget()
		return nil, err
	}
	return &s.now, nil
}

// Held returns how many files are kept open.
func (s *ProcessScanner) Held() int { return s.held }

// Close closes all files. Each later pass is an error.
func (s *ProcessScanner) Close() {
	s.forget()
	if s.proc >= 0 {
		_ = unix.Close(s.proc) // nothing was written
		s.proc = -1
	}
}

// forget drops both passes.
func (s *ProcessScanner) forget() {
	for _, all := range [][]kept{s.nowKept, s.lastKept} {
		for i := range all {
			s.drop(all[i].fd)
		}
	}
	s.now.Reset()
	s.last.Reset()
	s.nowKept, s.lastKept = s.nowKept[:0], s.lastKept[:0]
}

func (s *ProcessScanner) drop(fd int32) {
	if fd >= 0 {
		_ = unix.Close(int(fd))
		s.held--
	}
}

// one adds the process of the list that had the index was in the pass before, or -1.
func (s *ProcessScanner) one(l listed, was int, all bool) {
	k, watch := kept{fd: -1}, false
	if was >= 0 {
		k, watch = s.lastKept[was], s.last.Watch[was]
		s.lastKept[was].fd = -1
	}
	same := was >= 0 && l.inode == k.inode && l.inode != anyInode
	k.inode = l.inode
	if k.fd >= 0 && !watch {
		s.drop(k.fd) // nobody asks for it any longer
		k.fd = -1
	}
	if same && !watch && !all {
		e := s.entry(was)
		e.Known = false
		s.add(e, k)
		return
	}
	if k.fd >= 0 {
		if e, err := s.readHeld(&k); err == nil {
			e.Watch, e.Serial = true, s.last.Serial[was]
			s.add(e, k)
			return
		}
		s.drop(k.fd)
		was, watch = -1, false // it has ended
	}
	e, err := s.open(l.pid, watch, &k)
	switch {
	case err == nil:
	case deleted(err):
		return // it ended since it was listed
	default:
		s.now.Unreadable++
		return
	}
	// The inode may be another though the process is the same, as the kernel forgets inodes for want of memory. Of
	// two processes with the pid the later one began after the pass before.
	if was >= 0 && s.last.Start[was] == e.Start && (same || e.Start+1 < s.last.Began) {
		e.Serial, e.Watch = s.last.Serial[was], watch
		s.add(e, k)
		return
	}
	s.drop(k.fd)
	k.fd = -1
	s.serial++
	e.Serial = s.serial
	s.add(e, k)
}

// missing keeps a watched process that is not listed but lives: hidepid may have come to hide it.
func (s *ProcessScanner) missing(was int) {
	k := s.lastKept[was]
	s.lastKept[was].fd = -1
	if k.fd < 0 {
		return
	}
	e, err := s.readHeld(&k)
	if err != nil {
		s.drop(k.fd)
		return
	}
	e.Watch, e.Serial = s.last.Watch[was], s.last.Serial[was]
	s.add(e, k)
}

func (s *ProcessScanner) add(e snapshot.ProcessEntry, k kept) {
	s.now.Append(e)
	s.nowKept = append(s.nowKept, k)
}

// entry returns an entry of the pass before.
func (s *ProcessScanner) entry(i int) snapshot.ProcessEntry {
	p := &s.last
	return snapshot.ProcessEntry{
		PID: p.PID[i], Parent: p.Parent[i], Session: p.Session[i], Start: p.Start[i], Serial: p.Serial[i], Watch: p.Watch[i],
		User: p.User[i], System: p.System[i], ChildUser: p.ChildUser[i], ChildSystem: p.ChildSystem[i],
		RSS: p.RSS[i], VMS: p.VMS[i], Threads: p.Threads[i], Nice: p.Nice[i], Status: p.Status[i],
	}
}

// open reads a process by its pid, and keeps its stat open in k if asked and there is room.
func (s *ProcessScanner) open(pid int32, keep bool, k *kept) (e snapshot.ProcessEntry, err error) {
	k.fd = -1
	n, err := s.openat(s.file(pid, "stat"))
	if err != nil {
		return e, err
	}
	resident, known := s.readResident(pid)
	e, err = s.read(int32(n)) // after its statm: as it lives now, that was its own
	if err == nil {
		k.settle(&e, resident, known)
	}
	if err != nil || !keep || s.held >= s.maxHeld {
		_ = unix.Close(n)
		return e, err
	}
	s.held++
	k.fd = int32(n)
	return e, nil
}

// readHeld reads a process whose stat is kept open.
func (s *ProcessScanner) readHeld(k *kept) (snapshot.ProcessEntry, error) {
	e, err := s.read(k.fd)
	if err != nil {
		return e, err
	}
	if e.RSS == k.counted {
		e.RSS = k.resident
		return e, nil
	}
	resident, known := s.readResident(e.PID)
	if e, err = s.read(k.fd); err != nil {
		return e, err // another may have its pid, and its statm
	}
	k.settle(&e, resident, known)
	return e, nil
}

// settle takes up what the statm says, or what the stat does where that is not known.
func (k *kept) settle(e *snapshot.ProcessEntry, resident int64, known bool) {
	k.counted, k.resident = e.RSS, e.RSS
	if known {
		k.resident, e.RSS = resident, resident
	}
}

// readResident reads the RSS from the statm of whoever has the pid now (proc_pid_statm(5)): sizes in pages, of which
// the second is the RSS.
func (s *ProcessScanner) readResident(pid int32) (bytes int64, ok bool) {
	fd, err := s.openat(s.file(pid, "statm"))
	if err != nil {
		return 0, false
	}
	defer unix.Close(fd)
	reads.Add(1)
	n, err := unix.Pread(fd, s.text, 0)
	if err != nil {
		return 0, false
	}
	_, rest := cutField(s.text[:n])
	field, _ := cutField(rest)
	pages, ok := digits(field)
	return int64(min(pages, math.MaxInt64/uint64(pageSize))) * pageSize, ok
}

// read reads a process from its stat.
func (s *ProcessScanner) read(fd int32) (snapshot.ProcessEntry, error) {
	for {
		reads.Add(1)
		n, err := unix.Pread(int(fd), s.text, 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return snapshot.ProcessEntry{}, err
		case n == 0:
			return snapshot.ProcessEntry{}, unix.ESRCH
		}
		return parseStat(s.text[:n])
	}
}

// readList reads which processes there are, in ascending order of pid.
func (s *ProcessScanner) readList() error {
	if _, err := unix.Seek(s.proc, 0, unix.SEEK_SET); err != nil {
		return &fs.PathError{Op: "seek", Path: s.name, Err: err}
	}
	s.found = s.found[:0]
	sorted := true
	for {
		reads.Add(1)
		n, err := unix.Getdents(s.proc, s.list)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return &fs.PathError{Op: "getdents", Path: s.name, Err: err}
		}
		if n == 0 {
			break
		}
		for rest := s.list[:n]; ; {
			var e dirent
			var ok bool
			if e, rest, ok = nextDirent(rest); !ok {
				break
			}
			pid, isNumber := digits(e.name)
			if !isNumber || pid == 0 || pid > 1<<30 {
				continue
			}
			if k := len(s.found); k > 0 && s.found[k-1].pid >= int32(pid) {
				sorted = false
			}
			s.found = append(s.found, listed{int32(pid), e.inode})
		}
	}
	if !sorted { // a kernel lists them in order; a directory of the test's does not
		slices.SortFunc(s.found, func(a, b listed) int { return cmp.Compare(a.pid, b.pid) })
	}
	return nil
}

// ticksSinceBoot returns the time by the clock of the start times, in their unit.
func ticksSinceBoot() uint64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return 0
	}
	return uint64(time.Duration(t.Nano()) / tick)
}
