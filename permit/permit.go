// Package permit is the account of who may run how much: a [Ledger] that one server keeps, and the [Lessee] by
// which one worker process keeps to it.
//
// A resource has a limit. A session, one attached worker, has a target of it: how many permits it may hold.
// Targets are absolute and versioned; a newer one takes the place of an older one, so that frames may be lost,
// doubled, reordered or skipped. For each session the ledger keeps the charge: how many permits it must assume
// to be in use. A target is raised only while the charges of all sessions, and what workers of an earlier
// life of the server may still hold, stay within the limit; a lowered one frees its charge only when the
// worker has said that it took note, gave it up, or can no longer act on it. docs/permits.md is the protocol
// and docs/guarantees.md what it promises.
//
// Everything here is pure: time is passed in, as a duration by a clock that never goes back and runs through
// suspend, and nothing blocks. Server and worker need not agree on it.
package permit

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"
)

// The bounds of what a resource and a worker may state.
const (
	MaxLimit    = 1_000_000_000
	MaxWeight   = 1000
	MinPriority = -10
	MaxPriority = 10
	MaxReports  = 64 // resources of one session
)

// The defaults of a lease.
const (
	DefaultHeartbeat = time.Second
	DefaultTTL       = 5 * time.Second
	DefaultGrace     = 2 * time.Second
)

// SessionID identifies a session: 128 random bits that only its worker and the server know.
type SessionID [16]byte

// InstanceID identifies one run of a worker's process: 128 random bits.
type InstanceID [16]byte

// Name returns what others may know of the session: 16 hexadecimal digits of a hash.
func (id SessionID) Name() string {
	sum := sha256.Sum256(id[:])
	return hex.EncodeToString(sum[:8])
}

// Fence orders the grants of one resource: first by Epoch, the life of the server, then by Counter. It grows
// with each grant of the server, and with each start of a worker under one grant. So where the limit is 1, a
// store that refuses a smaller fence than the greatest it saw refuses a writer whose lease is over.
type Fence struct {
	Epoch, Counter int64
}

// Compare returns -1, 0 or 1 as f was granted before g, is g, or was granted after it.
func (f Fence) Compare(g Fence) int {
	switch {
	case f == g:
		return 0
	case f.Epoch < g.Epoch || f.Epoch == g.Epoch && f.Counter < g.Counter:
		return -1
	default:
		return 1
	}
}

// String returns both numbers as 32 hexadecimal digits, which are ordered as text.
func (f Fence) String() string { return fmt.Sprintf("%016x%016x", f.Epoch, f.Counter) }

// FenceBlock is how many fences one version of a target has, for starts and reports. A worker that needs more under one
// version repeats the last.
const FenceBlock = 1 << 24

// Mode says what becomes of work when there are fewer permits than before. The numbers equal those of
// headroom.v1.PermitMode and never change.
type Mode uint8

// The modes.
const (
	ModeNormal Mode = 1 // work above the target ends by itself
	ModeDrain  Mode = 2 // the same, with a target of 0, because the severity says stop
	ModeCancel Mode = 3 // work above the target is cancelled after a time
)

// String returns "normal", "drain" or "cancel", or "unknown".
func (m Mode) String() string {
	switch m {
	case ModeNormal:
		return "normal"
	case ModeDrain:
		return "drain"
	case ModeCancel:
		return "cancel"
	default:
		return "unknown"
	}
}
