package client

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/task"
)

// TaskProcess names a process tree or a cgroup of a task, on the server's host.
type TaskProcess struct {
	Name   string // what the task calls it
	PID    int    // of the root, as this program sees it; 0 for none
	Cgroup string // its path as /proc/PID/cgroup has it; empty for none
}

// TaskConfig says what a task is. Only the name is required.
type TaskConfig struct {
	// Name is what people call the task: up to 128 characters.
	Name string

	// Processes are up to 64.
	Processes []TaskProcess

	// Sandbox is a folder on the server's host whose disk usage is read. It may come to exist later.
	Sandbox string

	// MemoryLimit is how much memory the task may use, in bytes; 0 for no limit. Nothing is enforced: it is the
	// maximum of the severity of the task.
	MemoryLimit int64

	// TTL is for how long the task lives when this program is not heard of, from 1 s to 24 h. 0 is the server's, 30 s.
	TTL time.Duration

	// Interval, DiskInterval and History replace those of the server where they are not zero.
	Interval, DiskInterval, History time.Duration
}

// Task is a task that this program has registered. Its lease is renewed until [Task.End] or until the Client is closed;
// with a server that was restarted it is registered anew, with those of its processes that have not ended. Its methods are safe for concurrent use.
type Task struct {
	client *Client
	config TaskConfig
	cancel context.CancelFunc
	done   chan struct{} // closed when renewing has ended

	mu sync.Mutex
	id string
}

// renewLeast is the least time between two renewals.
const renewLeast = 200 * time.Millisecond

// RegisterTask has the server keep account of what the processes use. It blocks until the server answered or ctx is
// done; ctx governs nothing after that.
func (c *Client) RegisterTask(ctx context.Context, conf TaskConfig) (*Task, error) {
	p, err := c.tasks.RegisterTask(ctx, conf.request())
	if err != nil {
		return nil, c.callError(ctx, "register task", err)
	}
	renewing, cancel := context.WithCancel(context.Background())
	t := &Task{client: c, config: conf, cancel: cancel, done: make(chan struct{}), id: p.GetTask().GetTaskId()}
	go t.renew(renewing, p.GetTtl().AsDuration())
	return t, nil
}

func (conf *TaskConfig) request() *headroomv1.RegisterTaskRequest {
	return &headroomv1.RegisterTaskRequest{
		Name: conf.Name, Processes: taskProcesses(conf.Processes), Sandbox: conf.Sandbox, MemoryLimitBytes: conf.MemoryLimit,
		Ttl: durationOrNone(conf.TTL), SampleInterval: durationOrNone(conf.Interval),
		DiskInterval: durationOrNone(conf.DiskInterval), History: durationOrNone(conf.History),
	}
}

func taskProcesses(all []TaskProcess) []*headroomv1.TaskProcess {
	var list []*headroomv1.TaskProcess
	for _, p := range all {
		list = append(list, &headroomv1.TaskProcess{Name: p.Name, Pid: int64(p.PID), Cgroup: p.Cgroup})
	}
	return list
}

// ID returns the id of the task. It changes when a restarted server has it registered anew.
func (t *Task) ID() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.id
}

// renew prolongs the lease three times within its time.
func (t *Task) renew(ctx context.Context, ttl time.Duration) {
	defer close(t.done)
	for {
		timer := time.NewTimer(max(ttl/3, renewLeast))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		case <-t.client.closed:
			timer.Stop()
			return
		}
		call, cancel := context.WithTimeout(ctx, max(ttl/3, time.Second))
		req := &headroomv1.RegisterTaskRequest{TaskId: t.ID(), Ttl: durationpb.New(ttl)}
		p, err := t.client.tasks.RegisterTask(call, req)
		if status.Code(err) == codes.NotFound {
			p, err = t.registerAnew(call) // the server does not know of it any longer
		}
		cancel()
		switch {
		case err == nil:
			ttl = p.GetTtl().AsDuration()
			t.mu.Lock()
			t.id = p.GetTask().GetTaskId()
			t.mu.Unlock()
		case ctx.Err() == nil:
			t.client.log.Warn("the lease of a task was not renewed", "task", t.ID(), "err", err)
		}
	}
}

// registerAnew registers the task with those of its processes that have not ended.
func (t *Task) registerAnew(ctx context.Context) (*headroomv1.RegisterTaskResponse, error) {
	for {
		p, err := t.client.tasks.RegisterTask(ctx, t.request())
		if err == nil || !t.forget(err) {
			return p, err
		}
	}
}

// forget takes off what the error says is gone: a process or a cgroup. It reports whether there was anything.
func (t *Task) forget(err error) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	found := false
	for _, d := range details(err) {
		gone, ok := d.(*errdetails.ResourceInfo)
		if !ok {
			continue
		}
		var left []TaskProcess
		for _, p := range t.config.Processes {
			switch {
			case gone.GetResourceType() == "headroom.v1.Process" && p.PID > 0 && gone.GetResourceName() == strconv.Itoa(p.PID):
				p.PID, found = 0, true
			case gone.GetResourceType() == "headroom.v1.Cgroup" && p.Cgroup != "" && gone.GetResourceName() == p.Cgroup:
				p.Cgroup, found = "", true
			}
			if p.PID > 0 || p.Cgroup != "" {
				left = append(left, p)
			}
		}
		t.config.Processes = left
	}
	return found
}

func (t *Task) request() *headroomv1.RegisterTaskRequest {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.config.request()
}

// Add adds processes to the task, such as one that was started again. It blocks until the server answered or ctx is
// done.
func (t *Task) Add(ctx context.Context, processes ...TaskProcess) error {
	resp, err := t.client.tasks.RegisterTask(ctx, &headroomv1.RegisterTaskRequest{
		TaskId: t.ID(), Processes: taskProcesses(processes),
	})
	if err != nil {
		return t.client.callError(ctx, "add to task", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	all := slices.Concat(t.config.Processes, processes)
	over := len(all) - task.MaxProcesses // as many have made room
	t.config.Processes = slices.DeleteFunc(all, func(p TaskProcess) bool {
		made := over > 0 && !runs(resp.GetTask().GetSample(), p)
		if made {
			over--
		}
		return made
	})
	return nil
}

// runs reports whether the sample has the process as one that has not ended.
func runs(sample *headroomv1.TaskSample, p TaskProcess) bool {
	return slices.ContainsFunc(sample.GetProcesses(), func(one *headroomv1.ProcessSample) bool {
		return one.GetName() == p.Name && one.GetPid() == int64(p.PID) && !one.GetEnded()
	})
}

// End ends the task, with the exit code of its command if there was one, and returns its last state. It blocks until
// the server answered or ctx is done; then too the lease is not renewed any longer. It must be called once.
func (t *Task) End(ctx context.Context, exitCode *int32) (TaskState, error) {
	t.cancel()
	<-t.done
	p, err := t.client.tasks.UnregisterTask(ctx, &headroomv1.UnregisterTaskRequest{TaskId: t.ID(), ExitCode: exitCode})
	if err != nil {
		return TaskState{}, t.client.callError(ctx, "end task", err)
	}
	return t.client.taskState(p.GetTask()), nil
}
