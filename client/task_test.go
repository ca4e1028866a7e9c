package client_test

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/headroom-rpc/headroom/client"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/task"
)

// registry is one run of a server that knows tasks.
type registry struct {
	headroomv1.UnimplementedTaskServiceServer
	prefix string

	mu    sync.Mutex
	count int
	calls []*headroomv1.RegisterTaskRequest
	gone  map[int64]bool // the pids of processes that have ended
	ended []*headroomv1.UnregisterTaskRequest
	asked []*headroomv1.GetTaskSampleRequest
}

func (r *registry) task(id string) *headroomv1.Task {
	return &headroomv1.Task{
		TaskId: id, Name: "n", State: headroomv1.TaskState_TASK_STATE_RUNNING,
		Sample: &headroomv1.TaskSample{Age: durationpb.New(2 * time.Second), Usage: &headroomv1.TaskUsage{
			CpuTime: durationpb.New(time.Second), RssBytes: proto.Int64(5), ProcessCount: proto.Int32(1),
		}, Processes: []*headroomv1.ProcessSample{{Name: "q", Pid: proto.Int64(8)}, {Name: "p", Pid: proto.Int64(7), Ended: true}}},
	}
}

func (r *registry) RegisterTask(_ context.Context, req *headroomv1.RegisterTaskRequest) (*headroomv1.RegisterTaskResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, req)
	id := req.GetTaskId()
	for _, p := range req.GetProcesses() {
		if r.gone[p.GetPid()] {
			refused, err := status.New(codes.NotFound, "no such process").WithDetails(
				&errdetails.ResourceInfo{ResourceType: "headroom.v1.Process", ResourceName: strconv.FormatInt(p.GetPid(), 10)})
			if err != nil {
				return nil, err
			}
			return nil, refused.Err()
		}
	}
	switch {
	case id == "":
		r.count++
		id = r.prefix + strings.Repeat("0", 31-r.count)
	case !strings.HasPrefix(id, r.prefix):
		return nil, status.Error(codes.NotFound, "no such task")
	}
	return &headroomv1.RegisterTaskResponse{Task: r.task(id), Ttl: durationpb.New(9 * time.Second)}, nil
}

func (r *registry) UnregisterTask(_ context.Context, req *headroomv1.UnregisterTaskRequest) (*headroomv1.UnregisterTaskResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = append(r.ended, req)
	one := r.task(req.GetTaskId())
	one.State, one.ExitCode = headroomv1.TaskState_TASK_STATE_UNREGISTERED, req.ExitCode
	return &headroomv1.UnregisterTaskResponse{Task: one}, nil
}

func (r *registry) ListTasks(_ context.Context, req *headroomv1.ListTasksRequest) (*headroomv1.ListTasksResponse, error) {
	if req.GetPageToken() == "" {
		return &headroomv1.ListTasksResponse{Tasks: []*headroomv1.Task{r.task("a")}, NextPageToken: "7"}, nil
	}
	return &headroomv1.ListTasksResponse{Tasks: []*headroomv1.Task{r.task("b")}}, nil
}

func (r *registry) GetTaskSample(_ context.Context, req *headroomv1.GetTaskSampleRequest) (*headroomv1.GetTaskSampleResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, req)
	return &headroomv1.GetTaskSampleResponse{Sample: r.task("a").GetSample()}, nil
}

func (r *registry) WatchTask(req *headroomv1.WatchTaskRequest, st grpc.ServerStreamingServer[headroomv1.WatchTaskResponse]) error {
	one := r.task(req.GetTaskId())
	for range 3 {
		if err := st.Send(&headroomv1.WatchTaskResponse{Task: one}); err != nil {
			return err
		}
	}
	if req.GetTaskId() == "cut" {
		return nil
	}
	one.State = headroomv1.TaskState_TASK_STATE_LEASE_EXPIRED
	return st.Send(&headroomv1.WatchTaskResponse{Task: one})
}

func (r *registry) registered() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.calls)
}

// A task lives as long as the program wants, also over a restart of the server.
func TestTaskIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		first := &registry{prefix: "a"}
		stop := m.serve(&script{tasks: first})
		c := m.client(t)
		one, err := c.RegisterTask(t.Context(), client.TaskConfig{Name: "n", Processes: []client.TaskProcess{{Name: "p", PID: 7}}})
		if err != nil || one.ID() != "a"+strings.Repeat("0", 30) {
			t.Fatalf("%q, %v", one.ID(), err)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := first.registered(); n != 4 || first.calls[3].GetTaskId() != one.ID() || len(first.calls[3].GetProcesses()) != 0 {
			t.Errorf("%d calls after 10 s of a lease of 9 s, want one and 3 renewals", n)
		}
		if err := one.Add(t.Context(), client.TaskProcess{Name: "q", Cgroup: "/q"}); err != nil {
			t.Error(err)
		}
		stop()
		second := &registry{prefix: "b"}
		defer m.serve(&script{tasks: second})()
		time.Sleep(time.Minute)
		synctest.Wait()
		if !strings.HasPrefix(one.ID(), "b") || len(second.calls[1].GetProcesses()) != 2 || second.calls[1].GetName() != "n" {
			t.Errorf("after a restart: %q, %v, want it registered anew with both", one.ID(), second.calls)
		}
		code := int32(4)
		state, err := one.End(t.Context(), &code)
		if err != nil || state.Info.Ended != task.Unregistered || *state.Info.ExitCode != 4 || state.Sample.Usage.CPU != time.Second {
			t.Errorf("End = %+v, %v", state, err)
		}
		before := second.registered()
		time.Sleep(time.Minute)
		if n := second.registered(); n != before {
			t.Errorf("%d renewals after its end", n-before)
		}
	})
}

// What ended before the server was restarted does not keep the rest from being registered anew.
func TestTaskIsRegisteredAnewWithoutWhatEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		stop := m.serve(&script{tasks: &registry{prefix: "a"}})
		one, err := m.client(t).RegisterTask(t.Context(), client.TaskConfig{Name: "n", Processes: []client.TaskProcess{
			{Name: "p", PID: 7}, {Name: "q", PID: 8}, {Name: "r", PID: 9, Cgroup: "/r"},
		}})
		if err != nil {
			t.Fatal(err)
		}
		stop()
		second := &registry{prefix: "b", gone: map[int64]bool{7: true, 9: true}}
		defer m.serve(&script{tasks: second})()
		time.Sleep(time.Minute)
		synctest.Wait()
		if !strings.HasPrefix(one.ID(), "b") {
			t.Fatalf("it is still %q: %v", one.ID(), second.calls)
		}
		var accepted []*headroomv1.TaskProcess
		for _, call := range second.calls {
			if call.GetTaskId() == "" {
				accepted = call.GetProcesses()
			}
		}
		if len(accepted) != 2 || accepted[0].GetName() != "q" || accepted[1].GetPid() != 0 || accepted[1].GetCgroup() != "/r" {
			t.Errorf("it was registered with %v, want q and the cgroup of r", accepted)
		}
	})
}

// A process that is started again and again does not make the task too large to be registered anew.
func TestTaskKeepsNoMoreProcessesThanMayBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		stop := m.serve(&script{tasks: &registry{prefix: "a"}})
		one, err := m.client(t).RegisterTask(t.Context(), client.TaskConfig{Name: "n", Processes: []client.TaskProcess{
			{Name: "p", PID: 7}, {Name: "q", PID: 8},
		}})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3 * task.MaxProcesses {
			if err := one.Add(t.Context(), client.TaskProcess{Name: "again", PID: 100 + i}); err != nil {
				t.Fatal(err)
			}
		}
		stop()
		second := &registry{prefix: "b"}
		defer m.serve(&script{tasks: second})()
		time.Sleep(time.Minute)
		synctest.Wait()
		for _, call := range second.calls {
			if p := call.GetProcesses(); call.GetTaskId() == "" && (len(p) != task.MaxProcesses || p[0].GetName() != "q" ||
				p[len(p)-1].GetPid() != 99+3*task.MaxProcesses) {
				t.Errorf("registered anew with %d processes, %v to %v; want the one that runs and the newest", len(p), p[0], p[len(p)-1])
			}
		}
		if !strings.HasPrefix(one.ID(), "b") {
			t.Errorf("it is still %q", one.ID())
		}
	})
}

func TestTaskQueries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		r := &registry{prefix: "a"}
		defer m.serve(&script{tasks: r})()
		c := m.client(t)
		all, err := c.Tasks(t.Context(), time.Second)
		if err != nil || len(all) != 2 || all[1].Info.ID != "b" || c.Now()-all[0].Sample.At != 2*time.Second {
			t.Errorf("Tasks = %+v, %v, want both pages", all, err)
		}
		at := time.Now().Add(-time.Minute)
		s, err := c.TaskSample(t.Context(), "a", client.TaskQuery{At: at, Mode: task.Ceiling, MaxAge: time.Second})
		if err != nil || s.Usage.RSS != 5 {
			t.Errorf("TaskSample = %+v, %v", s, err)
		}
		asked := r.asked[0]
		if !asked.GetAtTime().AsTime().Equal(at) || asked.GetMode() != headroomv1.SampleMode_SAMPLE_MODE_CEILING ||
			asked.GetMaxAge().AsDuration() != time.Second {
			t.Errorf("asked %v", asked)
		}
		for id, want := range map[string]bool{"whole": true, "cut": false} {
			states, last := 0, task.Running
			var failed error
			for state, err := range c.WatchTask(t.Context(), id) {
				if failed = err; err == nil {
					states, last = states+1, state.Info.Ended
				}
			}
			if (failed == nil) != want || states < 3 || (last == task.LeaseExpired) != want {
				t.Errorf("%s: %d states, the last %v, error %v", id, states, last, failed)
			}
		}
	})
}
