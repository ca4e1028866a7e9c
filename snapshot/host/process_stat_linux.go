package host

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/headroom-rpc/headroom/snapshot"
)

// tick is the unit of times in /proc: USER_HZ is 100 on every architecture that Go runs on (proc_pid_stat(5)).
const tick = 10 * time.Millisecond

var pageSize = int64(os.Getpagesize())

// The fields of a stat file that are used, by their numbers in proc_pid_stat(5).
const (
	statState   = 3
	statParent  = 4
	statSession = 6
	statUser    = 14
	statNice    = 19
	statThreads = 20
	statStart   = 22
	statVMS     = 23
	statRSS     = 24
)

// parseStat parses the stat file of a process:
//
//	16733 (comm) R 16718 16733 16733 0 -1 4194304 ...
//
// comm may itself hold spaces and parentheses.
func parseStat(text []byte) (e snapshot.ProcessEntry, err error) {
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if open < 1 || end < open {
		return e, fmt.Errorf("%s is no stat of a process", quote(text))
	}
	pid, ok := digits(bytes.TrimRight(text[:open], " "))
	if !ok || pid > math.MaxInt32 {
		return e, fmt.Errorf("%s is no stat of a process", quote(text))
	}
	e.PID, e.Known = int32(pid), true
	rest := text[end+1:]
	for number := statState; number <= statRSS; number++ {
		var field []byte
		field, rest = cutField(rest)
		if len(field) == 0 {
			return e, fmt.Errorf("%s: %d fields, want at least %d", quote(text), number-1, statRSS)
		}
		if number == statState {
			e.Status = statusOf(field[0])
			continue
		}
		negative := field[0] == '-'
		if negative {
			field = field[1:]
		}
		n, ok := digits(field)
		if !ok {
			return e, fmt.Errorf("%s: field %d is no number", quote(text), number)
		}
		if negative {
			n = -n
		}
		switch number {
		case statParent:
			e.Parent = int32(n)
		case statSession:
			e.Session = int32(n)
		case statUser:
			e.User = ticks(n)
		case statUser + 1:
			e.System = ticks(n)
		case statUser + 2:
			e.ChildUser = ticks(n)
		case statUser + 3:
			e.ChildSystem = ticks(n)
		case statNice:
			e.Nice = int8(n)
		case statThreads:
			e.Threads = int32(n)
		case statStart:
			e.Start = n
		case statVMS:
			e.VMS = int64(min(n, math.MaxInt64))
		case statRSS:
			e.RSS = int64(min(n, math.MaxInt64/uint64(pageSize))) * pageSize
		}
	}
	return e, nil
}

// ticks converts a time of /proc; a negative one, of a child's that the kernel miscounted, is none.
func ticks(n uint64) time.Duration {
	if n > math.MaxInt64/uint64(tick) {
		return 0
	}
	return time.Duration(n) * tick
}

// statusOf returns what the letter of a state stands for.
func statusOf(letter byte) snapshot.ProcessStatus {
	switch letter {
	case 'R':
		return snapshot.ProcessRunning
	case 'S', 'K', 'W':
		return snapshot.ProcessSleeping
	case 'D':
		return snapshot.ProcessWaiting
	case 'T', 't':
		return snapshot.ProcessStopped
	case 'Z', 'X', 'x':
		return snapshot.ProcessZombie
	case 'I', 'P':
		return snapshot.ProcessIdle
	default:
		return snapshot.ProcessUnknown
	}
}

// dirent is one entry of a directory.
type dirent struct {
	inode uint64
	kind  byte // DT_DIR and the like; DT_UNKNOWN where the file system does not say
	name  []byte
}

// nextDirent cuts the first entry from what getdents64 gave (getdents(2)): 8 bytes of inode, 8 of offset, 2 of
// length, 1 of kind, and the name, which ends with a zero byte.
func nextDirent(from []byte) (e dirent, rest []byte, ok bool) {
	const fixed = 19
	if len(from) < fixed {
		return e, nil, false
	}
	size := int(binary.NativeEndian.Uint16(from[16:]))
	if size < fixed || size > len(from) {
		return e, nil, false
	}
	name := from[fixed:size]
	if i := bytes.IndexByte(name, 0); i >= 0 {
		name = name[:i]
	}
	return dirent{binary.NativeEndian.Uint64(from), from[18], name}, from[size:], true
}

// file returns the path of a file of a process below the list, with the byte that ends it.
func (s *ProcessScanner) file(pid int32, name string) []byte {
	s.path = strconv.AppendInt(s.path[:0], int64(pid), 10)
	s.path = append(s.path, '/')
	s.path = append(s.path, name...)
	s.path = append(s.path, 0)
	return s.path
}

// openat opens a file below the list. unix.Openat would allocate its name anew.
func (s *ProcessScanner) openat(path []byte) (int, error) {
	for {
		reads.Add(1)
		fd, _, errno := unix.Syscall6(unix.SYS_OPENAT, uintptr(s.proc), uintptr(unsafe.Pointer(&path[0])),
			unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0, 0, 0)
		switch errno {
		case 0:
			return int(fd), nil
		case unix.EINTR:
			continue
		default:
			return -1, errno
		}
	}
}
