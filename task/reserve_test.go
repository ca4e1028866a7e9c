package task_test

import (
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/task"
)

func TestReserve(t *testing.T) {
	w := newWorld(t, task.Config{Interval: time.Second})
	w.procs = nested() // RSS 100, 20 and 3
	n, err := w.m.Register(w.now, w.wall(), task.Spec{ID: "t", Processes: []task.Process{outer}, MemoryLimit: 200})
	if err != nil {
		t.Fatal(err)
	}
	w.register("unlimited", outer)
	check := func(step, id string, pids []int32, want int64, counts bool) {
		t.Helper()
		if got, ok := w.m.Reserve(w.now, id, pids); got != want || ok != counts {
			t.Errorf("%s: %d, %v, want %d, %v", step, got, ok, want, counts)
		}
	}
	check("before the first sample", "t", nil, 200, true)
	w.pass(0)
	check("sampled", "t", nil, 77, true)
	check("beside workers", "t", []int32{1, 9, 13}, 77, true)
	check("with a worker in it", "t", []int32{1, 12}, 0, false)
	check("without a limit", "unlimited", nil, 0, false)
	check("unknown", "x", nil, 0, false)
	w.procs[1].rss = 1000
	w.pass(time.Second)
	check("over its limit", "t", nil, 0, true)
	w.procs = w.procs[:1]
	w.outside[n[0]] = &task.Outside{Ended: true}
	w.pass(time.Second)
	check("without a process left", "t", nil, 0, false)
}
