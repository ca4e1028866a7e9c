// Package server serves the load of this machine and of tasks, leases permits, and keeps diagnostics, over gRPC:
// headroom.v1.StatusService, SeverityService, PermitService, TaskService and DiagnosticsService, health, reflection
// and, on a unix socket, channelz.
//
// A [Server] is one unit with one owner: [Server.Run] runs the Snapshotter, every listener and the streams, and
// returns when all of them have ended. Every caller has an [Identity] and every method needs a [Role]; what no
// rule allows is refused. Every queue, stream and message is bounded by [Limits]: no caller can make the server
// hold more for it, and one that does not read delays nobody else. Refusals carry a reason; docs/errors.md
// lists them.
package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"buf.build/go/protovalidate"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	channelz "google.golang.org/grpc/channelz/service"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/severity"
	"github.com/headroom-rpc/headroom/snapshot"
)

// DefaultDrainTimeout is how long a shutdown waits for calls in flight.
const DefaultDrainTimeout = 10 * time.Second

// drainNotice is how long health says NOT_SERVING before streams end, so that balancers turn away first.
const drainNotice = 100 * time.Millisecond

// Config says what a [Server] serves, where and to whom.
type Config struct {
	// Snapshotter samples the machine. Required, and not running: the Server runs it.
	Snapshotter *snapshot.Snapshotter

	// Listeners are where gRPC is served. At least one. The Server closes them once Run was called.
	Listeners []*Listener

	// HTTP is where /metrics, /healthz and /readyz are served, to everybody who can reach it. nil
	// switches them off. On a loopback address the Host header must name loopback. The Server closes it
	// once Run was called.
	HTTP net.Listener

	// Collectors are shown at /metrics beside what the server shows of itself.
	Collectors []prometheus.Collector

	// Levels are the severity levels of the machine, from 1 on, judged on every new snapshot. None of their
	// conditions may be local. nil means [severity.BuiltinLevels]; an empty list that is not nil means none.
	Levels []severity.Level

	// ProcessLevels are the severity levels of each process that somebody watches, judged once a second. nil
	// means Levels, where each of the three highest holds also while the process has little left of its
	// maximum: less than 5 % for the highest, 15 % and 25 % for those below it, until it has 8 %, 20 % and
	// 30 %. Each watched process calls their custom conditions anew.
	ProcessLevels []severity.Level

	// Permits says which permits are leased, and to whom.
	Permits PermitConfig

	// Tasks says how tasks are sampled.
	Tasks TaskConfig

	// Diagnostics says what may be recorded of tasks. The zero value records nothing.
	Diagnostics DiagnosticsConfig

	// Access says who may do what. The zero value is the default.
	Access Access

	// Limits bounds what callers may use. The zero value of each field is its default.
	Limits Limits

	// DrainTimeout is how long a shutdown waits for calls in flight before it cuts them off, from 1 s to
	// 10 min. The default is 10 s.
	DrainTimeout time.Duration

	// Version is the version that the server tells its clients, such as "0.1.0". At most 64 bytes.
	Version string

	// Log gets one line a finished call (debug when it succeeded), and faults. The default discards them.
	Log *slog.Logger
}

func (c Config) validate() error {
	var errs []error
	fault := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: "+format, append([]any{field}, args...)...))
	}
	if c.Snapshotter == nil {
		fault("Snapshotter", "none is given")
	}
	if len(c.Listeners) == 0 {
		fault("Listeners", "at least one is needed")
	}
	for i, l := range c.Listeners {
		if l == nil {
			fault("Listeners", "number %d is nil", i)
		}
	}
	if d := c.DrainTimeout; d != 0 && (d < time.Second || d > 10*time.Minute) {
		fault("DrainTimeout", "%v is not from 1s to 10m", d)
	}
	if len(c.Version) > 64 {
		fault("Version", "%d bytes are more than 64", len(c.Version))
	}
	for _, part := range []struct {
		name string
		err  error
	}{{"Access", c.Access.validate()}, {"Limits", c.Limits.validate()}, {"Permits", c.Permits.validate()},
		{"Tasks", c.Tasks.validate()}, {"Diagnostics", c.Diagnostics.validate()}} {
		if part.err != nil {
			fault(part.name, "%w", part.err)
		}
	}
	return errors.Join(append(errs, c.validateLevels())...)
}

// Server serves one Snapshotter. Make one with [New].
type Server struct {
	log          *slog.Logger
	limits       Limits
	drainTimeout time.Duration
	snapshotter  *snapshot.Snapshotter
	service      *statusService
	severity     *severityService
	permits      *permitService
	tasks        *taskService
	diagnostics  *diagnosticsService
	hub          *hub
	metrics      *metrics
	health       *health.Server
	guard        *guard
	endpoints    []endpoint
	httpListener net.Listener
	httpServer   *http.Server // nil when HTTP is off

	ran      atomic.Bool
	draining atomic.Bool
	noticed  context.Context // ends once health has said NOT_SERVING for long enough
	notice   context.CancelFunc
}

// endpoint is one listener with the gRPC server behind it. Each has its own because credentials, connection
// age and services differ.
type endpoint struct {
	listener *Listener
	grpc     *grpc.Server
}

// New returns a Server that starts nothing. It reports every fault of c at once; then the listeners are still
// the caller's to close.
func New(c Config) (*Server, error) {
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	validator, err := protovalidate.New(protovalidate.WithMessages(
		&headroomv1.GetSampleRequest{}, &headroomv1.GetStatusRequest{},
		&headroomv1.WatchSnapshotsRequest{}, &headroomv1.ReportLoadRequest{},
		&headroomv1.GetSeverityRequest{}, &headroomv1.WatchSeverityRequest{},
		&headroomv1.AttachRequest{}, &headroomv1.AcquirePermitRequest{}, &headroomv1.RenewPermitRequest{},
		&headroomv1.ReleasePermitRequest{}, &headroomv1.HoldPermitRequest{}, &headroomv1.ExplainRequest{},
		&headroomv1.ListSessionsRequest{}, &headroomv1.SetLimitRequest{}, &headroomv1.KickSessionRequest{},
		&headroomv1.RegisterTaskRequest{}, &headroomv1.UnregisterTaskRequest{}, &headroomv1.ListTasksRequest{},
		&headroomv1.GetTaskSampleRequest{}, &headroomv1.GetProcessSampleRequest{}, &headroomv1.WatchTaskRequest{},
		&headroomv1.StartDiagnosticsRequest{}, &headroomv1.ListArtifactsRequest{}, &headroomv1.UploadArtifactRequest{},
		&headroomv1.DownloadArtifactRequest{}, &headroomv1.PinArtifactRequest{}, &headroomv1.DeleteArtifactRequest{},
	))
	if err != nil {
		return nil, fmt.Errorf("server: compile the validation rules: %w", err)
	}
	validator = explainedValidator{validator}
	s := &Server{
		log:          c.Log,
		limits:       c.Limits.WithDefaults(),
		drainTimeout: c.DrainTimeout,
		snapshotter:  c.Snapshotter,
		health:       health.NewServer(),
		httpListener: c.HTTP,
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.drainTimeout == 0 {
		s.drainTimeout = DefaultDrainTimeout
	}
	s.noticed, s.notice = context.WithCancel(context.Background())
	s.guard = newGuard(s.limits, s.log)
	s.hub = newHub(s.limits.SendTimeout, s.limits.MaxSubscribers)
	s.service = &statusService{
		snapshotter:  c.Snapshotter,
		hub:          s.hub,
		maxSendBytes: s.limits.MaxSendBytes,
		instanceID:   newInstanceID(),
		version:      c.Version,
	}
	if s.severity, err = s.newSeverityService(c); err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	if s.permits, err = s.newPermitService(c); err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	if s.tasks, err = s.newTaskService(c); err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	s.severity.tasks, s.permits.reserve = s.tasks, s.tasks.reserve
	s.permits.validator = validator
	s.metrics = newMetrics(c.Version, func() (snapshot.View, error) {
		view, _, err := c.Snapshotter.View()
		return view, err
	}, s.hub, s.guard, s.severity.metrics, &permitCollector{s.permits}, &taskCollector{s.tasks})
	s.diagnostics = s.newDiagnosticsService(c.Diagnostics)
	for _, collector := range append(slices.Clone(c.Collectors), diagnosticsCollector{s.diagnostics}) {
		if err := s.metrics.registry.Register(collector); err != nil {
			return nil, fmt.Errorf("server: Collectors: %w", err)
		}
	}
	s.hub.view = c.Snapshotter.View
	s.hub.encode = s.service.encodeState
	s.hub.observe = s.metrics.countErrors
	s.hub.stalled = s.guard.stalled
	for _, service := range []string{
		"", headroomv1.StatusService_ServiceDesc.ServiceName, headroomv1.SeverityService_ServiceDesc.ServiceName,
		headroomv1.PermitService_ServiceDesc.ServiceName, headroomv1.TaskService_ServiceDesc.ServiceName,
		headroomv1.DiagnosticsService_ServiceDesc.ServiceName,
	} {
		s.health.SetServingStatus(service, healthv1.HealthCheckResponse_NOT_SERVING)
	}

	access := newAccessTable(c.Access, s.log)
	for _, l := range c.Listeners {
		s.endpoints = append(s.endpoints, endpoint{listener: l, grpc: s.newGRPCServer(l, access, validator)})
	}
	if c.HTTP != nil {
		s.httpServer = s.newHTTPServer(c.HTTP, access)
	}
	return s, nil
}

// newInstanceID returns 128 random bits in hex.
func newInstanceID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails; it ends the program instead
	return hex.EncodeToString(id[:])
}

func (s *Server) newGRPCServer(l *Listener, access *accessTable, validator protovalidate.Validator) *grpc.Server {
	options := grpcOptions(l, s.limits, access, s.guard)
	options = append(options, grpc.ForceServerCodecV2(newCodec()))
	options = append(options, s.interceptors(access, validator)...)
	srv := grpc.NewServer(options...)
	services := observed{srv}
	headroomv1.RegisterStatusServiceServer(services, s.service)
	headroomv1.RegisterSeverityServiceServer(services, s.severity)
	headroomv1.RegisterPermitServiceServer(services, s.permits)
	headroomv1.RegisterTaskServiceServer(services, s.tasks)
	headroomv1.RegisterDiagnosticsServiceServer(services, s.diagnostics)
	healthv1.RegisterHealthServer(services, s.health)
	if l.class == classUnix {
		channelz.RegisterChannelzServiceToServer(services)
	}
	reflection.RegisterV1(srv)
	return srv
}

// InstanceID returns the 128 random bits, in hex, that identify this Server to its clients.
func (s *Server) InstanceID() string { return s.service.instanceID }

// Run serves until ctx is done or a part fails. Then it drains: health says NOT_SERVING, nothing more is
// granted, streams end with OK, calls in flight finish within DrainTimeout and are cut off after it, and sampling ends last. Run returns nil
// after a shutdown by ctx, and otherwise the error of the part that failed; nothing is served where that is the state
// directory. A Server runs once.
func (s *Server) Run(ctx context.Context) error {
	if s.ran.Swap(true) {
		return errors.New("server: Run was called twice")
	}
	if err := s.permits.open(); err != nil {
		s.closeListeners()
		return err
	}
	// Sampling outlives ctx: calls that finish during the drain still read it.
	working, stopWorking := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWorking()
	ready := s.snapshotter.Ready() // that of the run that begins here
	group, serving := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := s.snapshotter.Run(working); err != nil {
			return fmt.Errorf("server: sample: %w", err)
		}
		return nil
	})
	group.Go(func() error { return s.hub.run(working) })
	group.Go(func() error {
		select {
		case <-ready:
			return s.severity.run(working)
		case <-working.Done():
			return nil
		}
	})
	group.Go(func() error {
		return s.permits.run(working, func() {
			s.health.SetServingStatus(headroomv1.PermitService_ServiceDesc.ServiceName, healthv1.HealthCheckResponse_SERVING)
		})
	})
	group.Go(func() error {
		s.health.SetServingStatus(headroomv1.TaskService_ServiceDesc.ServiceName, healthv1.HealthCheckResponse_SERVING)
		return s.tasks.run(working)
	})
	group.Go(func() error {
		return s.diagnostics.run(working, func() {
			s.health.SetServingStatus(headroomv1.DiagnosticsService_ServiceDesc.ServiceName, healthv1.HealthCheckResponse_SERVING)
		})
	})
	for _, e := range s.endpoints {
		group.Go(func() error { return s.serve(e) })
	}
	if s.httpServer != nil {
		s.log.Info("serving", "address", s.httpListener.Addr().String(), "listener", "http")
		group.Go(func() error { return serveHTTP(s.httpServer, s.httpListener) })
	}
	group.Go(func() error {
		s.announce(serving, ready)
		return nil
	})
	group.Go(func() error {
		<-serving.Done()
		s.drain()
		stopWorking()
		return nil
	})
	return group.Wait()
}

// closeListeners ends what stands ready where nothing was served. Why that is so is what is told.
func (s *Server) closeListeners() {
	for _, e := range s.endpoints {
		e.grpc.Stop()
		_ = e.listener.Close()
	}
	if s.httpListener != nil {
		_ = s.httpListener.Close()
	}
}

// serve accepts connections of one listener until the server is stopped.
func (s *Server) serve(e endpoint) error {
	s.log.Info("serving", "address", e.listener.Addr().String(), "listener", e.listener.class.String())
	err := e.grpc.Serve(s.guard.wrap(e.listener))
	if s.draining.Load() || errors.Is(err, grpc.ErrServerStopped) {
		return nil
	}
	return fmt.Errorf("server: serve on %v: %w", e.listener.Addr(), err)
}

// announce turns health to SERVING once the first sample was taken, and that of severity once that was judged.
func (s *Server) announce(ctx context.Context, ready <-chan struct{}) {
	select {
	case <-ready:
	case <-ctx.Done():
		return
	}
	for _, service := range []string{"", headroomv1.StatusService_ServiceDesc.ServiceName} {
		s.health.SetServingStatus(service, healthv1.HealthCheckResponse_SERVING)
	}
	if firstReport(ctx, s.severity.host.runner, nil, nil) == nil {
		s.health.SetServingStatus(headroomv1.SeverityService_ServiceDesc.ServiceName, healthv1.HealthCheckResponse_SERVING)
	}
}

// drain ends all serving, politely until DrainTimeout.
func (s *Server) drain() {
	s.draining.Store(true)
	s.health.Shutdown()
	s.permits.drain(drainNotice)
	time.Sleep(drainNotice)
	s.notice()
	s.hub.end()
	s.permits.end()
	var stopping sync.WaitGroup
	for _, e := range s.endpoints {
		stopping.Go(func() {
			cut := time.AfterFunc(s.drainTimeout, func() {
				s.guard.closeAll() // Stop would wait for those still in their handshake
				e.grpc.Stop()
			})
			defer cut.Stop()
			e.grpc.GracefulStop()
		})
	}
	stopping.Wait()
	for _, e := range s.endpoints {
		_ = e.listener.Close() // gRPC closed what it accepts on; this releases what stands beside it
	}
	if s.httpServer != nil {
		stopHTTP(s.httpServer)
	}
}
