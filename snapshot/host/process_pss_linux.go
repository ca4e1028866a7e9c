package host

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"
)

// maxPSS is the resident set of a process whose PSS is read: the kernel walks all of its pages, 10 to 20 ms for
// each GiB, and holds up the process while it does.
const maxPSS = 8 << 30

// PSS returns the proportional set size in bytes of a process that the last pass has: the memory that it shares
// with others counts by its part. It costs 50 µs and more. The error is ErrNoProcess for one that has ended.
func (s *ProcessScanner) PSS(ctx context.Context, pid int32, start uint64) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	i := s.now.Find(pid)
	if s.proc < 0 || i < 0 || s.now.Start[i] != start {
		return 0, ErrNoProcess
	}
	if s.now.RSS[i] > maxPSS {
		return 0, ErrTooLarge
	}
	fd, err := s.openat(s.file(pid, "smaps_rollup"))
	if err != nil {
		return 0, ended(err)
	}
	n, err := unix.Pread(fd, s.text, 0)
	_ = unix.Close(fd)
	if err != nil {
		return 0, ended(err)
	}
	if n == 0 {
		return 0, ErrNoProcess // or a thread of the kernel, which nobody watches
	}
	pss, err := parsePSS(s.text[:n])
	if err != nil {
		return 0, fmt.Errorf("parse smaps_rollup of process %d: %w", pid, err)
	}
	// As long as it is this process now, it was when the file was opened.
	if fd, err = s.openat(s.file(pid, "stat")); err != nil {
		return 0, ended(err)
	}
	defer unix.Close(fd)
	if e, err := s.read(int32(fd)); err != nil || e.Start != start {
		return 0, ErrNoProcess
	}
	return pss, nil
}
