package task_test

import (
	"slices"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
	"github.com/headroom-rpc/headroom/task"
)

// at returns a start time, in the unit of the tables.
func at(d time.Duration) uint64 { return uint64(d / (10 * ms)) }

func TestTreeOfProcesses(t *testing.T) {
	w := newWorld(t, task.Config{})
	w.procs = []proc{
		{pid: 1, session: 1},
		{pid: 10, parent: 1, session: 10, start: 100, user: 4 * time.Second, rss: 10, status: snapshot.ProcessRunning},
		{pid: 11, parent: 10, session: 10, start: 110, user: time.Second, rss: 5},
		{pid: 12, parent: 11, session: 10, start: 120, child: time.Second, rss: 1},
		{pid: 20, parent: 1, session: 21, start: 90, user: time.Hour}, // of the session that the root was born in
		{pid: 30, parent: 10, start: 50, user: time.Hour},             // its parent was another with the pid
	}
	for i := 1; i <= 3; i++ {
		w.procs[i].session = 21 // not of their own making
	}
	w.register("t", task.Process{Name: "p", PID: 10, Start: 100})
	w.pass(0)
	w.check("at first", "t", 6*time.Second, "unknown", 3)
	u := w.sample("t").Usage
	if u.RSS != 16 || u.Threads != 3 || u.Status != snapshot.ProcessRunning || !u.StatusKnown {
		t.Errorf("usage %+v", u)
	}
	if !slices.Equal(w.watched, []int32{10, 11, 12}) {
		t.Errorf("watched %v, want 10, 11, 12", w.watched)
	}
	w.procs[1].user += 500 * ms
	w.procs[3].user += 500 * ms
	w.pass(5 * time.Second)
	w.check("after 1 s in 5 s", "t", 7*time.Second, "0.200", 3)
}

func TestTimeOfProcesses(t *testing.T) {
	root := proc{pid: 10, parent: 1, start: 100, user: time.Second}
	type step struct {
		name  string
		procs []proc
		cpu   time.Duration
		rate  string
		n     int32
	}
	start := at(time.Hour)
	for name, steps := range map[string][]step{
		"a child that ended was waited for": {
			{"at first", []proc{root, {pid: 11, parent: 10, start: 200, user: time.Second}}, 2 * time.Second, "unknown", 2},
			{"after", []proc{{pid: 10, parent: 1, start: 100, user: time.Second, child: 3 * time.Second}}, 4 * time.Second, "2.000", 1},
			{"later", []proc{{pid: 10, parent: 1, start: 100, user: 2 * time.Second, child: 3 * time.Second}}, 5 * time.Second, "1.000", 1},
		},
		"a child that nobody waited for": {
			{"at first", []proc{root, {pid: 11, parent: 10, start: 200, user: time.Second}}, 2 * time.Second, "unknown", 2},
			{"after", []proc{root}, 2 * time.Second, "0.000", 1},
			{"later", []proc{{pid: 10, parent: 1, start: 100, user: 2 * time.Second}}, 3 * time.Second, "1.000", 1},
		},
		"a child that lived between two passes": {
			{"at first", []proc{root}, time.Second, "unknown", 1},
			{"after", []proc{{pid: 10, parent: 1, start: 100, user: time.Second, child: 700 * ms}}, 1700 * ms, "0.700", 1},
		},
		"the child is gone before its time turns up": {
			{"at first", []proc{root, {pid: 11, parent: 10, start: 200, user: time.Second}}, 2 * time.Second, "unknown", 2},
			{"torn", []proc{root}, 2 * time.Second, "0.000", 1},
			{"then", []proc{{pid: 10, parent: 1, start: 100, user: time.Second, child: 1500 * ms}}, 2500 * ms, "0.500", 1},
		},
		"a child and a grandchild end": {
			{"at first", []proc{root, {pid: 11, parent: 10, start: 200, user: time.Second},
				{pid: 12, parent: 11, start: 300, user: time.Second}}, 3 * time.Second, "unknown", 3},
			{"after", []proc{{pid: 10, parent: 1, start: 100, user: time.Second, child: 2200 * ms}}, 3200 * ms, "0.200", 1},
		},
		"a new child counts from its birth": {
			{"at first", []proc{root}, time.Second, "unknown", 1},
			{"after", []proc{root, {pid: 11, parent: 10, start: start + 50, user: 300 * ms, child: 100 * ms}}, 1400 * ms, "0.400", 2},
		},
		"one that joins late does not count its life": {
			{"at first", []proc{root}, time.Second, "unknown", 1},
			{"after", []proc{root, {pid: 11, parent: 10, start: start - 500, user: time.Hour}}, time.Second, "0.000", 2},
			{"later", []proc{root, {pid: 11, parent: 10, start: start - 500, user: time.Hour + 100*ms}}, 1100 * ms, "0.100", 2},
		},
		"another with the pid of a child": {
			{"at first", []proc{root, {pid: 11, parent: 10, start: 200, user: time.Hour}}, time.Hour + time.Second, "unknown", 2},
			{"after", []proc{root, {pid: 11, parent: 1, start: start + 20, user: time.Minute}}, time.Hour + time.Second, "0.000", 1},
		},
		"another with the pid of the root": {
			{"at first", []proc{root, {pid: 11, parent: 10, start: 200, user: time.Second}}, 2 * time.Second, "unknown", 2},
			{"after", []proc{{pid: 10, parent: 1, start: start + 20, user: time.Minute},
				{pid: 11, parent: 1, start: 200, user: 2 * time.Second}}, 3 * time.Second, "1.000", 1},
		},
		"a time that goes back": {
			{"at first", []proc{root}, time.Second, "unknown", 1},
			{"after", []proc{{pid: 10, parent: 1, start: 100, user: 900 * ms}}, time.Second, "0.000", 1},
			{"later", []proc{{pid: 10, parent: 1, start: 100, user: 1100 * ms}}, 1100 * ms, "0.100", 1},
		},
		"a zombie is no process": {
			{"at first", []proc{root, {pid: 11, parent: 10, start: 200, user: time.Second}}, 2 * time.Second, "unknown", 2},
			{"after", []proc{root, {pid: 11, parent: 10, start: 200, user: 1100 * ms, status: snapshot.ProcessZombie}}, 2100 * ms, "0.100", 1},
		},
		"an orphan stays": {
			{"at first", []proc{root, {pid: 11, parent: 10, start: 200}, {pid: 12, parent: 11, start: 300}}, time.Second, "unknown", 3},
			{"after", []proc{root, {pid: 12, parent: 1, start: 300, user: time.Second}}, 2 * time.Second, "1.000", 2},
			{"its child", []proc{root, {pid: 12, parent: 1, start: 300, user: time.Second},
				{pid: 13, parent: 12, start: start + 250, user: time.Second}}, 3 * time.Second, "1.000", 3},
			{"alone", []proc{{pid: 13, parent: 1, start: start + 250, user: 2 * time.Second}}, 4 * time.Second, "1.000", 1},
		},
		"a daemon of a session of the tree": {
			{"at first", []proc{root, {pid: 11, parent: 10, session: 11, start: 200}}, time.Second, "unknown", 2},
			{"after", []proc{root, {pid: 12, parent: 1, session: 11, start: start + 30, user: time.Second}}, 2 * time.Second, "1.000", 2},
		},
		"another session of the number": {
			{"at first", []proc{root, {pid: 11, parent: 10, session: 11, start: 200}}, time.Second, "unknown", 2},
			{"after", []proc{root, {pid: 11, parent: 1, session: 11, start: start + 30, user: time.Second}}, time.Second, "0.000", 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, task.Config{Interval: time.Second})
			n := w.register("t", task.Process{Name: "p", PID: 10, Start: 100})
			w.outside[n[0]] = &task.Outside{}
			for i, s := range steps {
				w.procs = slices.Clone(s.procs)
				w.pass(time.Duration(min(i, 1)) * time.Second)
				w.check(s.name, "t", s.cpu, s.rate, s.n)
			}
		})
	}
}

// What cannot be read of one process is not known of the whole; its CPU time is counted once it can be.
func TestUnreadableProcess(t *testing.T) {
	w := newWorld(t, task.Config{})
	w.procs = []proc{{pid: 10, start: 1, user: time.Second}, {pid: 11, parent: 10, start: 2, user: time.Second}}
	w.register("t", task.Process{Name: "p", PID: 10, Start: 1})
	w.pass(0)
	w.procs[1].unread = true
	w.procs[1].user += time.Second
	w.pass(5 * time.Second)
	if u := w.sample("t").Usage; u.Known || u.CPU != 2*time.Second {
		t.Errorf("with one that cannot be read: known %v, CPU %v", u.Known, u.CPU)
	}
	w.procs[1].unread = false
	w.pass(5 * time.Second)
	w.check("then", "t", 3*time.Second, "0.200", 2)
}

// A process that is registered while a pass is made is in the next one, which reads its descendants too.
func TestRegisteredDuringAPass(t *testing.T) {
	w := newWorld(t, task.Config{})
	w.procs = []proc{{pid: 10, start: 1, user: time.Second}}
	w.register("t", task.Process{Name: "p", PID: 10, Start: 1})
	err := w.m.Observe(task.Pass{At: w.now, Processes: w.table(), All: true, Outside: func(uint64) *task.Outside { return nil }})
	if _, none := w.m.Sample(w.now, "t", task.Query{}); err != nil || none == nil || !w.m.Fresh() {
		t.Errorf("%v, %v, fresh %v; want no sample yet, and a pass over all asked for", err, none, w.m.Fresh())
	}
	w.pass(time.Second)
	w.check("then", "t", time.Second, "unknown", 1)
	if w.m.Fresh() {
		t.Error("a pass over all is asked for again")
	}
}

// A process that was added since the last pass is in no sample yet, rather than with figures of 0.
func TestAddedProcessIsNotInOlderSamples(t *testing.T) {
	w := newWorld(t, task.Config{})
	w.procs = []proc{{pid: 10, start: 1, user: time.Second}, {pid: 20, start: 1, user: time.Hour}}
	w.register("t", task.Process{Name: "p", PID: 10, Start: 1})
	w.pass(0)
	w.pass(10 * time.Second)
	if _, err := w.m.AddProcesses("t", []task.Process{{Name: "q", PID: 20, Start: 1}}); err != nil {
		t.Fatal(err)
	}
	w.check("before a pass", "t", time.Second, "0.000", 1)
	if s := w.sample("t"); len(s.Processes) != 1 || s.Processes[0].Name != "p" {
		t.Errorf("%+v, want the one that was sampled", s.Processes)
	}
	w.m.End(w.now, w.wall(), "t", task.Unregistered, nil)
	s, err := w.m.Sample(w.now, "t", task.Query{Past: true, At: w.now})
	if err != nil || len(s.Processes) != 1 || !s.Usage.Known {
		t.Errorf("in the history: %+v, %v, want the one that was sampled", s.Processes, err)
	}
}

func TestSharedProcesses(t *testing.T) {
	w := newWorld(t, task.Config{})
	w.procs = []proc{{pid: 10, start: 1, user: time.Second}, {pid: 11, parent: 10, start: 2, user: time.Second}}
	w.register("whole", task.Process{Name: "p", PID: 10, Start: 1})
	w.register("part", task.Process{Name: "p", PID: 11, Start: 2})
	w.pass(0)
	w.check("both", "whole", 2*time.Second, "unknown", 2)
	w.check("one", "part", time.Second, "unknown", 1)
}

func TestCgroupCounts(t *testing.T) {
	w := newWorld(t, task.Config{})
	w.procs = []proc{{pid: 10, start: 1, user: time.Second, rss: 5}, {pid: 11, start: 2, user: time.Hour, rss: 7}}
	both := w.register("both", task.Process{Name: "p", PID: 10, Start: 1, Group: "/g"})[0]
	only := w.register("only", task.Process{Name: "p", Group: "/g"})[0]
	group := &task.Outside{GroupKnown: true, PIDs: []int32{11}, Group: snapshot.GroupReading{
		CPU: 3 * time.Second, User: 2 * time.Second, System: time.Second, CPUKnown: true,
		Memory: 99, MemoryKnown: true, Tasks: 42, TasksKnown: true,
	}}
	w.outside[both], w.outside[only] = group, group
	w.pass(0)
	w.check("both", "both", 3*time.Second, "unknown", 2)
	w.check("only", "only", 3*time.Second, "unknown", 1)
	if u := w.sample("both").Usage; u.Group != 99 || u.RSS != 12 || u.Threads != 2 {
		t.Errorf("both: %+v", u)
	}
	if u := w.sample("only").Usage; u.Threads != 42 {
		t.Errorf("only: %d threads, want those of the kernel", u.Threads)
	}
	u := w.sample("only").Usage
	if bytes, how, ok := u.Memory(); bytes != 99 || how != "cgroup" || !ok {
		t.Errorf("memory %d by %s, %v", bytes, how, ok)
	}
	group.Group.CPU += 5 * time.Second
	group.Group.Frozen = true
	w.pass(5 * time.Second)
	w.check("both", "both", 8*time.Second, "1.000", 2)
	if u := w.sample("both").Usage; u.Status != snapshot.ProcessFrozen {
		t.Errorf("status %v, want frozen", u.Status)
	}
	// The group goes, its last process with it: what it used stays.
	w.procs = nil
	gone := &task.Outside{GroupEnded: true, Ended: true}
	w.outside[both], w.outside[only] = gone, gone
	w.pass(5 * time.Second)
	for _, id := range []string{"both", "only"} {
		s := w.sample(id)
		if info, _ := w.m.Info(id); s.Usage.CPU != 8*time.Second || !s.Processes[0].Ended || !info.ProcessesEnded {
			t.Errorf("%s after its end: %+v", id, s)
		}
	}
}

func TestHiddenIsUnknown(t *testing.T) {
	w := newWorld(t, task.Config{})
	w.procs = []proc{{pid: 10, start: 1, user: time.Second, rss: 5}}
	n := w.register("t", task.Process{Name: "p", PID: 10, Start: 1})[0]
	w.outside[n] = &task.Outside{}
	w.pass(0)
	w.procs = nil
	w.pass(5 * time.Second)
	s := w.sample("t")
	if s.Usage.Known || s.Processes[0].Ended || s.Usage.CPU != time.Second || s.Usage.RSS != 0 || s.Usage.RateKnown {
		t.Errorf("hidden: %+v, want unknown and not ended", s.Processes[0])
	}
	w.outside[n].Ended = true
	w.pass(5 * time.Second)
	if s := w.sample("t"); !s.Processes[0].Ended || !s.Usage.Known || s.Usage.Processes != 0 {
		t.Errorf("ended: %+v, want known and ended", s.Processes[0])
	}
}

// Of a process that was hidden all along nothing is known, and then not of the task either.
func TestHiddenFromTheBeginning(t *testing.T) {
	w := newWorld(t, task.Config{})
	w.procs = []proc{{pid: 20, start: 1, user: time.Second}}
	n := w.register("t", task.Process{Name: "hidden", PID: 10, Start: 1}, task.Process{Name: "seen", PID: 20, Start: 1})
	w.pass(0)
	w.pass(5 * time.Second)
	s := w.sample("t")
	if s.Usage.CPUKnown || s.Usage.RateKnown || s.Processes[0].CPUKnown || s.Processes[0].RateKnown || !s.Processes[1].CPUKnown {
		t.Errorf("with a hidden process: %+v, want its CPU time unknown, and that of the task", s)
	}
	w.outside[n[0]] = &task.Outside{Ended: true}
	w.pass(5 * time.Second)
	if s := w.sample("t"); !s.Usage.CPUKnown || s.Usage.CPU != time.Second {
		t.Errorf("once the hidden one has ended: %+v, want the CPU time of the other", s.Usage)
	}
}

func TestRateIsOverASecond(t *testing.T) {
	w := newWorld(t, task.Config{})
	w.procs = []proc{{pid: 10, start: 1}}
	w.register("t", task.Process{Name: "p", PID: 10, Start: 1})
	for _, s := range []struct {
		after, used time.Duration
		rate        string
	}{
		{0, 0, "unknown"},
		{50 * ms, 50 * ms, "unknown"}, // too short for steps of 10 ms
		{150 * ms, 50 * ms, "0.500"},  // over 200 ms
		{4800 * ms, 0, "0.020"},       // over 5 s
		{100 * ms, 100 * ms, "0.039"}, // over 5.1 s, not over 100 ms
		{5 * time.Second, 5 * time.Second, "1.000"},
		{time.Minute, time.Second, "unknown"}, // the host slept
		{5 * time.Second, time.Second, "0.200"},
	} {
		w.procs[0].user += s.used
		w.pass(s.after)
		u := w.sample("t").Usage
		if u.RateKnown != (s.rate != "unknown") {
			t.Errorf("%v later: rate known %v, want %s", s.after, u.RateKnown, s.rate)
		} else if u.RateKnown {
			w.check(s.after.String()+" later", "t", u.CPU, s.rate, 1)
		}
	}
}
