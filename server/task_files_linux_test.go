package server_test

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

// A task whose processes are started again and again does not keep hold of those that made room.
func TestReplacedProcessesAreLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := serving(t, settings{server: taskClock}).tasks()
		one := register(t, c, &headroomv1.RegisterTaskRequest{Name: "again", Ttl: durationpb.New(time.Hour)})
		files := func() int {
			t.Helper()
			all, err := os.ReadDir("/proc/self/fd")
			if err != nil {
				t.Fatal(err)
			}
			return len(all)
		}
		first, last := 0, 0
		for round := range 4 {
			cmd := exec.Command("sleep", "60")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			req := &headroomv1.RegisterTaskRequest{TaskId: one.GetTaskId()}
			for i := range 60 {
				req.Processes = append(req.Processes, &headroomv1.TaskProcess{Name: fmt.Sprint(i), Pid: int64(cmd.Process.Pid)})
			}
			register(t, c, req)
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			time.Sleep(time.Second)
			list, err := c.ListTasks(t.Context(), &headroomv1.ListTasksRequest{MaxAge: durationpb.New(100 * time.Millisecond)})
			if err != nil || !list.GetTasks()[0].GetProcessesEnded() {
				t.Fatalf("round %d: %v, %v; want processes that have ended", round, list, err)
			}
			if last = files(); round == 1 { // there are as many as may be
				first = last
			}
		}
		if last > first+30 {
			t.Errorf("%d files are open, and %d were when there were as many processes", last, first)
		}
	})
}
