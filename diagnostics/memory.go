package diagnostics

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// DefaultMemoryInterval is the time between two samples of a memory log.
const DefaultMemoryInterval = 2 * time.Second

// ErrEnded reports that all of the task that was sampled has ended.
var ErrEnded = errors.New("diagnostics: the task has ended")

// Memory is one reading of what the processes of a task use, all sizes in bytes. nil is what is not known.
type Memory struct {
	// RSS is the sum of their resident sets, in which what they share counts several times.
	RSS int64

	// PSS is the sum of their proportional sets, in which it counts once, and Swap what of them is swapped out.
	PSS, Swap *int64

	// Peak is the greatest RSS that the kernel knows of, where that is one process.
	Peak *int64

	// Cgroup is what the control group of the task uses without its page cache, and CgroupPeak the most that it
	// has used with it, where the task has one of its own.
	Cgroup, CgroupPeak *int64

	// Processes counts them.
	Processes int
}

// A MemoryRecording says how [RecordMemory] samples a task.
type MemoryRecording struct {
	// Interval is the time between two samples, from 100 ms to 1 h. 0 means [DefaultMemoryInterval].
	Interval time.Duration

	// Read reads the task from outside. It returns [ErrEnded] when nothing of it is left, and another error when
	// it cannot tell now. Required.
	Read func(context.Context) (Memory, error)

	// Append takes some lines of the log; after an error the recording ends. Required.
	Append func([]byte) error

	// Ended is closed, if it is not nil, when the task has ended, so that the log need not wait to find out.
	Ended <-chan struct{}
}

// RecordMemory writes a memory log until the task has ended, ctx is done or the log takes no more; it blocks till
// then. The first sample is taken at once and the last one when it ends: of a task that has ended it says that no
// process is left and how much it used at most. The time of each sample is real, not counted in intervals. It
// returns nil, or the error of Append.
func RecordMemory(ctx context.Context, r MemoryRecording) error {
	if r.Interval == 0 {
		r.Interval = DefaultMemoryInterval
	}
	if r.Interval < 100*time.Millisecond || r.Interval > time.Hour {
		return fmt.Errorf("diagnostics: memory interval: %v is not from 100ms to 1h", r.Interval)
	}
	m := &memoryRecorder{MemoryRecording: r, begin: time.Now()}
	if err := r.Append([]byte(memoryHeader)); err != nil {
		return err
	}
	ticker := time.NewTicker(r.Interval)
	defer ticker.Stop()
	for first := true; ; first = false {
		sampling := ctx
		if first {
			sampling = context.WithoutCancel(ctx) // however short the task is, there are two samples
		}
		ended, err := m.sample(sampling)
		if ended || err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-r.Ended:
		case <-ctx.Done():
			_, err := m.sample(context.WithoutCancel(ctx))
			return err
		}
	}
}

type memoryRecorder struct {
	MemoryRecording
	begin time.Time
	peak  int64
	fault string // that the log was told of last
}

// sample appends one line, and reports whether the task has ended.
func (m *memoryRecorder) sample(ctx context.Context) (ended bool, err error) {
	reading, err := m.Read(ctx)
	at := time.Since(m.begin)
	switch {
	case errors.Is(err, ErrEnded):
		return true, m.Append(appendMemory(nil, MemorySample{At: at, Memory: Memory{Peak: &m.peak}}))
	case ctx.Err() != nil && err != nil:
		return false, nil // the last sample follows
	case err != nil:
		if fault := err.Error(); fault != m.fault {
			m.fault = fault
			return false, m.Append(fmt.Appendf(nil, "# %.3f not known: %q\n", at.Seconds(), fault))
		}
		return false, nil
	}
	m.fault = ""
	m.peak = max(m.peak, reading.RSS)
	if reading.Peak != nil {
		m.peak = max(m.peak, *reading.Peak)
	}
	reading.Peak = &m.peak
	return false, m.Append(appendMemory(nil, MemorySample{At: at, Memory: reading}))
}
