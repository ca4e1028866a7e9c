package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/headroom-rpc/headroom/internal/wire"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/task"
)

// TaskState is what is known of a task. Times that are durations are by the clock of [Client.Now].
type TaskState struct {
	// Info is the task, but for its processes, which Sample names.
	Info task.Info

	// Expire is when its lease ends if it is not renewed, by the server's wall clock; zero while a stream holds it and
	// once it has ended.
	Expire time.Time

	// Sample is the newest sample; nil before the first.
	Sample *task.Sample
}

// TaskQuery says which sample of a task is asked for. The zero value asks for the newest that there is.
type TaskQuery struct {
	// At is a time by the server's wall clock; zero is now. Mode says which sample answers for it.
	At   time.Time
	Mode task.Mode

	// MaxAge bounds how far the sample may be from the time, from 100 ms to 7 days; 0 is no bound. Without At, one
	// that is older is taken anew, and waited for.
	MaxAge time.Duration

	// PSS has the proportional set sizes read too, at most once a minute. Not with At.
	PSS bool
}

func (q TaskQuery) times() (at *timestamppb.Timestamp, maxAge *durationpb.Duration) {
	if !q.At.IsZero() {
		at = timestamppb.New(q.At)
	}
	return at, durationOrNone(q.MaxAge)
}

func durationOrNone(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}

// Tasks lists the tasks with their newest samples, in the order in which they were registered: all for an observer,
// else those of the caller's identity. With a maxAge over 0, at least 100 ms, older samples are taken anew first. It
// blocks until the server answered or ctx is done, and retries nothing.
func (c *Client) Tasks(ctx context.Context, maxAge time.Duration) ([]TaskState, error) {
	var all []TaskState
	req := &headroomv1.ListTasksRequest{PageSize: 1000, MaxAge: durationOrNone(maxAge)}
	for {
		p, err := c.tasks.ListTasks(ctx, req)
		if err != nil {
			return nil, c.callError(ctx, "list tasks", err)
		}
		for _, one := range p.GetTasks() {
			all = append(all, c.taskState(one))
		}
		if p.GetNextPageToken() == "" || p.GetNextPageToken() == req.GetPageToken() {
			return all, nil
		}
		req.PageToken = p.GetNextPageToken()
	}
}

func (c *Client) taskState(p *headroomv1.Task) TaskState {
	var s TaskState
	s.Info, s.Expire, s.Sample = wire.TaskFrom(p, c.Now())
	return s
}

// TaskSample asks for a sample of the task with the id. An error with the reason NO_SAMPLE says that there is none that
// q allows. It blocks until the server answered or ctx is done, and retries nothing.
func (c *Client) TaskSample(ctx context.Context, id string, q TaskQuery) (task.Sample, error) {
	at, maxAge := q.times()
	p, err := c.tasks.GetTaskSample(ctx, &headroomv1.GetTaskSampleRequest{
		TaskId: id, AtTime: at, Mode: wire.SampleMode(q.Mode), MaxAge: maxAge, Pss: q.PSS,
	})
	if err != nil {
		return task.Sample{}, c.callError(ctx, "get task sample", err)
	}
	return wire.TaskSampleFrom(p.GetSample(), c.Now()), nil
}

// ProcessSample asks for a sample of one named process of a task; of two with the name the newer one is meant. q.PSS is
// not used. At is by the clock of [Client.Now]. It blocks until the server answered or ctx is done, and retries nothing.
func (c *Client) ProcessSample(ctx context.Context, id, name string, q TaskQuery) (u task.ProcessUsage, at time.Duration, err error) {
	when, maxAge := q.times()
	p, err := c.tasks.GetProcessSample(ctx, &headroomv1.GetProcessSampleRequest{
		TaskId: id, Process: name, AtTime: when, Mode: wire.SampleMode(q.Mode), MaxAge: maxAge,
	})
	if err != nil {
		return u, 0, c.callError(ctx, "get process sample", err)
	}
	now := c.Now()
	return wire.ProcessSampleFrom(p.GetSample(), now), now - max(p.GetAge().AsDuration(), 0), nil
}

// WatchTask follows a task: it yields the newest sample at once and then each new one, and ends after the one that says
// how the task ended. A slow loop skips samples. It does not connect again: an error that it yields is the last thing.
func (c *Client) WatchTask(ctx context.Context, id string) iter.Seq2[TaskState, error] {
	return func(yield func(TaskState, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := c.tasks.WatchTask(ctx, &headroomv1.WatchTaskRequest{TaskId: id})
		var last TaskState
		for err == nil {
			var p *headroomv1.WatchTaskResponse
			if p, err = stream.Recv(); err == nil {
				if last = c.taskState(p.GetTask()); !yield(last, nil) {
					return
				}
			}
		}
		switch {
		case !errors.Is(err, io.EOF):
			yield(TaskState{}, c.callError(ctx, "watch task", err))
		case last.Info.Ended == task.Running:
			yield(TaskState{}, fmt.Errorf("client: watch task: %w", errEnded))
		}
	}
}
