package task_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/snapshot"
	"github.com/headroom-rpc/headroom/task"
)

// The times of Thermos' own example, and what it answers in the mode Ceiling.
func TestSampleAtATime(t *testing.T) {
	w := newWorld(t, task.Config{Interval: 10 * time.Second})
	w.procs = []proc{{pid: 10, start: 1}}
	w.now = 30 * time.Second
	w.register("t", task.Process{Name: "p", PID: 10, Start: 1})
	for range 4 { // at 30, 40, 50 and 60
		w.procs[0].user = w.now
		w.pass(0)
		w.now += 10 * time.Second
	}
	for _, tt := range []struct {
		at                      int
		nearest, floor, ceiling int // 0 for none
	}{
		{0, 30, 0, 30}, {29, 30, 0, 30}, {30, 30, 30, 30}, {31, 30, 30, 40}, {34, 30, 30, 40}, {35, 30, 30, 40},
		{36, 40, 30, 40}, {40, 40, 40, 40}, {59, 60, 50, 60}, {60, 60, 60, 60}, {61, 60, 60, 60}, {500, 60, 60, 60},
	} {
		for mode, want := range map[task.Mode]int{task.Nearest: tt.nearest, task.Floor: tt.floor, task.Ceiling: tt.ceiling} {
			s, err := w.m.Sample(w.now, "t", task.Query{At: time.Duration(tt.at) * time.Second, Past: true, Mode: mode})
			if want == 0 {
				if !errors.Is(err, task.ErrNoSample) {
					t.Errorf("at %d, mode %d: %v, want ErrNoSample", tt.at, mode, err)
				}
				continue
			}
			at := time.Duration(want) * time.Second
			if err != nil || s.At != at || s.Usage.CPU != at || s.Processes[0].Name != "p" || !s.Time.Equal(epoch.Add(at)) {
				t.Errorf("at %d, mode %d: %+v, %v, want that of %d", tt.at, mode, s, err, want)
			}
		}
	}
	q := task.Query{At: 70 * time.Second, Past: true, MaxAge: 10 * time.Second}
	if s, err := w.m.Sample(w.now, "t", q); err != nil || s.At != time.Minute {
		t.Errorf("within the age: %v, %v", s.At, err)
	}
	q.At++
	if _, err := w.m.Sample(w.now, "t", q); !errors.Is(err, task.ErrNoSample) {
		t.Errorf("beyond the age: %v, want ErrNoSample", err)
	}
}

func TestRecordsStayInOrder(t *testing.T) {
	w := newWorld(t, task.Config{})
	w.register("t", task.Process{Name: "p", PID: 10, Start: 1})
	w.pass(0)
	err := w.m.Observe(task.Pass{At: w.now - 1, Processes: w.table(), Outside: func(uint64) *task.Outside { return nil }})
	if !errors.Is(err, task.ErrTimeOrder) {
		t.Errorf("an older pass: %v, want ErrTimeOrder", err)
	}
}

// Passes between those that are due give new samples and do not take from the span of the history.
func TestSpanIsTrue(t *testing.T) {
	w := newWorld(t, task.Config{Interval: 5 * time.Second, History: time.Minute})
	w.procs = []proc{{pid: 10, start: 1}}
	w.register("t", task.Process{Name: "p", PID: 10, Start: 1})
	w.pass(0)
	for range 1000 {
		w.pass(500 * ms)
		if s := w.sample("t"); s.At != w.now {
			t.Fatalf("the newest sample is of %v, want %v", s.At, w.now)
		}
	}
	info, err := w.m.Info("t")
	if err != nil || info.Span != time.Minute || info.Samples != 13 || info.Thinned {
		t.Errorf("span %v of %d samples, thinned %v, %v; want 1m of 13", info.Span, info.Samples, info.Thinned, err)
	}
	if room, has := w.m.HistorySizes("t"); room > 4*has+32 {
		t.Errorf("the history has room for %d samples and %d of them", room, has)
	}
	if h := w.m.Health(); h.Missed != 0 || h.Lag > 500*ms {
		t.Errorf("health %+v, want nothing missed", h)
	}
}

func TestHistoriesAreBounded(t *testing.T) {
	const bound = 2 << 20
	w := newWorld(t, task.Config{Interval: time.Second, History: time.Hour, HistoryBytes: bound})
	var many []task.Process
	for i := range int32(20) {
		w.procs = append(w.procs, proc{pid: 10 + i, start: 1})
		many = append(many, task.Process{Name: fmt.Sprint("p", i), PID: 10 + i, Start: 1})
	}
	w.register("large", many...)
	w.register("small", many[:1]...)
	w.pass(0)
	for i := range 3600 {
		w.procs[0].user += 10 * ms
		w.pass(time.Second)
		if h := w.m.Health(); h.HistoryBytes > bound {
			t.Fatalf("after %d passes the histories take %d bytes, more than %d", i, h.HistoryBytes, bound)
		}
	}
	large, _ := w.m.Info("large")
	small, _ := w.m.Info("small")
	if !large.Thinned || large.Span != time.Hour || small.Thinned || small.Samples != 3601 {
		t.Errorf("large: %v of %d samples, thinned %v; small: %v of %d, thinned %v; want the large one thinned only",
			large.Span, large.Samples, large.Thinned, small.Span, small.Samples, small.Thinned)
	}
	// What is left is still what it was.
	for ago := range 3600 {
		at := w.now - time.Duration(ago)*time.Second
		s, err := w.m.Sample(w.now, "large", task.Query{At: at, Past: true, Mode: task.Floor})
		if err != nil || len(s.Processes) != 20 || s.Processes[7].Name != "p7" ||
			s.Usage.CPU != 10*ms*time.Duration(3600-(w.now-s.At)/time.Second) {
			t.Fatalf("%d s ago: %v, CPU %v at %v of %v", ago, err, s.Usage.CPU, s.At, w.now)
		}
	}
	newest, err := w.m.Sample(w.now, "large", task.Query{At: w.now, Past: true, Mode: task.Floor})
	if err != nil || newest.At != w.now {
		t.Errorf("the newest record is of %v, want %v", newest.At, w.now)
	}
}

func TestRegistration(t *testing.T) {
	w := newWorld(t, task.Config{MaxTasks: 2})
	for _, tt := range []struct {
		s    task.Spec
		want string
	}{
		{task.Spec{Interval: ms}, "Interval: 1ms is not from 1s to 1h0m0s"},
		{task.Spec{Interval: time.Second, History: 4 * time.Hour}, "are 14400 samples, more than 10000"},
		{task.Spec{History: 8 * 24 * time.Hour}, "History"},
		{task.Spec{DiskInterval: time.Second, MemoryLimit: -1}, "DiskInterval: 1s is not from 10s to 24h0m0s\nMemoryLimit: -1"},
		{task.Spec{Processes: make([]task.Process, 65)}, "Processes: 65 are more than 64"},
	} {
		if _, err := w.m.Register(0, epoch, tt.s); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", tt.s, err, tt.want)
		}
	}
	w.register("a")
	w.register("b")
	if _, err := w.m.Register(0, epoch, task.Spec{ID: "c"}); !errors.Is(err, task.ErrFull) {
		t.Errorf("a third: %v, want ErrFull", err)
	}
	if _, err := task.NewMonitor(task.Config{Interval: ms, MaxTasks: -1}); err == nil ||
		!strings.Contains(err.Error(), "Interval") || !strings.Contains(err.Error(), "MaxTasks") {
		t.Errorf("config: %v, want both faults", err)
	}
}

func TestEndOfTask(t *testing.T) {
	w := newWorld(t, task.Config{Keep: time.Minute})
	w.procs = []proc{{pid: 10, start: 1, user: time.Second}}
	w.register("t", task.Process{Name: "p", PID: 10, Start: 1})
	w.pass(0)
	code := int32(3)
	if err := w.m.End(w.now+time.Second, w.wall(), "t", task.Unregistered, &code); err != nil {
		t.Fatal(err)
	}
	w.m.End(w.now+time.Minute, w.wall(), "t", task.LeaseExpired, nil)
	w.pass(5 * time.Second)
	s := w.sample("t")
	info, _ := w.m.Info("t")
	if s.Usage.CPU != time.Second || !strings.Contains(s.Stopped, "unregistered") || info.Ended != task.Unregistered ||
		*info.ExitCode != 3 || info.Samples != 2 {
		t.Errorf("after its end: %+v, %+v", s, info)
	}
	if len(w.watched) != 0 {
		t.Errorf("its processes %v are read on", w.watched)
	}
	if _, err := w.m.AddProcesses("t", nil); !errors.Is(err, task.ErrEnded) {
		t.Errorf("AddProcesses = %v, want ErrEnded", err)
	}
	w.m.Forget(w.now + 55*time.Second)
	if _, err := w.m.Info("t"); err != nil {
		t.Errorf("within the time it is kept: %v", err)
	}
	w.m.Forget(w.now + 56*time.Second)
	if _, err := w.m.Sample(w.now, "t", task.Query{}); !errors.Is(err, task.ErrNotFound) {
		t.Errorf("after it: %v, want ErrNotFound", err)
	}
	if h := w.m.Health(); h.HistoryBytes != 0 {
		t.Errorf("%d bytes are left of it", h.HistoryBytes)
	}
}

func TestProcessByName(t *testing.T) {
	w := newWorld(t, task.Config{})
	w.procs = []proc{{pid: 10, start: 1, user: time.Second}, {pid: 11, start: 2, user: time.Minute}}
	w.register("t", task.Process{Name: "web", PID: 10, Start: 1})
	if _, err := w.m.ProcessSample(w.now, "t", "web", task.Query{}); !errors.Is(err, task.ErrNoSample) {
		t.Errorf("before a pass: %v, want ErrNoSample", err)
	}
	w.pass(0)
	if _, err := w.m.ProcessSample(w.now, "t", "db", task.Query{}); !errors.Is(err, task.ErrNoProcess) {
		t.Errorf("unknown name: %v, want ErrNoProcess", err)
	}
	if s, err := w.m.ProcessSample(w.now, "t", "web", task.Query{}); err != nil || s.Usage.CPU != time.Second {
		t.Errorf("the one: %+v, %v", s, err)
	}
	if _, err := w.m.AddProcesses("t", []task.Process{{Name: "web", PID: 11, Start: 2}}); err != nil {
		t.Fatal(err)
	}
	if !w.m.Fresh() {
		t.Error("no pass over all is asked for a new root")
	}
	if _, err := w.m.ProcessSample(w.now, "t", "web", task.Query{}); !errors.Is(err, task.ErrNoSample) {
		t.Errorf("started again: %v, want ErrNoSample", err)
	}
	w.pass(5 * time.Second)
	if s, err := w.m.ProcessSample(w.now, "t", "web", task.Query{}); err != nil || s.Usage.CPU != time.Minute {
		t.Errorf("the newer one: %+v, %v", s, err)
	}
	q := task.Query{Past: true, At: w.now - 5*time.Second}
	if s, err := w.m.ProcessSample(w.now, "t", "web", q); err != nil || s.Usage.CPU != time.Second {
		t.Errorf("the one of that time: %+v, %v", s, err)
	}
}

func TestSamplingThatStopsSaysSo(t *testing.T) {
	w := newWorld(t, task.Config{})
	w.procs = []proc{{pid: 10, start: 1}}
	w.register("t", task.Process{Name: "p", PID: 10, Start: 1})
	w.pass(0)
	stopped := func(after time.Duration) string {
		t.Helper()
		s, err := w.m.Sample(w.now+after, "t", task.Query{})
		if err != nil {
			t.Fatal(err)
		}
		return s.Stopped
	}
	if got := stopped(15 * time.Second); got != "" {
		t.Errorf("in time: %q", got)
	}
	if got := stopped(15*time.Second + 1); !strings.Contains(got, "in time") {
		t.Errorf("too late: %q", got)
	}
	w.now += 5 * time.Second
	w.m.Observe(task.Pass{At: w.now, Err: errors.New("no /proc")})
	if got := stopped(0); !strings.Contains(got, "no /proc") {
		t.Errorf("after a pass that failed: %q", got)
	}
	if h := w.m.Health(); h.Failed != 1 || h.Err == nil {
		t.Errorf("health %+v", h)
	}
	w.pass(5 * time.Second)
	if got := stopped(0); got != "" {
		t.Errorf("after one that did not: %q", got)
	}
	w.m.Stop("the server ends")
	if got := stopped(0); got != "the server ends" {
		t.Errorf("stopped: %q", got)
	}
}

// Sampling takes a hundredth of the time at most, and what is left out for that is counted.
func TestIntervalFollowsCost(t *testing.T) {
	w := newWorld(t, task.Config{Interval: time.Second})
	w.register("t", task.Process{Name: "p", PID: 10, Start: 1})
	if at, ok := w.m.Next(); !ok || at != w.now {
		t.Errorf("Next = %v, %v, want now", at, ok)
	}
	observe := func(cost time.Duration) {
		t.Helper()
		err := w.m.Observe(task.Pass{At: w.now, Processes: w.table(), Cost: cost, All: true, Outside: outside})
		if err != nil {
			t.Fatal(err)
		}
	}
	observe(ms)
	if at, _ := w.m.Next(); at != w.now+time.Second {
		t.Errorf("after a cheap one: in %v, want 1s", at-w.now)
	}
	w.now += time.Second
	observe(100 * ms)
	if at, _ := w.m.Next(); at != w.now+10*time.Second {
		t.Errorf("after one of 100 ms: in %v, want 10s", at-w.now)
	}
	if h := w.m.Health(); h.Interval != 10*time.Second || h.Missed != 0 {
		t.Errorf("health %+v, want an interval of 10s", h)
	}
	w.now += 35 * time.Second
	observe(ms)
	if h := w.m.Health(); h.Missed == 0 || h.Lag < 20*time.Second {
		t.Errorf("health %+v, want missed samples and a lag", h)
	}
}

func TestDiskOfTask(t *testing.T) {
	w := newWorld(t, task.Config{})
	w.m.Register(w.now, w.wall(), task.Spec{ID: "t", Owner: "me", Sandbox: "/s"})
	state := func(want snapshot.DiskState, bytes int64) {
		t.Helper()
		s, err := w.m.Sample(w.now, "t", task.Query{})
		if err != nil || s.Disk.State != want || s.Disk.Bytes != bytes || (want != snapshot.DiskOK) != (s.Disk.Reason != "") {
			t.Errorf("disk %+v, %v, want %v and %d bytes", s.Disk, err, want, bytes)
		}
	}
	state(snapshot.DiskUnknown, 0)
	if due := w.m.DiskDue(w.now); len(due) != 1 || due[0] != (task.DiskJob{ID: "t", Owner: "me", Sandbox: "/s"}) {
		t.Fatalf("due %v", due)
	}
	if due := w.m.DiskDue(w.now + time.Hour); len(due) != 0 {
		t.Errorf("a second reading at the same time: %v", due)
	}
	done := func(use snapshot.DiskReading) { w.m.DiskDone(w.now, w.wall(), "t", use) }
	done(snapshot.DiskReading{Reason: "not there yet"})
	state(snapshot.DiskUnknown, 0)
	w.now += time.Minute
	w.m.DiskDue(w.now)
	done(snapshot.DiskReading{State: snapshot.DiskOK, Bytes: 7, CPU: 2 * time.Second})
	state(snapshot.DiskOK, 7)
	if at, ok := w.m.NextDisk(); !ok || at != w.now+200*time.Second {
		t.Errorf("the next reading in %v, want 100 times the cost", at-w.now)
	}
	w.now += 2*time.Minute + 1
	state(snapshot.DiskStale, 7)
	done(snapshot.DiskReading{Reason: "hangs"})
	state(snapshot.DiskStale, 7)
	done(snapshot.DiskReading{State: snapshot.DiskPartial, Bytes: 9, Reason: "more"})
	state(snapshot.DiskPartial, 9)

	// The walk that ended with the task found less.
	if err := w.m.End(w.now, w.wall(), "t", task.Unregistered, nil); err != nil {
		t.Fatal(err)
	}
	done(snapshot.DiskReading{State: snapshot.DiskPartial, Bytes: 3, Reason: "stopped"})
	state(snapshot.DiskPartial, 9)
}

// A task without processes has samples of its folder only, which are as old as its reading, and kept for as long as
// others.
func TestTaskWithoutProcesses(t *testing.T) {
	w := newWorld(t, task.Config{})
	w.m.Register(w.now, w.wall(), task.Spec{ID: "empty"})
	w.m.Register(w.now, w.wall(), task.Spec{ID: "folder", Sandbox: "/s", History: time.Hour, DiskInterval: time.Minute})
	w.now += time.Second
	if s, err := w.m.Sample(w.now, "empty", task.Query{}); !errors.Is(err, task.ErrNoSample) {
		t.Errorf("of nothing: %+v, %v, want ErrNoSample", s, err)
	}
	if s := w.sample("folder"); s.At != w.now-time.Second || s.Time.IsZero() {
		t.Errorf("of a folder that was not read: at %v, %v, want when it was registered", s.At, s.Time)
	}
	most := int64(0)
	for i := range 1000 {
		w.now += time.Minute
		w.m.DiskDone(w.now, w.wall(), "folder", snapshot.DiskReading{State: snapshot.DiskOK, Bytes: 7})
		bytes := w.m.Health().HistoryBytes
		if i < 200 {
			most = max(most, bytes)
		} else if bytes > most {
			t.Fatalf("after %d readings the history of an hour takes %d bytes, %d before", i, bytes, most)
		}
	}
	w.now += time.Second
	if s := w.sample("folder"); s.At != w.now-time.Second || !s.Time.Equal(epoch.Add(s.At)) || s.Disk.Bytes != 7 {
		t.Errorf("%+v, want the newest reading and when it was", s)
	}
}

func TestPSSOnDemand(t *testing.T) {
	w := newWorld(t, task.Config{})
	w.procs = []proc{{pid: 10, start: 1}, {pid: 11, parent: 10, start: 2}}
	n := w.register("t", task.Process{Name: "p", PID: 10, Start: 1})[0]
	w.pass(0)
	targets := w.m.PSSTargets(w.now, "t")
	if len(targets) != 2 || targets[1] != (task.Target{Number: n, PID: 11, Start: 2}) {
		t.Fatalf("targets %v", targets)
	}
	w.m.SetPSS(w.now, "t", n, 77, true)
	for _, after := range []time.Duration{0, time.Minute - 1} {
		if got := w.m.PSSTargets(w.now+after, "t"); len(got) != 0 {
			t.Errorf("%v later: %v, want none yet", after, got)
		}
	}
	w.pass(30 * time.Second)
	if u := w.sample("t").Usage; !u.PSSKnown || u.PSS != 77 || u.PSSAt != w.now-30*time.Second {
		t.Errorf("PSS %d known %v at %v", u.PSS, u.PSSKnown, u.PSSAt)
	}
	if got := w.m.PSSTargets(w.now+31*time.Second, "t"); len(got) != 2 {
		t.Errorf("a minute later: %v, want both", got)
	}
}
