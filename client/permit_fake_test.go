package client_test

import (
	"crypto/rand"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/internal/wire"
	"github.com/headroom-rpc/headroom/permit"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// lessor is one life of a server that grants each worker what the test says.
type lessor struct {
	headroomv1.UnimplementedPermitServiceServer
	epoch int64

	mu       sync.Mutex
	refusal  error                    // of every attachment
	workers  []*leased                // in the order of their streams
	sessions map[permit.SessionID]int // how often they attached
	targets  map[string]permit.Target // by resource
	version  int64
	mute     bool // answers nothing
}

// leased is one stream.
type leased struct {
	lessor *lessor
	stream grpc.BidiStreamingServer[headroomv1.AttachRequest, headroomv1.AttachResponse]
	hello  permit.Hello
	frames []permit.WorkerFrame
	at     []time.Time // when the frames came
	echo   time.Duration
	sent   int64
	end    chan error
}

func newLessor(epoch int64) *lessor {
	return &lessor{epoch: epoch, sessions: make(map[permit.SessionID]int), targets: make(map[string]permit.Target)}
}

// give sets the target of a resource for all workers.
func (l *lessor) give(resource string, n int64) { l.set(permit.Target{Resource: resource, Target: n}) }

func (l *lessor) set(t permit.Target) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.version++
	t.Version = l.version
	t.Fence = t.Version * permit.FenceBlock
	t.Mode = max(t.Mode, permit.ModeNormal)
	l.targets[t.Resource] = t
	for _, w := range l.workers {
		w.sendLocked(permit.ServerFrame{Targets: []permit.Target{t}})
	}
}

// refuse makes err the answer to every new stream; nil takes that back.
func (l *lessor) refuse(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refusal = err
}

// fallSilent stops or resumes all answers.
func (l *lessor) fallSilent(mute bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mute = mute
}

// tell sends a frame to all workers.
func (l *lessor) tell(f permit.ServerFrame) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.workers {
		w.sendLocked(f)
	}
}

// cut ends all streams.
func (l *lessor) cut(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.workers {
		w.end <- err
	}
	l.workers = l.workers[:0:0]
}

// streams returns the streams that are open.
func (l *lessor) streams() []*leased {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.workers)
}

// reports returns the last report of a resource, over all streams that are open.
func (l *lessor) report(resource string) (last permit.Report) {
	for _, w := range l.streams() {
		for _, f := range w.received() {
			for _, r := range f.Reports {
				if r.Resource == resource {
					last = r
				}
			}
		}
	}
	return last
}

func (w *leased) received() []permit.WorkerFrame {
	w.lessor.mu.Lock()
	defer w.lessor.mu.Unlock()
	return slices.Clone(w.frames)
}

func (w *leased) sendLocked(f permit.ServerFrame) {
	if w.lessor.mute {
		return
	}
	w.sent++
	f.Sequence, f.Epoch, f.Echo = w.sent, w.lessor.epoch, w.echo
	if err := w.stream.Send(wire.ServerFrame(&f)); err != nil {
		return // the receiving side ends
	}
}

func (l *lessor) Attach(stream grpc.BidiStreamingServer[headroomv1.AttachRequest, headroomv1.AttachResponse]) error {
	l.mu.Lock()
	refusal := l.refusal
	l.mu.Unlock()
	if refusal != nil {
		time.Sleep(time.Millisecond) // so that a call of Permits that attaches has always returned before
		return refusal
	}
	w := &leased{lessor: l, stream: stream, end: make(chan error, 1)}
	go func() {
		for first := true; ; first = false {
			m, err := stream.Recv()
			if err != nil {
				w.end <- nil
				return
			}
			f, err := wire.WorkerFrameFrom(m)
			if err != nil || first != (f.Hello != nil) {
				w.end <- status.Errorf(codes.InvalidArgument, "hello %v, %v", f.Hello, err)
				return
			}
			w.receive(f)
			if f.Goodbye {
				w.end <- nil
				return
			}
		}
	}()
	err := <-w.end
	l.mu.Lock()
	l.workers = slices.DeleteFunc(l.workers, func(other *leased) bool { return other == w })
	l.mu.Unlock()
	return err
}

func (w *leased) receive(f permit.WorkerFrame) {
	l := w.lessor
	l.mu.Lock()
	defer l.mu.Unlock()
	w.frames, w.at, w.echo = append(w.frames, f), append(w.at, time.Now()), f.Sent
	var answer permit.ServerFrame
	if h := f.Hello; h != nil {
		w.hello = *h
		l.workers = append(l.workers, w)
		id, resumed := h.Session, h.Resume && h.Epoch == l.epoch && l.sessions[h.Session] > 0
		if !resumed {
			id = permit.SessionID{byte(l.epoch), byte(len(l.sessions) + 1)}
		}
		l.sessions[id]++
		answer.Welcome = &permit.Welcome{
			Session: id, Epoch: l.epoch, Instance: "lessor", Version: "0.1.0", Resumed: resumed,
			TTL: permit.DefaultTTL, Heartbeat: permit.DefaultHeartbeat, Grace: permit.DefaultGrace,
		}
	}
	for _, r := range f.Reports {
		t, ok := l.targets[r.Resource]
		if ok && r.HasCeiling && r.Version == t.Version && !t.Contended {
			l.version++ // what it gave back it may have again
			t.Version, t.Fence = l.version, l.version*permit.FenceBlock
			l.targets[r.Resource] = t
		}
		if ok && r.Version < t.Version {
			answer.Targets = append(answer.Targets, t)
		}
	}
	w.sendLocked(answer)
}

// leaseTest runs f in a bubble with a machine on which l serves.
func leaseTest(t *testing.T, l *lessor, f func(t *testing.T, m *machine, stop func())) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		stop := m.serve(&script{permits: l})
		defer func() { stop() }()
		f(t, m, stop)
	})
}

// permits opens a handle, and waits until its target has come.
func permits(t *testing.T, c *client.Client, resource string, opts ...client.PermitOption) *client.Permits {
	t.Helper()
	h, err := c.Permits(resource, opts...)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	return h
}

// arbiter is a server that leases permits by a ledger.
type arbiter struct {
	headroomv1.UnimplementedPermitServiceServer
	begin time.Time

	mu      sync.Mutex
	ledger  *permit.Ledger
	workers map[permit.SessionID]*leased
}

func (r *arbiter) Attach(stream grpc.BidiStreamingServer[headroomv1.AttachRequest, headroomv1.AttachResponse]) error {
	w := &leased{lessor: &lessor{epoch: 1}, stream: stream}
	var id permit.SessionID
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.workers, id)
		r.ledger.End(time.Since(r.begin), id)
	}()
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		f, err := wire.WorkerFrameFrom(m)
		if err != nil {
			return err
		}
		r.mu.Lock()
		now := time.Since(r.begin)
		w.echo = f.Sent
		var answer permit.ServerFrame
		if f.Hello != nil {
			welcome, err := r.ledger.Attach(now, permit.Party{Identity: "uid:1"}, *f.Hello)
			if err != nil {
				r.mu.Unlock()
				return err
			}
			id, answer.Welcome = welcome.Session, &welcome
			r.workers[id] = w
		}
		err = r.ledger.Receive(now, id, f)
		w.sendLocked(answer)
		r.shareLocked(now)
		r.mu.Unlock()
		if err != nil || f.Goodbye {
			return err
		}
	}
}

func (r *arbiter) shareLocked(now time.Duration) {
	r.ledger.Advance(now)
	for id := range r.ledger.Dirty() {
		if targets := r.ledger.TakeTargets(id, nil); len(targets) > 0 {
			r.workers[id].sendLocked(permit.ServerFrame{Targets: targets})
		}
	}
}

func (r *arbiter) setLimit(t *testing.T, resource string, limit int64) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.ledger.SetLimit(time.Since(r.begin), resource, limit, ""); err != nil {
		t.Fatal(err)
	}
}

// newArbiter returns an arbiter that shares until the test ends.
func newArbiter(t *testing.T, resources ...permit.Resource) *arbiter {
	t.Helper()
	c := permit.Config{Epoch: 1, Resources: resources}
	c.NewSession = func() (id permit.SessionID) {
		if _, err := rand.Read(id[:]); err != nil {
			t.Error(err)
		}
		return id
	}
	ledger, err := permit.NewLedger(0, c)
	if err != nil {
		t.Fatal(err)
	}
	r := &arbiter{begin: time.Now(), ledger: ledger, workers: make(map[permit.SessionID]*leased)}
	go func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				r.mu.Lock()
				r.shareLocked(time.Since(r.begin))
				r.mu.Unlock()
			case <-t.Context().Done():
				return
			}
		}
	}()
	return r
}
