package server

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/headroom-rpc/headroom/diagnostics"
	"github.com/headroom-rpc/headroom/internal/wire"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/snapshot/host"
)

// A recording is one call of StartDiagnostics.
type recording struct {
	service  *diagnosticsService
	store    *diagnostics.Store
	identity Identity
	start    *headroomv1.DiagnosticsStart
	run      string
	interval time.Duration
	chosen   []diagnostics.Recorder
	refused  []diagnostics.Refusal
	profiled *profiled // whose slot it has; nil for none
	tree     *tree     // that the memory log is of; nil for none

	superseded chan struct{} // closed when another call goes on with the run

	stop   context.CancelFunc // of the memory log
	memory chan error         // gets why the memory log ended; nil where there is none
	writer *diagnostics.Writer
}

// StartDiagnostics implements the RPC.
func (s *diagnosticsService) StartDiagnostics(
	stream grpc.BidiStreamingServer[headroomv1.StartDiagnosticsRequest, headroomv1.StartDiagnosticsResponse],
) error {
	ctx := stream.Context()
	store, identity, err := s.begin(ctx)
	if err != nil {
		return err
	}
	exit, err := s.recordings.enter(identity)
	if err != nil {
		return err
	}
	defer exit()
	requests := receive(ctx, stream.Recv)
	start, err := s.first(ctx, requests)
	if err != nil {
		return err
	}
	r := &recording{service: s, store: store, identity: identity, start: start, run: start.GetRunId()}
	if r.run == "" {
		r.run = newInstanceID()
	}
	defer r.release()
	if err := r.choose(ctx); err != nil {
		return err
	}
	if err := r.begin(ctx); err != nil {
		return err
	}
	defer r.end(true, "") // of whatever ends the call from here
	if err := s.send(stream, &headroomv1.StartDiagnosticsResponse{Started: r.started()}); err != nil {
		return err
	}
	select {
	case got := <-requests:
		if got.err != nil && !errors.Is(got.err, io.EOF) {
			return got.err
		}
		if got.err == nil && got.message.GetFinish() == nil {
			invalid := &invalidError{}
			invalid.add("finish", "must be set in the second request")
			return invalid
		}
		r.end(got.message.GetFinish().GetFailed(), "")
	case <-r.superseded:
		return context.Canceled
	case <-s.ended:
		r.breakOff()
		return errDraining
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	all := store.List(diagnostics.Query{Owner: identity.Name, Task: start.GetTaskId(), Run: r.run}, "", maxPage)
	return s.send(stream, &headroomv1.StartDiagnosticsResponse{
		Finished: &headroomv1.DiagnosticsFinished{Artifacts: wire.Artifacts(all)},
	})
}

// first returns what the first request asks for.
func (s *diagnosticsService) first(
	ctx context.Context, requests <-chan received[headroomv1.StartDiagnosticsRequest],
) (*headroomv1.DiagnosticsStart, error) {
	select {
	case got := <-requests:
		if got.err != nil {
			return nil, got.err
		}
		start, invalid := got.message.GetStart(), &invalidError{}
		if start == nil {
			invalid.add("start", "must be set in the first request")
		} else {
			checkRun(invalid, start.GetTaskId(), start.GetRunId())
		}
		if len(invalid.violations) > 0 {
			return nil, invalid
		}
		return start, nil
	case <-s.ended:
		return nil, errDraining
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// choose decides what is recorded. An error is a process that the caller may not name, or that nothing of what was
// asked for can be recorded now.
func (r *recording) choose(ctx context.Context) error {
	s := r.service
	r.interval = max(s.config.MemoryInterval, r.start.GetMemoryInterval().AsDuration())
	var roots []*host.Process
	if pid := r.start.GetPid(); pid != 0 {
		root, err := r.process(ctx, pid)
		if err != nil {
			return err
		}
		roots = append(roots, root)
	} else {
		roots = s.tasks.taskRoots(ctx, r.identity, r.start.GetTaskId())
	}
	var candidates []diagnostics.Recorder
	candidates, r.refused = diagnostics.Choose(r.start.GetRecorders(), s.config.Allow, s.config.Always)
	level, now := s.severity(), false
	for _, c := range candidates {
		always := diagnostics.Allows(s.config.Always, c)
		switch {
		case c.Outside && len(roots) == 0:
			r.refuse(c, diagnostics.NoProcess, !always)
		case c.Profile && !always && level >= s.config.MaxSeverity:
			r.refuse(c, diagnostics.Severe, true)
			now = true
		case c.Profile && !always && !r.takeProfile():
			r.refuse(c, diagnostics.Busy, true)
			now = true
		default:
			r.chosen = append(r.chosen, c)
		}
	}
	records := slices.ContainsFunc(r.chosen, func(c diagnostics.Recorder) bool { return c.Outside })
	if len(roots) > 0 && records {
		r.tree = s.trees.open(roots)
	} else {
		closeProcesses(roots)
	}
	if len(r.chosen) == 0 && now {
		return &profilesError{refused: r.refused}
	}
	return nil
}

// refuse notes a recorder that is not used, where it was asked for.
func (r *recording) refuse(c diagnostics.Recorder, why diagnostics.Reason, asked bool) {
	if asked || diagnostics.Allows(r.start.GetRecorders(), c) {
		r.refused = append(r.refused, diagnostics.Refusal{Name: c.Name, Reason: why})
	}
}

// takeProfile takes a slot for the caller's process, unless the recording has one.
func (r *recording) takeProfile() bool {
	if r.profiled != nil {
		return true
	}
	of := profiled{uid: r.identity.UID, pid: r.identity.PID}
	if of.pid <= 0 {
		of.run = r.run
	}
	if !r.service.profiles.take(of) {
		return false
	}
	r.profiled = &of
	return true
}

// process returns the process of the pid, if the caller may have it watched.
func (r *recording) process(ctx context.Context, pid int64) (*host.Process, error) {
	any := r.identity.Role >= RoleObserver
	if !any && r.identity.UID < 0 {
		return nil, &deniedError{
			method: headroomv1.DiagnosticsService_StartDiagnostics_FullMethodName, identity: r.identity, need: RoleObserver,
			hint: "without it, name a process of your own user over the unix socket",
		}
	}
	p, err := host.OpenProcess(ctx, int(pid))
	if err == nil && !any && !p.OwnedBy(r.identity.UID) {
		p.Close()
		err = host.ErrNoProcess
	}
	if errors.Is(err, host.ErrNoProcess) {
		return nil, &processError{pid: pid}
	}
	return p, err
}

// begin begins the recording, to be ended by end or breakOff.
func (r *recording) begin(ctx context.Context) error {
	if r.tree != nil {
		if err := r.beginMemory(ctx); err != nil {
			return err
		}
	}
	r.superseded = make(chan struct{})
	r.service.runs.enter(r)
	return nil
}

// beginMemory begins the memory log, which the server records itself.
func (r *recording) beginMemory(ctx context.Context) error {
	memory, _ := diagnostics.Lookup(diagnostics.RecorderMemory)
	header := diagnostics.Header{
		Owner: r.identity.Name, Task: r.start.GetTaskId(), Run: r.run, Name: memory.Artifact, Recorder: memory.Name,
		Begin: time.Now(), With: names(r.chosen, memory.Artifact),
	}
	if r.start.GetRunId() != "" {
		header.Part = r.store.NextPart(&header)
	}
	writer, err := r.store.Create(header)
	if err != nil {
		return storeError("", err)
	}
	r.writer, r.memory = writer, make(chan error, 1)
	sampling, stop := context.WithCancel(context.WithoutCancel(ctx))
	r.stop = stop
	go func() {
		r.memory <- diagnostics.RecordMemory(sampling, diagnostics.MemoryRecording{
			Interval: r.interval, Read: r.tree.memory, Append: writer.Append,
		})
	}()
	return nil
}

// end ends the recording, once: the memory log gets its last sample and is sealed. With it ends the run, unless another
// call goes on with that.
func (r *recording) end(failed bool, truncated string) {
	last := r.service.runs.leave(r)
	if r.memory != nil {
		r.stop()
		<-r.memory // an error of the log is one of its writer, which Seal tells
		r.memory = nil
		if _, err := r.writer.Seal(diagnostics.End{Failed: failed && last, Truncated: truncated}); err != nil {
			r.service.log.Error("a memory log could not be sealed yet", "artifact", r.writer.ID(), "error", err.Error())
		}
	}
	if last {
		if err := r.store.Conclude(r.identity.Name, r.start.GetTaskId(), r.run, failed); err != nil {
			r.service.log.Error("some artifacts of a task expire at another time than the rest", "error", err.Error())
		}
	}
}

// breakOff ends the recording of a task that goes on, as the server shuts down.
func (r *recording) breakOff() {
	r.service.runs.leave(r) // how the run ends is not known yet
	r.end(false, "the server shut down")
}

// release gives back what the recording holds.
func (r *recording) release() {
	if r.tree != nil {
		r.tree.close()
	}
	if r.profiled != nil {
		r.service.profiles.release(*r.profiled)
	}
}

func (r *recording) started() *headroomv1.DiagnosticsStarted {
	started := &headroomv1.DiagnosticsStarted{
		RunId: r.run, MemoryInterval: durationpb.New(r.interval), MaxArtifactBytes: r.service.config.MaxArtifactBytes,
	}
	for _, c := range r.chosen {
		started.Recorders = append(started.Recorders, wire.Recorder(c, true, diagnostics.Allows(r.service.config.Always, c)))
	}
	for _, refused := range r.refused {
		started.Refused = append(started.Refused, wire.Refused(refused))
	}
	return started
}
