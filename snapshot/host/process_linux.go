package host

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/headroom-rpc/headroom/snapshot"
)

const procfs = "/proc"

// slowPSS is how long reading a PSS may take. One that takes longer, of some 5 GiB, is not read again.
const slowPSS = 100 * time.Millisecond

// processHandle is what a Process keeps.
type processHandle struct {
	pidfd int  // -1 where there is none: then the start time identifies the process
	slow  bool // its PSS takes too long to read
}

// OpenProcess returns the process that has the pid now, to be closed by the caller. It returns ErrNoProcess for a
// pid that none has, and for that of a thread.
//
// On Linux a pidfd keeps hold of the process (Linux 5.3). Without one, and where HOST_PROC names another
// directory, whose pids need not be ours, its start time tells it apart, in steps of 10 ms.
func OpenProcess(_ context.Context, pid int) (*Process, error) {
	proc := cmp.Or(os.Getenv("HOST_PROC"), procfs)
	p := &Process{handle: processHandle{pidfd: -1}}
	if proc == procfs {
		fd, err := unix.PidfdOpen(pid, 0)
		if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
			return nil, ErrNoProcess
		}
		if err == nil {
			p.handle.pidfd = fd
		}
	}
	dir := filepath.Join(proc, strconv.Itoa(pid))
	st, err := readStatus(dir)
	if err == nil && (st.group != pid || st.dead) {
		err = ErrNoProcess
	}
	if err == nil {
		p.process, _, err = readStat(dir)
	}
	if err == nil && p.handle.ended() {
		err = ErrNoProcess
	}
	if err != nil {
		p.Close()
		return nil, ended(err)
	}
	p.uids = st.uids
	return p, nil
}

// Memory returns what the process uses, and how that was counted: its PSS, or its RSS where the PSS cannot be
// read, is zero, or took longer than 100 ms to read. The other figures of the reading are zero. It returns
// ErrNoProcess when the process has ended.
func (p *Process) Memory(ctx context.Context) (snapshot.MemoryReading, error) {
	if err := ctx.Err(); err != nil {
		return snapshot.MemoryReading{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	dir := filepath.Join(cmp.Or(os.Getenv("HOST_PROC"), procfs), strconv.Itoa(p.pid))
	var pss int64
	if !p.handle.slow {
		began := time.Now()
		pss, _ = readPSS(dir)
		p.handle.slow = time.Since(began) > slowPSS
	}
	now, rss, err := readStat(dir)
	if err != nil {
		return snapshot.MemoryReading{}, ended(err)
	}
	st, err := readStatus(dir)
	if err != nil {
		return snapshot.MemoryReading{}, ended(err)
	}
	if now.start != p.start || st.dead || p.handle.ended() {
		return snapshot.MemoryReading{}, ErrNoProcess
	}
	reading := snapshot.MemoryReading{Used: pss, Definition: "PSS", Source: treeSource}
	if pss <= 0 {
		reading.Used, reading.Definition = rss, "RSS"
	}
	return reading, nil
}

// Close releases what keeps hold of the process. The Process must not be used afterwards.
func (p *Process) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.handle.pidfd >= 0 {
		_ = unix.Close(p.handle.pidfd)
		p.handle.pidfd = -1
	}
}

// ended asks the kernel for the process: by its pidfd, or else by its start time.
func (p *Process) ended() bool {
	if p.handle.pidfd >= 0 {
		return p.handle.ended()
	}
	now, _, err := readStat(filepath.Join(cmp.Or(os.Getenv("HOST_PROC"), procfs), strconv.Itoa(p.pid)))
	return errors.Is(ended(err), ErrNoProcess) || err == nil && now.start != p.start
}

// ended reports whether the process of the pidfd has ended. As long as it has not, nobody else has its pid.
func (h *processHandle) ended() bool {
	if h.pidfd < 0 {
		return false
	}
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(h.pidfd), Events: unix.POLLIN}}, 0)
	return err == nil && n > 0
}

// ended turns the error of reading below /proc into ErrNoProcess where that is what it says.
func ended(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return ErrNoProcess
	}
	return err
}

// processStatus is what the status file of a process tells.
type processStatus struct {
	group int   // the process; another number than that of the directory for a thread
	uids  []int // real, effective and saved
	dead  bool  // it has ended and waits for its parent
	inner int   // its pid in its own pid namespace; 0 before Linux 4.1
	depth int   // how many pid namespaces below that of the procfs its own is
}

// readStatus reads the status file of the process directory dir (proc_pid_status(5)):
//
//	State:	S (sleeping)
//	Tgid:	16733
//	Uid:	1000	1000	1000	1000
//	NSpid:	16733	1
func readStatus(dir string) (st processStatus, err error) {
	name := filepath.Join(dir, "status")
	text, err := readProcess(name)
	if err != nil {
		return st, err
	}
	for line := range bytes.Lines(text) {
		fields := bytes.Fields(line)
		if len(fields) < 2 {
			continue
		}
		switch string(fields[0]) {
		case "State:":
			st.dead = fields[1][0] == 'Z' || fields[1][0] == 'X'
		case "Tgid:":
			st.group, err = strconv.Atoi(string(fields[1]))
		case "NSpid:":
			st.inner, err = strconv.Atoi(string(fields[len(fields)-1]))
			st.depth = len(fields) - 2
		case "Uid:":
			for _, field := range fields[1:min(4, len(fields))] {
				var uid int
				if uid, err = strconv.Atoi(string(field)); err == nil {
					st.uids = append(st.uids, uid)
				}
			}
		}
		if err != nil {
			return processStatus{}, fmt.Errorf("parse %s: %w", name, err)
		}
	}
	return st, nil
}
