package host

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
)

// A cpuSource reads the load of the CPUs: of the host, of those that the cpuset leaves, and of each CPU quota that
// holds. A reading that finds nothing to allocate for allocates nothing. It is not safe for concurrent use.
type cpuSource struct {
	stat, loadavg *kernelFile
	usable        affinity
	quotas        quotas
	subset        string // the source where only some CPUs are usable

	now  statTimes
	kept window[statTimes]

	host     snapshot.CPUReading // what the newest reading of stat told
	hostAt   time.Time           // when that was; zero for nothing
	hostSize int                 // of the text, in bytes
}

// newCPUSource returns a source that has read nothing yet. For root, proc and cgroup see findGroups.
func newCPUSource(root, proc, cgroup string, scope snapshot.Scope) *cpuSource {
	stat := newKernelFile(filepath.Join(proc, "stat"))
	return &cpuSource{
		stat:    stat,
		loadavg: newKernelFile(filepath.Join(proc, "loadavg")),
		usable:  affinity{root: root, proc: proc, cgroup: cgroup, own: scope == snapshot.ScopeProcess},
		quotas:  quotas{root: root, proc: proc, cgroup: cgroup, used: true},
		subset:  stat.name + " of the CPUs in the cpuset",
	}
}

// read returns the load since its previous call, or errFirst. Where there is a quota and its use cannot be read,
// that is an error: the figures of the host would be wrong. Where only those of the host cannot be read, the
// quota's stand alone.
func (s *cpuSource) read(_ context.Context, now time.Time) (snapshot.CPUReading, error) {
	quotaErr := s.readQuotas(now)
	if quotaErr != nil && s.quotas.again(quotaErr, now) {
		// The process may have been moved to another cgroup and its old one removed.
		quotaErr = s.readQuotas(now)
	}
	var reading snapshot.CPUReading
	hostErr := s.readHost(&reading, now)
	if quotaErr != nil && !errors.Is(quotaErr, errFirst) {
		return snapshot.CPUReading{}, fmt.Errorf("read the CPU quota: %w", quotaErr)
	}
	if errors.Is(quotaErr, errFirst) || errors.Is(hostErr, errFirst) {
		return snapshot.CPUReading{}, errFirst
	}
	limited := false
	for _, q := range s.quotas.levels {
		if q.cores == 0 {
			continue
		}
		if hostErr != nil && !limited || q.cores < reading.Cores {
			reading.Cores, reading.Limit = q.cores, q.limit
		}
		if hostErr != nil && !limited || q.share > reading.Used {
			reading.Used, reading.Source = q.share, q.source
		}
		if q.hasThrottled {
			reading.Throttled, reading.ThrottledKnown = max(reading.Throttled, q.throttled), true
		}
		limited = true
	}
	if hostErr != nil && (!limited || errors.Is(hostErr, errNoTime)) {
		return snapshot.CPUReading{}, hostErr
	}
	s.readLoad(&reading)
	return reading, nil
}

// readQuotas brings the quotas and their use up to date.
func (s *cpuSource) readQuotas(now time.Time) error {
	if err := s.quotas.refresh(now); err != nil {
		return err
	}
	first := false
	for _, q := range s.quotas.levels {
		if q.cores == 0 {
			continue
		}
		switch err := q.readUse(now); {
		case errors.Is(err, errFirst):
			first = true
		case err != nil:
			return err
		}
	}
	if first {
		return errFirst
	}
	return nil
}

// statEvery returns the least time between two readings of a /proc/stat of so many bytes. The kernel sums up every
// interrupt of every CPU each time it is read, so on a big host it is dear, and over a second little changes. It is
// less than a second so that a sampler that is early by a little does not see old figures.
func statEvery(size int) time.Duration {
	return min(time.Duration(size>>12)*90*time.Millisecond, 900*time.Millisecond)
}

// readHost sets what /proc/stat tells: over about a second, as it counts in steps of 10 ms.
func (s *cpuSource) readHost(reading *snapshot.CPUReading, now time.Time) error {
	if !s.hostAt.IsZero() && now.Sub(s.hostAt) < statEvery(s.hostSize) {
		*reading = s.host
		return nil
	}
	s.hostAt = time.Time{}
	text, err := s.stat.read()
	if err != nil {
		return fmt.Errorf("read CPU times: %w", err)
	}
	if err := s.now.parse(text); err != nil {
		return fmt.Errorf("parse %s: %w", s.stat.name, err)
	}
	base := s.kept.base(now)
	if base == nil {
		s.now.copyTo(s.kept.next(now))
		return errFirst
	}
	s.usable.refresh(now)
	all, busy, ok := s.compare(&base.value, reading)
	if keep := s.kept.next(now); keep != nil {
		s.now.copyTo(keep)
	}
	if !ok {
		return errNoTime
	}
	reading.HostCores, reading.HostKnown = float64(s.now.count), true
	reading.Used, reading.Cores, reading.Limit, reading.Source = reading.HostUsed, reading.HostCores, allCPUs, s.stat.name
	// What the other CPUs do is no matter to one who cannot run there.
	if n := s.usable.count(s.now.online); n < s.now.count {
		reading.Cores, reading.Limit, reading.Source = float64(n), s.usable.limit, s.subset
		if all > 0 {
			reading.Used = busy / all
		}
	}
	s.host, s.hostAt, s.hostSize = *reading, now, len(text)
	return nil
}

// compare sets the shares of the time since the reading before. It returns the ticks of the usable CPUs, all and
// those not idle, and whether any time passed. A CPU that was not there before tells nothing yet.
func (s *cpuSource) compare(before *statTimes, reading *snapshot.CPUReading) (usableAll, usableBusy float64, ok bool) {
	total := s.now.total.since(&before.total)
	all, busy := total.sum()
	if all == 0 {
		return 0, 0, false
	}
	reading.HostUsed = busy / all
	reading.IOWait = float64(total[tickIOWait]) / all
	reading.Steal = float64(total[tickSteal]) / all
	var usable cpuTimes
	for cpu := range s.now.cpus {
		if !s.now.online[cpu] || cpu >= len(before.online) || !before.online[cpu] {
			continue
		}
		times := s.now.cpus[cpu].since(&before.cpus[cpu])
		if all, busy := times.sum(); all > 0 {
			reading.Hottest = max(reading.Hottest, busy/all)
		}
		if s.usable.has(cpu) {
			usable.add(&times)
		}
	}
	usableAll, usableBusy = usable.sum()
	return usableAll, usableBusy, true
}

// readLoad sets the load average and what is runnable, where they can be read.
func (s *cpuSource) readLoad(reading *snapshot.CPUReading) {
	text, err := s.loadavg.read()
	if err != nil {
		return
	}
	if avg, err := parseLoadavg(text); err == nil {
		reading.Load, reading.Runnable, reading.LoadKnown = avg.load, avg.runnable, true
	}
}

// close releases the files. A later read opens them again.
func (s *cpuSource) close() {
	s.stat.close()
	s.loadavg.close()
	s.quotas.close()
}
