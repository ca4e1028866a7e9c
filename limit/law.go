// Package limit holds the laws by which a limit follows the load: rules that turn what was seen in the last
// interval into how many pieces of work may run at once. A law is pure; time is passed in.
package limit

import (
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

// Law decides a limit, step by step. A Law is not safe for concurrent use.
type Law interface {
	// Name names the law, as configuration spells it.
	Name() string

	// Step returns the limit from now on. It is called about once a second, and at once when a verdict
	// changed.
	Step(in Input) Decision
}

// Input is all that a law looks at: one instant, and what is known of it.
type Input struct {
	// At is the instant, by a clock that never goes back.
	At time.Duration

	// Current and Historical are the judgements of all signals, and Newest their newest snapshots.
	Current, Historical snapshot.Status
	Newest              []snapshot.Snapshot

	// Charge is how many permits are in use or must be assumed to be, and Want how many could be used.
	Charge, Want int64
}

// Decision is a limit, and what it rests on.
type Decision struct {
	// Limit is how many may run, at least 1.
	Limit int64

	// Binding says what keeps it from being higher, for people.
	Binding string
}
