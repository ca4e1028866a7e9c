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

// DiskReading is what a folder takes on its disk, with all below it.
type DiskReading struct {
	State  DiskState
	Reason string // for people; empty for DiskOK

	Bytes   int64 // allocated: a sparse file counts what it has, a file with several names once
	Entries int64 // files and folders that were counted

	Took time.Duration // from the first look to the last, pauses included
	CPU  time.Duration // of that, CPU time; 0 where the system does not tell
}
