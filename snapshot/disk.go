package snapshot

import "time"

// DiskState is how much is known of the disk usage of a folder.
type DiskState uint8

// The states. Stale is told of a reading by whoever keeps it, once a newer one should be there.
const (
	DiskUnknown DiskState = iota // nothing is known; Reason says why
	DiskPartial                  // at least so much; Reason says what was left out
	DiskStale                    // it was so much some time ago
	DiskOK
)

var diskStateNames = [...]string{"unknown", "partial", "stale", "ok"}

// String returns the name in lower case, such as "partial".
func (s DiskState) String() string {
	if int(s) >= len(diskStateNames) {
		return diskStateNames[DiskUnknown]
	}
	return diskStateNames[s]
}

// DiskSource is where a figure of disk usage is from.
type DiskSource uint8

// The sources. Both count the blocks that are allocated.
const (
	DiskSourceUnknown DiskSource = iota // there is no figure, or it is not told
	DiskWalked                          // the folder was walked
	DiskAccounted                       // the kernel's account of the project that the folder is, and no other
)

var diskSourceNames = [...]string{"unknown", "walk", "project quota"}

// String returns the name in lower case, such as "project quota".
func (s DiskSource) String() string {
	if int(s) >= len(diskSourceNames) {
		return diskSourceNames[DiskSourceUnknown]
	}
	return diskSourceNames[s]
}

// DiskReading is what a folder takes on its disk, with all below it.
type DiskReading struct {
	State  DiskState
	Source DiskSource
	Reason string // for people; empty for DiskOK

	Bytes   int64 // allocated: a sparse file counts what it has, a file with several names once
	Entries int64 // files and folders that were counted

	Took time.Duration // from the first look to the last, pauses included
	CPU  time.Duration // of that, CPU time; 0 where the system does not tell
}
