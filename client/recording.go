package client

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/headroom-rpc/headroom/diagnostics"
	"github.com/headroom-rpc/headroom/internal/wire"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

// RecordConfig says what is to be recorded of a task.
type RecordConfig struct {
	// Task names the task. Required.
	Task string

	// Recorders names what is to be recorded; see [diagnostics.Recorders].
	Recorders []string

	// PID is the root process of the task, for what the server records from outside. 0 means none.
	PID int

	// MemoryInterval is the time between two samples of the memory. 0 means the server's.
	MemoryInterval time.Duration
}

// A Recording is what the server records, or lets be recorded, of one task. Its methods are safe for concurrent use
// but for Finish, which is called once.
type Recording struct {
	// Run identifies it.
	Run string

	// Recorders are what is recorded; those that are not Outside are the caller's to record and to upload.
	Recorders []diagnostics.Recorder

	// Refused are what was asked for in vain.
	Refused []diagnostics.Refusal

	// MaxArtifactBytes bounds an artifact.
	MaxArtifactBytes int64

	c      *Client
	start  *headroomv1.DiagnosticsStart
	ctx    context.Context
	cancel context.CancelFunc
	ended  chan recordingEnd // gets how it ended, once
	ending chan struct{}     // closed by Finish

	mu     sync.Mutex
	stream recordingStream
	finish *headroomv1.DiagnosticsFinish // nil before Finish
}

type recordingStream = grpc.BidiStreamingClient[headroomv1.StartDiagnosticsRequest, headroomv1.StartDiagnosticsResponse]

type recordingEnd struct {
	artifacts []*headroomv1.Artifact
	err       error
}

// Record begins a recording, which lives until [Recording.Finish] or until ctx is done: then the server takes the
// task for failed. It blocks until the server said what is recorded, and retries nothing until then.
//
// When the connection is lost, or the server is restarted, the recording goes on as soon as there is a server again:
// under the same Run, with what the server records in a further part of each artifact.
func (c *Client) Record(ctx context.Context, r RecordConfig) (*Recording, error) {
	start := &headroomv1.DiagnosticsStart{TaskId: r.Task, Recorders: r.Recorders, Pid: int64(r.PID)}
	if r.MemoryInterval != 0 {
		start.MemoryInterval = durationpb.New(r.MemoryInterval)
	}
	ctx, cancel := context.WithCancel(ctx)
	stream, started, err := c.startDiagnostics(ctx, start)
	if err != nil {
		cancel()
		return nil, c.callError(ctx, "start diagnostics", err)
	}
	start.RunId = started.GetRunId()
	recording := &Recording{
		Run: started.GetRunId(), Refused: wire.RefusalsFrom(started.GetRefused()), MaxArtifactBytes: started.GetMaxArtifactBytes(),
		c: c, start: start, ctx: ctx, cancel: cancel, stream: stream,
		ended: make(chan recordingEnd, 1), ending: make(chan struct{}),
	}
	for _, one := range started.GetRecorders() {
		if known, ok := diagnostics.Lookup(one.GetName()); ok {
			recording.Recorders = append(recording.Recorders, known)
		}
	}
	go recording.follow(stream)
	return recording, nil
}

func (c *Client) startDiagnostics(
	ctx context.Context, start *headroomv1.DiagnosticsStart,
) (recordingStream, *headroomv1.DiagnosticsStarted, error) {
	stream, err := c.artifacts().StartDiagnostics(ctx)
	if err != nil {
		return nil, nil, err
	}
	// An error of Send is that of Recv, which tells why.
	_ = stream.Send(&headroomv1.StartDiagnosticsRequest{Start: start})
	p, err := stream.Recv()
	if err != nil {
		return nil, nil, err
	}
	return stream, p.GetStarted(), nil
}

// Records reports whether the recorder of that name records.
func (r *Recording) Records(name string) bool {
	for _, one := range r.Recorders {
		if one.Name == name {
			return true
		}
	}
	return false
}

// follow waits for the end, and goes on with another stream when one breaks.
func (r *Recording) follow(stream recordingStream) {
	for {
		p, err := stream.Recv()
		if err == nil {
			r.ended <- recordingEnd{artifacts: p.GetFinished().GetArtifacts()}
			return
		}
		if stream, err = r.resume(err); err != nil {
			r.ended <- recordingEnd{err: err}
			return
		}
	}
}

// resume opens another stream in place of one that broke because of err. Once the recording is to end it tries that
// once more. It returns why it cannot.
func (r *Recording) resume(err error) (recordingStream, error) {
	wait := backoff{jitter: 1}
	for last := false; r.ctx.Err() == nil; {
		switch {
		case status.Code(err) == codes.NotFound && r.start.GetPid() != 0:
			r.start.Pid = 0 // it has ended meanwhile; what there is of it is kept
		case !passes(err):
			r.c.log.Warn("a recording broke off", "task", r.start.GetTaskId(), "run", r.Run, "err", err)
			return nil, err
		}
		if last {
			return nil, err
		}
		timer := time.NewTimer(wait.delay())
		select {
		case <-timer.C:
		case <-r.ending:
			last = true
		case <-r.ctx.Done():
		}
		timer.Stop()
		var stream recordingStream
		if stream, _, err = r.c.startDiagnostics(r.ctx, r.start); err == nil {
			r.c.log.Info("a recording goes on", "task", r.start.GetTaskId(), "run", r.Run)
			r.mu.Lock()
			defer r.mu.Unlock()
			r.stream = stream
			r.tellLocked()
			return stream, nil
		}
	}
	return nil, err
}

// passes reports whether what the error says may pass: the connection broke, or the server ends or has just begun. The
// slots of the stream that broke may be in use for a moment.
func passes(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.ResourceExhausted:
		return true
	default:
		return errors.Is(err, io.EOF)
	}
}

// tellLocked tells the server that the task has ended, if it has.
func (r *Recording) tellLocked() {
	if r.finish != nil {
		// An error of Send is that of Recv, which tells why.
		_ = r.stream.Send(&headroomv1.StartDiagnosticsRequest{Finish: r.finish})
	}
}

// Finish ends the recording of a task that has ended, and returns its artifacts. It blocks until they are sealed, there
// is no server to be reached, or ctx is done.
func (r *Recording) Finish(ctx context.Context, failed bool) ([]diagnostics.Artifact, error) {
	defer r.cancel()
	defer context.AfterFunc(ctx, r.cancel)()
	r.mu.Lock()
	r.finish = &headroomv1.DiagnosticsFinish{Failed: failed}
	r.tellLocked()
	r.mu.Unlock()
	close(r.ending)
	end := <-r.ended
	if end.err != nil {
		return nil, r.c.callError(ctx, "finish diagnostics", end.err)
	}
	return wire.ArtifactsFrom(end.artifacts), nil
}
