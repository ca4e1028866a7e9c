package host

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/headroom-rpc/headroom/snapshot"
)

// A memoryGroup is one cgroup's account of memory. It reads the files that it needs and no more.
type memoryGroup struct {
	group
	memory, swap account // what counts as swap: memory and swap together in version 1, swap alone in version 2
	statFile     *kernelFile
	definition   string // of its working set

	// Its memory.stat tells the limits of hidden ancestors, as that of the topmost cgroup of version 1 does. That of one
	// below would tell the limits in between too, which do not hold for this one.
	tellsHidden bool

	// Of the present reading.
	stat  memoryStat
	fresh bool  // stat was read
	left  int64 // at least this much is left; negative over a limit
	exact bool  // left counts the page cache that can be dropped
}

// An account is a number of bytes in use and its limits.
type account struct {
	usage  *kernelFile
	limits []limitFile

	limit   int64 // the least of limits; noLimit for none
	text    string
	covered bool  // an ancestor leaves no more than this
	used    int64 // as last read
}

// A limitFile is a file that holds a limit.
type limitFile struct {
	*kernelFile
	text   string // says which limit it is
	found  bool   // it was read before, so it cannot be missing
	absent bool   // it is not there, which is looked up again with the membership
	value  int64
}

func newMemoryGroup(g group) *memoryGroup {
	file := func(name string) *kernelFile { return newKernelFile(filepath.Join(g.dir, name)) }
	limit := func(name, note string) limitFile {
		return limitFile{kernelFile: file(name), text: fmt.Sprintf("%s of %s%s", name, g.path, note)}
	}
	m := &memoryGroup{
		group:      g,
		statFile:   file("memory.stat"),
		definition: fmt.Sprintf("working set of cgroup %s: usage without inactive page cache", g.path),
	}
	if g.version == 1 {
		m.memory = account{usage: file("memory.usage_in_bytes"), limits: []limitFile{limit("memory.limit_in_bytes", "")}}
		m.swap = account{usage: file("memory.memsw.usage_in_bytes"),
			limits: []limitFile{limit("memory.memsw.limit_in_bytes", " (memory and swap)")}}
	} else {
		m.memory = account{usage: file("memory.current"), limits: []limitFile{limit("memory.max", ""), limit("memory.high", "")}}
		m.swap = account{usage: file("memory.swap.current"), limits: []limitFile{limit("memory.swap.max", "")}}
	}
	m.memory.limit, m.swap.limit = noLimit, noLimit
	return m
}

// memoryGroups returns the accounts of the groups, of which the first is the leaf. Not among them is the root of
// all, which has no limits, and what is above a cgroup that the kernel does not add to its parent: before
// Linux 5.11, where memory.use_hierarchy of the parent is 0.
func memoryGroups(groups []group) []*memoryGroup {
	var all []*memoryGroup
	whole := true // all ancestors are seen
	for i, g := range groups {
		if g.version == 1 {
			if i > 0 && holds(g.dir, "memory.use_hierarchy", "0") {
				break
			}
			if i == len(groups)-1 {
				if g.isRoot() {
					break
				}
				whole = false
			}
		}
		all = append(all, newMemoryGroup(g))
	}
	if !whole {
		top := all[0]
		for _, m := range all[1:] {
			if exists(m.statFile.name) {
				top = m
			}
		}
		top.tellsHidden = true
		name := top.path
		top.memory.limits = append(top.memory.limits, limitFile{text: "hierarchical_memory_limit of " + name})
		top.swap.limits = append(top.swap.limits, limitFile{text: "hierarchical_memsw_limit of " + name + " (memory and swap)"})
	}
	return all
}

func holds(dir, name, text string) bool {
	got, err := readOnce(newKernelFile(filepath.Join(dir, name)))
	return err == nil && strings.TrimSpace(string(got)) == text
}

// readLimits reads the limits anew, those on swap where the host has some.
func (m *memoryGroup) readLimits(swap bool) error {
	if m.tellsHidden {
		if err := m.readStat(); err != nil {
			return err
		}
		m.memory.limits[len(m.memory.limits)-1].value = m.stat.limit
		m.swap.limits[len(m.swap.limits)-1].value = m.stat.swapLimit
	}
	if err := m.memory.readLimits(); err != nil || !swap {
		return err
	}
	return m.swap.readLimits()
}

// cover marks the accounts, the leaf's first, that need not be looked at: where an ancestor has the same limit or a
// lower one, and so has no more left, as it counts what its descendants use.
func cover(groups []*memoryGroup) {
	memory, swap := int64(noLimit), int64(noLimit)
	for _, g := range slices.Backward(groups) {
		g.memory.covered, g.swap.covered = memory <= g.memory.limit, swap <= g.swap.limit
		memory, swap = min(memory, g.memory.limit), min(swap, g.swap.limit)
	}
}

// hasNoLimit reports whether the group had no file with a limit on memory when it was found.
func (m *memoryGroup) hasNoLimit() bool {
	return !slices.ContainsFunc(m.memory.limits, func(l limitFile) bool { return !l.absent })
}

func (a *account) readLimits() error {
	for i := range a.limits {
		if err := a.limits[i].read(); err != nil {
			return err
		}
	}
	a.decide()
	return nil
}

// readFirst reads the first of the limits only.
func (a *account) readFirst() error {
	if err := a.limits[0].read(); err != nil {
		return err
	}
	a.decide()
	return nil
}

// decide sets the limit to the least of all.
func (a *account) decide() {
	a.limit, a.text = noLimit, ""
	for i := range a.limits {
		if l := &a.limits[i]; l.value < a.limit {
			a.limit, a.text = l.value, l.text
		}
	}
}

// read reads the limit. A file that never was there is no limit.
func (l *limitFile) read() error {
	if l.kernelFile == nil {
		return nil // known from elsewhere
	}
	if l.absent {
		return nil
	}
	text, err := l.kernelFile.read()
	if errors.Is(err, fs.ErrNotExist) && !l.found {
		l.absent, l.value = true, noLimit
		return nil
	}
	if err != nil {
		return err
	}
	l.value, err = parseLimit(text)
	if err != nil {
		return fmt.Errorf("parse %s: %w", l.name, err)
	}
	l.found = true
	return nil
}

func (a *account) readUsage() error {
	text, err := a.usage.read()
	if err != nil {
		return err
	}
	a.used, err = parseUsage(text)
	if err != nil {
		return fmt.Errorf("parse %s: %w", a.usage.name, err)
	}
	return nil
}

// readStat reads memory.stat, once for each reading.
func (m *memoryGroup) readStat() error {
	if m.fresh {
		return nil
	}
	text, err := m.statFile.read()
	if err != nil {
		return err
	}
	m.stat, err = parseMemoryStat(text, m.version)
	if err != nil {
		return fmt.Errorf("parse %s: %w", m.statFile.name, err)
	}
	m.fresh = true
	return nil
}

// readUse reads what is in use of the limits that are under what the host has. What is left then is so much or
// more, since the page cache that can be dropped is still counted: to know it is the dearest of the files.
func (m *memoryGroup) readUse(host hostMemoryInfo) error {
	m.left, m.exact = math.MaxInt64, true
	for _, a := range [...]*account{&m.memory, &m.swap} {
		if !m.binds(a, host) {
			continue
		}
		if err := a.readUsage(); err != nil {
			return err
		}
		m.left, m.exact = min(m.left, a.limit-a.used), false
	}
	return nil
}

// binds reports whether the account may limit memory more than the host, the ancestors and the other account do.
func (m *memoryGroup) binds(a *account, host hostMemoryInfo) bool {
	together := m.version == 1 && host.swapTotal > 0 && m.swap.limit < host.total+host.swapTotal &&
		m.swap.limit-m.memory.limit < host.swapUse // the group can use no more swap than is in use
	switch {
	case a.covered:
		return false
	case a == &m.swap:
		return together
	default:
		return a.limit < host.total && !(together && m.swap.limit <= a.limit)
	}
}

// level returns the account that has the least left, exactly.
func (m *memoryGroup) level(host hostMemoryInfo) (snapshot.MemoryLevel, error) {
	if err := m.readStat(); err != nil {
		return snapshot.MemoryLevel{}, err
	}
	var least snapshot.MemoryLevel
	m.left, m.exact = math.MaxInt64, true
	for _, a := range [...]*account{&m.memory, &m.swap} {
		if !m.binds(a, host) {
			continue
		}
		used := max(a.used-m.stat.inactiveFile, 0)
		if a.limit-used < m.left {
			m.left = a.limit - used
			least = snapshot.MemoryLevel{Used: used, Total: a.limit, Limit: a.text}
		}
	}
	return least, nil
}

// readSwap returns the swap in use by the cgroup, and what it may use of the host's: known is false where the
// kernel does not count it.
func (m *memoryGroup) readSwap(host hostMemoryInfo) (used, total int64, known bool, err error) {
	switch {
	case host.swapTotal == 0:
		return 0, 0, true, nil
	case m.version == 1:
		if err := m.readStat(); err != nil || !m.stat.swapKnown {
			return 0, 0, false, err
		}
		total = m.swap.limit // of both together
		if m.memory.limit <= total {
			total -= m.memory.limit
		}
		return m.stat.swap, min(total, host.swapTotal), true, nil
	case !m.swap.limits[0].found:
		return 0, 0, false, nil
	}
	if err := m.swap.readUsage(); err != nil {
		return 0, 0, false, err
	}
	return m.swap.used, min(m.swap.limit, host.swapTotal), true, nil
}

func (m *memoryGroup) close() {
	m.statFile.close()
	for _, a := range [...]*account{&m.memory, &m.swap} {
		a.usage.close()
		for _, l := range a.limits {
			if l.kernelFile != nil {
				l.close()
			}
		}
	}
}

// recheck has limits that were not there looked for again.
func (m *memoryGroup) recheck() {
	for _, a := range [...]*account{&m.memory, &m.swap} {
		for i := range a.limits {
			a.limits[i].absent = false
		}
	}
}
