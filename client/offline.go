package client

import "github.com/headroom-rpc/headroom/permit"

// Offline says how many permits of a resource may be in use while there is no lease: from when the lease is over
// until the server answers again, and before the first answer if the server cannot be reached. What runs then
// goes on when the server is back; new work then starts only within the server's target. A server that refuses to
// lease, or an operator who ended the session, is not one that cannot be reached: then nothing starts.
type Offline int64

// The policies, beside [OfflineSafe].
const (
	// OfflineNone starts nothing, and ends the contexts of the permits that are held with [ErrLeaseLost].
	OfflineNone Offline = 0

	// OfflineLocal judges the load of this machine by itself, and needs [WithLocal]. It begins with what is held,
	// at least 1. Each second it allows 5 % more, at least 1, while all is in use and the machine is not
	// overloaded, and 5 % less, but never under 1, while it is. It ends no context.
	OfflineLocal Offline = -1

	// OfflineUnlimited starts everything. It ends no context.
	OfflineUnlimited Offline = -2
)

// OfflineSafe lets n permits be in use, from 0 to [permit.MaxLimit]; less or more are the nearest of these. If
// more are held when the lease ends, the contexts of all of them end with [ErrLeaseLost].
func OfflineSafe(n int64) Offline { return Offline(max(0, min(n, permit.MaxLimit))) }
