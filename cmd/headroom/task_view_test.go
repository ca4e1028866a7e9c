package main

import (
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
		Sample: &task.Sample{Usage: task.Usage{CPU: 3 * time.Second, User: 2 * time.Second, System: time.Second}},
	}
	got := reportText(&state, 12*time.Second)
	if want := "task build used 3s of CPU time (2s user, 1s system) in 12s"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
