package server

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/severity"
	"github.com/headroom-rpc/headroom/snapshot"
	"github.com/headroom-rpc/headroom/snapshot/host"
)

// errReporterChanged reports a reporter that may use another amount of memory than when its stream began, which
// an engine cannot follow.
var errReporterChanged = errors.New("server: the maximum of the reporter changed")

// processError reports a process that does not exist, or that the caller may not know of.
type processError struct {
	pid   int64
	ended bool // it did exist
}

func (e *processError) Error() string {
	if e.ended {
		return fmt.Sprintf("server: process %d has ended", e.pid)
	}
	return fmt.Sprintf("server: no process %d", e.pid)
}

// reporterError reports a reporter that does not state its memory.
type reporterError struct{ name string }

func (e *reporterError) Error() string {
	return fmt.Sprintf("server: reporter %q reports no memory", e.name)
}

// watched is the process that one stream is about.
type watched struct {
	max int64 // bytes

	// read returns its memory. An error that is an end of the stream is returned as end too.
	read func(context.Context) (p severity.Process, end, err error)

	close func()
}

// watchProcess serves the severity of one process. Its engine judges once a second and ends with the stream.
func (s *severityService) watchProcess(scope *headroomv1.ProcessScope, stream grpc.ServerStream) error {
	ended, err := s.hub.enter()
	if err != nil {
		return err
	}
	defer s.hub.exit()
	if err := s.processes.enter(); err != nil {
		return err
	}
	defer s.processes.exit()
	w, err := s.watched(stream.Context(), scope)
	if err != nil {
		return err
	}
	defer w.close()

	failed := make(chan error, 1)
	runner, err := severity.NewRunner(severity.RunnerConfig{
		Config: severity.Config{Levels: s.processLevels, CheckInterval: severityInterval, ProcessMax: w.max},
		View:   s.snapshotter.View,
		Reader: severity.ReaderConfig{Scope: s.snapshotter.Scope(), MaxMemory: s.snapshotter.MaxMemory()},
		Process: func(ctx context.Context) (severity.Process, error) {
			p, end, err := w.read(ctx)
			if end != nil {
				select {
				case failed <- end:
				default: // the stream was told before
				}
			}
			return p, err
		},
	})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(stream.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = runner.Run(ctx) // it fails only when it runs already
	}()
	defer func() { stop(); <-done }()
	if err := firstReport(ctx, runner, ended, failed); err != nil {
		return err
	}
	return s.follow(stream, newSeveritySource(runner, s.limits), nil, ended, failed)
}

// firstReport waits until the runner has judged once.
func firstReport(ctx context.Context, runner *severity.Runner, ended <-chan struct{}, failed <-chan error) error {
	for {
		report, changed := runner.Latest()
		if !report.Time.IsZero() {
			return nil
		}
		select {
		case <-changed:
		case <-ended:
			return errDraining
		case err := <-failed:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// watched returns the process of the scope, if the caller may watch it.
func (s *severityService) watched(ctx context.Context, scope *headroomv1.ProcessScope) (*watched, error) {
	if !s.ready() {
		return nil, errStarting
	}
	identity, ok := IdentityFrom(ctx)
	if !ok {
		return nil, errors.New("a call without identity")
	}
	if name := scope.GetReporter(); name != "" {
		return s.watchedReporter(snapshot.Reporter{Identity: identity.Name, Name: name})
	}
	if id := scope.GetTaskId(); id != "" {
		return s.watchedTask(id, identity)
	}
	return s.watchedPID(ctx, scope, identity)
}

// watchedReporter returns the process that reports under the name.
func (s *severityService) watchedReporter(from snapshot.Reporter) (*watched, error) {
	reports := s.snapshotter.Reports()
	if reports == nil {
		return nil, errReportsDisabled
	}
	first, _, ok := reports.Memory(s.snapshotter.Now(), from)
	if !ok {
		return nil, &reporterError{name: from.Name}
	}
	read := func(context.Context) (p severity.Process, end, err error) {
		m, at, ok := reports.Memory(s.snapshotter.Now(), from)
		switch {
		case !ok:
			return p, nil, &reporterError{name: from.Name}
		case m.Max != first.Max:
			return p, errReporterChanged, errReporterChanged
		}
		return severity.Process{Used: m.Used, Max: m.Max, At: at, Known: true, Definition: "as reported"}, nil, nil
	}
	return &watched{max: first.Max, read: read, close: func() {}}, nil
}

// watchedPID returns the process of the pid. One that the caller may not know of does not exist.
func (s *severityService) watchedPID(
	ctx context.Context, scope *headroomv1.ProcessScope, identity Identity,
) (*watched, error) {
	any := identity.Role >= RoleObserver
	if !any && identity.UID < 0 {
		return nil, &deniedError{
			method: headroomv1.SeverityService_WatchSeverity_FullMethodName, identity: identity, need: RoleObserver,
			hint: "without it, name a process of your own user over the unix socket, or report its memory",
		}
	}
	pid := scope.GetPid()
	if int64(int(pid)) != pid {
		return nil, &processError{pid: pid}
	}
	p, err := s.processes.open(ctx, int(pid))
	if err == nil && !any && !p.OwnedBy(identity.UID) {
		s.processes.close(p)
		err = host.ErrNoProcess
	}
	if errors.Is(err, host.ErrNoProcess) {
		return nil, &processError{pid: pid}
	}
	if err != nil {
		return nil, err
	}
	read := func(ctx context.Context) (severity.Process, error, error) {
		reading, at, err := p.memory(ctx, s.snapshotter.Now)
		if errors.Is(err, host.ErrNoProcess) {
			return severity.Process{}, &processError{pid: pid, ended: true}, err
		}
		if err != nil {
			return severity.Process{}, nil, err
		}
		return severity.Process{
			Used: reading.Used, Max: scope.GetMaxBytes(), At: at, Known: true, Definition: reading.Definition,
		}, nil, nil
	}
	return &watched{max: scope.GetMaxBytes(), read: read, close: func() { s.processes.close(p) }}, nil
}
