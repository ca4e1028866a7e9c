package server_test

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/durationpb"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/server"
)

// A user names processes of its own, and no others: neither another user's, nor one that has the rights of another
// beside its own, as what was started by sudo has. What may not be named is told to be none, for tasks and for
// recordings alike, and nothing is kept of it.
func TestProcessesOfOtherUsersAreNotNamed(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can start processes of other users")
	}
	const mine, theirs = 61234, 61235
	begin := func(uid uint32) int64 {
		cmd := exec.Command("sleep", "600")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		if err := cmd.Start(); err != nil {
			t.Skip(err)
		}
		t.Cleanup(func() {
			cmd.Process.Kill()
			cmd.Wait()
		})
		return int64(cmd.Process.Pid)
	}
	own := begin(mine)
	pids := map[string]int64{"another user's": begin(theirs), "root's": begin(0), "the first process": 1}
	if _, err := exec.LookPath("python3"); err == nil {
		s := run(t, `exec python3 -c 'import os, time
os.setresuid(61234, 0, 0)
print("on", flush=True)
time.sleep(600)'`, "")
		s.line(t)
		pids["one with the rights of root beside"] = int64(s.pid)
	}

	listener := bufconn.Listen(1 << 16)
	dir := t.TempDir()
	f := start(t, settings{server: func(c *server.Config) {
		me := server.Identity{Name: "mine", Role: server.RoleWorker, UID: mine, PID: int(own), Local: true}
		c.Listeners = append(c.Listeners, server.NewListener(listener, me))
		c.Diagnostics = server.DiagnosticsConfig{Allow: []string{"memory"}, Dir: dir}
	}})
	f.waitForSeverity(t)
	g := &fixture{listener: listener}
	conn := g.dial(t)
	defer conn.Close()
	tasks, records := headroomv1.NewTaskServiceClient(conn), headroomv1.NewDiagnosticsServiceClient(conn)
	await(t, func() bool {
		_, err := records.ListArtifacts(t.Context(), &headroomv1.ListArtifactsRequest{})
		return reason(err) != "STARTING"
	})
	name := func(pid int64) *headroomv1.RegisterTaskRequest {
		return &headroomv1.RegisterTaskRequest{Name: "x", Processes: []*headroomv1.TaskProcess{{Name: "p", Pid: pid}}}
	}
	id := register(t, tasks, name(own)).GetTaskId()
	for whose, pid := range pids {
		_, task := tasks.RegisterTask(t.Context(), name(pid))
		more := name(pid)
		more.Name, more.TaskId = "", id
		_, added := tasks.RegisterTask(t.Context(), more)
		_, _, recorded := record(t.Context(), records, &headroomv1.DiagnosticsStart{TaskId: "t", Recorders: []string{"memory"}, Pid: pid})
		for how, err := range map[string]error{"as a task": task, "added to a task": added, "to be recorded": recorded} {
			if reason(err) != "PROCESS_NOT_FOUND" {
				t.Errorf("%s, %s: %v, want PROCESS_NOT_FOUND", whose, how, err)
			}
		}
	}
	if all := list(t, records, &headroomv1.ListArtifactsRequest{}); len(all) != 0 {
		t.Errorf("of those there are the artifacts %v", all)
	}
	s, err := tasks.GetTaskSample(t.Context(), &headroomv1.GetTaskSampleRequest{TaskId: id, MaxAge: durationpb.New(100e6)})
	if err != nil || len(s.GetSample().GetProcesses()) != 1 || s.GetSample().GetUsage().GetProcessCount() != 1 {
		t.Errorf("of the task: %v, %v, want one process", s, err)
	}
}
