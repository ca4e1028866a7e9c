package main

import (
	"strings"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/client"
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
