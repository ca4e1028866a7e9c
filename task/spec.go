package task

import (
	"errors"
	"fmt"
	"time"
)

// The defaults and bounds.
const (
	DefaultInterval     = 5 * time.Second
	DefaultDiskInterval = time.Minute
	DefaultHistory      = time.Hour
	DefaultKeep         = 10 * time.Minute
	DefaultHistoryBytes = 64 << 20
	DefaultMaxTasks     = 4096

	MinInterval     = time.Second
	MaxInterval     = time.Hour
	MinDiskInterval = 10 * time.Second
	MaxDiskInterval = 24 * time.Hour
	MaxHistory      = 7 * 24 * time.Hour

	// MaxPoints bounds the samples in the history of a task: its span divided by its interval.
	MaxPoints = 10_000

	// MaxProcesses bounds the named processes of a task.
	MaxProcesses = 64
)

var (
	// ErrTimeOrder reports a record that is older than the last one.
	ErrTimeOrder = errors.New("task: the record is older than the last one")

	// ErrNotFound reports a task that there is not, or no longer.
	ErrNotFound = errors.New("task: no such task")

	// ErrNoProcess reports a process that the task does not have.
	ErrNoProcess = errors.New("task: no such process")

	// ErrEnded reports a change to a task that has ended.
	ErrEnded = errors.New("task: the task has ended")

	// ErrFull reports that there are as many tasks as there may be.
	ErrFull = errors.New("task: there are as many tasks as there may be")

	// ErrNoSample reports a task that was not sampled yet, or not at the time asked for.
	ErrNoSample = errors.New("task: no sample")
)

// Config says how tasks are sampled. The zero value of each field is its default.
type Config struct {
	// Interval is the time between two samples of a task that does not ask for another, from 1 s to 1 h, by
	// default 5 s. DiskInterval is that between two of its folder, from 10 s to 24 h, by default 1 min.
	Interval, DiskInterval time.Duration

	// History is how far back the samples of a task are kept that does not ask for another span, up to 7 days, by
	// default 1 h. History divided by Interval is at most 10,000.
	History time.Duration

	// Keep is how long a task is known after it ended, by default 10 min.
	Keep time.Duration

	// HistoryBytes bounds the memory of all histories together, by default 64 MiB. Over it the oldest samples are
	// thinned out, of the largest history first.
	HistoryBytes int64

	// MaxTasks bounds the tasks, those that have ended among them, by default 4,096.
	MaxTasks int
}

// WithDefaults returns c with each zero field replaced by its default.
func (c Config) WithDefaults() Config {
	fill(&c.Interval, DefaultInterval)
	fill(&c.DiskInterval, DefaultDiskInterval)
	fill(&c.History, DefaultHistory)
	fill(&c.Keep, DefaultKeep)
	fill(&c.HistoryBytes, DefaultHistoryBytes)
	fill(&c.MaxTasks, DefaultMaxTasks)
	return c
}

func fill[T comparable](field *T, standard T) {
	var zero T
	if *field == zero {
		*field = standard
	}
}

func (c Config) validate() error {
	errs := []error{checkTimes(c.Interval, c.DiskInterval, c.History)}
	if c.Keep < 0 || c.Keep > MaxHistory {
		errs = append(errs, fmt.Errorf("Keep: %v is not from 0s to %v", c.Keep, MaxHistory))
	}
	if c.HistoryBytes < 1<<20 {
		errs = append(errs, fmt.Errorf("HistoryBytes: %d is less than 1 MiB", c.HistoryBytes))
	}
	if c.MaxTasks < 1 {
		errs = append(errs, fmt.Errorf("MaxTasks: %d is less than 1", c.MaxTasks))
	}
	return errors.Join(errs...)
}

// A FieldError reports a field of a [Spec] or a [Config] that is out of its range.
type FieldError struct{ Field, Text string }

// Error names the field and what it may be.
func (e *FieldError) Error() string { return e.Field + ": " + e.Text }

func checkTimes(interval, disk, history time.Duration) error {
	var errs []error
	check := func(field string, v, least, most time.Duration) {
		if v < least || v > most {
			errs = append(errs, &FieldError{field, fmt.Sprintf("%v is not from %v to %v", v, least, most)})
		}
	}
	check("Interval", interval, MinInterval, MaxInterval)
	check("DiskInterval", disk, MinDiskInterval, MaxDiskInterval)
	check("History", history, interval, MaxHistory)
	if interval > 0 && history/interval > MaxPoints {
		errs = append(errs, &FieldError{"History", fmt.Sprintf("%v every %v are %d samples, more than %d",
			history, interval, history/interval, MaxPoints)})
	}
	return errors.Join(errs...)
}

// Process is one process tree or cgroup of a task.
type Process struct {
	// Name is what the task calls it. Of two with one name the newer one is meant.
	Name string

	// PID and Start identify the root of a tree; see [snapshot.Processes]. PID 0 is none.
	PID   int32
	Start uint64

	// Group is the path of a cgroup that counts for it, or empty.
	Group string
}

// Spec says what a task is.
type Spec struct {
	// ID identifies it. Owner is whose it is. Both are the caller's to choose.
	ID, Owner string

	// Name is what people call it.
	Name string

	// Processes are up to 64.
	Processes []Process

	// Sandbox is a folder whose disk usage is read, or empty. It may come to exist later.
	Sandbox string

	// MemoryLimit is how much memory the task may use, in bytes; 0 for no limit. It is for severity; nothing is
	// enforced.
	MemoryLimit int64

	// Interval, DiskInterval and History replace those of the Config where they are not zero.
	Interval, DiskInterval, History time.Duration
}

// check returns everything that is wrong with s, which has its defaults.
func (s *Spec) check() error {
	errs := []error{checkTimes(s.Interval, s.DiskInterval, s.History)}
	if len(s.Processes) > MaxProcesses {
		errs = append(errs, &FieldError{"Processes", fmt.Sprintf("%d are more than %d", len(s.Processes), MaxProcesses)})
	}
	if s.MemoryLimit < 0 {
		errs = append(errs, &FieldError{"MemoryLimit", fmt.Sprintf("%d bytes is negative", s.MemoryLimit)})
	}
	return errors.Join(errs...)
}
