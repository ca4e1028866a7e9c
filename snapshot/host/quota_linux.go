package host

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"
)

// shortest is the least time over which the use of a quota is worked out; a call that follows sooner has the
// figure of the one before.
const shortest = 20 * time.Millisecond

// quotas are the CPU quotas that hold for a process: those of its cgroup and of all ancestors. They are not safe
// for concurrent use.
type quotas struct {
	root, proc, cgroup string // see findGroups
	used               bool   // readUse is called too

	found    []group
	levels   []*quota  // the leaf first
	why      error     // that there is no cgroup
	groupsAt time.Time // when found was; zero for never
	turns    turns     // whose quota is read
}

// A quota is the CPU quota of one cgroup, and the account of its use.
type quota struct {
	group
	max    *kernelFile // cpu.max, or cpu.cfs_quota_us in version 1
	period *kernelFile // cpu.cfs_period_us, in version 1 only
	stat   *kernelFile // cpu.stat
	usage  *kernelFile // cpuacct.usage, in version 1 only
	limit  string      // says which limit it is
	source string      // says what tells its use

	cores float64 // 0 for no quota
	found bool    // max was read before, so it cannot be missing
	turn  bool    // the limit was read with this sample

	// In version 1, where the quota stays the same, its period and the throttling are looked at by turns.
	lastQuota   uint64 // µs
	onThrottled bool   // it is the turn of the throttling

	used    uint64 // ns of CPU time
	usedAt  time.Time
	share   float64 // of the quota, over the time before usedAt
	hasUsed bool    // used is known
	hasUse  bool    // share is known

	counts       quotaUse
	countsAt     time.Time
	throttled    float64 // share of the periods, over the time before countsAt
	hasCounts    bool    // counts are known
	hasThrottled bool    // throttled is known
}

func newQuota(g group) *quota {
	file := func(name string) *kernelFile { return newKernelFile(filepath.Join(g.dir, name)) }
	q := &quota{group: g, stat: file("cpu.stat")}
	if g.version == 1 {
		q.max, q.period = file("cpu.cfs_quota_us"), file("cpu.cfs_period_us")
		q.limit, q.source = "cpu.cfs_quota_us of "+g.path, "cpuacct.usage of "+g.path
	} else {
		q.max = file("cpu.max")
		q.limit, q.source = "cpu.max of "+g.path, "cpu.stat of "+g.path
	}
	return q
}

// refresh finds the cgroups and reads their quotas anew where it is time to.
func (s *quotas) refresh(now time.Time) error {
	if s.groupsAt.IsZero() || now.Sub(s.groupsAt) >= groupsAfter {
		if err := s.find(); err != nil {
			return err
		}
		s.groupsAt, s.turns = now, turns{}
	}
	for _, q := range s.levels {
		q.turn = false
	}
	first, last := s.turns.next(now, s.limited())
	if last < first {
		return nil
	}
	for _, q := range s.levels[first : last+1] {
		if err := q.readLimit(); err != nil {
			return err
		}
		if s.used && q.cores > 0 && q.version == 1 && q.usage == nil {
			var err error
			if q.usage, err = s.findUsage(q); err != nil {
				return err
			}
		}
		q.turn = true
	}
	s.turns.done(now, first, last)
	return nil
}

// limited returns how many of the levels, from the leaf on, may have a quota: the root of all in version 2 has none.
func (s *quotas) limited() int {
	n := len(s.levels)
	for n > 1 && !s.turns.at.IsZero() && !s.levels[n-1].found {
		n--
	}
	return n
}

// find finds the cgroups, and keeps the files of those that it knows already.
func (s *quotas) find() error {
	found, err := findGroups(s.root, s.proc, s.cgroup, "cpu")
	if err != nil && !errors.Is(err, errNoGroup) {
		return err
	}
	s.why = err
	if s.levels != nil && slices.Equal(found, s.found) {
		return nil
	}
	s.close()
	s.found, s.levels = found, make([]*quota, 0, len(found))
	for i, g := range found {
		if i == len(found)-1 && g.version == 1 && g.isRoot() {
			break
		}
		s.levels = append(s.levels, newQuota(g))
	}
	return nil
}

// again reports whether the error says that a cgroup is gone, so that it is worth while to look for the present
// one, and makes the next refresh do so.
func (s *quotas) again(err error, now time.Time) bool {
	if !deleted(err) || now.Sub(s.groupsAt) < limitsAfter {
		return false
	}
	s.close()
	return true
}

// findUsage returns the file that counts the CPU time of the cgroup of version 1. The controllers cpu and cpuacct
// are mounted together, as a rule, or apart.
func (s *quotas) findUsage(q *quota) (*kernelFile, error) {
	const name = "cpuacct.usage"
	together := filepath.Join(q.dir, name)
	if _, err := readOnce(newKernelFile(together)); err == nil {
		return newKernelFile(together), nil
	}
	groups, err := findGroups(s.root, s.proc, s.cgroup, "cpuacct")
	if i := slices.IndexFunc(groups, func(g group) bool { return g.path == q.path }); err == nil && i >= 0 {
		return newKernelFile(filepath.Join(groups[i].dir, name)), nil
	}
	groups, err = findGroups(s.root, s.proc, q.path, "cpuacct")
	if err == nil && len(groups) == 0 {
		err = errNoGroup
	}
	if err != nil {
		return nil, fmt.Errorf("%s is %v CPUs and what it uses is not counted: controller cpuacct: %w", q.limit, q.cores, err)
	}
	return newKernelFile(filepath.Join(groups[0].dir, name)), nil
}

// readLimit reads the quota. A file that never was there is no quota: the controller is not on in the cgroup.
func (q *quota) readLimit() error {
	text, err := q.max.read()
	if errors.Is(err, fs.ErrNotExist) && !q.found {
		q.setCores(0)
		return nil
	}
	if err != nil {
		return err
	}
	q.found = true
	if q.version == 2 {
		cores, err := parseCPUMax(text)
		if err != nil {
			return fmt.Errorf("parse %s: %w", q.max.name, err)
		}
		q.setCores(cores)
		return nil
	}
	µs, err := parseCFSQuota(text)
	if err != nil {
		return fmt.Errorf("parse %s: %w", q.max.name, err)
	}
	if µs == 0 {
		q.setCores(0)
		return nil
	}
	if q.onThrottled = q.cores > 0 && µs == q.lastQuota && !q.onThrottled; q.onThrottled {
		return nil
	}
	if text, err = q.period.read(); err != nil {
		return err
	}
	period, err := parseCount(text)
	if err == nil && period == 0 {
		err = errors.New("a period of 0")
	}
	if err != nil {
		return fmt.Errorf("parse %s: %w", q.period.name, err)
	}
	q.setCores(float64(µs) / float64(period))
	q.lastQuota = µs
	return nil
}

// setCores sets the quota; 0 for none, and then what was used of it is no longer known: a later one is not to be
// compared with the use of a time without any.
func (q *quota) setCores(cores float64) {
	if q.cores = cores; cores == 0 {
		q.hasUsed, q.hasUse, q.hasCounts, q.hasThrottled = false, false, false, false
	}
}

// readUse works out the share of the quota in use since the previous call, and once a second that of the periods
// throttled. It returns errFirst where nothing is known to compare with.
func (q *quota) readUse(now time.Time) error {
	at := time.Now() // now may be long ago by the time that matters here
	var used uint64
	if q.version == 2 {
		stat, err := q.readStat()
		if err != nil {
			return err
		}
		if !stat.hasUsed {
			return fmt.Errorf("parse %s: no usage_usec", q.stat.name)
		}
		used = stat.used * 1000
		if q.isThrottledDue(now) {
			q.noteThrottled(stat, now)
		}
	} else {
		text, err := q.usage.read()
		if err != nil {
			return err
		}
		if used, err = parseCount(text); err != nil {
			return fmt.Errorf("parse %s: %w", q.usage.name, err)
		}
		if q.isThrottledDue(now) {
			stat, err := q.readStat()
			if err != nil {
				return err
			}
			q.noteThrottled(stat, now)
		}
	}
	return q.noteUsed(used, at)
}

func (q *quota) noteUsed(used uint64, at time.Time) error {
	passed := at.Sub(q.usedAt)
	if q.hasUsed && passed < shortest {
		if !q.hasUse {
			return errFirst
		}
		return nil
	}
	if q.hasUsed {
		q.share, q.hasUse = 0, true
		if used > q.used {
			// A group may burst over its quota, and a change of the quota makes the share more than it was.
			q.share = min(float64(used-q.used)/(q.cores*float64(passed)), 1)
		}
	}
	known := q.hasUsed
	q.used, q.usedAt, q.hasUsed = used, at, true
	if !known {
		return errFirst
	}
	return nil
}

func (q *quota) readStat() (cpuStat, error) {
	text, err := q.stat.read()
	if err != nil {
		return cpuStat{}, err
	}
	stat, err := parseCPUStat(text)
	if err != nil {
		return cpuStat{}, fmt.Errorf("parse %s: %w", q.stat.name, err)
	}
	return stat, nil
}

// isThrottledDue reports whether the counts of throttling are worth another look: over less than a second they are
// of a few periods only. In version 1 they are a file of their own, which is read at its turn.
func (q *quota) isThrottledDue(now time.Time) bool {
	return !q.hasThrottled || now.Sub(q.countsAt) >= aSecond && (q.version == 2 || q.turn && q.onThrottled)
}

// noteThrottled works out the share of the periods throttled since the counts before. A cgroup in which nothing
// ran had no periods.
func (q *quota) noteThrottled(stat cpuStat, now time.Time) {
	if !stat.hasQuota {
		q.hasCounts, q.hasThrottled = false, false
		return
	}
	if q.hasCounts {
		q.throttled, q.hasThrottled = 0, true
		if stat.periods > q.counts.periods && stat.throttled > q.counts.throttled {
			q.throttled = min(float64(stat.throttled-q.counts.throttled)/float64(stat.periods-q.counts.periods), 1)
		}
	}
	q.counts, q.countsAt, q.hasCounts = stat.quotaUse, now, true
}

// close releases the files. A later refresh looks for the cgroups again.
func (s *quotas) close() {
	for _, q := range s.levels {
		for _, f := range []*kernelFile{q.max, q.period, q.stat, q.usage} {
			if f != nil {
				f.close()
			}
		}
	}
	s.found, s.levels, s.groupsAt = nil, nil, time.Time{}
}
