package snapshot

import (
	"slices"
	"time"
)

// Processes is one pass over the processes of a host. Entry i of every column is of one process; the columns are
// equally long and in ascending order of PID, which is a pid in the namespace of whoever made the pass.
//
// A process is identified by PID and Start, and within the passes of one scanner by Serial: in one step of Start a
// pid may go to another process. What it uses is read for those that somebody watches, and for each
// that the pass met for the first time: Known says for which.
type Processes struct {
	// Began is when the pass began, in the unit and by the clock of Start.
	Began uint64

	PID, Parent []int32
	Session     []int32  // 0 where the system has none
	Start       []uint64 // when the process began, in a unit of the system's; 0 where that is not known
	Serial      []uint64 // of the process among all that the scanner met

	Known []bool

	// User and System are the CPU time of the process since it began. ChildUser and ChildSystem are that of its
	// descendants that ended and were waited for; zero where the system does not tell.
	User, System, ChildUser, ChildSystem []time.Duration

	RSS, VMS []int64 // bytes
	Threads  []int32
	Nice     []int8
	Status   []ProcessStatus

	// Watch is set by whoever judges the pass, for the processes that the next one shall read. A pass takes it
	// over from the one before.
	Watch []bool

	// Unreadable counts the processes that are there and cannot be read, as another user's may be.
	Unreadable int
}

// ProcessStatus is what a process does.
type ProcessStatus uint8

// The statuses. Frozen is told by a cgroup only.
const (
	ProcessUnknown ProcessStatus = iota
	ProcessRunning
	ProcessSleeping
	ProcessWaiting // for the disk, not to be interrupted
	ProcessStopped // by a signal or a debugger
	ProcessFrozen
	ProcessZombie // ended, and not yet waited for
	ProcessIdle
)

var processStatusNames = [...]string{"unknown", "running", "sleeping", "waiting", "stopped", "frozen", "zombie", "idle"}

// String returns the name in lower case, such as "running".
func (s ProcessStatus) String() string {
	if int(s) >= len(processStatusNames) {
		return processStatusNames[ProcessUnknown]
	}
	return processStatusNames[s]
}

// Len returns the number of processes.
func (p *Processes) Len() int { return len(p.PID) }

// Find returns the index of the process that has the pid, or -1.
func (p *Processes) Find(pid int32) int {
	if i, ok := slices.BinarySearch(p.PID, pid); ok {
		return i
	}
	return -1
}

// Reset empties p and keeps its memory.
func (p *Processes) Reset() {
	p.Began, p.Unreadable = 0, 0
	p.PID, p.Parent, p.Session = p.PID[:0], p.Parent[:0], p.Session[:0]
	p.Start, p.Serial, p.Known, p.Watch = p.Start[:0], p.Serial[:0], p.Known[:0], p.Watch[:0]
	p.User, p.System = p.User[:0], p.System[:0]
	p.ChildUser, p.ChildSystem = p.ChildUser[:0], p.ChildSystem[:0]
	p.RSS, p.VMS, p.Threads = p.RSS[:0], p.VMS[:0], p.Threads[:0]
	p.Nice, p.Status = p.Nice[:0], p.Status[:0]
}

// Append adds a process. The caller keeps the order of PID.
func (p *Processes) Append(e ProcessEntry) {
	p.PID, p.Parent, p.Session = append(p.PID, e.PID), append(p.Parent, e.Parent), append(p.Session, e.Session)
	p.Start, p.Serial = append(p.Start, e.Start), append(p.Serial, e.Serial)
	p.Known, p.Watch = append(p.Known, e.Known), append(p.Watch, e.Watch)
	p.User, p.System = append(p.User, e.User), append(p.System, e.System)
	p.ChildUser, p.ChildSystem = append(p.ChildUser, e.ChildUser), append(p.ChildSystem, e.ChildSystem)
	p.RSS, p.VMS, p.Threads = append(p.RSS, e.RSS), append(p.VMS, e.VMS), append(p.Threads, e.Threads)
	p.Nice, p.Status = append(p.Nice, e.Nice), append(p.Status, e.Status)
}

// ProcessEntry is one entry of [Processes]; its fields are those of the columns.
type ProcessEntry struct {
	PID, Parent, Session                 int32
	Start, Serial                        uint64
	Known, Watch                         bool
	User, System, ChildUser, ChildSystem time.Duration
	RSS, VMS                             int64
	Threads                              int32
	Nice                                 int8
	Status                               ProcessStatus
}

// GroupReading is what the cgroup of a task uses, with all below it.
type GroupReading struct {
	// User and System are CPU time since the group was made; CPU is their sum, finer where the kernel tells it.
	CPU, User, System time.Duration
	CPUKnown          bool

	// Memory is the working set in bytes: what is charged to the group without the page cache that was not used
	// lately.
	Memory      int64
	MemoryKnown bool

	// Tasks counts the threads.
	Tasks      int64
	TasksKnown bool

	// Frozen is whether the group is frozen as a whole.
	Frozen bool
}
