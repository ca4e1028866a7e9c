package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"google.golang.org/grpc"

	"github.com/headroom-rpc/headroom/internal/wire"
	"github.com/headroom-rpc/headroom/permit"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

// helloTimeout is how long a stream may stay without its first frame.
const helloTimeout = 2 * time.Second

// echoBurst is how many echoes may be sent at once.
const echoBurst = 4

// silentError reports a stream that a worker does not use.
type silentError struct {
	after time.Duration
	hello bool // it is the first frame that did not come
}

func (e *silentError) Error() string {
	what := "no frame came"
	if e.hello {
		what = "no first frame came"
	}
	return fmt.Sprintf("%s for %v", what, e.after)
}

// kickedError reports a session that an operator ended.
type kickedError struct{ reason string }

func (e *kickedError) Error() string { return "the session was ended by an operator: " + e.reason }

// unwatch forgets the process of a stream that is over for so long that its session has ended, unless another
// stream has taken that up.
func (s *permitService) unwatch(a *arbiter, id permit.SessionID) {
	if !a.hasStream(id) {
		s.deaths.forget(id)
	}
}

func (a *arbiter) hasStream(id permit.SessionID) bool {
	if a.enterTimeless() != nil {
		return false
	}
	defer a.leave(nil)
	return a.streams[id] != nil
}

// errReplaced reports a stream in whose place the worker opened another.
var errReplaced = errors.New("server: the session has another stream")

// attached is one stream of a worker. A goroutine reads, so that the handler can end the stream, and one that lives
// only while there is something to say sends. What is to be said is state: a slow reader is told the newest.
type attached struct {
	arbiter *arbiter
	stream  grpc.ServerStream
	limits  Limits

	// echoPause is the time after each frame before another is sent for the sake of the echo alone, but for
	// echoBurst of them: a worker whose permits come and go is else sent two for each. Whatever is sent has the
	// newest echo.
	echoPause time.Duration

	// patience is how long the goroutine of another stream may wait for this one to be read.
	patience time.Duration

	id    permit.SessionID
	epoch int64

	received int64 // sequence of the newest frame; of the reader alone

	over    chan struct{} // closed by end
	greeted atomic.Bool   // the first frame came
	silence *time.Timer
	stuck   *time.Timer  // of the Send in flight
	waits   atomic.Int64 // how long that may take

	mu       sync.Mutex // may be taken while the arbiter is held, never the other way round
	sending  bool
	closed   bool
	cause    error // why the server ended the stream
	sequence int64 // of the last frame sent
	echo     time.Duration
	heard    time.Duration // when the frame came that is echoed
	unheard  int           // frames that were sent since
	echoAt   time.Duration // when as many frames as were sent would have been due
	welcome  *permit.Welcome
	targets  bool // there are targets to take
	echoes   bool // there is an echo to send
	drain    time.Duration
	draining bool // there is a drain to tell
	kicked   string
}

// Attach implements headroom.v1.PermitService.
func (s *permitService) Attach(
	stream grpc.BidiStreamingServer[headroomv1.AttachRequest, headroomv1.AttachResponse],
) error {
	w, err := s.newAttached(stream)
	if err != nil {
		return err
	}
	defer s.detach(w)
	go s.read(w, stream)
	<-w.over
	if errors.Is(w.cause, errEnded) {
		return nil
	}
	return w.cause
}

// newAttached returns a new stream, which ends where no first frame comes.
func (s *permitService) newAttached(stream grpc.ServerStream) (*attached, error) {
	a, err := s.arbiter()
	if err != nil {
		return nil, err
	}
	w := &attached{
		arbiter: a, stream: transportStream(stream), limits: s.limits, echoPause: s.config.Heartbeat / 8,
		patience: min(s.limits.SendTimeout, s.config.TTL/4),
		over:     make(chan struct{}),
	}
	w.silence = time.AfterFunc(helloTimeout, func() {
		if w.greeted.Load() {
			w.end(&silentError{s.config.TTL, false})
		} else {
			w.end(&silentError{helloTimeout, true})
		}
	})
	w.stuck = time.AfterFunc(time.Hour, w.unread)
	w.stuck.Stop()
	return w, nil
}

// detach ends what is left of a stream.
func (s *permitService) detach(w *attached) {
	if id := w.close(); id != (permit.SessionID{}) {
		time.AfterFunc(s.config.TTL+s.config.Grace, func() { s.unwatch(w.arbiter, id) })
	}
}

// guarded calls f and returns its panic as an error, as the interceptors do that see only those of the handler's
// own goroutine.
func guarded(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &recovery.PanicError{Panic: p, Stack: debug.Stack()}
		}
	}()
	return f()
}

// read serves the frames of the stream until it ends. It stands on the stack of its goroutine as long as the stream
// lives, so what gRPC does to receive and to send, which goes deep, is called from here: a few frames of ours more, and
// the stack of each session has twice the size. As validating the first frame goes deeper still, a new goroutine goes on
// after that.
func (s *permitService) read(
	w *attached, stream grpc.BidiStreamingServer[headroomv1.AttachRequest, headroomv1.AttachResponse],
) {
	var err error
	defer func() {
		if p := recover(); p != nil {
			err = &recovery.PanicError{Panic: p, Stack: debug.Stack()}
		}
		w.end(err)
	}()
	in := new(workerFrame)
	for err == nil {
		first, from := !w.greeted.Load(), w.stream
		if first {
			from = stream // so that it is known by all that a request came
		}
		if err = from.RecvMsg(in); err == nil {
			err = s.serve(w, in)
		} else if errors.Is(err, io.EOF) { // without a goodbye: as if the stream broke
			err = errEnded
		}
		if err == nil {
			w.flush()
		}
		if first && err == nil {
			go s.read(w, stream)
			return
		}
	}
}

// serve takes a frame of the stream. It returns an error if that was the last.
func (s *permitService) serve(w *attached, in *workerFrame) error {
	defer in.release()
	f := &in.frame
	if request := in.request; request != nil {
		if err := s.validator.Validate(request); err != nil {
			return err
		}
		got, err := wire.WorkerFrameFrom(request)
		if err != nil {
			invalid := &invalidError{}
			invalid.add("", "%v", err)
			return invalid
		}
		f = &got
	}
	var err error
	switch greeted := w.greeted.Load(); {
	case greeted && f.Hello != nil:
		invalid := &invalidError{}
		invalid.add("hello", "only the first frame of a stream may have it")
		return invalid
	case greeted:
		err = w.apply(f)
	case f.Hello == nil:
		invalid := &invalidError{}
		invalid.add("hello", "the first frame of a stream must have it")
		return invalid
	default:
		err = s.begin(w, f)
		w.greeted.Store(err == nil)
	}
	if err == nil && f.Goodbye {
		return errEnded
	}
	if err == nil {
		w.silence.Reset(s.config.TTL)
	}
	return err
}

// begin begins the session, or resumes the one that the worker had.
func (s *permitService) begin(w *attached, f *permit.WorkerFrame) error {
	who, err := party(w.stream.Context())
	if err != nil {
		return err
	}
	exclusive := f.Hello.Exclusive
	who.Local = s.deaths.made(w.stream.Context(), f.Hello.Process)
	if err := w.join(who, f); err != nil {
		return err
	}
	s.deaths.forget(w.id) // what was watched made another connection
	if exclusive && who.Local {
		s.deaths.watch(w.stream.Context(), w.id, func() { s.died(w.id) })
	}
	return nil
}

func (w *attached) join(who permit.Party, f *permit.WorkerFrame) (err error) {
	a := w.arbiter
	now, err := a.enter()
	if err != nil {
		return err
	}
	defer a.leave(&err)
	w.mu.Lock()
	closed := w.closed
	w.mu.Unlock()
	if closed {
		return errEnded
	}
	if a.frozen {
		return errDraining
	}
	welcome, err := a.ledger.Attach(now, who, *f.Hello)
	if err != nil {
		return err
	}
	a.change()
	w.id, w.epoch, w.welcome = welcome.Session, welcome.Epoch, &welcome
	if other := a.streams[w.id]; other != nil {
		other.end(errReplaced)
	}
	a.streams[w.id] = w
	f.Hello = nil
	return w.applyLocked(now, f)
}

// apply hands a frame to the ledger.
func (w *attached) apply(f *permit.WorkerFrame) (err error) {
	a := w.arbiter
	now, err := a.enter()
	if err != nil {
		return err
	}
	defer a.leaveSending(&err)
	if a.streams[w.id] != w {
		return errReplaced
	}
	return w.applyLocked(now, f)
}

func (w *attached) applyLocked(now time.Duration, f *permit.WorkerFrame) error {
	if err := w.arbiter.ledger.Receive(now, w.id, *f); err != nil {
		return err
	}
	if len(f.Reports) > 0 || f.Goodbye {
		w.arbiter.change()
	}
	if f.Sequence > w.received { // it prolonged the lease
		w.received = f.Sequence
		w.hear(f, now)
	}
	return nil
}

// hear notes that the newest frame came.
func (w *attached) hear(f *permit.WorkerFrame, now time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.echo, w.heard, w.unheard = f.Sent, now, 0
	w.echoes = w.echoes || w.echoAt < now+echoBurst*w.echoPause
}

// close ends the stream's part in the session, whose charge stays, and returns its id if there was one.
func (w *attached) close() permit.SessionID {
	w.silence.Stop()
	w.stuck.Stop()
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	a := w.arbiter
	now, err := a.enter()
	if err != nil {
		return w.id
	}
	defer a.leave(nil)
	if a.streams[w.id] == w {
		delete(a.streams, w.id)
		a.ledger.Detach(now, w.id)
		a.change()
	}
	return w.id
}

// end makes the handler return err, unless that is nil. Only the first call with an error counts.
func (w *attached) end(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil && w.cause == nil && !w.closed {
		w.cause = err
		close(w.over)
	}
}

// party returns who calls, as the ledger knows it.
func party(ctx context.Context) (permit.Party, error) {
	identity, ok := IdentityFrom(ctx)
	if !ok {
		return permit.Party{}, errors.New("a call without identity")
	}
	return permit.Party{
		Identity: identity.Name, Unbounded: identity.Role >= RoleOperator, PID: max(identity.PID, 0),
	}, nil
}
