package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/headroom-rpc/headroom/permit"
)

// deaths tells when processes at the other end of unix sockets are dead, which the end of a connection alone
// does not prove. One goroutine waits for all of them, and no thread. It is safe for concurrent use.
type deaths struct {
	log *slog.Logger

	mu     sync.Mutex
	closed bool
	poll   *os.File // an epoll of the pidfds; nil until one is watched
	raw    syscall.RawConn
	byKey  map[[16]byte]*death
	byFD   map[int32]*death
}

// death is one process that is watched.
type death struct {
	key  [16]byte
	fd   int
	tell func()
}

func newDeaths(log *slog.Logger) *deaths {
	return &deaths{log: log, byKey: make(map[[16]byte]*death), byFD: make(map[int32]*death)}
}

// made reports whether the process made the connection of the call of ctx itself. One that is forwarded was made by
// whoever forwards it, whose death proves nothing.
func (d *deaths) made(ctx context.Context, p permit.Process) bool {
	conn := connOf(ctx)
	return conn != nil && p.PID > 0 && conn.peer.pid > 0 && seesItself(conn.peer.pid, p)
}

// seesItself reports whether the process that has the pid here is that one in its own pid namespace, as far as
// /proc tells.
func seesItself(pid int, p permit.Process) bool {
	dir := "/proc/" + strconv.Itoa(pid)
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return false
	}
	stat, err := os.ReadFile(dir + "/stat")
	return err == nil && innermostPID(string(status)) == p.PID && startTicks(string(stat)) == p.Start
}

// innermostPID returns the last number of NSpid in the text of /proc/PID/status (proc_pid_status(5)), or 0.
func innermostPID(status string) int64 {
	for line := range strings.Lines(status) {
		if pids, ok := strings.CutPrefix(line, "NSpid:"); ok {
			all := strings.Fields(pids)
			return number(all[max(len(all)-1, 0):])
		}
	}
	return 0
}

// startTicks returns field 22 in the text of /proc/PID/stat (proc_pid_stat(5)), or 0. Field 3 follows the last
// parenthesis, as the name in field 2 may have some.
func startTicks(stat string) int64 {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	return number(fields[min(22-3, len(fields)):])
}

// number returns the first of the numbers, or 0.
func number(all []string) int64 {
	if len(all) == 0 {
		return 0
	}
	n, err := strconv.ParseInt(all[0], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// watch calls tell, once, when the process is dead that made the connection of the call of ctx, in place of what
// was watched under the key. Where that cannot be known it does nothing.
func (d *deaths) watch(ctx context.Context, key [16]byte, tell func()) {
	conn := connOf(ctx)
	if conn == nil {
		return
	}
	socket, ok := conn.Conn.(*net.UnixConn)
	if !ok {
		return
	}
	fd, err := pidfdOf(socket, conn.peer.pid)
	if errors.Is(err, unix.ESRCH) {
		d.forget(key)
		tell()
		return
	}
	if err == nil {
		err = d.add(&death{key: key, fd: fd, tell: tell})
	}
	if err != nil {
		d.log.Debug("the end of a worker's process will not be noticed", "pid", conn.peer.pid, "reason", err.Error())
	}
}

// pidfdOf returns a descriptor of the process that made the connection, or ESRCH if that is dead.
func pidfdOf(socket *net.UnixConn, pid int) (fd int, err error) {
	raw, err := socket.SyscallConn()
	if err == nil {
		if control := raw.Control(func(s uintptr) {
			fd, err = unix.GetsockoptInt(int(s), unix.SOL_SOCKET, unix.SO_PEERPIDFD)
		}); control != nil {
			err = control // the connection is over
		}
	}
	if err == nil || errors.Is(err, unix.ESRCH) {
		return fd, err
	}
	// By number, as before Linux 6.5. While the peer lives its number is its own; once it is dead the descriptor
	// may be of another process, and then its death is not noticed here, but never that of one that lives.
	if pid <= 0 {
		return -1, errors.New("its pid is not known in this pid namespace")
	}
	fd, err = unix.PidfdOpen(pid, 0)
	return fd, os.NewSyscallError("pidfd_open", err)
}

func (d *deaths) add(one *death) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.openLocked(); err != nil {
		unix.Close(one.fd)
		return err
	}
	d.removeLocked(d.byKey[one.key])
	err := d.controlLocked(unix.EPOLL_CTL_ADD, one.fd)
	if err != nil {
		unix.Close(one.fd)
		return err
	}
	d.byKey[one.key], d.byFD[int32(one.fd)] = one, one
	return nil
}

// openLocked begins to wait, unless that was begun.
func (d *deaths) openLocked() error {
	if d.closed {
		return os.ErrClosed
	}
	if d.poll != nil {
		return nil
	}
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	// Non-blocking, so that the runtime waits for it beside all sockets.
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return err
	}
	poll := os.NewFile(uintptr(fd), "pidfds")
	raw, err := poll.SyscallConn()
	if err != nil {
		poll.Close()
		return err
	}
	d.poll, d.raw = poll, raw
	go d.run(raw)
	return nil
}

func (d *deaths) controlLocked(op, fd int) (err error) {
	control := d.raw.Control(func(poll uintptr) {
		err = unix.EpollCtl(int(poll), op, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
	})
	return errors.Join(control, err)
}

// run tells of deaths until close.
func (d *deaths) run(raw syscall.RawConn) {
	var events [64]unix.EpollEvent
	for {
		n := 0
		err := raw.Read(func(poll uintptr) bool {
			n, _ = unix.EpollWait(int(poll), events[:], 0)
			return n > 0
		})
		if err != nil {
			return
		}
		for i := range n {
			if one := d.take(events[i].Fd); one != nil {
				one.tell()
			}
		}
	}
}

// take returns what is watched by the descriptor, and watches it no longer, if its process is dead. The event may
// be of an earlier descriptor of that number, which was closed since.
func (d *deaths) take(fd int32) *death {
	d.mu.Lock()
	defer d.mu.Unlock()
	one := d.byFD[fd]
	if one == nil {
		return nil
	}
	state := []unix.PollFd{{Fd: fd, Events: unix.POLLIN}}
	if n, err := unix.Poll(state, 0); n < 1 || err != nil || state[0].Revents&unix.POLLIN == 0 {
		return nil // if it is dead after all, the epoll says so again
	}
	d.removeLocked(one)
	return one
}

// forget watches no longer what is under the key.
func (d *deaths) forget(key [16]byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.removeLocked(d.byKey[key])
}

func (d *deaths) removeLocked(one *death) {
	if one == nil {
		return
	}
	delete(d.byKey, one.key)
	delete(d.byFD, int32(one.fd))
	unix.Close(one.fd) // which takes it out of the epoll, as nobody else has it
}

// close watches nothing any more.
func (d *deaths) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for _, one := range d.byKey {
		d.removeLocked(one)
	}
	if d.poll != nil {
		d.poll.Close()
	}
}
