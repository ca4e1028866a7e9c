package main

import (
	"strings"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/snapshot"
	"github.com/headroom-rpc/headroom/task"
)

// A server that was restarted knows the task for less long than its command ran.
func TestReportTellsHowLongTheCommandRan(t *testing.T) {
	state := client.TaskState{
		Info: task.Info{
			Spec: task.Spec{Name: "build"}, RegisteredTime: time.Unix(10, 0), EndedTime: time.Unix(12, 0),
		},
		Sample: &task.Sample{Usage: task.Usage{CPUKnown: true, CPU: 3 * time.Second, User: 2 * time.Second, System: time.Second}},
	}
	got := reportText(&state, 12*time.Second)
	if want := "task build used 3s of CPU time (2s user, 1s system) in 12s"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// What is not known is told to be so, and what nobody has is none: not 0.
func TestTasksThatAreUnknownOrHaveEnded(t *testing.T) {
	for name, c := range map[string]struct {
		usage                  task.Usage
		cpuTime, memory, procs string
	}{
		"hidden":                  {task.Usage{}, "?", "?", "?"},
		"ended":                   {task.Usage{Known: true, CPUKnown: true, CPU: time.Second}, "1s", "-", "0"},
		"ended, in a cgroup":      {task.Usage{Known: true, CPUKnown: true, GroupKnown: true, Group: 1 << 20}, "0s", "1.0MiB", "0"},
		"running":                 {task.Usage{Known: true, CPUKnown: true, RSS: 1 << 20, Processes: 2}, "0s", "~1.0MiB", "2"},
		"running, without memory": {task.Usage{Known: true, CPUKnown: true, Processes: 1}, "0s", "~0B", "1"},
	} {
		state := client.TaskState{Sample: &task.Sample{Usage: c.usage}}
		row := taskTable([]client.TaskState{state}, 0)[1]
		if row[5].text != c.cpuTime || row[6].text != c.memory || row[7].text != c.procs {
			t.Errorf("%s: CPU time %s, memory %s, %s processes; want %s, %s, %s", name,
				row[5].text, row[6].text, row[7].text, c.cpuTime, c.memory, c.procs)
		}
		top := taskRows([]client.TaskState{state}, 0, time.Time{})[0].cells
		if want := strings.TrimPrefix(c.memory, "~"); top[2].text != want || top[7].text != c.cpuTime {
			t.Errorf("%s in top: memory %s, CPU time %s, want %s, %s", name, top[2].text, top[7].text, want, c.cpuTime)
		}
	}
}

// A table tells apart what a walk found and what the kernel keeps account of.
func TestTasksTellWhereADiskFigureIsFrom(t *testing.T) {
	for _, c := range []struct {
		sandbox string
		disk    snapshot.DiskReading
		want    string
		line    string
	}{
		{"/out", snapshot.DiskReading{State: snapshot.DiskOK, Source: snapshot.DiskWalked, Bytes: 1 << 20}, "1.0MiB", "disk 1.0MiB (ok, by walk) in /out"},
		{"/out", snapshot.DiskReading{State: snapshot.DiskOK, Source: snapshot.DiskAccounted, Bytes: 1 << 20}, "=1.0MiB", "disk 1.0MiB (ok, by project quota) in /out"},
		{"/out", snapshot.DiskReading{State: snapshot.DiskStale, Source: snapshot.DiskAccounted, Bytes: 1 << 20}, "=~1.0MiB", "disk ~1.0MiB (stale, by project quota) in /out"},
		{"/out", snapshot.DiskReading{State: snapshot.DiskUnknown}, "?", "disk ? (unknown) in /out"},
		{"", snapshot.DiskReading{}, "-", ""},
	} {
		state := client.TaskState{Info: task.Info{Spec: task.Spec{Sandbox: c.sandbox}}, Sample: &task.Sample{Disk: c.disk}}
		if row := taskTable([]client.TaskState{state}, 0)[1]; row[9].text != c.want {
			t.Errorf("%+v: DISK is %s, want %s", c.disk, row[9].text, c.want)
		}
		if row := taskRows([]client.TaskState{state}, 0, time.Time{})[0]; row.cells[4].text != c.want {
			t.Errorf("%+v in top: DISK is %s, want %s", c.disk, row.cells[4].text, c.want)
		}
		if lines := strings.Join(taskLines(&state), "\n"); !strings.Contains(lines, c.line) {
			t.Errorf("%+v: top says %q, want %q", c.disk, lines, c.line)
		}
	}
}
