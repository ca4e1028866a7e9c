//go:build !race

package socket

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

const supported = true

// read reads to b, which is not empty.
func read(fd uintptr, b []byte) (int, error) { return call(unix.SYS_READ, fd, b) }

// write writes from b, which is not empty.
func write(fd uintptr, b []byte) (int, error) { return call(unix.SYS_WRITE, fd, b) }

func call(number, fd uintptr, b []byte) (int, error) {
	n, _, errno := unix.RawSyscall(number, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
