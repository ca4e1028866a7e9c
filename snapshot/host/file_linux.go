package host

import (
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// retryAfter is how long a file that could not be opened is left alone.
	retryAfter = 30 * time.Second

	// maxKernelFile bounds what is read of one file; /proc/stat of 4,096 CPUs is about 700 KiB.
	maxKernelFile = 4 << 20
)

var errNotRegular = errors.New("not a regular file")

// A kernelFile is a file of the kernel that is read again and again: it is kept open, and one read is one
// pread. A file that could not be opened is tried again every 30 s; one that vanished under its descriptor, as
// a cgroup does, at the next read. It is not safe for concurrent use.
type kernelFile struct {
	name    string
	fd      int // -1 while not open
	buf     []byte
	err     error     // of the last open
	retryAt time.Time // when to open again after err
}

// reads counts the system calls made on kernel files by this process: opens, stats, preads and closes.
var reads atomic.Int64

func newKernelFile(name string) *kernelFile { return &kernelFile{name: name, fd: -1} }

// read returns what the file holds now. The bytes are good until the next call.
func (f *kernelFile) read() ([]byte, error) {
	if f.fd < 0 {
		if err := f.open(); err != nil {
			return nil, err
		}
	}
	n, err := f.pread()
	if err != nil {
		f.close()
		return nil, &fs.PathError{Op: "read", Path: f.name, Err: err}
	}
	return f.buf[:n], nil
}

// pread reads the whole file, growing the buffer until the end is seen: the kernel makes such a file anew for
// each read from its start, so two halves need not fit together.
func (f *kernelFile) pread() (int, error) {
	if f.buf == nil {
		f.buf = make([]byte, 4<<10)
	}
	for {
		reads.Add(1)
		n, err := unix.Pread(f.fd, f.buf, 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, err
		case n < len(f.buf):
			return n, nil
		case len(f.buf) >= maxKernelFile:
			return 0, fmt.Errorf("more than %d bytes", maxKernelFile)
		}
		f.buf = make([]byte, 4*len(f.buf))
	}
}

func (f *kernelFile) open() error {
	if f.err != nil && time.Now().Before(f.retryAt) {
		return f.err
	}
	fd, err := openRegular(f.name)
	if err != nil {
		f.err = &fs.PathError{Op: "open", Path: f.name, Err: err}
		f.retryAt = time.Now().Add(retryAfter)
		return f.err
	}
	f.fd, f.err = fd, nil
	return nil
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

func (f *kernelFile) close() {
	if f.fd >= 0 {
		reads.Add(1)
		_ = unix.Close(f.fd)
		f.fd = -1
	}
}
