package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/headroom-rpc/headroom/diagnostics"
	"github.com/headroom-rpc/headroom/internal/wire"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

const (
	// expireEvery is how often artifacts are looked at that may have expired.
	expireEvery = time.Minute

	// maxPage bounds the artifacts of one response.
	maxPage = 1000
)

// diagnosticsService records tasks and keeps what was recorded.
type diagnosticsService struct {
	headroomv1.UnimplementedDiagnosticsServiceServer

	config      DiagnosticsConfig
	log         *slog.Logger
	sendTimeout time.Duration
	stalled     func(context.Context)
	severity    func() int // the level of the machine
	ended       <-chan struct{}
	tasks       *taskService

	store      atomic.Pointer[diagnostics.Store] // nil before it is open
	trees      *treeReader
	profiles   *profileSlots
	runs       runs
	recordings *shares
	transfers  *shares
	signer     *urlSigner
}

// newDiagnosticsService returns the service of a configuration that was validated. It opens nothing.
func (s *Server) newDiagnosticsService(c DiagnosticsConfig) *diagnosticsService {
	c = c.withDefaults()
	return &diagnosticsService{
		config: c, log: s.log, sendTimeout: s.limits.SendTimeout, stalled: s.guard.stalled, ended: s.noticed.Done(), tasks: s.tasks,
		severity: func() int {
			report, _ := s.severity.host.runner.Latest()
			return report.Level
		},
		trees:      newTreeReader(),
		profiles:   &profileSlots{most: c.MaxProfiles, held: make(map[profiled]int)},
		runs:       runs{newest: make(map[runKey]*recording)},
		recordings: newShares("recordings", "MaxRecordings", c.MaxRecordings, time.Now),
		transfers:  newShares("uploads and downloads", "MaxTransfers", c.MaxTransfers, time.Now),
		signer:     newURLSigner(c.URLTTL),
	}
}

// run keeps the store open and deletes what expires, until ctx is done. It calls ready once the store is open.
// Where nothing is recorded it does nothing.
func (s *diagnosticsService) run(ctx context.Context, ready func()) error {
	if !s.config.on() {
		return nil
	}
	store, found, err := diagnostics.Open(diagnostics.Config{
		Dir: s.config.Dir, Lock: lockFile, TTL: s.config.TTL, FailedTTL: s.config.FailedTTL,
		MaxBytes: s.config.MaxBytes, MaxArtifactBytes: s.config.MaxArtifactBytes, MaxArtifacts: s.config.MaxArtifacts,
	})
	if err != nil {
		return fmt.Errorf("server: %w", err)
	}
	defer store.Close() // what is left open is sealed by the next Open
	s.logFound(&found)
	s.store.Store(store)
	ready()
	following := make(chan struct{})
	go func() {
		defer close(following)
		s.followTasks(ctx, s.tasks)
	}()
	defer func() { <-following }() // before the store is closed
	tick := time.NewTicker(expireEvery)
	defer tick.Stop()
	for {
		deleted, err := store.Expire()
		if len(deleted) > 0 {
			s.log.Info("artifacts expired", "artifacts", len(deleted))
		}
		if err != nil {
			s.log.Error("some artifacts could not be sealed or deleted", "error", err.Error())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *diagnosticsService) logFound(found *diagnostics.Found) {
	attrs := []any{"artifacts", found.Artifacts}
	level := slog.LevelInfo
	if len(found.Recovered) > 0 {
		attrs = append(attrs, "recovered", len(found.Recovered))
	}
	if len(found.Damaged) > 0 {
		level = slog.LevelError
		attrs = append(attrs, "damaged", len(found.Damaged), "first_damaged", found.Damaged[0])
	}
	if found.Faults != nil {
		level = slog.LevelError
		attrs = append(attrs, "error", found.Faults.Error())
	}
	s.log.Log(context.Background(), level, "artifacts of diagnostics", attrs...)
}

// begin returns the store and who calls.
func (s *diagnosticsService) begin(ctx context.Context) (*diagnostics.Store, Identity, error) {
	if !s.config.on() {
		return nil, Identity{}, errDiagnosticsOff
	}
	store := s.store.Load()
	if store == nil {
		return nil, Identity{}, errStarting
	}
	identity, ok := IdentityFrom(ctx)
	if !ok {
		return nil, Identity{}, errors.New("a call without identity")
	}
	return store, identity, nil
}

// visible returns the artifact, if the caller may know of it.
func visible(store *diagnostics.Store, identity Identity, id string) (diagnostics.Artifact, error) {
	a, err := store.Get(id)
	if err == nil && !identity.mayChange(a.Owner) {
		err = diagnostics.ErrNotFound
	}
	return a, storeError(id, err)
}

// storeError returns the error of the store in the words of the service.
func storeError(id string, err error) error {
	switch {
	case errors.Is(err, diagnostics.ErrNotFound):
		return &artifactError{id: id}
	case errors.Is(err, diagnostics.ErrClosed):
		return errDraining
	default:
		return err
	}
}

// ListArtifacts implements the RPC.
func (s *diagnosticsService) ListArtifacts(
	ctx context.Context, req *headroomv1.ListArtifactsRequest,
) (*headroomv1.ListArtifactsResponse, error) {
	store, identity, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	if token := req.GetPageToken(); token != "" && !diagnostics.ValidID(token) {
		return nil, badPage(token)
	}
	q := diagnostics.Query{Task: req.GetTaskId(), Run: req.GetRunId(), Name: req.GetName()}
	if identity.Role < RoleOperator {
		q.Owner = identity.Name
	}
	resp := &headroomv1.ListArtifactsResponse{MaxBytes: store.MaxBytes()}
	resp.UsedBytes, _ = store.Used()
	for _, r := range diagnostics.Recorders() {
		resp.Recorders = append(resp.Recorders, wire.Recorder(r, s.allows(r), diagnostics.Allows(s.config.Always, r)))
	}
	most := int(req.GetPageSize())
	if most == 0 {
		most = maxPage
	}
	var all []diagnostics.Artifact
	if req.GetExpiringWithin() != nil {
		all = store.Expiring(q, time.Now().Add(req.GetExpiringWithin().AsDuration()), req.GetForBytes())
		all = all[:min(len(all), most)]
	} else {
		all = store.List(q, req.GetPageToken(), most)
		if len(all) == most {
			resp.NextPageToken = all[most-1].ID
		}
	}
	resp.Artifacts = wire.Artifacts(all)
	return resp, nil
}

// allows reports whether a task may have the recorder.
func (s *diagnosticsService) allows(r diagnostics.Recorder) bool {
	return diagnostics.Allows(s.config.Allow, r) || diagnostics.Allows(s.config.Always, r)
}

// PinArtifact implements the RPC.
func (s *diagnosticsService) PinArtifact(
	ctx context.Context, req *headroomv1.PinArtifactRequest,
) (*headroomv1.PinArtifactResponse, error) {
	store, identity, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := visible(store, identity, req.GetArtifactId()); err != nil {
		return nil, err
	}
	a, err := store.Pin(req.GetArtifactId(), !req.GetUnpin())
	if err != nil {
		return nil, storeError(req.GetArtifactId(), err)
	}
	return &headroomv1.PinArtifactResponse{Artifact: wire.Artifact(&a)}, nil
}

// DeleteArtifact implements the RPC.
func (s *diagnosticsService) DeleteArtifact(
	ctx context.Context, req *headroomv1.DeleteArtifactRequest,
) (*headroomv1.DeleteArtifactResponse, error) {
	store, identity, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	a, err := visible(store, identity, req.GetArtifactId())
	if err != nil {
		return nil, err
	}
	if err := store.Delete(a.ID); err != nil {
		return nil, storeError(a.ID, err)
	}
	s.log.Info("artifact deleted", "identity", identity.Name, "artifact", a.ID, "owner", a.Owner)
	return &headroomv1.DeleteArtifactResponse{}, nil
}

// send sends a message on a goroutine of its own, as the handler of a reader that does not read must return.
func (s *diagnosticsService) send(stream grpc.ServerStream, message any) error {
	sent := make(chan error, 1)
	go func() { sent <- stream.SendMsg(message) }()
	timer := time.NewTimer(s.sendTimeout)
	defer timer.Stop()
	select {
	case err := <-sent:
		return err
	case <-timer.C:
		s.stalled(stream.Context())
		return &slowReaderError{timeout: s.sendTimeout}
	case <-stream.Context().Done():
		return context.Cause(stream.Context())
	}
}

// received is one message of a stream, or why there are no more.
type received[T any] struct {
	message *T
	err     error
}

// receive returns the messages of a stream, one at a time, until it ends or its handler returns.
func receive[T any](ctx context.Context, recv func() (*T, error)) <-chan received[T] {
	messages := make(chan received[T])
	go func() {
		for {
			message, err := recv()
			select {
			case messages <- received[T]{message, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return messages
}

// profiled is a process that is profiled: all recordings of one share its profiler.
type profiled struct {
	uid, pid int
	run      string // where the process is not known
}

// profileSlots bounds the processes that are profiled at a time. It is safe for concurrent use.
type profileSlots struct {
	most int

	mu   sync.Mutex
	held map[profiled]int // recordings of each
}

func (p *profileSlots) take(of profiled) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held[of] == 0 && len(p.held) >= p.most {
		return false
	}
	p.held[of]++
	return true
}

func (p *profileSlots) release(of profiled) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held[of]--; p.held[of] == 0 {
		delete(p.held, of)
	}
}

// names returns the artifacts that the recorders make, but the one.
func names(all []diagnostics.Recorder, but string) []string {
	var list []string
	for _, r := range all {
		if r.Artifact != "" && r.Artifact != but {
			list = append(list, r.Artifact)
		}
	}
	slices.Sort(list)
	return list
}
