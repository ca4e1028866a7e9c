package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	// startPause is how long no command starts after there was no room for one more process: those that run may then have
	// ended, and to fail four times a second costs nothing. Where none runs it is up to longestStartPause, drawn by chance:
	// what else tries to start is not to do so at the same time.
	startPause        = 250 * time.Millisecond
	longestStartPause = time.Second

	// startPatience is how long it is tried while none of the commands runs, whose end would make room.
	startPatience = time.Minute
)

var (
	errNoRoom = errors.New("no room for one more process")

	// errStandstill is why it is tried no more.
	errStandstill = fmt.Errorf("nor could it be started within %s, in which no other ran", formatDuration(startPatience))
)

// isNoRoom reports whether a command could not be started because too many processes run (fork(2): ulimit -u, pids.max), or
// for want of memory.
func isNoRoom(err error) bool {
	return errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.ENOMEM)
}

// A standstill is a time in which no command could be started for want of room, and none ran. It is safe for concurrent use.
type standstill struct {
	mu    sync.Mutex
	since time.Time // zero while there is none
}

// refused takes note of a start that found no room, while others of the commands were busy or none ran. It returns after
// what time to try again; ok is false where that was done for long enough.
func (s *standstill) refused(now time.Time, busy bool) (after time.Duration, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if busy {
		s.since = time.Time{}
		return startPause, true
	}
	if s.since.IsZero() {
		s.since = now
	}
	return startPause + rand.N(longestStartPause-startPause), now.Sub(s.since) < startPatience
}

// end takes note of a start.
func (s *standstill) end() {
	s.mu.Lock()
	s.since = time.Time{}
	s.mu.Unlock()
}

// lasts reports whether there is one.
func (s *standstill) lasts() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.since.IsZero()
}

// startWithRoom starts one command by begin, again and again for a while where there is no room for it. A signal that ends
// what does not handle it ends that, and so does lost.
func startWithRoom(begin func() (*child, error), signals <-chan os.Signal, lost context.Context, stderr io.Writer) (*child, error) {
	var still standstill
	for first := true; ; first = false {
		c, err := begin()
		if !isNoRoom(err) {
			return c, err
		}
		after, ok := still.refused(time.Now(), false)
		if !ok {
			return nil, &exitError{exitRun, fmt.Errorf("%w; %w", err, errStandstill)}
		}
		if first {
			fmt.Fprintf(stderr, "headroom: warning: %s; it is tried again for %s\n", clean(err.Error()), formatDuration(startPatience))
		}
		if err := pauseUnless(after, signals, lost); err != nil {
			return nil, err
		}
	}
}

// pauseUnless waits for that time. It returns an exitError where a signal comes that ends what does not handle it, or lost
// is done.
func pauseUnless(after time.Duration, signals <-chan os.Signal, lost context.Context) error {
	pause := time.NewTimer(after)
	defer pause.Stop()
	for {
		select {
		case <-pause.C:
			return nil
		case sig := <-signals:
			if ends(sig) {
				return endedBy(sig)
			}
		case <-lost.Done():
			return &exitError{exitRun, context.Cause(lost)}
		}
	}
}
