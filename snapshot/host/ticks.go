package host

import "github.com/headroom-rpc/headroom/snapshot"

// NewTicks returns what tells a Snapshotter when snapshots are due by timers of the kernel, for snapshot.Config. That costs
// fewer wakeups than a timer of Go, and two file descriptors until Stop. It returns nil where there are no such timers, as
// on any system but Linux, or no descriptors for them.
func NewTicks() snapshot.Ticks { return newTicks() }
