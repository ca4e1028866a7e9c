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

// Input is all that a law looks at: what is known of the host and of its pools in the window that ends now.
type Input struct {
	// At is the instant, by a clock that never goes back, and Window how long the means below were taken over;
	// 0 before there is one.
	At, Window time.Duration

	// Current and Historical are the judgements of all signals, and Newest their newest snapshots.
	Current, Historical snapshot.Status
	Newest              []snapshot.Snapshot

	// Charge is how many permits are in use or must be assumed to be, and Want how many could be used.
	Charge, Want int64

	// Host is what was seen of the host, and Pools of those who use the permits.
	Host  Host
	Pools []Pool
}

// Host is what was seen in a window of the host, or of the cgroup within whose limits the pools run. What is not
// known is zero where there is no field that says so.
type Host struct {
	// Cores is the capacity of the CPUs, fractional under a quota; 0 if it is not known.
	Cores float64

	// Busy is how many cores were in use on average, by the pools and by others, where BusyKnown is true.
	Busy      float64
	BusyKnown bool

	// RunQueue is how many tasks on average ran or waited for a CPU, of the pools and of others, and Crowded is
	// the share of the readings in which it was over twice Cores, where RunQueueKnown is true.
	RunQueue, Crowded float64
	RunQueueKnown     bool

	// MemoryUsed is the memory in use at the end of the window, by the pools and by others, in bytes, of
	// MemoryTotal; 0 if they are not known.
	MemoryUsed, MemoryTotal int64

	// Stalled is the share of the window in which some task waited for memory, where StalledKnown is true.
	Stalled      float64
	StalledKnown bool

	// Kills counts the tasks that the kernel killed for want of memory, ever.
	Kills int64
}

// Pool is what was seen in a window of one of those who use the permits: a pool, or all of one worker. What is not
// known is zero where there is no field that says so.
type Pool struct {
	// ID names the pool from one step to the next.
	ID string

	// Weight is its share against the others, at least 1; 0 is 1. Min and Max bound what it is given; a Max of 0
	// is none.
	Weight   int
	Min, Max int64

	// InUse is how many permits were in use on average, Leased how many are now, and Waiting how many tasks wait
	// for one now.
	InUse           float64
	Leased, Waiting int64

	// CPU is how many cores its tasks used on average, where CPUKnown is true.
	CPU      float64
	CPUKnown bool

	// Runnable is how many of its tasks on average ran or waited for a CPU, where RunnableKnown is true.
	Runnable      float64
	RunnableKnown bool

	// Memory is what its tasks use now, in bytes, where MemoryKnown is true.
	Memory      int64
	MemoryKnown bool

	// Started, Completed and Failed count the tasks that did so in the window; those that failed completed too.
	// Throttled counts the refusals for too many requests (429) of Calls calls in the window.
	Started, Completed, Failed int64
	Throttled, Calls           int64

	// Delayed is how many of Leased wait until they may try again.
	Delayed int64

	// Duration is how long a task is expected to take; 0 before that is known. Grown is the sum, over the tasks
	// that run, of the share of its final footprint in memory that each has by now, from what Growth says of
	// its age.
	Duration time.Duration
	Grown    float64
}

// Decision is a limit, and what it rests on.
type Decision struct {
	// Limit is how many may run, at least 1.
	Limit int64

	// Binding says what keeps it from being higher, for people, with the figures that it was computed from.
	Binding string

	// Shares is how many of Limit each of [Input.Pools] may have, in their order. Nil where a law leaves it to
	// the one who leases.
	Shares []Share
}

// Share is what one pool may have of a limit.
type Share struct {
	// Limit is how many tasks of the pool may run, at least [Pool.Min].
	Limit int64

	// Binding says what keeps it from being higher, for people, with the figures that it was computed from.
	Binding string
}
