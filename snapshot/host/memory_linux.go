package host

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/headroom-rpc/headroom/snapshot"
)

const (
	// How soon a limit that changes shows; see turns.
	limitsAfter = time.Second

	// A process seldom moves to another cgroup.
	groupsAfter = 30 * time.Second
)

// A memorySource reads the memory of the host and of the cgroups whose limits hold, from files that it keeps open.
// As long as the cgroups are the same ones, a reading allocates nothing but what the process tree takes. It is not
// safe for concurrent use.
type memorySource struct {
	root, proc, cgroup string
	scope              snapshot.Scope
	meminfo            *kernelFile
	source             string // what was read, for people

	found    []group
	groups   []*memoryGroup // the leaf first
	groupsAt time.Time      // when found was; zero for never
	turns    turns          // whose limits are read
}

// newMemorySource returns a source that has read nothing yet. For root, proc and cgroup see findGroups.
func newMemorySource(root, proc, cgroup string, scope snapshot.Scope) *memorySource {
	return &memorySource{
		root: root, proc: proc, cgroup: cgroup, scope: scope,
		meminfo: newKernelFile(filepath.Join(proc, "meminfo")),
	}
}

// read returns the memory in use now. Where a cgroup limits it and cannot be read, that is an error: the figures
// of the host would be wrong.
func (s *memorySource) read(ctx context.Context, now time.Time) (snapshot.MemoryReading, error) {
	host, err := s.readHost()
	if err != nil {
		return snapshot.MemoryReading{}, fmt.Errorf("read memory of the host: %w", err)
	}
	known := len(s.groups) > 0
	reading, err := s.readGroups(host, now)
	if gone(err) && known {
		// The process was moved to another cgroup and its old one removed, or it was made anew.
		s.closeGroups()
		reading, err = s.readGroups(host, now)
	}
	if gone(err) {
		s.closeGroups() // so that the next reading looks for them again
	}
	if err != nil {
		return snapshot.MemoryReading{}, fmt.Errorf("read memory of the cgroup: %w", err)
	}
	if s.scope == snapshot.ScopeProcess {
		use, err := readTree(ctx, s.proc)
		if err != nil {
			return snapshot.MemoryReading{}, err
		}
		reading.Used, reading.Definition, reading.Source = use.bytes, use.String(), treeSource
	}
	return reading, nil
}

func (s *memorySource) readHost() (hostMemoryInfo, error) {
	text, err := s.meminfo.read()
	if err != nil {
		return hostMemoryInfo{}, err
	}
	host, err := parseMeminfo(text)
	if err != nil {
		return hostMemoryInfo{}, fmt.Errorf("parse %s: %w", s.meminfo.name, err)
	}
	return host, nil
}

// gone reports whether the error says that a cgroup was removed.
func gone(err error) bool { return errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT) }

// readGroups returns the reading of the host and of the cgroups, without what only the process tree can tell.
func (s *memorySource) readGroups(host hostMemoryInfo, now time.Time) (snapshot.MemoryReading, error) {
	if err := s.refresh(host, now); err != nil {
		return snapshot.MemoryReading{}, err
	}
	for _, g := range s.groups {
		if err := g.readUse(host); err != nil {
			return snapshot.MemoryReading{}, err
		}
	}
	tightest, where, err := s.tightest(host)
	if err != nil {
		return snapshot.MemoryReading{}, err
	}
	reading := snapshot.MemoryReading{
		Used: tightest.Used, Total: tightest.Total, Limit: tightest.Limit, Tightest: tightest,
		HostUsed: host.total - host.available, HostTotal: host.total, HostKnown: true,
		Definition: hostWorkingSet, Source: s.source,
	}
	if s.scope == snapshot.ScopeProcess {
		reading.Total, reading.Limit, where = s.least(host)
	}
	if where == nil {
		reading.SwapUsed, reading.SwapTotal, reading.SwapKnown = host.swapUse, host.swapTotal, host.swapKnown
		return reading, nil
	}
	reading.Definition = where.definition
	reading.SwapUsed, reading.SwapTotal, reading.SwapKnown, err = s.readSwap(where, host)
	if err != nil {
		return snapshot.MemoryReading{}, err
	}
	return reading, nil
}

// tightest returns the level that has the fewest bytes left, and its cgroup; nil for the host. It takes what the
// usages say is left at least, and reads only as many memory.stat as can still be the tightest.
func (s *memorySource) tightest(host hostMemoryInfo) (snapshot.MemoryLevel, *memoryGroup, error) {
	least := snapshot.MemoryLevel{Used: host.total - host.available, Total: host.total, Limit: hostMemory}
	var where *memoryGroup
	for left := host.available; ; {
		var next *memoryGroup
		for _, g := range s.groups {
			if !g.exact && g.left < left && (next == nil || g.left < next.left) {
				next = g
			}
		}
		if next == nil {
			return least, where, nil
		}
		level, err := next.level(host)
		if err != nil {
			return snapshot.MemoryLevel{}, nil, err
		}
		if next.left < left {
			least, left, where = level, next.left, next
		}
	}
}

// least returns the least limit on memory, and its cgroup; nil for the host.
func (s *memorySource) least(host hostMemoryInfo) (total int64, limit string, where *memoryGroup) {
	total, limit = host.total, hostMemory
	for _, g := range s.groups {
		if g.memory.limit < total {
			total, limit, where = g.memory.limit, g.memory.text, g
		}
	}
	return total, limit, where
}

// readSwap returns the swap of the cgroup, of which no ancestor may let it have less.
func (s *memorySource) readSwap(where *memoryGroup, host hostMemoryInfo) (used, total int64, known bool, err error) {
	used, total, known, err = where.readSwap(host)
	if where.version == 2 && known {
		for _, g := range s.groups[slices.Index(s.groups, where):] {
			total = min(total, g.swap.limit)
		}
	}
	return used, total, known, err
}

// refresh finds the cgroups and reads their limits anew where it is time to.
func (s *memorySource) refresh(host hostMemoryInfo, now time.Time) error {
	if s.groupsAt.IsZero() || now.Sub(s.groupsAt) >= groupsAfter {
		if err := s.find(); err != nil {
			return err
		}
		s.groupsAt, s.turns = now, turns{}
	}
	for _, g := range s.groups {
		g.fresh = false
	}
	limited := s.limited()
	first, last := s.turns.next(now, limited)
	if last < first {
		return nil
	}
	for _, g := range s.groups[first : last+1] {
		// That of an ancestor on swap alone says no more than how much there is.
		if err := g.readLimits(host.swapTotal > 0 && (first == 0 || g.version == 1)); err != nil {
			return err
		}
	}
	if first > 0 && s.groups[0].version == 2 {
		if err := s.groups[0].memory.readFirst(); err != nil {
			return err
		}
	}
	cover(s.groups)
	s.turns.done(now, first, last)
	return nil
}

// limited returns how many of the groups, from the leaf on, may have limits: the root of all in version 2 has none.
func (s *memorySource) limited() int {
	n := len(s.groups)
	for n > 1 && s.groups[n-1].hasNoLimit() {
		n--
	}
	return n
}

// find finds the cgroups, and keeps the files of those that it knows already.
func (s *memorySource) find() error {
	found, err := findGroups(s.root, s.proc, s.cgroup, "memory")
	switch {
	case errors.Is(err, errNoGroup):
		s.source = fmt.Sprintf("%s; %v", s.meminfo.name, err)
	case err != nil:
		return err
	case len(found) == 0:
		s.source = s.meminfo.name
	default:
		s.source = fmt.Sprintf("%s and cgroup v%d %s", s.meminfo.name, found[0].version, found[0].path)
	}
	if s.groups != nil && slices.Equal(found, s.found) {
		for _, g := range s.groups {
			g.recheck()
		}
		return nil
	}
	s.closeGroups()
	s.found, s.groups = found, memoryGroups(found)
	return nil
}

func (s *memorySource) closeGroups() {
	for _, g := range s.groups {
		g.close()
	}
	s.found, s.groups, s.groupsAt = nil, nil, time.Time{}
}

// close releases the files. A later read opens them again.
func (s *memorySource) close() {
	s.meminfo.close()
	s.closeGroups()
}
