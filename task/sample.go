package task

import (
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

// Mode says which sample answers for a time.
type Mode uint8

// The modes.
const (
	// Nearest is the sample that is nearest to the time, the earlier of two.
	Nearest Mode = iota
	// Floor is the last one that is not after the time.
	Floor
	// Ceiling is the first one that is not before the time, or the last one of all. It is what Thermos answers.
	Ceiling
)

// Query says which sample is asked for. The zero Query asks for the newest.
type Query struct {
	// At is the time, by the clock of the Monitor, where Past is true.
	At   time.Duration
	Past bool
	Mode Mode

	// MaxAge is how far the sample may be from the time asked for; 0 for as far as it is.
	MaxAge time.Duration
}

// Sample is what a task used at one time.
type Sample struct {
	// At and Time are when that was, by the clock of the Monitor and by that of the wall.
	At   time.Duration
	Time time.Time

	// Usage is the sum over the processes.
	Usage     Usage
	Processes []ProcessUsage

	// Disk is the usage of the folder, read at DiskAt and DiskTime. It is zero for a task without a folder.
	Disk     snapshot.DiskReading
	DiskAt   time.Duration
	DiskTime time.Time

	// Stopped says why there is no newer sample where there should be one; empty where there need not be.
	Stopped string
}

// End is how a task ended.
type End uint8

// The ends.
const (
	Running      End = iota
	Unregistered     // whoever registered it said so
	LeaseExpired     // whoever registered it was not heard of for the time of the lease
)

var endNames = [...]string{"running", "unregistered", "lease expired"}

// String returns the words for it in lower case.
func (e End) String() string {
	if int(e) >= len(endNames) {
		return endNames[Running]
	}
	return endNames[e]
}

// Info is what is known of a task but its samples.
type Info struct {
	Spec // with its defaults filled in

	Registered     time.Duration
	RegisteredTime time.Time

	// Ended is how it ended, at EndedAt and EndedTime; Running while it did not. ExitCode is what was told of it.
	Ended     End
	EndedAt   time.Duration
	EndedTime time.Time
	ExitCode  *int32

	// ProcessesEnded is whether all its processes have.
	ProcessesEnded bool

	// Span is from the oldest to the newest sample in the history, and Samples how many there are. Thinned says
	// that some of within the span were given up.
	Span    time.Duration
	Samples int
	Thinned bool
}

// Health says how the sampling keeps up.
type Health struct {
	// Passes counts the passes over the processes, and Failed those that failed. Err is why the last one did.
	Passes, Failed int64
	Err            error

	// Cost is the CPU time that the last pass took, or how long where that is not known, and Interval the least time
	// between two of one task: that of the config, or 100 times the cost if that is longer.
	Cost, Interval time.Duration

	// Lag is how late the last pass was, and Missed how many samples were left out because of such.
	Lag    time.Duration
	Missed int64

	// Tasks counts those that have not ended; Processes is how many the last pass listed, and Unreadable how many
	// of them could not be read.
	Tasks, Processes, Unreadable int

	// HistoryBytes is what all histories take.
	HistoryBytes int64
}
