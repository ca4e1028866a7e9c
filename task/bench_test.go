package task_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/task"
)

// crowd is a world of that many tasks of so many processes each.
func crowd(t *testing.T, tasks, processes int) *world {
	w := newWorld(t, task.Config{History: 10 * time.Minute})
	pid := int32(100)
	for i := range tasks {
		root := pid
		for range processes {
			w.procs = append(w.procs, proc{pid: pid, parent: root, session: 1, start: 1})
			pid++
		}
		w.procs[len(w.procs)-processes].parent = 1
		w.register(fmt.Sprint(i), task.Process{Name: "p", PID: root, Start: 1})
	}
	return w
}

func (w *world) observe(p *task.Pass) {
	w.now += 5 * time.Second
	p.At = w.now
	if err := w.m.Observe(*p); err != nil {
		w.t.Fatal(err)
	}
}

var out task.Outside

func outside(uint64) *task.Outside { return &out }

func TestObserveAllocatesNothing(t *testing.T) {
	w := crowd(t, 50, 20)
	p := task.Pass{Processes: w.table(), Outside: outside}
	for range 500 { // until the histories have their size
		w.observe(&p)
	}
	if n := testing.AllocsPerRun(100, func() { w.observe(&p) }); n > 0 {
		t.Errorf("%v allocations a pass, want 0", n)
	}
}

func BenchmarkObserve(b *testing.B) {
	for _, size := range []struct{ tasks, processes int }{{1, 10}, {1, 1000}, {1, 5000}, {500, 3}} {
		b.Run(fmt.Sprintf("tasks=%d/processes=%d", size.tasks, size.processes), func(b *testing.B) {
			w := crowd(new(testing.T), size.tasks, size.processes)
			p := task.Pass{Processes: w.table(), Outside: outside}
			for range 300 {
				w.observe(&p)
			}
			b.ReportAllocs()
			for b.Loop() {
				w.observe(&p)
			}
		})
	}
}
