package snapshot

import (
	"context"
	"log/slog"
	"time"
)

// Profile selects the rules by which snapshots are made and judged.
type Profile uint8

// The profiles. docs/profiles.md sets them side by side, with the reason for each difference.
const (
	// ProfileHeadroom judges unrounded ratios over exact windows that end now, never bills a gap to
	// anybody, and lets a silent signal become unknown.
	ProfileHeadroom Profile = iota
	// ProfileCrawleePython follows crawlee-python: ratios rounded to three decimals, whole-byte memory
	// budgets, the 97 % rule for the host's memory.
	ProfileCrawleePython
	// ProfileCrawleeJS follows Crawlee for JavaScript: unrounded ratios, intervals of at least 1 ms, three
	// client errors. Late snapshots are put in time order, which Crawlee does not.
	ProfileCrawleeJS
)

// Scope says whose memory is judged.
type Scope uint8

// The scopes.
const (
	// ScopeProcess judges this process and its descendants.
	ScopeProcess Scope = iota
	// ScopeHost judges the whole host.
	ScopeHost
)

// StalePolicy says how a signal is judged whose newest good reading is older than three intervals, or that
// had none for as long since Run began. The crawlee profiles have none: there, as in Crawlee, a dead source
// keeps its last verdict for ever, and one that never answered is idle.
type StalePolicy uint8

// The policies for a stale signal.
const (
	// StaleHold keeps the verdict as it was with the newest good reading until that is older than the
	// history. Then the signal is unknown, and with it the whole unless another is overloaded.
	StaleHold StalePolicy = iota
	// StaleIgnore makes the signal unknown at once, and the whole is judged without it.
	StaleIgnore
	// StaleOverloaded counts the signal as overloaded.
	StaleOverloaded
)

// The defaults, those of Crawlee's Snapshotter.
const (
	DefaultCPUInterval           = time.Second
	DefaultMemoryInterval        = time.Second
	DefaultEventLoopInterval     = 500 * time.Millisecond
	DefaultClientInterval        = time.Second
	DefaultMaxCPURatio           = 0.95
	DefaultMaxMemoryRatio        = 0.9
	DefaultMaxHostMemoryRatio    = 0.97
	DefaultMaxEventLoopDelay     = 50 * time.Millisecond
	DefaultMaxClientErrors       = 1
	DefaultMaxClientErrorsJS     = 3
	DefaultHistory               = 30 * time.Second
	DefaultAvailableMemoryRatio  = 0.25
	DefaultReserveMemoryRatio    = 0.5
	DefaultMemoryWarningCooldown = 10 * time.Second
	DefaultClientRetryIndex      = 2
	DefaultCurrentWindow         = 5 * time.Second
	DefaultCPUOverloadRatio      = 0.4
	DefaultMemoryOverloadRatio   = 0.2
	DefaultLoopOverloadRatio     = 0.6
	DefaultClientOverloadRatio   = 0.3
	DefaultCustomOverloadRatio   = 0.3
	DefaultLogInterval           = time.Minute
)

// The defaults for pressure, which Crawlee does not know. That some task waits for a CPU is what full use of the
// CPUs looks like, so it counts only where it is nearly always so: an idle machine with busy neighbours shows up
// to 0.3, one with more work than CPUs 0.78 to 1. Waiting for memory is work undone or done twice, and a fifth of
// the time is thrashing. For I/O the share counts in which all tasks waited, as that one waits for a disk is
// normal: half of the time nothing got on. The overload ratio is that of the CPU, three of the five snapshots in
// a window of 5 s, so that neither a start of programs nor one slow flush is overload.
const (
	DefaultPressureInterval      = time.Second
	DefaultMaxCPUPressure        = 0.8
	DefaultMaxMemoryPressure     = 0.2
	DefaultMaxIOPressure         = 0.5
	DefaultPressureOverloadRatio = 0.4
)

// Config says what a [Snapshotter] samples and how it judges. The zero value of every field is its
// default, so Config{Sources: host.NewSources(snapshot.ScopeProcess)} is complete.
type Config struct {
	// Profile selects the rules. The default is ProfileHeadroom.
	Profile Profile

	// Scope says whose memory is judged. The default is ScopeProcess.
	Scope Scope

	// Sources reads CPU, memory and pressure. The functions for CPU and memory are required unless the
	// signal is disabled or replaced.
	Sources Sources

	// CPUInterval, MemoryInterval, EventLoopInterval and ClientInterval are the times between two
	// snapshots of a signal, each from 50 ms to 1 minute. The defaults are 1 s, 1 s, 500 ms and 1 s.
	CPUInterval, MemoryInterval, EventLoopInterval, ClientInterval time.Duration

	// PressureInterval is the same for each of the three signals of pressure. The default is 1 s.
	PressureInterval time.Duration

	// MaxCPURatio is the share of the CPU over which a snapshot is overloaded, in (0, 1]. The default is
	// 0.95.
	MaxCPURatio float64

	// MaxMemory is the memory budget in bytes. 0 means AvailableMemoryRatio of the total. It is no more than the
	// total, where that is known, but in the crawlee profiles.
	MaxMemory int64

	// AvailableMemoryRatio is the share of the total memory that is the budget, in (0, 1]. The default is
	// 0.25 in scope process and in the crawlee profiles, as in Crawlee, and 1 otherwise.
	AvailableMemoryRatio float64

	// MaxMemoryRatio is the share of the budget over which a snapshot is overloaded, in (0, 1]. The
	// default is 0.9.
	MaxMemoryRatio float64

	// MaxHostMemoryRatio is the share of the host's memory over which a snapshot is overloaded whatever
	// the budget, in (0, 1]. The default is 0.97. ProfileCrawleeJS has no such rule and ignores it.
	MaxHostMemoryRatio float64

	// ReserveMemoryRatio is the share of the reserve (the budget above MaxMemoryRatio) over which a
	// warning is logged, in (0, 1]. The default is 0.5. It changes no verdict.
	ReserveMemoryRatio float64

	// MemoryWarningCooldown is the least time between two such warnings, from 1 s to 1 h. The default is
	// 10 s.
	MemoryWarningCooldown time.Duration

	// MaxCPUPressure and MaxMemoryPressure are the shares of time over which a snapshot is overloaded in
	// which some task waited for the resource, and MaxIOPressure that in which all tasks waited for I/O;
	// in which some did, where the other is not known. Each is in (0, 1]. The defaults are 0.8, 0.2 and 0.5.
	MaxCPUPressure, MaxMemoryPressure, MaxIOPressure float64

	// MaxEventLoopDelay is the delay over which a snapshot is overloaded, from 1 ms to 1 minute. The
	// default is 50 ms.
	MaxEventLoopDelay time.Duration

	// AlwaysProbe keeps the 10 ms prober of the event loop running; by default it runs only while load is
	// suspected: for 5 s after a CPU snapshot over 0.8 of its limit, or a delay of this program over half
	// of its limit. The crawlee profiles have no prober and ignore it.
	AlwaysProbe bool

	// MaxClientErrors is the number of new rate-limit errors over which a snapshot is overloaded, at
	// least 1. The default is 1, and 3 in ProfileCrawleeJS.
	MaxClientErrors int64

	// ClientRetryIndex is the retry on which an error counts, from 1 to 1000. The default is 2.
	ClientRetryIndex int

	// ClientErrors returns this program's own rate-limit errors since it started, by retry index. It must
	// not block. What it counted before Run began is new to the first snapshot in ProfileCrawleePython
	// only. A panic makes the snapshot unknown. nil means none.
	ClientErrors func() map[int]int64

	// Reports holds what workers report of their own load. Its Put needs the time of Clock, so set that
	// too. nil means that nobody reports.
	Reports *Reports

	// History is how long snapshots are kept, and the length of the historical window, from 5 s to 1 h and
	// at most 4096 times the interval of any signal. The default is 30 s. One snapshot takes about half a
	// KiB.
	History time.Duration

	// CurrentWindow is the length of the current window, from 1 s to History. The default is 5 s.
	CurrentWindow time.Duration

	// CPUOverloadRatio, MemoryOverloadRatio, EventLoopOverloadRatio and ClientOverloadRatio are the shares
	// of a window over which a signal is overloaded, in (0, 1]. The defaults are 0.4, 0.2, 0.6 and 0.3.
	CPUOverloadRatio, MemoryOverloadRatio, EventLoopOverloadRatio, ClientOverloadRatio float64

	// PressureOverloadRatio is the same for each of the three signals of pressure. The default is 0.4.
	PressureOverloadRatio float64

	// Stale is the policy for built-in signals whose source fell silent. The default is StaleHold. For the
	// signals of pressure StaleHold means StaleIgnore, since many a kernel does not measure pressure; with
	// StaleOverloaded, disable them there. The crawlee profiles ignore it.
	Stale StalePolicy

	// Signals are the program's own, at most 256. One with the name of a built-in signal replaces it and
	// keeps its Resource; of the raw numbers of a [Snapshot] it gives only what Value says.
	Signals []Signal

	// Disabled names built-in signals to leave out: those of the constants Signal.... One of pressure may be
	// named where there is none.
	Disabled []string

	// Clock is the time that decides: it never goes back, and best runs through suspend. Should it go back,
	// the default profile forgets what it then seems to know of the future. The default is Go's monotonic
	// clock. It must not block.
	Clock func() time.Duration

	// Ticks, if it is not nil, is called by each Run for what tells when snapshots are due, which is a timer of Go where
	// that returns nil. Package host has one that costs fewer wakeups, but has no part in the time of a bubble of
	// testing/synctest.
	Ticks func() Ticks

	// Log gets the status once a minute at info, every snapshot at debug, and warnings. The default
	// discards them.
	Log *slog.Logger
}

// Sources reads the machine. A function may block until ctx ends, and is never called twice at once. Those that
// answer within 1 ms are called one after the other, so that the machine wakes once for all that is due; one that took
// longer is called on a goroutine of its own until it is prompt again, delays no other signal and skips ticks of its
// own. One that begins to block delays others by one tick, once. An error or a panic makes the snapshot unknown.
type Sources struct {
	// CPU returns the load since its previous call; the first call looks at a short time of its own.
	CPU func(ctx context.Context) (CPUReading, error)

	// Memory returns the present use.
	Memory func(ctx context.Context) (MemoryReading, error)

	// Pressure returns the share of time lost to waiting for a resource (CPU, Memory, or 0 for I/O) since its
	// previous call for it. It may be called for different resources at once. nil means that there are no signals of
	// pressure; the crawlee profiles never have them.
	Pressure func(ctx context.Context, stalled Resource) (PressureReading, error)
}

// Signal is a load signal of the program's own, read at an interval.
type Signal struct {
	// Name is 1 to 64 of a-z, 0-9, '_', '.' and '-', beginning with a letter, and unique.
	Name string

	// Interval is the time between two readings, from 50 ms to 1 minute. The default is 1 s.
	Interval time.Duration

	// OverloadRatio is the share of a window over which the signal is overloaded, in (0, 1]. The default
	// is 0.3, or that of the built-in signal that it replaces.
	OverloadRatio float64

	// Stale is the policy for when Read fails or hangs. The default is StaleHold.
	Stale StalePolicy

	// Read returns the value and its bound, in the same unit; overloaded is strictly over. It may block
	// until ctx ends, as [Sources] may. An error, a panic, or a number that is not finite makes the snapshot unknown.
	// Required.
	Read func(ctx context.Context) (value, limit float64, err error)

	// Source names what is read, for people.
	Source string
}
