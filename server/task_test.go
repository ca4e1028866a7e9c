package server_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/server"
	"github.com/headroom-rpc/headroom/snapshot/host"
	"github.com/headroom-rpc/headroom/task"
)

// taskClock makes the server tell the time of tasks and permits by the clock of the bubble.
func taskClock(c *server.Config) {
	begin := time.Now()
	c.Permits.Clock = func() time.Duration { return time.Since(begin) }
}

func (f *fixture) tasks() headroomv1.TaskServiceClient {
	return headroomv1.NewTaskServiceClient(f.conn)
}

func self(name string) *headroomv1.TaskProcess {
	return &headroomv1.TaskProcess{Name: name, Pid: int64(os.Getpid())}
}

func register(t *testing.T, c headroomv1.TaskServiceClient, req *headroomv1.RegisterTaskRequest) *headroomv1.Task {
	t.Helper()
	resp, err := c.RegisterTask(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return resp.GetTask()
}

func TestTaskOverItsLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := serving(t, settings{server: taskClock})
		c := f.tasks()
		resp, err := c.RegisterTask(t.Context(), &headroomv1.RegisterTaskRequest{
			Name: "build", Processes: []*headroomv1.TaskProcess{self("test")}, Ttl: durationpb.New(time.Minute),
		})
		if err != nil {
			t.Fatal(err)
		}
		one := resp.GetTask()
		if len(one.GetTaskId()) != 32 || one.GetOwner() != "tester" || one.GetState() != headroomv1.TaskState_TASK_STATE_RUNNING ||
			resp.GetTtl().AsDuration() != time.Minute || one.GetSampleInterval().AsDuration() != 5*time.Second || one.ExpireTime == nil {
			t.Errorf("registered: %v", resp)
		}
		got, err := c.GetTaskSample(t.Context(), &headroomv1.GetTaskSampleRequest{
			TaskId: one.GetTaskId(), MaxAge: durationpb.New(time.Second), Pss: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		u := got.GetSample().GetUsage()
		if u.GetProcessCount() < 1 || u.GetRssBytes() < 1<<20 || u.GetPssBytes() < 1<<20 || u.GetMemoryDefinition() != "RSS" ||
			u.GetCpuTime().AsDuration() <= 0 || got.GetSample().GetDisk() != nil {
			t.Errorf("first sample: %v", got.GetSample())
		}
		time.Sleep(30 * time.Second)
		list, err := c.ListTasks(t.Context(), &headroomv1.ListTasksRequest{})
		if err != nil || len(list.GetTasks()) != 1 || list.GetTasks()[0].GetSampleCount() < 6 ||
			list.GetTasks()[0].GetSample().GetUsage().CpuCores == nil || list.GetHealth().GetPassCount() < 6 {
			t.Errorf("after 30 s: %v, %v", list, err)
		}
		age := list.GetTasks()[0].GetSample().GetAge().AsDuration()
		if fresh, err := c.ListTasks(t.Context(), &headroomv1.ListTasksRequest{MaxAge: durationpb.New(100 * time.Millisecond)}); err != nil ||
			age > 5*time.Second || fresh.GetTasks()[0].GetSample().GetAge().AsDuration() > 100*time.Millisecond {
			t.Errorf("with a maximum age: %v, %v", fresh, err)
		}
		for mode, want := range map[headroomv1.SampleMode]bool{
			headroomv1.SampleMode_SAMPLE_MODE_FLOOR: false, headroomv1.SampleMode_SAMPLE_MODE_CEILING: true,
		} {
			_, err := c.GetTaskSample(t.Context(), &headroomv1.GetTaskSampleRequest{
				TaskId: one.GetTaskId(), AtTime: timestamppb.New(time.Now().Add(-time.Hour)), Mode: mode,
			})
			if (err == nil) != want {
				t.Errorf("an hour ago, mode %v: %v", mode, err)
			}
		}
		if _, err := c.GetTaskSample(t.Context(), &headroomv1.GetTaskSampleRequest{
			TaskId: one.GetTaskId(), AtTime: timestamppb.New(time.Now().Add(-time.Hour)), MaxAge: durationpb.New(time.Minute),
		}); reason(err) != "NO_SAMPLE" || status.Code(err) != codes.OutOfRange {
			t.Errorf("too far: %v", err)
		}

		// Times of which the clock knows nothing are as far as can be.
		for year, newest := range map[int]bool{1: false, 9999: true} {
			at := timestamppb.New(time.Date(year, 12, 31, 0, 0, 0, 0, time.UTC))
			got, err := c.GetTaskSample(t.Context(), &headroomv1.GetTaskSampleRequest{TaskId: one.GetTaskId(), AtTime: at})
			if err != nil || (got.GetSample().GetAge().AsDuration() <= 5*time.Second) != newest {
				t.Errorf("the sample nearest to the year %d: %v, %v; want the newest one: %v", year, got, err, newest)
			}
			_, err = c.GetTaskSample(t.Context(), &headroomv1.GetTaskSampleRequest{
				TaskId: one.GetTaskId(), AtTime: at, MaxAge: durationpb.New(time.Hour),
			})
			checkError(t, err, codes.OutOfRange, "NO_SAMPLE")
		}

		if p, err := c.GetProcessSample(t.Context(), &headroomv1.GetProcessSampleRequest{TaskId: one.GetTaskId(), Process: "test"}); err != nil ||
			p.GetSample().GetPid() != int64(os.Getpid()) || p.GetSample().GetUsage().GetState() == headroomv1.ProcessState_PROCESS_STATE_UNSPECIFIED {
			t.Errorf("its process: %v, %v", p, err)
		}
		_, err = c.GetProcessSample(t.Context(), &headroomv1.GetProcessSampleRequest{TaskId: one.GetTaskId(), Process: "no"})
		checkError(t, err, codes.NotFound, "TASK_PROCESS_NOT_FOUND")

		// One that was added just now is sampled at once.
		register(t, c, &headroomv1.RegisterTaskRequest{TaskId: one.GetTaskId(), Processes: []*headroomv1.TaskProcess{self("more")}})
		if p, err := c.GetProcessSample(t.Context(), &headroomv1.GetProcessSampleRequest{TaskId: one.GetTaskId(), Process: "more"}); err != nil ||
			p.GetSample().GetUsage().GetProcessCount() < 1 {
			t.Errorf("an added process: %v, %v", p, err)
		}

		code := int32(3)
		ended, err := c.UnregisterTask(t.Context(), &headroomv1.UnregisterTaskRequest{TaskId: one.GetTaskId(), ExitCode: &code})
		if err != nil || ended.GetTask().GetState() != headroomv1.TaskState_TASK_STATE_UNREGISTERED || ended.GetTask().GetExitCode() != 3 ||
			!strings.Contains(ended.GetTask().GetSample().GetStoppedReason(), "ended") {
			t.Errorf("ended: %v, %v", ended, err)
		}
		_, err = c.RegisterTask(t.Context(), &headroomv1.RegisterTaskRequest{TaskId: one.GetTaskId()})
		checkError(t, err, codes.NotFound, "TASK_ENDED")
		if _, err := c.UnregisterTask(t.Context(), &headroomv1.UnregisterTaskRequest{TaskId: one.GetTaskId()}); err != nil {
			t.Errorf("ended again: %v", err)
		}
		if _, err := c.GetTaskSample(t.Context(), &headroomv1.GetTaskSampleRequest{TaskId: one.GetTaskId()}); err != nil {
			t.Errorf("its last sample: %v", err)
		}
		time.Sleep(task.DefaultKeep + 15*time.Second)
		_, err = c.GetTaskSample(t.Context(), &headroomv1.GetTaskSampleRequest{TaskId: one.GetTaskId()})
		checkError(t, err, codes.NotFound, "TASK_NOT_FOUND")
	})
}

func TestLeaseOfTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := serving(t, settings{server: taskClock})
		c := f.tasks()
		id := register(t, c, &headroomv1.RegisterTaskRequest{Name: "x", Processes: []*headroomv1.TaskProcess{self("p")}}).GetTaskId()
		state := func(want headroomv1.TaskState) {
			t.Helper()
			list, err := c.ListTasks(t.Context(), &headroomv1.ListTasksRequest{})
			if err != nil || list.GetTasks()[0].GetState() != want {
				t.Errorf("state %v, %v, want %v", list.GetTasks()[0].GetState(), err, want)
			}
		}
		time.Sleep(29 * time.Second)
		register(t, c, &headroomv1.RegisterTaskRequest{TaskId: id})
		time.Sleep(29 * time.Second)
		state(headroomv1.TaskState_TASK_STATE_RUNNING)

		ctx, cancel := context.WithCancel(t.Context())
		stream, err := c.WatchTask(ctx, &headroomv1.WatchTaskRequest{TaskId: id, Hold: true})
		if err != nil {
			t.Fatal(err)
		}
		first, err := stream.Recv()
		if err != nil || first.GetStarted().GetInstanceId() != f.InstanceID() || first.GetTask().ExpireTime != nil ||
			first.GetTask().GetSample() == nil {
			t.Errorf("first message: %v, %v", first, err)
		}
		last := first.GetTask().GetSample().GetSampleTime().AsTime()
		for range 100 {
			resp, err := stream.Recv()
			if err != nil || !resp.GetTask().GetSample().GetSampleTime().AsTime().After(last) || resp.GetStarted() != nil {
				t.Fatalf("%v, %v, want a newer sample", resp, err)
			}
			last = resp.GetTask().GetSample().GetSampleTime().AsTime()
		}
		state(headroomv1.TaskState_TASK_STATE_RUNNING)
		cancel()
		time.Sleep(29 * time.Second)
		state(headroomv1.TaskState_TASK_STATE_RUNNING)

		watching, err := c.WatchTask(t.Context(), &headroomv1.WatchTaskRequest{TaskId: id})
		if err != nil {
			t.Fatal(err)
		}
		var resp *headroomv1.WatchTaskResponse
		for err == nil {
			var next *headroomv1.WatchTaskResponse
			if next, err = watching.Recv(); err == nil {
				resp = next
			}
		}
		if eofIsOK(err) != nil || resp.GetTask().GetState() != headroomv1.TaskState_TASK_STATE_LEASE_EXPIRED {
			t.Errorf("the last message: %v, %v, want that the lease expired and OK", resp, err)
		}
		state(headroomv1.TaskState_TASK_STATE_LEASE_EXPIRED)
	})
}

// Who may not know of a task, a process or a cgroup is told what he would be told of one that there is not.
func TestWhoMayUseTasks(t *testing.T) {
	me := os.Getuid()
	listeners := map[string]*bufconn.Listener{}
	f := start(t, settings{server: func(c *server.Config) {
		for name, id := range map[string]server.Identity{
			"self":     {Role: server.RoleWorker, UID: me, PID: os.Getpid()},
			"another":  {Role: server.RoleWorker, UID: me + 1, PID: os.Getpid()},
			"remote":   {Role: server.RoleWorker, UID: -1, PID: -1},
			"observer": {Role: server.RoleObserver, UID: -1, PID: -1},
			"reader":   {Role: server.RoleReader, UID: me, PID: os.Getpid()},
		} {
			id.Name, id.Local = name, true
			listeners[name] = bufconn.Listen(1 << 16)
			c.Listeners = append(c.Listeners, server.NewListener(listeners[name], id))
		}
	}})
	as := func(name string) headroomv1.TaskServiceClient {
		g := &fixture{listener: listeners[name]}
		conn := g.dial(t)
		t.Cleanup(func() { conn.Close() })
		return headroomv1.NewTaskServiceClient(conn)
	}
	f.waitForSeverity(t)
	request := &headroomv1.RegisterTaskRequest{Name: "x", Processes: []*headroomv1.TaskProcess{self("p")}}
	id := register(t, as("self"), request).GetTaskId()
	for name, want := range map[string]string{
		"another": "PROCESS_NOT_FOUND", "remote": "ROLE_REQUIRED", "reader": "ROLE_REQUIRED", "observer": "", "self": "",
	} {
		if _, err := as(name).RegisterTask(t.Context(), request); reason(err) != want {
			t.Errorf("%s registers: %v, want %q", name, err, want)
		}
	}
	for name, want := range map[string]string{"another": "TASK_NOT_FOUND", "observer": "", "self": ""} {
		c := as(name)
		_, sample := c.GetTaskSample(t.Context(), &headroomv1.GetTaskSampleRequest{TaskId: id, MaxAge: durationpb.New(time.Hour)})
		_, process := c.GetProcessSample(t.Context(), &headroomv1.GetProcessSampleRequest{TaskId: id, Process: "p"})
		watch, err := c.WatchTask(t.Context(), &headroomv1.WatchTaskRequest{TaskId: id})
		if err == nil {
			_, err = watch.Recv()
		}
		if reason(sample) != want || reason(process) != want || reason(err) != want {
			t.Errorf("%s looks: %v, %v, %v, want %q", name, sample, process, err, want)
		}
		list, err := c.ListTasks(t.Context(), &headroomv1.ListTasksRequest{PageSize: 1})
		if seen := len(list.GetTasks()) > 0; err != nil || seen != (want == "") {
			t.Errorf("%s lists: %v, %v", name, list, err)
		}
	}
	for _, name := range []string{"another", "observer"} { // who may look may not change
		_, end := as(name).UnregisterTask(t.Context(), &headroomv1.UnregisterTaskRequest{TaskId: id})
		_, renew := as(name).RegisterTask(t.Context(), &headroomv1.RegisterTaskRequest{TaskId: id})
		hold, err := as(name).WatchTask(t.Context(), &headroomv1.WatchTaskRequest{TaskId: id, Hold: true})
		if err == nil {
			_, err = hold.Recv()
		}
		if reason(end) != "TASK_NOT_FOUND" || reason(renew) != "TASK_NOT_FOUND" || reason(err) != "TASK_NOT_FOUND" {
			t.Errorf("%s changes: %v, %v, %v", name, end, renew, err)
		}
	}
	for _, group := range []string{"/", "/no/such/group", "/../.."} {
		_, err := as("self").RegisterTask(t.Context(), &headroomv1.RegisterTaskRequest{
			Name: "x", Processes: []*headroomv1.TaskProcess{{Name: "g", Cgroup: group}},
		})
		if code := reason(err); code != "CGROUP_NOT_FOUND" {
			t.Errorf("cgroup %q: %v", group, err)
		}
	}
}

func TestTaskRequestsAreChecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := serving(t, settings{server: taskClock})
		c := f.tasks()
		long := strings.Repeat("x", 129)
		for name, req := range map[string]*headroomv1.RegisterTaskRequest{
			"no name":         {},
			"a C1 control":    {Name: "x\u009b2J"},
			"both":            {Name: "x", TaskId: strings.Repeat("a", 32)},
			"a long name":     {Name: long},
			"a newline":       {Name: "a\nb"},
			"a relative path": {Name: "x", Sandbox: "tmp"},
			"a zero byte":     {Name: "x", Sandbox: "/tmp\x00/x"},
			"an id":           {TaskId: "../../etc/passwd"},
			"no process":      {Name: "x", Processes: []*headroomv1.TaskProcess{{Name: "p"}}},
			"a negative pid":  {Name: "x", Processes: []*headroomv1.TaskProcess{{Name: "p", Pid: -1}}},
			"many":            {Name: "x", Processes: make([]*headroomv1.TaskProcess, 65)},
			"a short lease":   {Name: "x", Ttl: durationpb.New(time.Millisecond)},
			"a long history":  {Name: "x", SampleInterval: durationpb.New(time.Second), History: durationpb.New(3 * time.Hour)},
			"renewed":         {TaskId: strings.Repeat("a", 32), Sandbox: "/tmp"},
			"a limit":         {Name: "x", MemoryLimitBytes: -1},
		} {
			_, err := c.RegisterTask(t.Context(), req)
			if status.Code(err) != codes.InvalidArgument || reason(err) != "INVALID_FIELDS" {
				t.Errorf("%s: %v, want INVALID_FIELDS", name, err)
			}
		}
		if list, err := c.ListTasks(t.Context(), &headroomv1.ListTasksRequest{}); err != nil || len(list.GetTasks()) != 0 {
			t.Errorf("after refusals: %v, %v, want no task", list, err)
		}
		_, err := c.ListTasks(t.Context(), &headroomv1.ListTasksRequest{PageToken: "x"})
		checkError(t, err, codes.InvalidArgument, "INVALID_FIELDS")
		_, err = c.GetTaskSample(t.Context(), &headroomv1.GetTaskSampleRequest{TaskId: strings.Repeat("0", 32), Mode: 9})
		checkError(t, err, codes.InvalidArgument, "INVALID_FIELDS")
	})
}

func TestTasksAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		me := server.Identity{Name: "me", Role: server.RoleWorker, UID: os.Getuid(), PID: os.Getpid(), Local: true}
		f := serving(t, settings{identity: me, server: func(c *server.Config) {
			taskClock(c)
			c.Limits.MaxTasksPerIdentity = 3
		}})
		c := f.tasks()
		var first string
		for i := range 3 {
			id := register(t, c, &headroomv1.RegisterTaskRequest{Name: "x"}).GetTaskId()
			if i == 0 {
				first = id
			}
			time.Sleep(time.Second)
		}
		_, err := c.RegisterTask(t.Context(), &headroomv1.RegisterTaskRequest{Name: "x"})
		checkError(t, err, codes.ResourceExhausted, "TASKS")
		if _, err := c.UnregisterTask(t.Context(), &headroomv1.UnregisterTaskRequest{TaskId: first}); err != nil {
			t.Fatal(err)
		}
		register(t, c, &headroomv1.RegisterTaskRequest{Name: "x"})
		_, err = c.GetTaskSample(t.Context(), &headroomv1.GetTaskSampleRequest{TaskId: first})
		checkError(t, err, codes.NotFound, "TASK_NOT_FOUND") // it made room

		var names int
		token := ""
		for {
			page, err := c.ListTasks(t.Context(), &headroomv1.ListTasksRequest{PageSize: 1, PageToken: token})
			if err != nil {
				t.Fatal(err)
			}
			names += len(page.GetTasks())
			if token = page.GetNextPageToken(); token == "" {
				break
			}
		}
		if names != 3 {
			t.Errorf("%d tasks on all pages, want 3", names)
		}
	})
}

// The severity of a task is by its own limit, and names it.
func TestSeverityOfATask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := serving(t, settings{server: taskClock})
		c := f.tasks()
		of := func(id string) *headroomv1.WatchSeverityRequest {
			return &headroomv1.WatchSeverityRequest{Process: &headroomv1.ProcessScope{
				Process: &headroomv1.ProcessScope_TaskId{TaskId: id},
			}}
		}
		processes := []*headroomv1.TaskProcess{self("p")}
		free := register(t, c, &headroomv1.RegisterTaskRequest{Name: "free", Processes: processes}).GetTaskId()
		checkRefused(t, f.conn, of(free), codes.FailedPrecondition, "TASK_WITHOUT_LIMIT")
		checkRefused(t, f.conn, of(strings.Repeat("0", 32)), codes.NotFound, "TASK_NOT_FOUND")
		tight := register(t, c, &headroomv1.RegisterTaskRequest{Name: "tight", Processes: processes, MemoryLimitBytes: 1 << 20}).GetTaskId()
		s := follow(t.Context(), f.conn, of(tight))
		time.Sleep(20 * time.Second)
		synctest.Wait()
		list := s.transitions()
		checkOrder(t, list, 0)
		if len(list) != 3 {
			t.Fatalf("%d transitions, want 3 up: it is over its limit", len(list))
		}
		e := list[0].GetTransition().GetEvidence()
		if len(e) != 1 || e[0].GetSignal() != "process" || e[0].GetLimitBytes() != 1<<20 ||
			!strings.Contains(e[0].GetLimitSource(), `memory limit of task "tight" (`+tight) {
			t.Errorf("evidence %v, want that names the task", e)
		}
		if got := f.level(t); got.GetLevel() != 0 {
			t.Errorf("the machine is at level %d, want 0", got.GetLevel())
		}
		if _, err := c.UnregisterTask(t.Context(), &headroomv1.UnregisterTaskRequest{TaskId: tight}); err != nil {
			t.Fatal(err)
		}
		checkError(t, s.end(), codes.NotFound, "TASK_ENDED")
	})
}

func TestFolderOfTask(t *testing.T) {
	dir := t.TempDir()
	f := start(t, settings{server: func(c *server.Config) { c.Tasks.Disk = host.DiskConfig{Share: 1} }})
	f.waitForSeverity(t)
	c := f.tasks()
	await := func(id string, want headroomv1.DiskState) *headroomv1.DiskUsage {
		t.Helper()
		stream, err := c.WatchTask(t.Context(), &headroomv1.WatchTaskRequest{TaskId: id})
		if err != nil {
			t.Fatal(err)
		}
		for {
			resp, err := stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			d := resp.GetTask().GetSample().GetDisk()
			if d.GetState() == want && !strings.Contains(d.GetReason(), "not read yet") {
				return d
			}
		}
	}
	if err := os.WriteFile(dir+"/file", make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	there := register(t, c, &headroomv1.RegisterTaskRequest{Name: "x", Sandbox: dir}).GetTaskId()
	if d := await(there, headroomv1.DiskState_DISK_STATE_OK); d.GetUsedBytes() < 1<<20 || d.GetEntryCount() != 2 {
		t.Errorf("disk %v", d)
	}
	later := register(t, c, &headroomv1.RegisterTaskRequest{Name: "x", Sandbox: dir + "/later"}).GetTaskId()
	if d := await(later, headroomv1.DiskState_DISK_STATE_UNKNOWN); d.UsedBytes != nil || d.GetReason() == "" {
		t.Errorf("disk %v, want unknown and why", d)
	}
}

// Whoever watches and does not read delays nobody, and is ended.
func TestSlowReaderOfTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := serving(t, settings{server: func(c *server.Config) {
			taskClock(c)
			c.Limits.SendTimeout = time.Second
		}})
		c := f.tasks()
		var many []*headroomv1.TaskProcess
		for range 64 {
			many = append(many, self(strings.Repeat("n", 128)))
		}
		id := register(t, c, &headroomv1.RegisterTaskRequest{
			Name: "x", Processes: many, SampleInterval: durationpb.New(time.Second), Ttl: durationpb.New(time.Hour),
		}).GetTaskId()
		other := f.dial(t, grpc.WithStaticStreamWindowSize(64<<10), grpc.WithStaticConnWindowSize(64<<10))
		defer other.Close()
		stream, err := headroomv1.NewTaskServiceClient(other).WatchTask(t.Context(), &headroomv1.WatchTaskRequest{TaskId: id})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if list, err := c.ListTasks(t.Context(), &headroomv1.ListTasksRequest{}); err != nil || list.GetTasks()[0].GetSampleCount() < 50 {
			t.Errorf("meanwhile: %d samples, %v, want one a second", list.GetTasks()[0].GetSampleCount(), err)
		}
		for err == nil {
			_, err = stream.Recv()
		}
		checkError(t, err, codes.ResourceExhausted, "SLOW_READER")
	})
}

// A folder of somebody else tells nothing, whatever the server itself could read.
func TestFolderOfAnother(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/secret", make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	other := server.Identity{Name: "other", Role: server.RoleWorker, UID: os.Getuid() + 61234, PID: os.Getpid(), Local: true}
	f := start(t, settings{identity: other})
	f.waitForSeverity(t)
	id := register(t, f.tasks(), &headroomv1.RegisterTaskRequest{Name: "x", Sandbox: dir}).GetTaskId()
	stream, err := f.tasks().WatchTask(t.Context(), &headroomv1.WatchTaskRequest{TaskId: id})
	if err != nil {
		t.Fatal(err)
	}
	for {
		resp, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		d := resp.GetTask().GetSample().GetDisk()
		if strings.Contains(d.GetReason(), "not read yet") {
			continue
		}
		if d.GetState() != headroomv1.DiskState_DISK_STATE_UNKNOWN || d.UsedBytes != nil {
			t.Errorf("disk %v, want unknown", d)
		}
		return
	}
}
