package task_test

import (
	"errors"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
	"github.com/headroom-rpc/headroom/task"
)

// nested are a process, its child, and the child of that.
func nested() []proc {
	return []proc{
		{pid: 1},
		{pid: 10, parent: 1, start: 100, user: 4 * time.Second, rss: 100},
		{pid: 11, parent: 10, start: 110, user: 2 * time.Second, rss: 20},
		{pid: 12, parent: 11, start: 120, user: time.Second, rss: 3},
	}
}

func (w *world) add(id string, processes ...task.Process) []uint64 {
	w.t.Helper()
	numbers, err := w.m.AddProcesses(id, processes)
	if err != nil {
		w.t.Fatal(err)
	}
	return numbers
}

var (
	outer = task.Process{Name: "outer", PID: 10, Start: 100}
	inner = task.Process{Name: "inner", PID: 11, Start: 110}
)

// A task counts each process once, whichever of its named processes has it, and however late that is named. What a
// named process uses is what its whole tree does.
func TestNamedProcessWithinAnother(t *testing.T) {
	for name, order := range map[string][2][]task.Process{
		"both at once":           {{outer, inner}, nil},
		"inner one first":        {{inner, outer}, nil},
		"the inner one later":    {{outer}, {inner}},
		"the outer one later":    {{inner}, {outer}},
		"the same process again": {{outer}, {inner, inner, outer}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, task.Config{Interval: time.Second})
			w.procs = nested()
			w.register("t", order[0]...)
			w.pass(0)
			w.pass(time.Second)
			w.add("t", order[1]...)
			w.pass(time.Second)
			w.check("at first", "t", 7*time.Second, map[bool]string{true: "0.000", false: "unknown"}[order[1] == nil], 3)
			w.procs[1].user += 500 * ms
			w.procs[3].user += time.Second
			w.pass(time.Second)
			w.check("a second later", "t", 8500*ms, "1.500", 3)
			s := w.sample("t")
			if s.Usage.RSS != 123 || s.Usage.Threads != 3 {
				t.Errorf("of the task: RSS %d, %d threads, want 123, 3", s.Usage.RSS, s.Usage.Threads)
			}
			for _, p := range s.Processes {
				want := map[string]int64{"outer": 123, "inner": 23}[p.Name]
				cpu := map[string]time.Duration{"outer": 8500 * ms, "inner": 4 * time.Second}[p.Name]
				if p.RSS != want || p.CPU != cpu {
					t.Errorf("of %s: RSS %d, CPU %v; want %d, %v", p.Name, p.RSS, p.CPU, want, cpu)
				}
			}
			past, err := w.m.Sample(w.now, "t", task.Query{Past: true, At: w.now})
			if err != nil || past.Usage.CPU != s.Usage.CPU || past.Usage.RSS != 123 || len(past.Processes) != len(s.Processes) {
				t.Errorf("out of the history: %+v, %v; want %+v", past, err, s)
			}

			// The inner one ends, and its parent waits for it.
			for _, p := range s.Processes {
				if p.Name == "inner" {
					w.outside[p.Number] = &task.Outside{Ended: true}
				}
			}
			w.procs = w.procs[:2]
			w.procs[1].child = 4200 * ms // with 200 ms that no pass has seen
			w.pass(time.Second)
			w.check("after the inner one", "t", 8700*ms, "0.200", 1)
		})
	}
}

// What took room once and was taken off stays in the CPU time of the task.
func TestTimeOfProcessesThatMadeRoom(t *testing.T) {
	w := newWorld(t, task.Config{Interval: time.Second})
	w.procs = []proc{{pid: 1}, {pid: 10, parent: 1, start: 100, user: time.Second}}
	n := w.register("t", outer)
	w.pass(0)
	w.outside[n[0]] = &task.Outside{Ended: true}
	w.procs = []proc{{pid: 1}, {pid: 11, parent: 1, start: 110, user: 2 * time.Second}}
	w.pass(time.Second)
	all := make([]task.Process, task.MaxProcesses)
	for i := range all {
		all[i] = inner
	}
	w.add("t", all...)
	if s, err := w.m.Sample(w.now, "t", task.Query{}); !errors.Is(err, task.ErrNoSample) {
		t.Errorf("a sample of none of the processes that there are: %+v, %v", s, err)
	}
	w.pass(time.Second)
	w.check("with others in its place", "t", 3*time.Second, "unknown", 1)
}

// What a cgroup counts is not counted by a tree that it is a part of, nor by a cgroup that it is in.
func TestCgroupWithinAnother(t *testing.T) {
	group := func(cpu time.Duration, memory int64, pids ...int32) *task.Outside {
		return &task.Outside{GroupKnown: true, PIDs: pids, Group: snapshot.GroupReading{
			CPUKnown: true, CPU: cpu, User: cpu, MemoryKnown: true, Memory: memory,
		}}
	}
	within := task.Process{Name: "g", Group: "/a/b"}
	for name, c := range map[string]struct {
		first, later   task.Process
		memory, before int64 // of the cgroup of the first; whether it is known
		cpu            time.Duration
	}{
		"in a tree":         {first: outer, later: within, cpu: 7 * time.Second},
		"around a tree":     {first: task.Process{Name: "g", Group: "/a"}, later: inner, memory: 500, cpu: 7 * time.Second},
		"in a cgroup":       {first: task.Process{Name: "g", Group: "/a"}, later: within, memory: 500, cpu: 7 * time.Second},
		"the same cgroup":   {first: within, later: within, memory: 500, cpu: 7 * time.Second},
		"beside, by prefix": {first: task.Process{Name: "g", Group: "/a/b"}, later: task.Process{Name: "g", Group: "/a/bc"}, memory: 500, cpu: 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, task.Config{Interval: time.Second})
			w.procs = nested()
			first := w.register("t", c.first)
			later := w.add("t", c.later)
			set := func(more time.Duration) {
				w.outside[first[0]], w.outside[later[0]] = &task.Outside{}, &task.Outside{}
				if c.first.Group != "" {
					w.outside[first[0]] = group(7*time.Second+more, 500, 10, 11, 12)
				}
				if c.later.Group != "" {
					w.outside[later[0]] = group(3*time.Second+more, 60, 11, 12)
				}
			}
			set(0)
			w.pass(0)
			w.check("at first", "t", c.cpu, "unknown", 3)
			w.procs[3].user += time.Second
			set(time.Second)
			w.pass(time.Second)
			rate := "1.000"
			if c.cpu > 7*time.Second {
				c.cpu, rate = c.cpu+time.Second, "2.000"
			}
			w.check("a second later", "t", c.cpu+time.Second, rate, 3)
			u := w.sample("t").Usage
			want, known := c.memory, c.first.Group != "" && c.later.Group != ""
			if rate == "2.000" {
				want += 60
			}
			if u.GroupKnown != known || known && u.Group != want {
				t.Errorf("memory of the cgroups: %d, known %v; want %d, %v", u.Group, u.GroupKnown, want, known)
			}
		})
	}
}

// A cgroup that is named later brings the time that the tree around it has counted.
func TestCgroupNamedLater(t *testing.T) {
	w := newWorld(t, task.Config{Interval: time.Second})
	w.procs = nested()
	w.register("t", outer)
	w.pass(0)
	n := w.add("t", task.Process{Name: "g", Group: "/a"})
	w.outside[n[0]] = &task.Outside{GroupKnown: true, PIDs: []int32{11, 12}, Group: snapshot.GroupReading{
		CPUKnown: true, CPU: 3 * time.Second, User: 3 * time.Second,
	}}
	w.pass(time.Second)
	w.check("when it is named", "t", 7*time.Second, "unknown", 3)
}

// The PSS of a part is that of the whole too; where trees are in each other but in part, that of the task is unknown.
func TestPSSOfNamedProcessWithinAnother(t *testing.T) {
	w := newWorld(t, task.Config{Interval: time.Second})
	w.procs = nested()
	n := append(w.register("t", inner), w.add("t", outer)...)
	w.pass(0)
	w.m.SetPSS(w.now, "t", n[0], 20, true)
	w.m.SetPSS(w.now, "t", n[1], 100, true)
	if u := w.sample("t").Usage; u.PSS != 100 || !u.PSSKnown {
		t.Errorf("PSS of the task %d, known %v, want 100, true", u.PSS, u.PSSKnown)
	}
	more := w.add("t", task.Process{Name: "crossing", Group: "/a"})
	w.procs = append(w.procs, proc{pid: 20, parent: 1, start: 200})
	w.outside[more[0]] = &task.Outside{PIDs: []int32{12, 20}}
	w.pass(time.Second)
	w.m.SetPSS(w.now, "t", more[0], 10, true)
	if u := w.sample("t").Usage; u.PSSKnown {
		t.Errorf("PSS of crossing trees %d, want it to be unknown", u.PSS)
	}
}

// What is found to count twice all at once is in no rate.
func TestRateWhenAPartIsNamedAgain(t *testing.T) {
	w := newWorld(t, task.Config{Interval: time.Second})
	w.procs = nested()
	w.register("t", outer, inner)
	w.pass(0)
	w.pass(time.Second)
	w.add("t", inner)
	w.pass(time.Second)
	w.procs[1].user += 300 * ms
	w.pass(500 * ms)
	w.check("soon after", "t", 7300*ms, "0.200", 3) // over the last 1.5 s
}

// A process that comes to a tree from elsewhere is counted by whoever did before.
func TestNamedProcessJoinsAnother(t *testing.T) {
	w := newWorld(t, task.Config{Interval: time.Second})
	w.procs = append(nested(), proc{pid: 20, parent: 1, start: 150, user: time.Second})
	w.register("t", outer, task.Process{Name: "guest", PID: 20, Start: 150})
	w.pass(0)
	w.check("apart", "t", 8*time.Second, "unknown", 4)
	w.procs[4].parent = 10
	w.procs[4].user += 500 * ms
	w.pass(time.Second)
	w.check("together", "t", 8500*ms, "0.500", 4)
}
