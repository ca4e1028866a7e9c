package task_test

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
	"github.com/headroom-rpc/headroom/task"
)

const ms = time.Millisecond

// proc is a process that a test made up.
type proc struct {
	pid, parent, session int32
	start                uint64
	user, child          time.Duration
	rss                  int64
	status               snapshot.ProcessStatus
	unread               bool
}

// world is a host and the Monitor that looks at it.
type world struct {
	t       *testing.T
	m       *task.Monitor
	now     time.Duration
	procs   []proc
	outside map[uint64]*task.Outside
	watched []int32 // by the last pass
}

func newWorld(t *testing.T, c task.Config) *world {
	t.Helper()
	m, err := task.NewMonitor(c)
	if err != nil {
		t.Fatal(err)
	}
	return &world{t: t, m: m, now: time.Hour, outside: map[uint64]*task.Outside{}}
}

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func (w *world) wall() time.Time { return epoch.Add(w.now) }

func (w *world) register(id string, processes ...task.Process) []uint64 {
	w.t.Helper()
	numbers, err := w.m.Register(w.now, w.wall(), task.Spec{ID: id, Processes: processes})
	if err != nil {
		w.t.Fatal(err)
	}
	return numbers
}

// table returns what a pass would see, in the unit of 10 ms.
func (w *world) table() *snapshot.Processes {
	p := &snapshot.Processes{Began: uint64(w.now / (10 * ms))}
	slices.SortFunc(w.procs, func(a, b proc) int { return cmp.Compare(a.pid, b.pid) })
	for _, one := range w.procs {
		status := one.status
		if status == snapshot.ProcessUnknown {
			status = snapshot.ProcessSleeping
		}
		p.Append(snapshot.ProcessEntry{
			PID: one.pid, Parent: one.parent, Session: one.session, Start: one.start, Serial: uint64(one.pid)<<40 | one.start, Known: !one.unread,
			User: one.user, ChildUser: one.child, RSS: one.rss, Threads: 1, Status: status,
		})
	}
	return p
}

// pass lets time pass, and then the Monitor look.
func (w *world) pass(d time.Duration) {
	w.t.Helper()
	w.now += d
	p := w.table()
	err := w.m.Observe(task.Pass{At: w.now, Time: w.wall(), Processes: p, All: true, Outside: func(n uint64) *task.Outside {
		if out := w.outside[n]; out != nil {
			return out
		}
		return new(task.Outside)
	}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.watched = w.watched[:0]
	for i, watch := range p.Watch {
		if watch {
			w.watched = append(w.watched, p.PID[i])
		}
	}
}

func (w *world) sample(id string) task.Sample {
	w.t.Helper()
	s, err := w.m.Sample(w.now, id, task.Query{})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// check compares the sum of a task with what it should be.
func (w *world) check(step, id string, cpu time.Duration, rate string, processes int32) {
	w.t.Helper()
	u := w.sample(id).Usage
	got := "unknown"
	if u.RateKnown {
		got = fmt.Sprintf("%.3f", u.Rate)
	}
	if !u.Known || u.CPU != cpu || got != rate || u.Processes != processes {
		w.t.Errorf("%s: known %v, CPU %v, rate %s, %d processes; want %v, %s, %d",
			step, u.Known, u.CPU, got, u.Processes, cpu, rate, processes)
	}
}
