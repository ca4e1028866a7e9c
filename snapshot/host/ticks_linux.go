package host

import (
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/headroom-rpc/headroom/snapshot"
)

// kernelTicks are those of two timers of the kernel, one for each turn. When one fires, the thread that waits for the
// network reads it and goes on with the goroutine. A timer of Go takes that thread two naps, as it counts in ms, and
// wakes the runtime's monitor and a second thread beside it.
type kernelTicks [2]kernelTimer

type kernelTimer struct {
	file *os.File
	conn syscall.RawConn
}

func newTicks() snapshot.Ticks {
	var t kernelTicks
	for turn := range t {
		fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
		if err == nil {
			t[turn].file = os.NewFile(uintptr(fd), "timer")
			t[turn].conn, err = t[turn].file.SyscallConn()
		}
		if err == nil {
			err = t[turn].file.SetReadDeadline(time.Time{}) // fails where nothing would wait for it
		}
		if err != nil {
			t.Stop()
			return nil
		}
	}
	return &t
}

func (t *kernelTicks) Wait(turn int) bool {
	var fired uint64 // how often
	var errno syscall.Errno
	err := t[turn].conn.Read(func(fd uintptr) bool {
		// It never blocks, so Go's scheduler need not know, which would wake the runtime's monitor.
		_, _, errno = unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&fired)), unsafe.Sizeof(fired))
		return errno != unix.EAGAIN
	})
	return err == nil && errno == 0
}

func (t *kernelTicks) Reset(first, period time.Duration) {
	for turn := range t {
		at := unix.ItimerSpec{
			Value:    unix.NsecToTimespec(int64(first + time.Duration(turn)*period)),
			Interval: unix.NsecToTimespec(int64(2 * period)),
		}
		// It fails once it is closed, and then nobody waits.
		_ = t[turn].conn.Control(func(fd uintptr) { _ = unix.TimerfdSettime(int(fd), 0, &at, nil) })
	}
}

func (t *kernelTicks) Stop() {
	for turn := range t {
		_ = t[turn].file.Close() // of no file, or a second time, it does nothing
	}
}
