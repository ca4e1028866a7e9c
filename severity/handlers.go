package severity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// The bounds of handlers.
const (
	// DefaultHandlerDeadline is the default of [HandlersConfig.Deadline].
	DefaultHandlerDeadline = 10 * time.Second

	// HandlerPatience is how long the next handler waits for one that is slow.
	HandlerPatience = time.Second

	maxPending       = HistorySize
	maxRegistrations = 1 << 16
)

// The errors of handlers.
var (
	// ErrClosed reports a registration after Close.
	ErrClosed = errors.New("severity: handlers are closed")

	// ErrTooMany reports more than 65,536 registrations.
	ErrTooMany = errors.New("severity: too many handlers")

	// ErrDeadline reports a handler that is still running at its deadline.
	ErrDeadline = errors.New("severity: handler missed its deadline")

	// ErrOverflow reports an event that a handler was not told, because 4,096 were waiting for it.
	ErrOverflow = errors.New("severity: too many events waiting for a handler")
)

// Handler is a function of the program that is told of events. Its context ends at the deadline and on Close.
type Handler func(ctx context.Context, e Event) error

// A HandlerError is a handler that failed. The handler stays registered.
type HandlerError struct {
	// Event is what the handler was told, or should have been.
	Event Event

	// Err is what it returned, a [*PanicError], ErrGoexit, ErrDeadline or ErrOverflow.
	Err error
}

// Error says which event was being handled and what went wrong.
func (e *HandlerError) Error() string {
	return fmt.Sprintf("handler of %s %d: %v", e.Event.Kind, e.Event.Level, e.Err)
}

// Unwrap returns Err.
func (e *HandlerError) Unwrap() error { return e.Err }

// HandlersConfig says how handlers are called. Its zero value is complete.
type HandlersConfig struct {
	// Deadline is how long one call may take before its context ends and it is reported. The default is 10 s.
	Deadline time.Duration

	// OnFault is told of each handler that failed. It may be called by several goroutines at once and should
	// not block: the handler's next call waits for it. The default writes an error to slog.Default.
	OnFault func(*HandlerError)
}

// Handlers calls functions of the program as levels change. It is fed transitions by a [Runner] or from
// elsewhere. Within one event, handlers are called in the order of their registration, after "entered" come
// the clean-ups, and events never overtake each other: each call begins when the one before it returned, or
// [HandlerPatience] after it began. A handler that is slower, panics or hangs is called on alone, from a
// queue of its own, and delays nobody else.
//
// All methods are safe for concurrent use. None but Close blocks, so a handler may call them.
type Handlers struct {
	cfg    HandlersConfig
	ctx    context.Context // of all calls; ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup // the dispatcher, and each handler's calls

	mu          sync.Mutex
	closed      bool
	level       int
	applied     int     // the level after all of pending
	pending     []Event // to dispatch
	dispatching bool
	count       int
	handlers    []*Registration       // in the order of registration
	cleanups    map[int]*cleanupGroup // by level
}

// NewHandlers returns Handlers at level 0. It starts nothing. The first event starts a goroutine that calls
// handlers, each on one of its own; all end when there is nothing left to tell, and Close waits for them.
func NewHandlers(c HandlersConfig) *Handlers {
	if c.Deadline <= 0 {
		c.Deadline = DefaultHandlerDeadline
	}
	if c.OnFault == nil {
		c.OnFault = func(e *HandlerError) { slog.Default().Error("severity handler failed", "error", e) }
	}
	h := &Handlers{cfg: c, cleanups: make(map[int]*cleanupGroup)}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	return h
}

// Close lets no further call begin, ends the contexts of those that run, and waits for them to return. What
// was not told yet is dropped. It must not be called by a handler. It may be called twice.
func (h *Handlers) Close() {
	h.mu.Lock()
	h.closed = true
	h.pending = nil
	h.mu.Unlock()
	h.cancel()
	h.work.Wait()
}

// Level returns the level as far as handlers were told: the new one for handlers of "entered", the old one
// for handlers of "left".
func (h *Handlers) Level() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.level
}

// Applied returns the level to which the transitions that were applied so far lead. Level follows it as handlers
// are told.
func (h *Handlers) Applied() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.applied
}

// OnEntered has f called whenever the level is entered. Level 0 is accepted and never entered.
func (h *Handlers) OnEntered(level int, f Handler) (*Registration, error) {
	return h.register(&Registration{kind: Entered, level: level, call: f})
}

// OnLeft has f called whenever the level is left, while it is still in effect. Level 0 is accepted and never
// left.
func (h *Handlers) OnLeft(level int, f Handler) (*Registration, error) {
	return h.register(&Registration{kind: Left, level: level, call: f})
}

// OnRemaining has f called at each check that leaves the level in effect, but not earlier than gap after its
// last call returned, and not while events wait to be told. Level 0 is normal.
func (h *Handlers) OnRemaining(level int, gap time.Duration, f Handler) (*Registration, error) {
	if gap < 0 {
		return nil, fmt.Errorf("severity: gap %v is negative", gap)
	}
	return h.register(&Registration{kind: Remaining, level: level, gap: gap, call: f})
}

// OnNormal has f called whenever level 0 is reached again, after the handlers of "left".
func (h *Handlers) OnNormal(f Handler) (*Registration, error) {
	return h.register(&Registration{kind: Normal, call: f})
}

func (h *Handlers) register(r *Registration) (*Registration, error) {
	switch {
	case r.level < 0:
		return nil, fmt.Errorf("severity: level %d is negative", r.level)
	case r.call == nil:
		return nil, errors.New("severity: handler is nil")
	}
	r.of = h
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.admitLocked(); err != nil {
		return nil, err
	}
	h.handlers = append(h.handlers, r)
	return r, nil
}

// admitLocked counts one more registration.
func (h *Handlers) admitLocked() error {
	switch {
	case h.closed:
		return ErrClosed
	case h.count >= maxRegistrations:
		return ErrTooMany
	}
	h.count++
	return nil
}

// Apply tells handlers of a transition. Transitions must be applied in their order.
func (h *Handlers) Apply(t Transition) {
	h.mu.Lock()
	h.applied = t.To
	h.mu.Unlock()
	if t.Up() {
		h.tell(Event{Kind: Entered, Level: t.To, Transition: t})
		return
	}
	h.tell(Event{Kind: Left, Level: t.From, Transition: t})
	if t.To == 0 {
		h.tell(Event{Kind: Normal, Transition: t})
	}
}

// Remain tells handlers that a level stays in effect. It tells nobody while other events wait.
func (h *Handlers) Remain(level int) { h.tell(Event{Kind: Remaining, Level: level}) }

func (h *Handlers) tell(e Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || e.Kind == Remaining && !h.mayRemainLocked(e) {
		return
	}
	if len(h.pending) >= maxPending {
		h.work.Go(func() { h.fault(e, ErrOverflow) })
		return
	}
	h.pending = append(h.pending, e)
	if !h.dispatching {
		h.dispatching = true
		h.work.Go(h.dispatch)
	}
}

// mayRemainLocked reports whether a Remaining event is news: behind a transition it is not true any more when
// its turn comes, and one that waits already says the same.
func (h *Handlers) mayRemainLocked(e Event) bool {
	return !slices.ContainsFunc(h.pending, func(other Event) bool {
		return other.Kind != Remaining || other.Level == e.Level
	})
}

// dispatch tells what is pending, then ends.
func (h *Handlers) dispatch() {
	for {
		h.mu.Lock()
		if len(h.pending) == 0 {
			h.pending, h.dispatching = nil, false
			h.mu.Unlock()
			return
		}
		e := h.pending[0]
		h.pending = h.pending[1:]
		if e.Kind == Entered {
			h.level = e.Level
		}
		group := h.groupLocked(e)
		h.mu.Unlock()
		for _, r := range group {
			h.await(r.enqueue(e))
		}
		if e.Kind == Left {
			h.mu.Lock()
			h.level = e.Transition.To
			h.mu.Unlock()
		}
	}
}

// groupLocked returns whom to tell of an event, in order. A handler that another one of the group registers
// comes too late for it.
func (h *Handlers) groupLocked(e Event) []*Registration {
	var group []*Registration
	for _, r := range h.handlers {
		if r.kind == e.Kind && r.level == e.Level {
			group = append(group, r)
		}
	}
	if g := h.cleanups[e.Level]; g != nil && e.Kind == Entered {
		h.count -= g.prune()
		group = append(group, g.of...)
	}
	return group
}

// await waits until a call returned, as long as is fair to the others. done is nil for a call that nobody has
// to wait for.
func (h *Handlers) await(done <-chan struct{}) {
	if done == nil {
		return
	}
	timer := time.NewTimer(HandlerPatience)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	case <-h.ctx.Done():
	}
}

// fault reports a handler that failed. What OnFault does wrong harms nobody.
func (h *Handlers) fault(e Event, err error) {
	guard(func() error {
		h.cfg.OnFault(&HandlerError{e, err})
		return nil
	}, func(error) {})
}
