package task

import (
	"cmp"
	"slices"

	"github.com/headroom-rpc/headroom/snapshot"
)

// forest finds the processes of trees in one pass. Its memory is used again for the next.
type forest struct {
	p *snapshot.Processes

	child, sibling []int32 // indices of the first child and of the next one of the same parent; -1 for none
	mark           []uint32
	stamp          uint32
	stack, found   []int32
	bySession      []int32 // indices in order of session; made when somebody asks
	hasSessions    bool

	gains  []gain  // of what was found, by the account that counted last
	claims []claim // of the accounts of the task with the number of their stamp
	task   uint32
}

// grow takes up a pass. An edge to a parent that is younger than its child is none: the pid was used again.
func (f *forest) grow(p *snapshot.Processes) {
	n := p.Len()
	f.p, f.hasSessions = p, false
	f.child, f.sibling = resize(f.child, n), resize(f.sibling, n)
	f.mark, f.gains, f.claims = resize(f.mark, n), resize(f.gains, n), resize(f.claims, n)
	clear(f.mark)
	clear(f.claims)
	f.stamp, f.task = 0, 0
	for i := range n {
		f.child[i], f.sibling[i] = -1, -1
	}
	for i := n - 1; i >= 0; i-- {
		parent := p.Find(p.Parent[i])
		if parent < 0 || parent == i || p.Start[parent] > p.Start[i] && p.Start[i] != 0 {
			continue
		}
		f.sibling[i] = f.child[parent]
		f.child[parent] = int32(i)
	}
}

func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, n+n/4)
	}
	return s[:n]
}

// begin starts a new search.
func (f *forest) begin() {
	f.stamp++
	f.found = f.found[:0]
}

// take adds a process and its descendants to what was found.
func (f *forest) take(i int32) {
	f.stack = append(f.stack[:0], i)
	for len(f.stack) > 0 {
		i := f.stack[len(f.stack)-1]
		f.stack = f.stack[:len(f.stack)-1]
		if f.mark[i] == f.stamp {
			continue
		}
		f.mark[i] = f.stamp
		f.found = append(f.found, i)
		for c := f.child[i]; c >= 0; c = f.sibling[c] {
			f.stack = append(f.stack, c)
		}
	}
}

// same returns the index of the process, or -1 where it is not there or another has its pid.
func (f *forest) same(pid int32, serial uint64) int32 {
	i := f.p.Find(pid)
	if i < 0 || f.p.Serial[i] != serial {
		return -1
	}
	return int32(i)
}

// session returns the processes of a session.
func (f *forest) session(id int32) []int32 {
	if !f.hasSessions {
		f.bySession = resize(f.bySession, f.p.Len())
		for i := range f.bySession {
			f.bySession[i] = int32(i)
		}
		slices.SortFunc(f.bySession, func(a, b int32) int { return cmp.Compare(f.p.Session[a], f.p.Session[b]) })
		f.hasSessions = true
	}
	from, _ := slices.BinarySearchFunc(f.bySession, id, func(i, id int32) int { return cmp.Compare(f.p.Session[i], id) })
	to := from
	for to < len(f.bySession) && f.p.Session[f.bySession[to]] == id {
		to++
	}
	return f.bySession[from:to]
}

// sorted returns what was found, in order of pid.
func (f *forest) sorted() []int32 {
	slices.Sort(f.found)
	return f.found
}
