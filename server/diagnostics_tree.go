package server

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/headroom-rpc/headroom/diagnostics"
	"github.com/headroom-rpc/headroom/snapshot"
	"github.com/headroom-rpc/headroom/snapshot/host"
)

const (
	// treeFresh is how old a pass over the processes may be that several recordings share.
	treeFresh = 100 * time.Millisecond

	// treeFiles bounds the files that the passes keep open.
	treeFiles = 1024

	// detailShare is how much longer than reading the details took last they are left alone: they take 1 % of a core.
	detailShare = 100
)

// treeReader reads the memory of process trees for all recordings together. It is safe for concurrent use.
type treeReader struct {
	mu      sync.Mutex
	scanner *host.ProcessScanner // nil before the first pass, and after an error
	pass    *snapshot.Processes
	at      time.Time
	watched map[*tree]struct{}
}

func newTreeReader() *treeReader { return &treeReader{watched: make(map[*tree]struct{})} }

// tree is some processes with what they started.
type tree struct {
	reader *treeReader
	roots  []*host.Process
	group  *host.Group // of the first root; nil for none

	members map[int32]uint64 // pid and start, of the pass before; guarded by reader.mu

	mu        sync.Mutex
	detailAt  time.Time // when the details may be read again
	groupPeak int64
}

// open returns the tree of the processes, at least one, which then belong to it.
func (r *treeReader) open(roots []*host.Process) *tree {
	t := &tree{reader: r, roots: roots, members: make(map[int32]uint64)}
	if group, err := roots[0].OwnGroup(); err == nil {
		t.group = group
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watched[t] = struct{}{}
	return t
}

func (t *tree) close() {
	r := t.reader
	r.mu.Lock()
	delete(r.watched, t)
	if len(r.watched) == 0 {
		r.forgetLocked()
	}
	r.mu.Unlock()
	closeProcesses(t.roots)
	if t.group != nil {
		t.group.Close()
	}
}

func closeProcesses(all []*host.Process) {
	for _, p := range all {
		p.Close()
	}
}

func (r *treeReader) forgetLocked() {
	if r.scanner != nil {
		r.scanner.Close()
	}
	r.scanner, r.pass = nil, nil
}

// scanLocked makes a pass unless there is one that is fresh and knows what is needed.
func (r *treeReader) scanLocked(ctx context.Context, all bool) error {
	if r.scanner == nil {
		scanner, err := host.OpenProcesses(treeFiles)
		if err != nil {
			return err
		}
		r.scanner = scanner
	}
	if r.pass != nil && !all && time.Since(r.at) < treeFresh {
		return nil
	}
	pass, err := r.scanner.Scan(ctx, all)
	if err != nil {
		r.forgetLocked()
		return err
	}
	r.pass, r.at = pass, time.Now()
	for t := range r.watched {
		for _, i := range t.findLocked() {
			pass.Watch[i] = true
		}
	}
	return nil
}

// findLocked returns the processes of the tree in the pass: those that descend from a root, those that did before,
// wherever they are now, and those of a root's own session.
func (t *tree) findLocked() []int {
	p := t.reader.pass
	in := make([]bool, p.Len())
	var found []int
	take := func(i int) {
		if i >= 0 && !in[i] {
			in[i] = true
			found = append(found, i)
		}
	}
	for _, root := range t.roots {
		if i := p.Find(int32(root.PID())); i >= 0 && p.Start[i] == root.Start() {
			take(i)
		}
	}
	for pid, start := range t.members {
		if i := p.Find(pid); i >= 0 && p.Start[i] == start {
			take(i)
		}
	}
	for again := len(found) > 0; again; { // a parent may have the greater pid
		again = false
		for i := range p.PID {
			if in[i] {
				continue
			}
			parent := p.Find(p.Parent[i])
			descends := parent >= 0 && in[parent] && p.Start[i] >= p.Start[parent]
			if descends || t.leads(p.Session[i], p.Start[i]) {
				take(i)
				again = true
			}
		}
	}
	clear(t.members)
	for _, i := range found {
		t.members[p.PID[i]] = p.Start[i]
	}
	return found
}

// leads reports whether the session, in which a process began at start, is one of a root.
func (t *tree) leads(session int32, start uint64) bool {
	return slices.ContainsFunc(t.roots, func(root *host.Process) bool {
		return session == int32(root.PID()) && start >= root.Start()
	})
}

// taskRoots returns the root processes of a registered task that the caller may have recorded; none of a task that
// there is not.
func (s *taskService) taskRoots(ctx context.Context, who Identity, id string) []*host.Process {
	s.mu.Lock()
	info, err := s.monitor.Info(id)
	s.mu.Unlock()
	if err != nil || !who.mayChange(info.Owner) {
		return nil
	}
	var roots []*host.Process
	for _, p := range info.Processes {
		root, err := host.OpenProcess(ctx, int(p.PID))
		if err != nil {
			continue // it has ended, or there is only a cgroup
		}
		if root.Start() != p.Start {
			root.Close()
			continue
		}
		roots = append(roots, root)
	}
	return roots
}

// member is one process of a tree.
type member struct {
	pid   int32
	start uint64
}

// memory returns what the processes of the tree use. It returns diagnostics.ErrEnded when none is left.
func (t *tree) memory(ctx context.Context) (diagnostics.Memory, error) {
	m, members, err := t.sum(ctx)
	if err != nil {
		return m, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.group != nil {
		if reading, err := t.group.Read(false); err == nil && reading.MemoryKnown {
			used := reading.Memory
			t.groupPeak = max(t.groupPeak, used)
			peak := t.groupPeak
			m.Cgroup, m.CgroupPeak = &used, &peak
		}
	}
	if began := time.Now(); !began.Before(t.detailAt) {
		details(&m, members)
		t.detailAt = time.Now().Add(detailShare * time.Since(began))
	}
	return m, nil
}

// sum adds up what every pass tells.
func (t *tree) sum(ctx context.Context) (m diagnostics.Memory, members []member, err error) {
	r := t.reader
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.scanLocked(ctx, false); err != nil {
		return m, nil, err
	}
	found := t.findLocked()
	if slices.ContainsFunc(found, func(i int) bool { return !r.pass.Known[i] }) {
		if err := r.scanLocked(ctx, true); err != nil {
			return m, nil, err
		}
		found = t.findLocked()
	}
	p := r.pass
	for _, i := range found {
		if p.Status[i] == snapshot.ProcessZombie {
			continue
		}
		p.Watch[i] = true
		m.RSS += p.RSS[i]
		m.Processes++
		members = append(members, member{p.PID[i], p.Start[i]})
	}
	if m.Processes == 0 {
		return m, nil, diagnostics.ErrEnded
	}
	return m, members, nil
}

// details adds what costs more to read. A sum of which a part is not known is not known.
func details(m *diagnostics.Memory, members []member) {
	var pss, swap int64
	pssKnown, swapKnown := true, true
	for _, of := range members {
		d, err := host.ReadProcessDetail(of.pid, of.start)
		if errors.Is(err, host.ErrNoProcess) {
			continue // it ended since the pass
		}
		pss += d.PSS
		swap += d.Swap
		pssKnown, swapKnown = pssKnown && d.PSSKnown, swapKnown && d.SwapKnown
		if len(members) == 1 && d.PeakKnown {
			m.Peak = &d.Peak
		}
	}
	if pssKnown {
		m.PSS = &pss
	}
	if swapKnown {
		m.Swap = &swap
	}
}
