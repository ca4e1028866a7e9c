//go:build unix

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/headroom-rpc/headroom/internal/boottime"
	"github.com/headroom-rpc/headroom/internal/spawn"
)

// watchdogLook is the longest time between two looks at the clock, which runs on while the machine sleeps.
const watchdogLook = time.Second

// watchdogThreads is how many threads it has made at its begin: what runs then may leave no room for more.
const watchdogThreads = 4

// apart is for a process that signals from a terminal do not reach.
func apart() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// say tells the watchdog its leash, without waiting for one that does not read.
func (w *watchdog) say(l *leash) error {
	err := w.pipe.SetWriteDeadline(time.Now().Add(watchdogPatience))
	if err == nil {
		_, err = io.WriteString(w.pipe, l.line())
	}
	return err
}

// line is what a watchdog is told; leashOf reads it.
func (l *leash) line() string {
	return fmt.Sprintf("%d %q %d %d\n", l.group, l.cgroup, l.deadline, l.killAfter)
}

// beWatchdog is the program of a watchdog.
func beWatchdog() int {
	makeThreads(watchdogThreads)
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP) // it must go on when all are told to end
	return keepWatch(os.Stdin, inheritedTable())
}

// keepWatch ends what the last line of in names: kills it once in has ended, and asks it first where its deadline is
// over, which it reports as exitRun. A line that does not hold names nothing.
func keepWatch(in *os.File, groups *groupTable) int {
	var l leash
	var text []byte
	for {
		wait := watchdogLook
		if l.deadline != 0 {
			wait = min(wait, l.deadline+watchdogLag-boottime.Now())
		}
		ready, err := readable(in, wait)
		if err != nil {
			return exitFailure
		}
		if !ready {
			switch {
			case !l.over(boottime.Now()): // or somebody has told something else
			case l.group == inTable:
				l.endAll(in, groups)
				l.deadline = 0 // what headroom starts when it goes on is under another lease
			default:
				l.end(groups)
				return exitRun
			}
			continue
		}
		part := make([]byte, 4<<10)
		n, err := in.Read(part)
		text = append(text, part[:n]...)
		if end := bytes.LastIndexByte(text, '\n'); end >= 0 {
			l = leashOf(text[bytes.LastIndexByte(text[:end], '\n')+1 : end])
			text = text[end+1:]
		}
		if err != nil {
			l.kill(groups)
			return exitOK
		}
	}
}

// leashOf reads a line; one that does not hold is the zero leash.
func leashOf(line []byte) leash {
	var l leash
	_, err := fmt.Sscanf(string(line), "%d %q %d %d", &l.group, &l.cgroup, &l.deadline, &l.killAfter)
	if err != nil || l.group <= 1 && l.group != inTable {
		return leash{}
	}
	return l
}

// readable waits until there is something to read, or the end, for that long at most.
func readable(f *os.File, wait time.Duration) (bool, error) {
	fds := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, int(max(0, (wait+time.Millisecond-1)/time.Millisecond)))
	if errors.Is(err, unix.EINTR) {
		return false, nil
	}
	return n > 0, err
}

// groups returns the process groups on the leash.
func (l *leash) groups(table *groupTable) []int {
	if l.group == inTable {
		return table.all()
	}
	return []int{l.group}
}

func (l *leash) signal(table *groupTable, sig syscall.Signal) {
	for _, group := range l.groups(table) {
		signalGroup(group, sig)
	}
}

// end asks what is on the leash to end, and kills what is left of it after a while.
func (l *leash) end(table *groupTable) {
	l.signal(table, syscall.SIGTERM)
	l.signal(table, syscall.SIGCONT)
	for at := l.deadline + watchdogLag + l.killAfter; boottime.Now() < at && l.left(table); {
		time.Sleep(leftCheck)
	}
	l.kill(table)
}

// endAll asks all that is in the table to end, and kills it after a while. News end that: headroom goes on, and ends it
// itself, or has died.
func (l *leash) endAll(in *os.File, table *groupTable) {
	l.signal(table, syscall.SIGTERM)
	l.signal(table, syscall.SIGCONT)
	for at := l.deadline + watchdogLag + l.killAfter; ; {
		wait := at - boottime.Now()
		if wait <= 0 {
			break
		}
		if news, err := readable(in, wait); news || err != nil {
			return
		}
	}
	l.signal(table, syscall.SIGKILL)
}

// left reports whether something on the leash still runs. Without a cgroup that is so as long as headroom is stopped
// and takes no note of the end of the command.
func (l *leash) left(table *groupTable) bool {
	if l.cgroup != "" {
		return (&cgroup{dir: l.cgroup}).populated()
	}
	for _, group := range l.groups(table) {
		if syscall.Kill(-group, 0) == nil {
			return true
		}
	}
	return false
}

// kill kills what is on the leash.
func (l *leash) kill(table *groupTable) {
	if *l == (leash{}) {
		return
	}
	l.signal(table, syscall.SIGKILL)
	if table != nil {
		spawn.Clean(table.owner)
	}
	if l.cgroup == "" {
		return
	}
	c := &cgroup{dir: l.cgroup}
	c.kill()
	for range 100 { // the kernel takes a moment to empty it
		if !c.populated() {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	c.leave()
}
