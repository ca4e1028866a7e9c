//go:build unix && !linux

package spawn

import (
	"sync/atomic"
	"syscall"
	"time"
)

// accounts is what is known of the use of CPU: that of the processes that have ended.
type accounts struct{ finished atomic.Int64 }

func (a *accounts) open(func() []int) {}

func (a *accounts) leave() {}

func (a *accounts) fork(start func(*syscall.SysProcAttr) (int, error)) (int, error) {
	return start(&syscall.SysProcAttr{})
}

func (a *accounts) ended(used time.Duration) { a.finished.Add(int64(used)) }

func (a *accounts) killAll() {}

func (a *accounts) killsRose() bool { return false }

func (a *accounts) sampleAll(<-chan struct{}) {}

// Usage returns what the processes used that have ended. It does not block.
func (a *accounts) Usage() Usage {
	return Usage{CPU: time.Duration(a.finished.Load()), Runnable: -1, Memory: -1, At: time.Now()}
}

// Kills returns 0: it is not known.
func (a *accounts) Kills() int64 { return 0 }

// Clean has nothing to do: there are no cgroups.
func Clean(int) {}
