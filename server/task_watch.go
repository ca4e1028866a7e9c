package server

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/task"
)

// taskSilence is the longest time between two messages of a stream of samples.
const taskSilence = 10 * time.Second

// taskStream is one stream of samples. Only its handler uses it.
type taskStream struct {
	*taskService
	stream grpc.ServerStream
	ended  <-chan struct{} // closed when the stream is to end with OK
	sent   chan error      // of capacity 1: how the Send in flight went
	timer  *time.Timer     // of the Send in flight, or else of the silence
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
	w := &taskStream{
		taskService: s, stream: transportStream(stream), ended: ended,
		sent: make(chan error, 1), timer: time.NewTimer(taskSilence),
	}
	defer w.timer.Stop()
	return w.run(req.GetTaskId(), &headroomv1.TaskStarted{
		InstanceId: s.instanceID, MaxSilence: durationpb.New(taskSilence), ServerVersion: s.version,
	})
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
			if err := w.send(resp); err != nil {
				return endOf(err)
			}
			last, started = mark, nil
		}
		if info.Ended != task.Running {
			return nil
		}
		again, err := w.wait(observed)
		if err != nil {
			return endOf(err)
		}
		if again {
			last = taskMark{}
		}
	}
}

func endOf(err error) error {
	if err == errEnded {
		return nil
	}
	return err
}

// wait returns when something changed. again says that the silence must be broken.
func (w *taskStream) wait(observed <-chan struct{}) (again bool, err error) {
	w.timer.Reset(taskSilence * 3 / 4) // which leaves the rest for the way
	select {
	case <-observed:
		return false, nil
	case <-w.timer.C:
		return true, nil
	case <-w.ended:
		return false, errEnded
	case <-w.stream.Context().Done():
		return false, context.Cause(w.stream.Context())
	}
}

// send sends a message on a goroutine of its own, as the handler of a reader that does not read must return.
func (w *taskStream) send(resp *headroomv1.WatchTaskResponse) error {
	go func() { w.sent <- w.stream.SendMsg(resp) }()
	w.timer.Reset(w.hub.sendTimeout)
	select {
	case err := <-w.sent:
		if err == nil {
			w.hub.sent.Add(1)
		}
		return err
	case <-w.timer.C:
		w.hub.slow.Add(1)
		w.hub.stalled(w.stream.Context())
		return &slowReaderError{timeout: w.hub.sendTimeout}
	case <-w.ended:
		return errEnded
	case <-w.stream.Context().Done():
		return context.Cause(w.stream.Context())
	}
}
