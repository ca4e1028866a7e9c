package server_test

import (
	"os"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/durationpb"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/server"
	"github.com/headroom-rpc/headroom/task"
)

// A task whose processes have all ended just now takes as many others at once; more than may run are refused.
func TestProcessesThatEndedJustNowMakeRoom(t *testing.T) {
	me := server.Identity{Name: "me", Role: server.RoleWorker, UID: os.Getuid(), PID: os.Getpid(), Local: true}
	f := start(t, settings{identity: me})
	f.waitForSeverity(t)
	sleepers := func() (s *script, all []*headroomv1.TaskProcess) {
		s = run(t, `i=0; while [ $i -lt 64 ]; do sleep 600 & echo $!; i=$((i+1)); done; wait`, "")
		for range task.MaxProcesses {
			pid, err := strconv.Atoi(s.line(t))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, &headroomv1.TaskProcess{Name: "p", Pid: int64(pid)})
		}
		return s, all
	}
	first, processes := sleepers()
	id := register(t, f.tasks(), &headroomv1.RegisterTaskRequest{Name: "x", Processes: processes}).GetTaskId()
	_, next := sleepers()
	_, err := f.tasks().RegisterTask(t.Context(), &headroomv1.RegisterTaskRequest{TaskId: id, Processes: next[:1]})
	if reason(err) != "INVALID_FIELDS" {
		t.Errorf("one more while all of them run: %v, want INVALID_FIELDS", err)
	}
	var ending []unix.PollFd
	for _, p := range processes {
		fd, err := unix.PidfdOpen(int(p.GetPid()), 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		ending = append(ending, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	unix.Kill(-first.pid, unix.SIGKILL)
	for len(ending) > 0 {
		if n, err := unix.Poll(ending[:1], -1); n == 1 && err == nil {
			ending = ending[1:]
		}
	}
	register(t, f.tasks(), &headroomv1.RegisterTaskRequest{TaskId: id, Processes: next})
	got, err := f.tasks().GetTaskSample(t.Context(), &headroomv1.GetTaskSampleRequest{TaskId: id, MaxAge: durationpb.New(time.Millisecond * 100)})
	if n := got.GetSample().GetUsage().GetProcessCount(); err != nil || n != task.MaxProcesses {
		t.Errorf("the task has %d processes, %v, want %d", n, err, task.MaxProcesses)
	}
}
