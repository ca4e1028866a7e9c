package permit

import "time"

// WorkerFrame is one message of a worker to the server. Every frame is a heartbeat.
type WorkerFrame struct {
	// Sequence orders the frames of one stream, from 1. One that is not greater than the newest seen is ignored.
	Sequence int64

	// Sent is when it was sent, by the worker's clock. The server only gives it back.
	Sent time.Duration

	// Hello is set in the first frame of a stream only.
	Hello *Hello

	// Reports hold what changed. Each is state: a newer one takes the place of an older one.
	Reports []Report

	// Goodbye ends the session, and frees what it held.
	Goodbye bool
}

// Hello is what a worker says of itself when it attaches, for the first time or again.
type Hello struct {
	// Client names the worker for people.
	Client string

	// Instance identifies this run of the worker's process.
	Instance InstanceID

	// Session and Epoch name the session that the worker had, where Resume is true.
	Session SessionID
	Epoch   int64
	Resume  bool

	// Held is what the worker still holds in that session.
	Held []Holding

	// Exclusive is whether no other process has the worker's connection, and Process is the worker's own.
	Exclusive bool
	Process   Process
}

// Process identifies a process as it sees itself. The zero Process is not known.
type Process struct {
	// PID is its pid in its own namespace, and Start is when it started: field 22 of /proc/self/stat on Linux.
	PID, Start int64
}

// Holding is what a worker holds of one resource when it attaches again.
type Holding struct {
	Resource string

	// Held counts the permits under which work runs.
	Held int64

	// Version is that of the last target applied, in the session's epoch, 0 for none, and Target is that target.
	Version, Target int64

	// Ceiling is the one given under Version, where HasCeiling is true.
	Ceiling    int64
	HasCeiling bool
}

// Report is what a worker says of one resource.
type Report struct {
	Resource string

	// Version is that of the last target applied; 0 before the first.
	Version int64

	// Held counts the permits under which work runs, and Want those and the ones that the worker waits for.
	Held, Want int64

	// Ceiling gives back what is above it, where HasCeiling is true: from sending it the worker starts nothing
	// that would make it hold more, until it applies a version over Version. Every later report at Version
	// repeats it; it may fall but not rise. At least Held.
	Ceiling    int64
	HasCeiling bool

	// Weight is the share against others of the same identity, from 1 to MaxWeight; 0 is 1.
	Weight int

	// Priority is the band, from MinPriority to MaxPriority; a higher one is served first.
	Priority int

	// Guarantee asks for permits that are never given to others while the worker wants them.
	Guarantee int64

	// Need is how many permits the task that waits longest needs at once; 0 is 1.
	Need int64

	// OldestWait is how long the oldest task has waited, where Want is over Held.
	OldestWait time.Duration

	// MeanHold is how long a permit is held on average; 0 while unknown.
	MeanHold time.Duration

	// Usage is what the tasks use, where HasUsage is true.
	Usage    Usage
	HasUsage bool
}

// Usage is what the tasks under a worker's permits use, as it measured it. Times and counts are sums since its
// process started. What is negative is not known.
type Usage struct {
	// Uptime is when it was measured, since the worker's process started.
	Uptime time.Duration

	// CPU is the CPU time of the tasks, Runnable the time in which they ran or waited for a CPU, summed over
	// them, and Permits the time in which permits were held, summed over those.
	CPU, Runnable, Permits time.Duration

	// Memory is what the tasks use now, in bytes, and Grown how many final footprints of a task that is
	// expected to be: the sum over the tasks that run of a share in [0, 1].
	Memory int64
	Grown  float64

	// Duration is how long a task is expected to take.
	Duration time.Duration

	// Starts, Completions and Failures count tasks; those that failed completed too. Throttled counts the
	// refusals for too many requests (429) of Calls calls.
	Starts, Completions, Failures int64
	Calls, Throttled              int64

	// Delayed is how many of the held permits wait until their task may try again.
	Delayed int64
}

// UnknownUsage is that of which nothing is known but when that was.
func UnknownUsage(uptime time.Duration) Usage {
	return Usage{
		Uptime: uptime, CPU: -1, Runnable: -1, Permits: -1, Memory: -1, Grown: -1, Duration: -1,
		Starts: -1, Completions: -1, Failures: -1, Calls: -1, Throttled: -1, Delayed: -1,
	}
}

// ServerFrame is one message of the server to a worker.
type ServerFrame struct {
	// Sequence orders the frames of one stream, from 1.
	Sequence int64

	// Epoch names the life of the server.
	Epoch int64

	// Echo is Sent of the newest frame that the server had received when it sent this one.
	Echo time.Duration

	// Welcome is set in the first frame of a stream only.
	Welcome *Welcome

	// Targets are those that changed.
	Targets []Target

	// Drain is when the server will have ended, where Draining is true.
	Drain    time.Duration
	Draining bool

	// Kicked is why the session was ended by somebody else. Empty when it was not.
	Kicked string
}

// Welcome is what holds for a session.
type Welcome struct {
	Session SessionID
	Epoch   int64

	// Instance identifies one run of the server, and Version names the server's version.
	Instance, Version string

	// TTL is how long the lease holds after the sending of a frame that was echoed; Heartbeat is how often the
	// worker sends at least; Grace is how much longer the server keeps the charge of a silent session.
	TTL, Heartbeat, Grace time.Duration

	// Resumed is whether the versions and targets of the session that the worker had go on.
	Resumed bool

	// Recovery is for how long at most the server still charges for workers of its earlier life.
	Recovery time.Duration
}

// Target is how many permits of a resource a session may hold.
type Target struct {
	Resource string

	// Version orders the targets of one session and resource within an epoch, from 1.
	Version int64

	// Target is how many permits the session may hold; Guarantee how many of them are never given to others
	// while it wants them.
	Target, Guarantee int64

	// Contended is whether others wait, so that a permit that becomes free is to be given back at once.
	Contended bool

	// Fence is where the fences under this version begin; each start takes a later one, up to FenceBlock of them.
	Fence int64

	// Mode says what becomes of work above the target, CancelAfter when it is cancelled.
	Mode        Mode
	CancelAfter time.Duration

	// Binding says why the target is not higher, for people. Empty when the session has all that it wants.
	Binding string

	// Refused is the reason when the resource cannot be had; see [Refusal].
	Refused Refusal

	// Most is how many permits one piece of work can have, where the session needs more at once and can have that
	// only if an operator changes something; else 0.
	Most int64

	// Wait estimates the wait for one more permit, where HasWait is true.
	Wait    time.Duration
	HasWait bool

	// ReportWithin is for how long a worker may put off its report of a target that is lower than the one before it,
	// as nobody waits for what that takes back; 0 where the report is due at once.
	ReportWithin time.Duration
}

// Refusal is why a session cannot have a resource at all. Its text is that of docs/errors.md.
type Refusal string

// The refusals.
const (
	RefusedNoResource Refusal = "NO_RESOURCE" // there is no such resource
	RefusedNotAllowed Refusal = "NOT_ALLOWED" // the identity may not lease it
	RefusedTooMany    Refusal = "RESOURCES"   // the session has MaxReports others
)
