package host

import (
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// retryAfter is how long a file that could not be opened or read is left alone.
	retryAfter = 30 * time.Second

	// maxKernelFile bounds what is read of one file; /proc/stat of 4,096 CPUs is about 700 KiB.
	maxKernelFile = 4 << 20

	// prompt is how long a read may take of which the runtime need not know.
	prompt = 500 * time.Microsecond
)

var errNotRegular = errors.New("not a regular file")

// A kernelFile is a file of the kernel that is read again and again: it is kept open, and one read is one
// pread. A file that could not be opened or read is tried again every 30 s; one that vanished under its
// descriptor, as a cgroup does, at the next read. It is not safe for concurrent use.
type kernelFile struct {
	name    string
	records bool
	fd      int // -1 while not open
	buf     []byte
	err     error     // of the last try
	retryAt time.Time // when to try again after err

	once     bool // there will be one read only
	ofKernel bool // nobody but the kernel makes what the open file holds
	prompt   bool // the last read was
}

// reads counts the system calls made on kernel files by this process: opens, stats, preads and closes.
var reads atomic.Int64

// newKernelFile names a file that the kernel writes in one piece, as most of those of /proc and all of cgroups.
func newKernelFile(name string) *kernelFile { return &kernelFile{name: name, fd: -1} }

// newRecordFile names a file that the kernel writes record by record: one read gives about a page of them, so the
// end is where a read gives nothing. Such are diskstats, mountinfo, net/dev and schedstat.
func newRecordFile(name string) *kernelFile { return &kernelFile{name: name, records: true, fd: -1} }

// read returns what the file holds now. The bytes are good until the next call.
func (f *kernelFile) read() ([]byte, error) {
	if f.err != nil && time.Now().Before(f.retryAt) {
		return nil, f.err
	}
	if f.fd < 0 {
		fd, err := openRegular(f.name)
		if err != nil {
			return nil, f.fail("open", err)
		}
		f.fd = fd
		f.ofKernel = !f.once && isOfKernel(fd)
	}
	n, err := f.pread()
	if err != nil {
		f.close()
		if deleted(err) {
			return nil, &fs.PathError{Op: "read", Path: f.name, Err: err}
		}
		return nil, f.fail("read", err)
	}
	f.err = nil
	return f.buf[:n], nil
}

func (f *kernelFile) fail(op string, err error) error {
	f.err = &fs.PathError{Op: op, Path: f.name, Err: err}
	f.retryAt = time.Now().Add(retryAfter)
	f.buf = nil // it may be as large as can be
	return f.err
}

// deleted reports whether the error says that what a file told of is gone.
func deleted(err error) bool {
	return errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT)
}

// pread reads the whole file, growing the buffer until the end is seen: the kernel makes a file that is in one
// piece anew for each read from its start, so two halves of it need not fit together.
func (f *kernelFile) pread() (int, error) {
	if f.buf == nil {
		f.buf = make([]byte, 4<<10)
	}
	have := 0
	for {
		n, err := f.preadAt(have)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, err
		case n == 0 || !f.records && n < len(f.buf):
			return have + n, nil
		case f.records:
			have += n
		}
		if have < len(f.buf) && f.records {
			continue
		}
		if len(f.buf) >= maxKernelFile {
			return 0, fmt.Errorf("more than %d bytes", maxKernelFile)
		}
		grown := make([]byte, 4*len(f.buf))
		copy(grown, f.buf[:have])
		f.buf = grown
	}
}

// preadAt reads once, from the offset on. Of a read that is expected to be prompt the runtime is not told. Else that
// wakes its monitor where the process was asleep, a thread of its own that then looks around every 20 µs, and costs as
// much as a whole sample. The price is that nobody can take the place of a goroutine in such a read, and a collection
// of garbage waits for its end: so it must depend on nothing but the kernel.
func (f *kernelFile) preadAt(offset int) (n int, err error) {
	untold := offset == 0 && f.prompt && f.ofKernel
	reads.Add(1)
	begun := time.Now()
	if untold {
		got, _, errno := unix.RawSyscall6(unix.SYS_PREAD64, uintptr(f.fd),
			uintptr(unsafe.Pointer(&f.buf[0])), uintptr(len(f.buf)), 0, 0, 0)
		if n = int(got); errno != 0 {
			n, err = 0, errno
		}
	} else {
		n, err = unix.Pread(f.fd, f.buf[offset:], int64(offset))
	}
	f.prompt = time.Since(begun) < prompt
	return n, err
}

// isOfKernel reports whether the kernel itself makes what the file holds, and not a program, as that of LXCFS, which
// shows containers another /proc/stat.
func isOfKernel(fd int) bool {
	reads.Add(1)
	var st unix.Statfs_t
	if unix.Fstatfs(fd, &st) != nil {
		return false
	}
	switch int64(st.Type) {
	case unix.PROC_SUPER_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC:
		return true
	default:
		return false
	}
}

// openRegular opens a regular file and nothing else: a FIFO in its place must not block.
func openRegular(name string) (int, error) {
	reads.Add(2)
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		_ = unix.Close(fd)
		return -1, errNotRegular
	}
	return fd, nil
}

// readProcess returns what a file of one process holds, such as its stat, and closes it.
func readProcess(name string) ([]byte, error) {
	f := newKernelFile(name)
	f.buf = make([]byte, 1<<10) // enough for most, as there are many processes
	return readOnce(f)
}

// readOnce returns what the file holds now, and closes it.
func readOnce(f *kernelFile) ([]byte, error) {
	defer f.close()
	f.once = true
	return f.read()
}

func (f *kernelFile) close() {
	if f.fd >= 0 {
		reads.Add(1)
		_ = unix.Close(f.fd)
		f.fd = -1
	}
	f.prompt = false
}
