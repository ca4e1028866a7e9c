package host

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

const (
	signalThrottled = "cpu_throttled"
	signalRunQueue  = "run_queue_wait"

	// A cgroup that loses half of its periods waits as long as it runs, or longer.
	maxThrottled = 0.5

	// One task waits at each CPU at any time, besides the one that runs.
	maxRunQueueWait = 1
)

// A throttleSource reads which share of the periods of the CPU quota was cut short. It is not safe for concurrent
// use.
type throttleSource struct{ quotas quotas }

// read returns the share since its previous call, or errFirst: of the cgroup that was throttled most.
func (s *throttleSource) read(_ context.Context, now time.Time) (float64, error) {
	share, err := s.readQuotas(now)
	if err != nil && s.quotas.again(err, now) {
		share, err = s.readQuotas(now)
	}
	if err != nil && !errors.Is(err, errFirst) {
		return 0, fmt.Errorf("read the throttling by the CPU quota: %w", err)
	}
	return share, err
}

func (s *throttleSource) readQuotas(now time.Time) (share float64, err error) {
	if err := s.quotas.refresh(now); err != nil {
		return 0, err
	}
	first := false
	for _, q := range s.quotas.levels {
		if q.cores == 0 {
			continue
		}
		stat, err := q.readStat()
		if err != nil {
			return 0, err
		}
		if !stat.hasQuota {
			return 0, fmt.Errorf("parse %s: no nr_periods", q.stat.name)
		}
		q.noteThrottled(stat, now)
		first = first || !q.hasThrottled
		share = max(share, q.throttled)
	}
	if first {
		return 0, errFirst
	}
	return share, nil
}

// A runQueueSource reads how long tasks waited for a CPU. It is not safe for concurrent use.
type runQueueSource struct {
	file   *kernelFile
	last   runQueue
	lastAt time.Time // zero for never
	wait   float64   // since the reading before; for calls that follow too soon
	known  bool      // wait is known
}

func newRunQueueSource(proc string) *runQueueSource {
	return &runQueueSource{file: newRecordFile(filepath.Join(proc, "schedstat"))}
}

// read returns the task-seconds waited in each second for each CPU since its previous call, or errFirst.
func (s *runQueueSource) read(_ context.Context, now time.Time) (float64, error) {
	text, err := s.file.read()
	if err != nil {
		return 0, err
	}
	next, err := parseSchedstat(text)
	if err != nil {
		return 0, fmt.Errorf("parse %s: %w", s.file.name, err)
	}
	passed := now.Sub(s.lastAt)
	switch {
	case s.lastAt.IsZero() || next.cpus != s.last.cpus:
		s.last, s.lastAt = next, now
		return 0, errFirst
	case passed < shortest && !s.known:
		return 0, errFirst
	case passed < shortest:
		return s.wait, nil
	}
	s.wait, s.known = 0, true
	if next.waited > s.last.waited {
		s.wait = float64(next.waited-s.last.waited) / float64(passed) / float64(next.cpus)
	}
	s.last, s.lastAt = next, now
	return s.wait, nil
}

// runQueue is what /proc/schedstat says of all CPUs.
type runQueue struct {
	waited uint64 // ns that tasks waited for a CPU, since boot
	cpus   int
}

// parseSchedstat parses /proc/schedstat (Documentation/scheduler/sched-stats.rst). The eighth number of a line cpuN
// is the time in ns that tasks waited there:
//
//	version 17
//	timestamp 4295892
//	cpu0 0 0 0 0 0 0 3580213000 120934000 42213
//	domain0 MC 3 0 0 …
func parseSchedstat(text []byte) (runQueue, error) {
	const waited = 8
	line, text := cutLine(text)
	if name, version := cutField(line); string(name) != "version" || len(version) == 0 {
		return runQueue{}, fmt.Errorf("%s is no version", quote(line))
	}
	var queue runQueue
	for len(text) > 0 {
		line, text = cutLine(text)
		name, fields := cutField(line)
		if len(name) < 4 || string(name[:3]) != "cpu" {
			continue
		}
		var field []byte
		for range waited {
			field, fields = cutField(fields)
		}
		n, ok := digits(field)
		if !ok || n > math.MaxInt64/maxCPUs || queue.cpus >= maxCPUs {
			return runQueue{}, fmt.Errorf("%s has no time waited", quote(line))
		}
		queue.waited += n
		queue.cpus++
	}
	if queue.cpus == 0 {
		return runQueue{}, errors.New("no CPU")
	}
	return queue, nil
}

// throttledSignal and runQueueSignal make signals of the sources.
func throttledSignal(s *source[float64]) snapshot.Signal {
	return snapshot.Signal{
		Name: signalThrottled, Stale: snapshot.StaleIgnore, Source: "cpu.stat of the cgroups",
		Read: func(ctx context.Context) (value, limit float64, err error) {
			share, err := s.get(ctx)
			return share, maxThrottled, err
		},
	}
}

func runQueueSignal(s *source[float64]) snapshot.Signal {
	return snapshot.Signal{
		Name: signalRunQueue, Stale: snapshot.StaleIgnore, Source: "/proc/schedstat",
		Read: func(ctx context.Context) (value, limit float64, err error) {
			wait, err := s.get(ctx)
			return wait, maxRunQueueWait, err
		},
	}
}
