//go:build !unix

package spawn

import (
	"os"
	"sync/atomic"
	"time"
)

// accounts is what is known of the use of CPU: that of the processes that have ended.
type accounts struct {
	finished atomic.Int64
	wait     func() (*os.ProcessState, error) // for the process that was started last
}

func (a *accounts) open(func() []int) {}

func (a *accounts) leave() {}

func (a *accounts) killAll() {}

func (a *accounts) sampleAll(<-chan struct{}) {}

// Usage returns what the processes used that have ended. It does not block.
func (a *accounts) Usage() Usage {
	return Usage{CPU: time.Duration(a.finished.Load()), Runnable: -1, Memory: -1, At: time.Now()}
}

// Kills returns 0: it is not known.
func (a *accounts) Kills() int64 { return 0 }

// Clean has nothing to do: there are no cgroups.
func Clean(int) {}
