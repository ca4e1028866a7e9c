// Package limit holds the laws by which a limit follows the load: rules that turn what was seen in the last
// interval into how many pieces of work may run at once. A law is pure; time is passed in.
package limit

import (
	"math"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

// Law decides a limit, step by step. A Law is not safe for concurrent use.
type Law interface {
	// Name names the law, as configuration spells it.
	Name() string

	// Step returns the limit from now on. It is called about once a second, or after [Decision.Next], and soon
	// when a verdict changed.
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

	// Others is how many of them others used, where OthersKnown is true: made out over a time in which it is known of all
	// pools. Else it is Busy less what the pools use.
	Others      float64
	OthersKnown bool

	// Newest is Busy by the newest reading, where what is known of the pools is older than that; else 0.
	Newest float64

	// RunQueue is how many tasks on average ran or waited for a CPU, of the pools and of others, and Crowded is
	// the share of the readings in which it was over twice Cores, where RunQueueKnown is true.
	RunQueue, Crowded float64
	RunQueueKnown     bool

	// MemoryUsed is the memory in use at the end of the window, by the pools and by others, in bytes, of
	// MemoryTotal; 0 if they are not known.
	MemoryUsed, MemoryTotal int64

	// MemoryReserved is the memory that is to be left free for others, in bytes.
	MemoryReserved int64

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

	// Window is how long the means and the counts below were taken over, where that is not [Input.Window], for which it
	// is 0. Stale says that they are those of the last step, or that none can be known yet: there is nothing to learn.
	Window time.Duration
	Stale  bool

	// Capped says that nothing starts now since as many tasks started as may in a minute.
	Capped bool

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
	// Limit is how many may run, at least 1: once Pace is over, see [Decision.After].
	Limit int64

	// From is where a rise to Limit begins, and Pace how long it takes; a Pace of 0 is at once. A fall is always
	// at once.
	From int64
	Pace time.Duration

	// Binding says what keeps it from being higher, for people, with the figures that it was computed from.
	Binding string

	// Shares is how many of Limit each of [Input.Pools] may have, in their order; their sum is Limit. Nil where
	// a law leaves it to the one who leases.
	Shares []Share

	// Gate says when memory lets nothing start, between this step and the next.
	Gate Gate

	// Next is when the law wants to be stepped again, after this step: sooner than in about a second, for which it is
	// 0, while it still has everything to learn.
	Next time.Duration
}

// Share is what one pool may have of a limit.
type Share struct {
	// Limit is how many tasks of the pool may run, at least [Pool.Min]: once [Decision.Pace] is over. From is
	// where a rise to it begins.
	Limit, From int64

	// Binding says what keeps it from being higher, for people, with the figures that it was computed from.
	Binding string

	// Footprint is the memory in bytes that a task of the pool is expected to take in the end; 0 while that is
	// not known. ByMemory is true where memory keeps the limit from being higher.
	Footprint int64
	ByMemory  bool
}

// paces is how many equal parts a rise is made in.
const paces = 10

// After returns the limit that holds some time after the step: a rise is made in ten equal parts over Pace, the
// first at once.
func (d *Decision) After(elapsed time.Duration) int64 { return d.after(d.From, d.Limit, elapsed) }

// ShareAfter returns what the pool of Shares[i] may have some time after the step.
func (d *Decision) ShareAfter(i int, elapsed time.Duration) int64 {
	return d.after(d.Shares[i].From, d.Shares[i].Limit, elapsed)
}

func (d *Decision) after(from, limit int64, elapsed time.Duration) int64 {
	if d.Pace <= 0 || elapsed >= d.Pace || from >= limit {
		return limit
	}
	part := int64(max(0, elapsed)*paces/d.Pace) + 1
	return from + int64(math.Ceil(float64(limit-from)*float64(part)/paces))
}

// Growth returns how much more memory the tasks of the pool will take, in bytes, when so many run that have
// reached the sum grown of the shares of their footprints; see [Pool.Grown].
func (s Share) Growth(running int64, grown float64) int64 {
	return bytesOf(float64(s.Footprint) * max(0, meanGrowth*float64(running)-grown))
}

// Gate holds the lines of memory, in bytes in use. The zero Gate is always open. A user lets at least one task,
// or [Pool.Min], run whatever it says: else it might wait for ever for memory that only a start would free.
type Gate struct {
	// Line is what the memory in use and the growth to come of all that runs may reach: over it nothing starts.
	Line int64

	// Shed is the use over which those who may cancel tasks do so, the youngest first, until what is left would
	// be at most ShedTo.
	Shed, ShedTo int64
}

// Open reports whether a task may start, by the memory in use now and the growth to come of what runs, in bytes.
func (g Gate) Open(used, growth int64) bool { return g.Line == 0 || used <= g.Line-growth }
