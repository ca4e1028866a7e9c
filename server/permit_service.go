package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"buf.build/go/protovalidate"
	"github.com/headroom-rpc/headroom/internal/boottime"
	"github.com/headroom-rpc/headroom/limit"
	"github.com/headroom-rpc/headroom/permit"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/severity"
	"github.com/headroom-rpc/headroom/snapshot"
)

// permitService implements headroom.v1.PermitService. Its methods return errors of this package and of permit;
// an interceptor turns them into statuses.
type permitService struct {
	headroomv1.UnimplementedPermitServiceServer

	config      PermitConfig // with its defaults
	limits      Limits
	log         *slog.Logger
	instanceID  string
	version     string
	stalled     func(context.Context)
	validator   protovalidate.Validator // of the frames of Attach
	snapshotter *snapshot.Snapshotter
	severity    *severity.Runner
	deaths      *deaths
	journal     *journal  // set by open; nil without a state directory
	left        recovered // by an earlier life; set by open
	epoch       int64     // of this life; set before running

	running atomic.Pointer[arbiter] // nil before run
	law     atomic.Pointer[limit.Law]
	regime  regime
	sensor  *sensor
	reserve func([]permit.User) reserve // what is left free for tasks
}

// newPermitService returns the service of c, and every fault that the ledger finds in c.
func (s *Server) newPermitService(c Config) (*permitService, error) {
	p := &permitService{
		config:      c.Permits.withDefaults(),
		limits:      s.limits,
		log:         s.log,
		instanceID:  s.service.instanceID,
		version:     c.Version,
		stalled:     s.guard.stalled,
		snapshotter: c.Snapshotter,
		severity:    s.severity.host.runner,
	}
	if p.config.Clock == nil {
		p.config.Clock = boottime.Now
	}
	if p.config.Host.Law == nil {
		law, err := limit.NewTwoStation(limit.TwoStation{})
		if err != nil {
			return nil, fmt.Errorf("Permits: %w", err)
		}
		p.config.Host.Law = law
	}
	if shadows := p.config.Host.Shadows; len(shadows) > 0 {
		p.regime.shadow = limit.NewShadow(shadows...)
	}
	p.law.Store(&p.config.Host.Law)
	p.deaths = newDeaths(p.log)
	p.sensor = newSensor(p.config.Clock, p.log)
	if _, err := permit.NewLedger(0, p.ledgerConfig(recovered{epoch: 1})); err != nil {
		return nil, fmt.Errorf("Permits: %w", err)
	}
	return p, nil
}

// ledgerConfig returns what the ledger of this life is made of.
func (s *permitService) ledgerConfig(r recovered) permit.Config {
	c := permit.Config{
		Epoch: r.epoch, TTL: s.config.TTL, Grace: s.config.Grace, Heartbeat: s.config.Heartbeat,
		Recovered: r.ceilings, Amnesia: r.amnesia != "", Window: r.window,
		MaxSessions: s.limits.MaxSessions, MaxSessionsPerIdentity: s.limits.MaxSessionsPerIdentity,
		Instance: s.instanceID, Version: s.version,
		NewSession: func() (id permit.SessionID) {
			_, _ = rand.Read(id[:]) // never fails; it ends the program instead
			return id
		},
	}
	var host int64 // until the law has looked at the machine
	if law := s.config.Host.Law; c.Amnesia && law.Name() == fixedLaw {
		host = law.Step(limit.Input{}).Limit // claims are up to that, and nothing is granted before
	}
	c.Resources = append(c.Resources, permit.Resource{
		Name: HostResource, Limit: host, Law: s.config.Host.Law.Name(),
		Default: s.config.Host.Default, Grants: s.config.Host.Grants, FloorRatio: s.config.Host.FloorRatio,
	})
	for _, resource := range s.config.Resources {
		resource.Law = fixedLaw
		c.Resources = append(c.Resources, resource)
	}
	return c
}

// grant returns what the identity may do with the resource, if there is such a resource.
func (s *permitService) grant(resource, identity string) (g permit.Grant, ok bool) {
	if resource == HostResource {
		g = s.config.Host.Default
		if own, named := s.config.Host.Grants[identity]; named {
			g = own
		}
		return g, true
	}
	i := slices.IndexFunc(s.config.Resources, func(r permit.Resource) bool { return r.Name == resource })
	if i < 0 {
		return g, false
	}
	g = s.config.Resources[i].Default
	if own, named := s.config.Resources[i].Grants[identity]; named {
		g = own
	}
	return g, true
}

// allowed returns nil if the party may lease the resource.
func (s *permitService) allowed(resource string, who permit.Party) (permit.Grant, error) {
	g, ok := s.grant(resource, who.Identity)
	switch {
	case !ok:
		return g, s.noResource(resource, view{identity: who.Identity})
	case g.Denied:
		return g, &resourceError{name: resource, identity: who.Identity}
	}
	return g, nil
}

// noResource returns the error for a resource that there is not, to a caller who is told of those that there are.
func (s *permitService) noResource(name string, v view) *resourceError {
	return &resourceError{name: name, known: s.visible(v)}
}

// visible returns the names of the resources that the caller may see, in order.
func (s *permitService) visible(v view) []string {
	names := []string{HostResource}
	for i := range s.config.Resources {
		names = append(names, s.config.Resources[i].Name)
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		g, _ := s.grant(name, v.identity)
		return g.Denied && !v.all
	})
	slices.Sort(names)
	return names
}

// A resourceError reports a resource that there is not, or that the identity may not lease.
type resourceError struct {
	name, identity string
	known          []string // that there are, where there is none of the name
}

func (e *resourceError) Error() string {
	if e.identity != "" {
		return fmt.Sprintf("server: %s may not lease %q", e.identity, e.name)
	}
	return fmt.Sprintf("server: no resource %q", e.name)
}

// arbiter returns the account, once there is one.
func (s *permitService) arbiter() (*arbiter, error) {
	a := s.running.Load()
	if a == nil {
		return nil, errStarting
	}
	return a, nil
}

// errNoStateDir is why nothing is known of an earlier life without a state directory.
var errNoStateDir = errors.New("there is no state directory")

// open takes the state directory and reads what an earlier life of the server left there. It returns an error where
// the directory cannot be used, as while another server does. After it run must be called.
func (s *permitService) open() (err error) {
	s.left = recovered{epoch: wallEpoch(), amnesia: errNoStateDir.Error()}
	if s.config.StateDir == "" {
		return nil
	}
	s.journal, s.left, err = openJournal(s.config.StateDir, bootID(), s.config.Clock(), s.config.TTL+s.config.Grace)
	if err != nil {
		return fmt.Errorf("server: permits: %w", err)
	}
	return nil
}

// run keeps the account until ctx is done. The first thing that it does is to take up what an earlier life of
// the server left; then it calls ready.
func (s *permitService) run(ctx context.Context, ready func()) error {
	r := &s.left
	if s.journal != nil {
		defer s.journal.close()
	}
	now := s.config.Clock()
	ledger, err := permit.NewLedger(now, s.ledgerConfig(*r))
	if err != nil {
		return fmt.Errorf("server: permits: %w", err)
	}
	a := newArbiter(ledger, s.journal, s.config.Clock, s.log)
	a.slow, s.epoch = s.stalled, r.epoch
	a.queues = newQueues(a, s)
	s.logRecovery(r)
	if r.unkept != nil {
		a.unkeep(r.unkept)
	}
	if err := a.restore(now, r); err != nil {
		return fmt.Errorf("server: permits: %w", err)
	}
	s.running.Store(a)
	ready()
	defer s.deaths.close()
	follow, stopFollowing := context.WithCancel(ctx)
	following := make(chan struct{})
	go func() {
		defer close(following)
		var sensing sync.WaitGroup
		sensing.Go(func() { s.sensor.run(follow) })
		s.follow(follow, a)
		sensing.Wait()
	}()
	err = a.run(ctx)
	stopFollowing()
	<-following
	s.end()
	a.close()
	if err != nil {
		return fmt.Errorf("server: permits: %w", err)
	}
	return nil
}

// logRecovery says what is known of what earlier lives granted and, where that is not all, how long it takes until
// anything is granted.
func (s *permitService) logRecovery(r *recovered) {
	level, text := slog.LevelInfo, "permits are granted from now on"
	attrs := []slog.Attr{
		slog.Int64("epoch", r.epoch),
		slog.Int("recovered_ceilings", len(r.ceilings)),
		slog.Int("recovered_permits", len(r.leases)),
	}
	if r.amnesia != "" {
		if r.amnesia != errNoStateDir.Error() && r.amnesia != errNoJournal.Error() {
			level = slog.LevelWarn
		}
		text = "permits are granted once those of an earlier life of the server, if there was one, must have ended"
		window := max(r.window, s.config.TTL+s.config.Grace)
		attrs = append(attrs, slog.Duration("wait", window), slog.Time("until", time.Now().Add(window)),
			slog.String("reason", r.amnesia))
	}
	s.log.LogAttrs(context.Background(), level, text, attrs...)
}

// died ends the session whose process the kernel has told to be dead.
func (s *permitService) died(id permit.SessionID) {
	a, err := s.arbiter()
	if err != nil {
		return
	}
	now, err := a.enter()
	if err != nil {
		return
	}
	defer a.leave(nil)
	a.ledger.End(now, id)
	a.change()
	if w := a.streams[id]; w != nil {
		delete(a.streams, id)
		w.end(errDead)
	}
}

// errDead reports a stream whose worker is dead, though another process still has its socket.
var errDead = errors.New("server: the process that attached is dead")

// drain grants nothing from now on, and tells every worker that the server will have ended within that time.
func (s *permitService) drain(within time.Duration) {
	a, err := s.arbiter()
	if err != nil {
		return
	}
	a.mu.Lock() // whether or not the account holds
	defer a.mu.Unlock()
	a.frozen = true
	for _, w := range a.streams {
		w.tellDrain(within)
	}
	a.queues.drain()
}

// end ends every stream with OK.
func (s *permitService) end() {
	a, err := s.arbiter()
	if err != nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.frozen = true
	for _, w := range a.streams {
		w.end(errEnded)
	}
	a.queues.end()
}
