package server

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/headroom-rpc/headroom/snapshot"
)

// kindSet is a set of resources, bit r for resource r. Zero is all of them.
type kindSet uint16

// has reports whether the set holds r.
func (k kindSet) has(r snapshot.Resource) bool { return k == 0 || k>>r&1 != 0 }

// feedKey is what the subscribers of one feed have in common: they are sent the same bytes.
type feedKey struct {
	interval time.Duration
	kinds    kindSet
}

// feed is a class of subscribers, those that share a feedKey.
type feed struct {
	key      feedKey
	subs     []*subscriber
	schedule schedule
	current  *delivery // the last one, over or not
}

// state is a view and its place in this run's order of states.
type state struct {
	snapshot.View
	sequence int64
}

// look is a view that was taken at a time.
type look struct {
	view    snapshot.View
	at      time.Duration
	changed <-chan struct{} // closed when there is a newer one; nil for none at all
}

// hub sends the present state to every subscriber: one encoding for each feed, however many they are. A
// stream that does not take its message delays nobody: it skips states, and is ended after the send timeout.
type hub struct {
	// view returns the present state, and a channel that is closed when it changed.
	view func() (snapshot.View, <-chan struct{}, error)
	// encode returns the message of a state for a set of resources.
	encode func(st state, kinds kindSet) ([]byte, error)
	// observe is told of every view that the hub takes. It must not block.
	observe func(*snapshot.View)
	// stalled is told of every subscriber that was ended because it did not read.
	stalled func(ctx context.Context)

	sendTimeout    time.Duration
	maxSubscribers int

	begin   time.Time // zero of the hub's times
	workers sync.WaitGroup
	wake    chan struct{} // holds one token; poke fills it
	awaits  atomic.Bool   // the loop sleeps while a delivery goes on

	sent, skipped, slow atomic.Uint64

	mu       sync.Mutex
	sequence int64
	feeds    map[feedKey]*feed
	count    int           // of subscribers, and of streams that are served elsewhere
	handoffs []*delivery   // made outside the loop, to be started by it
	ended    chan struct{} // closed by end
	latest   look          // what the loop saw last; empty where that is older than what a subscriber has

	// Of the loop alone.
	running []*delivery   // that have workers which are not stuck, or are done since
	stuck   []*worker     // replaced, but still in a Send
	tick    time.Duration // when to look at them next
}

func newHub(sendTimeout time.Duration, maxSubscribers int) *hub {
	return &hub{
		observe:        func(*snapshot.View) {},
		stalled:        func(context.Context) {},
		sendTimeout:    sendTimeout,
		maxSubscribers: maxSubscribers,
		begin:          time.Now(),
		wake:           make(chan struct{}, 1),
		ended:          make(chan struct{}),
		feeds:          make(map[feedKey]*feed),
	}
}

func (h *hub) now() time.Duration { return time.Since(h.begin) }

// poke makes the loop look again.
func (h *hub) poke() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// subscribers returns how many streams there are.
func (h *hub) subscribers() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.count
}

// serve sends first(state) and then the states of the feed to stream, until the stream or the hub ends, and
// returns nil when the hub did. It blocks; others send on its behalf.
func (h *hub) serve(stream grpc.ServerStream, key feedKey, first func(state) (*frame, error)) error {
	sub := &subscriber{stream: stream, sending: true, ended: make(chan struct{})}
	st, err := h.join(sub, key)
	if err != nil {
		return err
	}
	defer h.leave(sub)

	f, err := first(st)
	if err != nil {
		return err
	}
	// A new stream has its whole send window, so this does not wait for the reader.
	if err := stream.SendMsg(f); err != nil {
		return err
	}
	h.sent.Add(1)
	if pending := sub.release(); pending != nil {
		h.handOff(sub, pending)
	}
	select {
	case <-sub.ended:
		return sub.err
	case <-stream.Context().Done():
		return context.Cause(stream.Context())
	}
}

// join takes the present state and makes sub a member of its feed, both at one instant: whatever the feed
// is sent later is newer than the state.
func (h *hub) join(sub *subscriber, key feedKey) (state, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.admitLocked(); err != nil {
		return state{}, err
	}
	view, _, err := h.view()
	if err != nil {
		return state{}, err
	}
	h.latest = look{}
	st := h.numberLocked(view)
	sub.last = st.sequence
	f := h.feeds[key]
	if f == nil {
		f = &feed{key: key, schedule: newSchedule(key.interval, h.now(), view.Version, view.Verdict)}
		h.feeds[key] = f
		h.poke()
	}
	sub.feed, sub.index = f, len(f.subs)
	f.subs = append(f.subs, sub)
	h.count++
	return st, nil
}

// admitLocked returns nil if there may be one more stream.
func (h *hub) admitLocked() error {
	if h.isEnded() {
		return errDraining
	}
	if h.count >= h.maxSubscribers {
		return &subscribersError{max: h.maxSubscribers}
	}
	return nil
}

func (h *hub) isEnded() bool {
	select {
	case <-h.ended:
		return true
	default:
		return false
	}
}

// enter counts a stream that is served elsewhere, which is to end with OK when ended is closed.
func (h *hub) enter() (ended <-chan struct{}, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.admitLocked(); err != nil {
		return nil, err
	}
	h.count++
	return h.ended, nil
}

// exit undoes enter.
func (h *hub) exit() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.count--
}

func (h *hub) numberLocked(view snapshot.View) state {
	h.sequence++
	return state{View: view, sequence: h.sequence}
}

// leave undoes join.
func (h *hub) leave(sub *subscriber) {
	sub.close()
	h.mu.Lock()
	defer h.mu.Unlock()
	f := sub.feed
	last := f.subs[len(f.subs)-1]
	f.subs[sub.index], last.index = last, sub.index
	f.subs[len(f.subs)-1] = nil
	f.subs = f.subs[:len(f.subs)-1]
	if len(f.subs) == 0 {
		delete(h.feeds, f.key)
	}
	h.count--
}

// handOff lets the loop send f, which arrived while the handler sent the first message.
func (h *hub) handOff(sub *subscriber, f *frame) {
	h.mu.Lock()
	h.handoffs = append(h.handoffs, newDelivery(f, []*subscriber{sub}))
	h.mu.Unlock()
	h.poke()
}

// end ends every stream with OK, and refuses new ones.
func (h *hub) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.isEnded() {
		return
	}
	close(h.ended)
	for _, f := range h.feeds {
		for _, sub := range f.subs {
			sub.end(nil)
		}
	}
}

// run sends states until ctx is done; then it ends every stream, waits for its workers, and returns nil.
func (h *hub) run(ctx context.Context) error {
	defer h.workers.Wait()
	defer h.end()
	// Its time is mostly put off, and to set a timer costs a wakeup of another thread: it may fire in vain instead.
	timer := time.AfterFunc(0, h.poke)
	defer timer.Stop()
	fires := h.now()
	for {
		h.awaits.Store(false)
		changed, again := h.step(h.now())
		if len(h.running) > 0 {
			// Most deliveries are over once they had the CPU; then nobody has to look after them.
			runtime.Gosched()
			h.awaits.Store(true)
			changed, again = h.step(h.now())
		}
		if now := h.now(); again < fires || fires <= now {
			timer.Reset(again - now)
			fires = again
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-h.wake:
		}
	}
}

const (
	slowTick    = 250 * time.Millisecond // between two looks while only stuck workers are left
	inactiveTry = 20 * time.Millisecond  // between two tries while the Snapshotter does not run
	idleWait    = time.Hour              // when nothing is due but what pokes the loop
)

// step does what is due now. It returns the channel that tells of a change, and when to look again without one.
func (h *hub) step(now time.Duration) (changed <-chan struct{}, again time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.startLocked(now)
	again = now + idleWait
	if err := h.lookLocked(now); err != nil {
		again = now + inactiveTry
	} else {
		for _, f := range h.feeds {
			again = min(again, h.sendLocked(now, f, h.latest.view))
		}
	}
	return h.latest.changed, min(again, h.watch(now))
}

// lookLocked takes the present view, unless the last one is as good: a change that settles is looked at once.
func (h *hub) lookLocked(now time.Duration) error {
	if h.latest.changed != nil && now-h.latest.at <= 2*settle {
		select {
		case <-h.latest.changed:
		default:
			return nil
		}
	}
	view, changed, err := h.view()
	h.latest = look{view: view, at: now, changed: changed}
	if err == nil {
		h.observe(&view)
	}
	return err
}

// startLocked starts what was handed off.
func (h *hub) startLocked(now time.Duration) {
	for _, d := range h.handoffs {
		h.start(now, d)
	}
	h.handoffs = nil
}

func (h *hub) start(now time.Duration, d *delivery) {
	d.start(now, d.width, h)
	h.running = append(h.running, d)
	h.tick = min(h.tick, now+stuckAfter)
}

// sendLocked sends the view to f if that is due, and returns when to look at f again. A feed whose last
// state is still being sent waits until that is done, so that all of its subscribers get their turn.
func (h *hub) sendLocked(now time.Duration, f *feed, view snapshot.View) (again time.Duration) {
	f.schedule.observe(now, view.Version, view.Verdict)
	if f.current != nil && !f.current.over() {
		return now + idleWait // its workers poke the loop
	}
	if due := f.schedule.due(); due > now {
		return due
	}
	st := h.numberLocked(view)
	f.schedule.record(now, view.Version, view.Verdict)
	encoded, err := h.encode(st, f.key.kinds)
	if err != nil {
		for _, sub := range f.subs {
			sub.end(fmt.Errorf("encode a state: %w", err))
		}
		return now + idleWait
	}
	d := newDelivery(newFrame(st.sequence, encoded), slices.Clone(f.subs))
	f.current = d
	h.start(now, d)
	return f.schedule.due()
}

// watch replaces stuck workers and ends subscribers that do not read, and returns when to look again.
func (h *hub) watch(now time.Duration) (again time.Duration) {
	h.running = slices.DeleteFunc(h.running, (*delivery).done)
	if now < h.tick && len(h.running)+len(h.stuck) > 0 {
		return h.tick
	}
	h.running = slices.DeleteFunc(h.running, func(d *delivery) bool {
		h.stuck = append(h.stuck, d.watch(now, h)...)
		return len(d.workers) == 0
	})
	h.stuck = slices.DeleteFunc(h.stuck, func(w *worker) bool { return h.overdue(now, w) })
	switch {
	case len(h.running) > 0:
		h.tick = now + stuckAfter
	case len(h.stuck) > 0:
		h.tick = now + slowTick
	default:
		h.tick = now + idleWait
	}
	return h.tick
}

// overdue ends the subscriber of w if its Send took too long, and reports whether w is done.
func (h *hub) overdue(now time.Duration, w *worker) (done bool) {
	if w.done.Load() {
		return true
	}
	if progress := w.progress.Load(); progress != w.seen {
		w.seen, w.since = progress, now
		return false
	}
	sub := w.sub.Load()
	if sub == nil || now-w.since < h.sendTimeout {
		return false
	}
	if sub.end(&slowReaderError{timeout: h.sendTimeout}) {
		h.slow.Add(1)
		h.workers.Go(func() { h.stalled(sub.stream.Context()) }) // it may close a connection, which takes its time
	}
	return false
}
