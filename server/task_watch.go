package server

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/task"
)

// taskSilence is the longest time between two messages of a stream of samples.
const taskSilence = 10 * time.Second

// taskStream is one stream of samples.
type taskStream struct {
	*taskService
	events eventStream
}

// WatchTask implements headroom.v1.TaskService.
func (s *taskService) WatchTask(
	req *headroomv1.WatchTaskRequest, stream grpc.ServerStreamingServer[headroomv1.WatchTaskResponse],
) error {
	who, err := caller(stream.Context())
	if err != nil {
		return err
	}
	ended, err := s.hub.enter()
	if err != nil {
		return err
	}
	defer s.hub.exit()
	if err := s.join(who, req); err != nil {
		return err
	}
	defer s.part(req)
	w := &taskStream{s, newEventStream(stream, s.hub, taskSilence, ended, nil)}
	defer w.events.timer.Stop()
	return endOf(w.run(req.GetTaskId(), &headroomv1.TaskStarted{
		InstanceId: s.instanceID, MaxSilence: durationpb.New(taskSilence), ServerVersion: s.version,
	}))
}

// join looks whether the caller may watch the task, and holds its lease if asked.
func (s *taskService) join(who Identity, req *headroomv1.WatchTaskRequest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	info, err := s.findLocked(who, req.GetTaskId())
	if err != nil || !req.GetHold() {
		return err
	}
	l := s.leases[req.GetTaskId()]
	switch {
	case !who.mayChange(info.Owner):
		return &taskError{id: info.ID}
	case l == nil:
		return &taskError{id: info.ID, ended: true}
	}
	l.holds++
	return nil
}

// part undoes join.
func (s *taskService) part(req *headroomv1.WatchTaskRequest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.leases[req.GetTaskId()]; l != nil && req.GetHold() {
		l.holds--
		l.until = s.clock() + l.ttl
		s.poke()
	}
}

// taskMark is what a message of a task tells apart from the one before.
type taskMark struct {
	at, disk time.Duration
	ended    task.End
	stopped  string
	limit    int64
	count    int
}

// run sends the newest sample, and each newer one, until the stream or the task ends.
func (w *taskStream) run(id string, started *headroomv1.TaskStarted) error {
	var last taskMark
	for {
		w.mu.Lock()
		info, err := w.monitor.Info(id)
		if err != nil {
			w.mu.Unlock()
			return nil // it ended long ago, which the reader was told
		}
		mark := taskMark{ended: info.Ended, limit: info.MemoryLimit, count: len(info.Processes)}
		if sample, err := w.monitor.Sample(w.clock(), id, task.Query{}); err == nil {
			mark.at, mark.disk, mark.stopped = sample.At, sample.DiskAt, sample.Stopped
		}
		observed := w.observed
		var resp *headroomv1.WatchTaskResponse
		if mark != last || started != nil {
			resp = &headroomv1.WatchTaskResponse{Started: started, Task: w.messageLocked(&info)}
		}
		w.mu.Unlock()
		if resp != nil {
			if err := w.events.send(resp); err != nil {
				return err
			}
			last, started = mark, nil
		}
		if info.Ended != task.Running {
			return nil
		}
		again, err := w.events.wait(observed)
		if err != nil {
			return err
		}
		if again {
			last = taskMark{}
		}
	}
}
