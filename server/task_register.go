package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/snapshot/host"
	"github.com/headroom-rpc/headroom/task"
)

const (
	// defaultTaskTTL is how long a task lives whose caller does not say.
	defaultTaskTTL = 30 * time.Second

	// lastSampleTime is how long the end of a task waits for its last sample.
	lastSampleTime = time.Second
)

// RegisterTask implements headroom.v1.TaskService.
func (s *taskService) RegisterTask(
	ctx context.Context, req *headroomv1.RegisterTaskRequest,
) (*headroomv1.RegisterTaskResponse, error) {
	received := s.clock()
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	if who.Role < RoleObserver && who.UID < 0 {
		return nil, &deniedError{
			method: headroomv1.TaskService_RegisterTask_FullMethodName, identity: who, need: RoleObserver,
			hint: "without it, register processes of your own user over the unix socket",
		}
	}
	processes, handles, err := s.open(ctx, who, req.GetProcesses())
	if err != nil {
		return nil, err
	}
	ttl := req.GetTtl().AsDuration()
	id := req.GetTaskId()
	if id == "" {
		var raw [16]byte
		_, _ = rand.Read(raw[:]) // never fails; it ends the program instead
		id = hex.EncodeToString(raw[:])
		err = s.register(who, id, req, processes, handles, received, ttl)
	} else {
		err = s.renew(who, id, req, processes, handles, received, ttl)
		var fault *task.FieldError
		if errors.As(err, &fault) && s.demand(ctx, "") == nil { // those that ended since the last pass make room too
			err = s.renew(who, id, req, processes, handles, received, ttl)
		}
		if errors.As(err, &fault) {
			err = specFaults(err)
		}
	}
	if err != nil {
		for _, h := range handles {
			h.close()
		}
		return nil, err
	}
	s.poke()
	s.mu.Lock()
	defer s.mu.Unlock()
	info, err := s.monitor.Info(id)
	if err != nil {
		return nil, &taskError{id: id}
	}
	resp := &headroomv1.RegisterTaskResponse{Task: s.messageLocked(&info), InstanceId: s.instanceID}
	if l := s.leases[id]; l != nil {
		resp.Ttl = durationpb.New(l.ttl)
	}
	return resp, nil
}

// open takes hold of what the caller names, if it may: what it may not know of does not exist.
func (s *taskService) open(
	ctx context.Context, who Identity, named []*headroomv1.TaskProcess,
) (processes []task.Process, handles []*handle, err error) {
	defer func() {
		if err == nil {
			return
		}
		for _, h := range handles {
			h.close()
		}
	}()
	for _, p := range named {
		h := new(handle)
		handles = append(handles, h)
		one := task.Process{Name: p.GetName()}
		if pid := p.GetPid(); pid > 0 {
			if h.process, err = openProcess(ctx, who, pid); err != nil {
				return nil, handles, err
			}
			one.PID, one.Start = int32(h.process.PID()), h.process.Start()
		}
		if path := p.GetCgroup(); path != "" {
			h.group, err = host.OpenGroup(path)
			if err == nil && who.Role < RoleObserver && !h.group.OwnedBy(who.UID) {
				err = host.ErrNoGroup
			}
			if errors.Is(err, host.ErrNoGroup) {
				err = &groupError{path: path}
			}
			if err != nil {
				return nil, handles, err
			}
			one.Group = h.group.Path()
		}
		processes = append(processes, one)
	}
	return processes, handles, nil
}

// openProcess returns the process that the caller calls pid, if it may name it.
func openProcess(ctx context.Context, who Identity, pid int64) (*host.Process, error) {
	resolved := int(pid)
	var err error
	if who.UID >= 0 { // of a caller over TCP it is a pid of this host, or none
		resolved, err = host.ResolvePID(ctx, who.PID, int(pid))
	}
	var p *host.Process
	if err == nil {
		p, err = host.OpenProcess(ctx, resolved)
	}
	if err == nil && who.Role < RoleObserver && !p.OwnedBy(who.UID) {
		p.Close()
		err = host.ErrNoProcess
	}
	if errors.Is(err, host.ErrNoProcess) {
		return nil, &processError{pid: pid}
	}
	return p, err
}

// register adds a task. One that has ended makes room for it.
func (s *taskService) register(
	who Identity, id string, req *headroomv1.RegisterTaskRequest, processes []task.Process, handles []*handle,
	received, ttl time.Duration,
) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return errDraining
	}
	if most := s.limits.MaxTasksPerIdentity; s.monitor.Count(who.Name) >= most && who.Role < RoleOperator && !s.monitor.DropEnded(who.Name) {
		return &taskLimitError{most: most, identity: who.Name}
	}
	spec := task.Spec{
		ID: id, Owner: who.Name, Name: req.GetName(), Processes: processes, Sandbox: req.GetSandbox(),
		MemoryLimit: req.GetMemoryLimitBytes(), Interval: req.GetSampleInterval().AsDuration(),
		DiskInterval: req.GetDiskInterval().AsDuration(), History: req.GetHistory().AsDuration(),
	}
	now, wall := s.clock(), time.Now()
	numbers, err := s.monitor.Register(now, wall, spec)
	if errors.Is(err, task.ErrFull) && s.monitor.DropEnded("") {
		numbers, err = s.monitor.Register(now, wall, spec)
	}
	if errors.Is(err, task.ErrFull) {
		return &taskLimitError{most: s.limits.MaxTasks}
	}
	if err != nil {
		return specFaults(err)
	}
	if ttl == 0 {
		ttl = defaultTaskTTL
	}
	l := &taskLease{
		owner: who.Name, uid: who.UID, ttl: ttl, until: received + ttl, reserves: who.Role >= RoleOperator,
	}
	if who.Role >= RoleObserver {
		l.uid = -1
	}
	s.leases[id] = l
	s.takeLocked(numbers, handles)
	return nil
}

// renew prolongs the lease of a task, and adds processes to it.
func (s *taskService) renew(
	who Identity, id string, req *headroomv1.RegisterTaskRequest, processes []task.Process, handles []*handle,
	received, ttl time.Duration,
) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.leases[id]
	switch info, err := s.monitor.Info(id); {
	case err != nil || !who.mayChange(info.Owner):
		return &taskError{id: id}
	case info.Ended != task.Running || l == nil:
		return &taskError{id: id, ended: true}
	}
	before := s.monitor.Numbers(id)
	numbers, err := s.monitor.AddProcesses(id, processes)
	if err != nil {
		return found(err, id)
	}
	left := s.monitor.Numbers(id)
	s.dropLocked(slices.DeleteFunc(before, func(number uint64) bool { return slices.Contains(left, number) }))
	if bytes := req.GetMemoryLimitBytes(); bytes > 0 {
		if err := s.monitor.SetMemoryLimit(id, bytes); err != nil {
			return found(err, id)
		}
	}
	if ttl > 0 {
		l.ttl = ttl
	}
	l.until = received + l.ttl
	s.takeLocked(numbers, handles)
	return nil
}

// takeLocked keeps hold of the processes of a task.
func (s *taskService) takeLocked(numbers []uint64, handles []*handle) {
	for i, h := range handles {
		h.number = numbers[i]
		s.handles[h.number] = h
	}
	s.changedLocked()
}

// endLocked ends a task, and lets go of its processes.
func (s *taskService) endLocked(now time.Duration, id string, how task.End, exitCode *int32) {
	numbers := s.monitor.Numbers(id)
	if s.monitor.End(now, time.Now(), id, how, exitCode) != nil {
		return
	}
	if l := s.leases[id]; l != nil && l.stopWalk != nil {
		l.stopWalk()
	}
	delete(s.leases, id)
	delete(s.pss, id)
	s.dropLocked(numbers)
	s.changedLocked()
}

// dropLocked lets go of processes. The loop closes them.
func (s *taskService) dropLocked(numbers []uint64) {
	for _, number := range numbers {
		if h := s.handles[number]; h != nil {
			delete(s.handles, number)
			s.trash = append(s.trash, h)
		}
	}
}

// UnregisterTask implements headroom.v1.TaskService.
func (s *taskService) UnregisterTask(
	ctx context.Context, req *headroomv1.UnregisterTaskRequest,
) (*headroomv1.UnregisterTaskResponse, error) {
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	id := req.GetTaskId()
	s.mu.Lock()
	info, err := s.findLocked(who, id)
	s.mu.Unlock()
	if err != nil || !who.mayChange(info.Owner) {
		return nil, &taskError{id: id}
	}
	if info.Ended == task.Running && len(info.Processes) > 0 {
		waiting, cancel := context.WithTimeout(ctx, lastSampleTime)
		_ = s.demand(waiting, "") // without it, the last sample is the one before
		cancel()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endLocked(s.clock(), id, task.Unregistered, req.ExitCode)
	s.poke()
	if info, err = s.monitor.Info(id); err != nil {
		return nil, &taskError{id: id}
	}
	return &headroomv1.UnregisterTaskResponse{Task: s.messageLocked(&info)}, nil
}

// expireLocked ends the tasks whose lease is over, and returns when the next one is.
func (s *taskService) expireLocked(now time.Duration) (next time.Duration, ok bool) {
	for id, l := range s.leases {
		switch {
		case l.holds > 0:
		case l.until <= now:
			s.endLocked(now, id, task.LeaseExpired, nil)
		case !ok || l.until < next:
			next, ok = l.until, true
		}
	}
	return next, ok
}
