package pool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/headroom-rpc/headroom/limit"
	"github.com/headroom-rpc/headroom/permit"
	"github.com/headroom-rpc/headroom/snapshot"
)

// The defaults. Where the profiles differ, [Options] says so.
const (
	DefaultDesiredRatio      = 0.9
	DefaultStepRatio         = 0.05
	DefaultAutoscaleInterval = 10 * time.Second
	DefaultLogInterval       = time.Minute
	DefaultReadyInterval     = 500 * time.Millisecond
	DefaultGrace             = 10 * time.Second
)

// ErrorMode says what becomes of the tasks that run when one has failed.
type ErrorMode uint8

// The modes.
const (
	// ErrorDefault is ErrorCancel, and ErrorDrain in ProfileCrawleePython.
	ErrorDefault ErrorMode = iota
	// ErrorCancel ends their contexts, and waits for them up to [Options.Grace].
	ErrorCancel
	// ErrorDrain lets them end by themselves.
	ErrorDrain
)

// Options says what a [Pool] runs and how many at once. The zero value of every field is its default.
type Options struct {
	// Run is one task. It is called concurrently, and is expected to find its work by itself. Nil for the forms that
	// are given their work: [ForEach], [Map] and [Group].
	Run func(ctx context.Context) error

	// Ready says whether there is work for one more task. It is asked before each start, never concurrently; after it
	// said false it is asked again when a task ends, after [Pool.Notify], and every ReadyInterval. It may be asked before
	// the task that was started last has taken its work, and so a task may find none. Nil means that there is work until
	// Finished says otherwise, which is then asked before each start.
	Ready func(ctx context.Context) (bool, error)

	// Finished says whether there will be no more work; then Run returns. It is asked only when no task runs and Ready
	// has just said false, unless Ready is nil. Nil means that there is none as soon as that is so; without Ready the
	// pool then runs until it is stopped.
	Finished func(ctx context.Context) (bool, error)

	// Profile selects the rules. The default is ProfileHeadroom.
	Profile Profile

	// Min is how many tasks run even under overload, as far as there is work, at least 1. The default is 1. Permits
	// do not guarantee it.
	Min int64

	// Max is how many tasks run at most, at least Min. The default is as many as the law lets, 100 in
	// ProfileCrawleePython and 200 in ProfileCrawleeJS.
	Max int64

	// Desired is how many tasks may run at first, from Min to Max; ProfileCrawleeJS takes what is outside for the
	// nearest. The default is what the law says; without a Law 10 in ProfileCrawleePython and Min in ProfileCrawleeJS.
	// As in crawlee-python a Min over 10 or a Max under it is then refused.
	Desired int64

	// Weight is how many permits a call of Run takes, at least 1. The default is 1. Min, Max and Desired count
	// permits. One task always runs, however heavy.
	Weight int64

	// MaxTasksPerMinute is how many tasks start in any 60 s, at least 1; more than 0 in ProfileCrawleePython, which
	// spaces them evenly. The default, 0, is no bound, and so is +Inf.
	MaxTasksPerMinute float64

	// Starts bounds the rate of starts by a token bucket. The zero value is no bound.
	Starts Rate

	// DesiredRatio is the share of the desired concurrency that must be in use before the crawlee profiles raise it,
	// over 0 and under 1. The default is 0.9.
	DesiredRatio float64

	// StepUpRatio and StepDownRatio are the shares of the desired concurrency by which the crawlee profiles raise or
	// lower it, in (0, 1]. The defaults are 0.05.
	StepUpRatio, StepDownRatio float64

	// AutoscaleInterval is the time between two steps of the crawlee profiles. The default is 10 s; 5 to 20 s are
	// advised, and under 1 s is warned of.
	AutoscaleInterval time.Duration

	// LogInterval is the time between two lines of the log about the pool. The default is 1 minute.
	LogInterval time.Duration

	// ReadyInterval is how often Ready is asked while nothing else happens. The default is 500 ms.
	ReadyInterval time.Duration

	// TaskTimeout is how long a task may take. Its context then ends with a [*TimeoutError], which is its error
	// whatever it returns; ProfileCrawleePython logs it and goes on. The default, 0, is no bound. A task that does
	// not end with its context keeps its permits.
	TaskTimeout time.Duration

	// Grace is how long Run waits for tasks whose contexts were ended. The default is 10 s.
	Grace time.Duration

	// OnError says what becomes of the tasks that run when one has failed.
	OnError ErrorMode

	// Law decides the limit. The default is that of the profile. A Law belongs to one pool.
	Law limit.Law

	// Shadow are laws that are computed and reported by [Pool.Stats], not applied.
	Shadow []limit.Law

	// Snapshotter judges the machine; the caller runs it. Nil means that only what the Go runtime tells of this
	// process is known, which the crawlee profiles take for idle.
	Snapshotter *snapshot.Snapshotter

	// Status judges the machine instead of Snapshotter. It must not block, and may be asked concurrently. The crawlee
	// profiles ask before each start.
	Status func() (current, historical snapshot.Status)

	// Usage returns what the tasks use. It is asked ten times a second while some run, and must not block. Nil means
	// that the tasks are goroutines of this process, and that nothing else runs in it that matters.
	Usage func() Usage

	// Host returns what is seen of the machine. It is asked together with Usage, and must not block. Nil means what
	// the Snapshotter sees or, without one, what the Go runtime tells: its processors, and the memory of this process
	// of GOMEMLIMIT where that is set.
	Host func() Host

	// Permits is where the right to run comes from. It takes the place of Law. Nil means that the law decides.
	Permits Permits

	// Memory is the start gate on memory.
	Memory Memory

	// Log gets the state once in LogInterval at info, and warnings. The default discards them.
	Log *slog.Logger

	// Clock is the time that decides; it never goes back. The default is Go's monotonic clock. Timers are Go's.
	Clock func() time.Duration
}

// Rate is a token bucket.
type Rate struct {
	// PerSecond is how many tokens come each second; 0 is no bound.
	PerSecond float64

	// Burst is how many tokens it holds, at least 1. The default is 1.
	Burst int64
}

// unlimited stands for no maximum.
const unlimited = permit.MaxLimit

// withDefaults returns o with all defaults in place. It changes nothing that validate would refuse.
func (o Options) withDefaults() Options {
	maximum, desired := int64(unlimited), int64(0)
	switch o.Profile {
	case ProfileCrawleePython:
		maximum, desired = 100, 10
	case ProfileCrawleeJS:
		maximum, desired = 200, 1
	}
	setDefault(&o.Min, 1)
	if o.Max == 0 {
		o.Max = maximum
		if o.Profile != ProfileCrawleePython { // whose defaults contradict what is set as numbers would
			o.Max = max(maximum, o.Min)
		}
	}
	if o.Law != nil || o.Min > o.Max { // which is the one fault
		desired = 0
	}
	if o.Desired == 0 && desired > 0 || o.Profile == ProfileCrawleeJS && o.Desired > 0 {
		if o.Desired == 0 {
			o.Desired = desired
		}
		if o.Profile == ProfileCrawleeJS {
			o.Desired = min(max(o.Desired, o.Min), o.Max)
		}
	}
	setDefault(&o.Weight, 1)
	setDefault(&o.DesiredRatio, DefaultDesiredRatio)
	setDefault(&o.StepUpRatio, DefaultStepRatio)
	setDefault(&o.StepDownRatio, DefaultStepRatio)
	setDefault(&o.AutoscaleInterval, DefaultAutoscaleInterval)
	setDefault(&o.LogInterval, DefaultLogInterval)
	setDefault(&o.ReadyInterval, DefaultReadyInterval)
	setDefault(&o.Grace, DefaultGrace)
	for _, d := range []*time.Duration{&o.AutoscaleInterval, &o.LogInterval, &o.ReadyInterval, &o.Grace} {
		*d = min(*d, maxWait) // the longest mean for ever
	}
	if o.OnError == ErrorDefault {
		o.OnError = ErrorCancel
		if o.Profile == ProfileCrawleePython {
			o.OnError = ErrorDrain
		}
	}
	if o.Starts.PerSecond > 0 {
		setDefault(&o.Starts.Burst, 1)
	}
	if math.IsInf(o.MaxTasksPerMinute, 1) {
		o.MaxTasksPerMinute = 0
	}
	o.Memory = o.Memory.withDefaults()
	o.Memory.Off = o.Memory.Off || o.Profile.crawlee()
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = newClock()
	}
	return o
}

// newClock returns Go's monotonic clock.
func newClock() func() time.Duration {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

var errStatusTwice = errors.New("Status: there is a Snapshotter too")

func (o *Options) validate() error {
	var errs []error
	fault := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	fault(o.Profile > ProfileCrawleeJS, "Profile: %d is none", o.Profile)
	fault(o.Run == nil && (o.Ready != nil || o.Finished != nil), "Ready and Finished need Run")
	fault(o.Min < 1 || o.Min > unlimited, "Min: %d: want 1 to %d", o.Min, unlimited)
	fault(o.Max < 1 || o.Max > unlimited, "Max: %d: want 1 to %d", o.Max, unlimited)
	fault(o.Max < o.Min, "Max: %d is less than Min, %d", o.Max, o.Min)
	fault(o.Desired != 0 && (o.Desired < o.Min || o.Desired > o.Max), "Desired: %d: want Min to Max, %d to %d",
		o.Desired, o.Min, o.Max)
	fault(o.Weight < 1 || o.Weight > unlimited, "Weight: %d: want 1 to %d", o.Weight, unlimited)
	least := 1.0
	if o.Profile == ProfileCrawleePython {
		least = math.SmallestNonzeroFloat64
	}
	fault(o.MaxTasksPerMinute != 0 && !(o.MaxTasksPerMinute >= least && o.MaxTasksPerMinute <= maxPerMinute),
		"MaxTasksPerMinute: %v: want %g to %d, or 0 for no bound", o.MaxTasksPerMinute, least, maxPerMinute)
	fault(o.Profile == ProfileCrawleeJS && o.MaxTasksPerMinute != math.Trunc(o.MaxTasksPerMinute),
		"MaxTasksPerMinute: %v: want a whole number", o.MaxTasksPerMinute)
	fault(!(o.Starts.PerSecond >= 0) || math.IsInf(o.Starts.PerSecond, 0), "Starts.PerSecond: %v: want a finite number of at least 0",
		o.Starts.PerSecond)
	fault(o.Starts.Burst < 0 || o.Starts.Burst > unlimited, "Starts.Burst: %d: want 1 to %d", o.Starts.Burst, unlimited)
	fault(o.Starts.Burst != 0 && o.Starts.PerSecond == 0, "Starts.Burst: needs Starts.PerSecond")
	fault(!(o.DesiredRatio > 0 && o.DesiredRatio < 1), "DesiredRatio: %v: want over 0 and under 1", o.DesiredRatio)
	fault(!(o.StepUpRatio > 0 && o.StepUpRatio <= 1), "StepUpRatio: %v: want over 0 and up to 1", o.StepUpRatio)
	fault(!(o.StepDownRatio > 0 && o.StepDownRatio <= 1), "StepDownRatio: %v: want over 0 and up to 1", o.StepDownRatio)
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"AutoscaleInterval", o.AutoscaleInterval}, {"LogInterval", o.LogInterval}, {"ReadyInterval", o.ReadyInterval},
		{"Grace", o.Grace},
	} {
		fault(d.value <= 0, "%s: %v: want more than 0", d.name, d.value)
	}
	fault(o.TaskTimeout < 0, "TaskTimeout: %v: want at least 0", o.TaskTimeout)
	fault(o.OnError > ErrorDrain, "OnError: %d is no mode", o.OnError)
	fault(o.Law != nil && o.Permits != nil, "Law: the Permits decide; give the law to them")
	if o.Snapshotter != nil && o.Status != nil {
		errs = append(errs, errStatusTwice)
	}
	for i, law := range o.Shadow {
		fault(law == nil, "Shadow: law %d is nil", i)
	}
	errs = append(errs, o.Memory.validate())
	return errors.Join(errs...)
}
