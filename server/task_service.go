package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/headroom-rpc/headroom/internal/wire"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/snapshot"
	"github.com/headroom-rpc/headroom/snapshot/host"
	"github.com/headroom-rpc/headroom/task"
)

// taskService implements headroom.v1.TaskService. Its methods return errors of this package and of task; an
// interceptor turns them into statuses. One loop asks the kernel, for all tasks.
type taskService struct {
	headroomv1.UnimplementedTaskServiceServer

	limits     Limits
	log        *slog.Logger
	instanceID string
	version    string
	clock      func() time.Duration
	hub        *hub // counts the streams and ends them
	disk       *host.DiskWalker
	startWalk  func(host.DiskRequest, func(snapshot.DiskReading)) (stop func()) // of disk

	wake chan struct{} // holds one token; poke fills it

	mu       sync.Mutex
	monitor  *task.Monitor
	leases   map[string]*taskLease // of the tasks that run
	handles  map[uint64]*handle    // of their processes
	trash    []*handle             // to be closed by the loop, which may read them now
	asked    uint64                // the newest demand for a pass
	served   uint64                // the newest one that a pass answers
	pss      map[string]bool       // tasks whose PSS is asked for
	observed chan struct{}         // closed when there was a pass or a task changed
	over     bool                  // the loop has ended

	held int // files that the scanner keeps open
}

// taskLease is what a task lives by.
type taskLease struct {
	owner string
	uid   int // whose rights its folder is read with; negative for the server's own
	ttl   time.Duration
	until time.Duration // when it ends; no time while streams hold it
	holds int

	reserves bool // memory is left free for it up to its limit

	stopWalk func() // ends the walk of its folder, which may be over; nil before the first
}

// handle is what keeps hold of a process or a cgroup. Only the loop reads it.
type handle struct {
	number  uint64
	process *host.Process
	group   *host.Group
	outside task.Outside
	looked  uint64 // the pass that read it last
	keep    bool   // the files of the group stay open
}

func (h *handle) close() {
	if h.process != nil {
		h.process.Close()
	}
	if h.group != nil {
		h.group.Close()
	}
}

// newTaskService returns the service of c, which was validated.
func (s *Server) newTaskService(c Config) (*taskService, error) {
	sampling := c.Tasks.Sampling
	sampling.MaxTasks = s.limits.MaxTasks
	monitor, err := task.NewMonitor(sampling)
	if err != nil {
		return nil, err
	}
	disk := host.NewDiskWalker(c.Tasks.Disk)
	return &taskService{
		limits: s.limits, log: s.log, instanceID: s.service.instanceID, version: c.Version,
		clock: s.permits.config.Clock, hub: s.hub, disk: disk, startWalk: disk.Start,
		wake: make(chan struct{}, 1), monitor: monitor, leases: make(map[string]*taskLease),
		handles: make(map[uint64]*handle), pss: make(map[string]bool), observed: make(chan struct{}),
	}, nil
}

// poke makes the loop look again.
func (s *taskService) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// changedLocked tells everybody who waits that something changed.
func (s *taskService) changedLocked() {
	close(s.observed)
	s.observed = make(chan struct{})
}

// mayChange reports whether the caller may change what the owner has.
func (id Identity) mayChange(owner string) bool { return id.Name == owner || id.Role >= RoleOperator }

// maySee reports whether the caller may see what the owner has.
func (id Identity) maySee(owner string) bool { return id.Name == owner || id.Role >= RoleObserver }

func caller(ctx context.Context) (Identity, error) {
	identity, ok := IdentityFrom(ctx)
	if !ok {
		return Identity{}, errors.New("a call without identity")
	}
	return identity, nil
}

// findLocked returns a task that the caller may see.
func (s *taskService) findLocked(who Identity, id string) (task.Info, error) {
	info, err := s.monitor.Info(id)
	if err != nil || !who.maySee(info.Owner) {
		return task.Info{}, &taskError{id: id}
	}
	return info, nil
}

// messageLocked returns a task with its newest sample, if it has one.
func (s *taskService) messageLocked(info *task.Info) *headroomv1.Task {
	now := s.clock()
	var expire time.Time
	if l := s.leases[info.ID]; l != nil && l.holds == 0 {
		expire = time.Now().Add(l.until - now)
	}
	var newest *task.Sample
	if sample, err := s.monitor.Sample(now, info.ID, task.Query{}); err == nil {
		newest = &sample
	}
	return wire.Task(info, expire, newest, now)
}

// demand asks for a pass that begins after the call, with the PSS of a task if one is named, and waits for it. It
// returns errDraining once there is no loop.
func (s *taskService) demand(ctx context.Context, pss string) error {
	s.mu.Lock()
	s.asked++
	number := s.asked
	if pss != "" {
		s.pss[pss] = true
	}
	for s.served < number {
		if s.over {
			s.mu.Unlock()
			return errDraining
		}
		observed := s.observed
		s.mu.Unlock()
		s.poke()
		select {
		case <-observed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		s.mu.Lock()
	}
	s.mu.Unlock()
	return nil
}

// refresh has a pass made if the newest sample of one of the tasks is older than maxAge.
func (s *taskService) refresh(ctx context.Context, maxAge time.Duration, ids ...string) error {
	if maxAge <= 0 {
		return nil
	}
	s.mu.Lock()
	old := false
	for _, id := range ids {
		info, err := s.monitor.Info(id)
		if err != nil || info.Ended != task.Running || len(info.Processes) == 0 {
			continue
		}
		_, err = s.monitor.Sample(s.clock(), id, task.Query{MaxAge: maxAge})
		old = old || err != nil
	}
	s.mu.Unlock()
	if !old {
		return nil
	}
	return s.demand(ctx, "")
}

// ListTasks implements headroom.v1.TaskService.
func (s *taskService) ListTasks(
	ctx context.Context, req *headroomv1.ListTasksRequest,
) (*headroomv1.ListTasksResponse, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	size := int(req.GetPageSize())
	if size == 0 {
		size = 100
	}
	from, err := pageStart(req.GetPageToken())
	if err != nil {
		return nil, err
	}
	page, next := s.page(who, from, size)
	if err := s.refresh(ctx, req.GetMaxAge().AsDuration(), page...); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	health := s.monitor.Health()
	resp := &headroomv1.ListTasksResponse{NextPageToken: next, Health: wire.SamplingHealth(&health, s.disk.Hung())}
	for _, id := range page {
		if info, err := s.findLocked(who, id); err == nil {
			resp.Tasks = append(resp.Tasks, s.messageLocked(&info))
		}
	}
	if proto.Size(resp) > s.limits.MaxSendBytes {
		return nil, &tooLargeError{max: s.limits.MaxSendBytes}
	}
	return resp, nil
}

// page returns the ids of one page, and where the next one begins: after a time of registration, which does not
// change when tasks end.
func (s *taskService) page(who Identity, from time.Duration, size int) (ids []string, next string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := from
	for _, info := range s.monitor.List() {
		if info.Registered <= from || !who.maySee(info.Owner) {
			continue
		}
		if len(ids) >= size && info.Registered > last {
			return ids, strconv.FormatInt(int64(last), 10)
		}
		ids, last = append(ids, info.ID), info.Registered
	}
	return ids, ""
}

func pageStart(token string) (time.Duration, error) {
	if token == "" {
		return -1, nil
	}
	n, err := strconv.ParseInt(token, 10, 64)
	if err != nil || n < 0 {
		return 0, badPage(token)
	}
	return time.Duration(n), nil
}

// badPage refuses a token that begins no page.
func badPage(token string) error {
	invalid := &invalidError{}
	invalid.add("page_token", "%q is none that this server gave", clip(token))
	return invalid
}

// farTime bounds how far from now a sample may be asked for: times that are farther do not fit the clock.
const farTime = 100 * 365 * 24 * time.Hour

// query returns what a request asks for, by the clock of the monitor.
func (s *taskService) query(at time.Time, past bool, mode headroomv1.SampleMode, maxAge *durationpb.Duration) task.Query {
	q := task.Query{Past: past, Mode: wire.SampleModeFrom(mode), MaxAge: maxAge.AsDuration()}
	if past {
		q.At = s.clock() + max(-farTime, min(time.Until(at), farTime))
	}
	return q
}

// GetTaskSample implements headroom.v1.TaskService.
func (s *taskService) GetTaskSample(
	ctx context.Context, req *headroomv1.GetTaskSampleRequest,
) (*headroomv1.GetTaskSampleResponse, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	id := req.GetTaskId()
	s.mu.Lock()
	info, err := s.findLocked(who, id)
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	q := s.query(req.GetAtTime().AsTime(), req.GetAtTime() != nil, req.GetMode(), req.GetMaxAge())
	switch {
	case q.Past || info.Ended != task.Running:
	case req.GetPss():
		err = s.demand(ctx, id)
	default:
		err = s.refresh(ctx, q.MaxAge, id)
	}
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !q.Past {
		q.MaxAge = 0 // what was taken anew is as new as can be had; of a task that has ended it is the last one
	}
	sample, err := s.monitor.Sample(s.clock(), id, q)
	if err != nil {
		return nil, found(err, id)
	}
	return &headroomv1.GetTaskSampleResponse{Sample: wire.TaskSample(&sample, s.clock())}, nil
}

// found turns an error of the monitor into one of this package.
func found(err error, id string) error {
	switch {
	case errors.Is(err, task.ErrNotFound):
		return &taskError{id: id}
	case errors.Is(err, task.ErrEnded):
		return &taskError{id: id, ended: true}
	default:
		return err
	}
}

// GetProcessSample implements headroom.v1.TaskService.
func (s *taskService) GetProcessSample(
	ctx context.Context, req *headroomv1.GetProcessSampleRequest,
) (*headroomv1.GetProcessSampleResponse, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	id, name := req.GetTaskId(), req.GetProcess()
	q := s.query(req.GetAtTime().AsTime(), req.GetAtTime() != nil, req.GetMode(), req.GetMaxAge())
	s.mu.Lock()
	info, err := s.findLocked(who, id)
	if err != nil {
		s.mu.Unlock()
		return nil, err
	}
	_, err = s.monitor.ProcessSample(s.clock(), id, name, q)
	s.mu.Unlock()
	if errors.Is(err, task.ErrNoSample) && !q.Past && info.Ended == task.Running {
		if err := s.demand(ctx, ""); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !q.Past {
		q.MaxAge = 0
	}
	now := s.clock()
	sample, err := s.monitor.ProcessSample(now, id, name, q)
	if err != nil {
		return nil, found(err, id)
	}
	whole := wire.TaskSample(&sample, now)
	if len(whole.GetProcesses()) != 1 {
		return nil, fmt.Errorf("server: a sample of %d processes in place of one", len(whole.GetProcesses()))
	}
	return &headroomv1.GetProcessSampleResponse{
		Sample: whole.GetProcesses()[0], SampleTime: whole.GetSampleTime(), Age: whole.GetAge(),
		StoppedReason: whole.GetStoppedReason(),
	}, nil
}
