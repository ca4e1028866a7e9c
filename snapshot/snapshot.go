// Package snapshot samples how loaded a machine or a process tree is, keeps a short history of what it
// saw, and judges it.
//
// A [Snapshotter] takes one [Snapshot] of each signal at its interval. A [Status] is the time-weighted
// share of overloaded snapshots within a window, against a threshold. Everything that decides is a pure
// function of values and a time; only [Snapshotter.Run] touches clocks and sources. A reading that could
// not be made is unknown, never zero, and a signal whose source died is never judged by its last verdict
// for ever, except where a crawlee profile asks for just that.
package snapshot

import "time"

// Resource is the kind of thing that a signal measures.
type Resource uint8

// The resources. Their numbers equal those of headroom.v1.ResourceKind and never change.
const (
	CPU       Resource = 1
	Memory    Resource = 2
	EventLoop Resource = 3
	Client    Resource = 4
	Pressure  Resource = 5
	Custom    Resource = 6
)

// The names of the built-in signals. A custom signal of one of these names replaces the built-in one.
const (
	SignalCPU       = "cpu"
	SignalMemory    = "memory"
	SignalEventLoop = "event_loop"
	SignalClient    = "client"

	// Pressure stall information, one signal for each resource that tasks wait for.
	SignalPressureCPU    = "pressure_cpu"
	SignalPressureMemory = "pressure_memory"
	SignalPressureIO     = "pressure_io"
)

// String returns the lower-case name of the resource, such as "event_loop", or "unknown".
func (r Resource) String() string {
	switch r {
	case CPU:
		return SignalCPU
	case Memory:
		return SignalMemory
	case EventLoop:
		return SignalEventLoop
	case Client:
		return SignalClient
	case Pressure:
		return "pressure"
	case Custom:
		return "custom"
	default:
		return "unknown"
	}
}

// Unit returns the unit of [Snapshot.Value] for the resource: "ratio", "seconds", "errors", or "" for the
// program's own.
func (r Resource) Unit() string {
	switch r {
	case CPU, Memory, Pressure:
		return "ratio"
	case EventLoop:
		return "seconds"
	case Client:
		return "errors"
	default:
		return ""
	}
}

// Snapshot is one timestamped reading of one signal, with its limit and its verdict. It is a value:
// copying it shares nothing that changes.
type Snapshot struct {
	// Signal is the name of the signal: a built-in one or a custom one.
	Signal string

	// Resource is what the signal measures.
	Resource Resource

	// Time is when the reading was made by the wall clock. It is for people.
	Time time.Time

	// At is when the reading was made by the clock of the Snapshotter. It decides order and durations.
	At time.Duration

	// Unknown says why the reading could not be made. Empty for a good reading; when it is set,
	// Overloaded, Value, Limit and the raw readings are zero and mean nothing.
	Unknown string

	// LastGood is when the last good reading of the signal was made, by the clock of At, where HasLastGood
	// is true. Both are set only while Unknown is.
	LastGood    time.Duration
	HasLastGood bool

	// Overloaded is whether Value is strictly over Limit, by the rules of the profile.
	Overloaded bool

	// Discontinuity is whether the time before this reading must not be judged: it came after a gap of more
	// than three intervals, as after a suspend or a stop, or the clock went back. For the event loop a gap
	// in which the machine did not sleep is a delay instead. The crawlee profiles judge that time all the
	// same.
	Discontinuity bool

	// Value is what was measured and Limit what it was compared with, both in the unit of the resource;
	// see [Resource.Unit]. For memory they are the share of the budget, or the share of the host's memory
	// when only that is over its limit.
	Value, Limit float64

	// Source names what was read and how, for people.
	Source string

	// The raw numbers behind Value. Only the one of Resource is set.
	CPU       CPUReading
	Memory    MemoryReading
	EventLoop EventLoopReading
	Client    ClientReading
	Pressure  PressureReading
	Custom    CustomReading
}

// Known reports whether the reading could be made.
func (s *Snapshot) Known() bool { return s.Unknown == "" }

// CPUReading is the load of the CPUs.
type CPUReading struct {
	// Used is the share of the capacity in use since the previous reading, in [0, 1].
	Used float64

	// Cores is the capacity that Used is a share of; fractional under a quota.
	Cores float64

	// Limit says where Cores comes from, such as "cpu.max of /kubepods/pod1". Empty when that is not known.
	Limit string

	// HostUsed is the share in use of the HostCores logical CPUs of the whole host, Hottest that of the busiest
	// of them, IOWait the share of the host's CPU time that was idle while something waited for I/O, and Steal
	// the share that the hypervisor gave to others, where HostKnown is true.
	HostUsed, HostCores, Hottest, IOWait, Steal float64
	HostKnown                                   bool

	// Throttled is the share of the periods of the CPU quota in which it was used up before the end, where
	// ThrottledKnown is true: there is a quota.
	Throttled      float64
	ThrottledKnown bool

	// Runnable counts the tasks of the host that ran or could have run at the time of the reading, and Load is
	// its load average over one minute, where LoadKnown is true.
	Runnable  int64
	Load      float64
	LoadKnown bool

	// Source names what was read.
	Source string
}

// MemoryReading is the use of memory, in bytes.
type MemoryReading struct {
	// Used is the memory in use within the judged scope.
	Used int64

	// Total is the memory that the scope could use: the effective limit, or the host's memory. Limit says where
	// it comes from, such as "memory.max of /kubepods/pod1"; empty when that is not known.
	Total int64
	Limit string

	// Tightest is the limit that has the least left, of all that hold for the scope. It is what severity
	// judges. Its Limit is empty when it is not known.
	Tightest MemoryLevel

	// SwapUsed and SwapTotal are the swap in use and in all where Total is a limit of, where SwapKnown is true.
	SwapUsed, SwapTotal int64
	SwapKnown           bool

	// Max is the budget that Used is judged against. The Snapshotter sets it; a source leaves it 0.
	Max int64

	// HostUsed and HostTotal are the figures of the whole host, where HostKnown is true.
	HostUsed, HostTotal int64
	HostKnown           bool

	// Definition says what Used counts.
	Definition string

	// Source names what was read.
	Source string
}

// MemoryLevel is the memory of the host or of one cgroup.
type MemoryLevel struct {
	// Used is the working set in bytes: what is in use without the page cache that can be dropped. Total is the
	// limit on it.
	Used, Total int64

	// Limit says which limit that is, such as "memory.max of /kubepods/pod1" or "memory of the host".
	Limit string
}

// LoopSource names a measurement of event-loop delay. The numbers equal those of
// headroom.v1.EventLoopSource and never change.
type LoopSource uint8

// The measurements of event-loop delay.
const (
	LoopTimer     LoopSource = 1 // lateness of the sampler's own timer
	LoopScheduler LoopSource = 2 // the Go scheduler's latency histogram
	LoopProbe     LoopSource = 3 // the 10 ms prober
	LoopReported  LoopSource = 4 // what workers reported
)

// String returns the lower-case name of the measurement, or "unknown".
func (s LoopSource) String() string {
	switch s {
	case LoopTimer:
		return "timer"
	case LoopScheduler:
		return "scheduler"
	case LoopProbe:
		return "probe"
	case LoopReported:
		return "reported"
	default:
		return "unknown"
	}
}

// EventLoopReading is how late timers, the scheduler and the workers' event loops are.
type EventLoopReading struct {
	// Delay is the delay that was judged, and Judged says which of the measurements below it is. It may
	// be negative in the crawlee profiles, as there.
	Delay  time.Duration
	Judged LoopSource

	// TimerLag is how late the sampler's timer was. It is always measured. In the default profile it is 0
	// rather than negative, and 0 after a suspend; see [Snapshot.Discontinuity].
	TimerLag time.Duration

	// SchedulerP99 is the 99th percentile of the Go scheduler's latency over the last second, where
	// SchedulerKnown is true: at least 20 waits were counted.
	SchedulerP99   time.Duration
	SchedulerKnown bool

	// ProbeMax is the greatest lateness of the 10 ms prober since the last snapshot, where ProbeKnown is
	// true: the prober was running.
	ProbeMax   time.Duration
	ProbeKnown bool

	// Reported is the delay that Reporters workers reported, combined by the rule of [Reports].
	Reported  time.Duration
	Reporters int
}

// ClientReading counts the rate-limit errors (HTTP 429) of one retry index.
type ClientReading struct {
	// New counts the errors since the previous snapshot. It is negative after the program's own counter
	// was reset. Where workers report, it is the greater of the program's own and the reported ones,
	// combined by the rule of [Reports].
	New int64

	// Total counts the errors since the start, over the program's own source and the workers that are
	// alive.
	Total int64

	// RetryIndex is the retry on which an error counts; 0 is the first try.
	RetryIndex int

	// Reporters counts the workers that report.
	Reporters int
}

// PressureReading is the share of time lost to waiting (PSI), each in [0, 1].
type PressureReading struct {
	// Stalled is the resource that tasks waited for: CPU, Memory, or 0 for I/O. The Snapshotter sets it.
	Stalled Resource

	// Some is the share in which some task waited, and Full that in which all did, where FullKnown is true.
	// What is judged is Some, and for I/O Full where it is known.
	Some, Full float64
	FullKnown  bool

	// Source names what was read.
	Source string
}

// CustomReading says where a custom value came from.
type CustomReading struct {
	// Reporters counts the workers that reported the signal; 0 for one that the program reads itself.
	Reporters int
}
