package server

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
)

// subscriber is one stream of states. At most one Send of it is in flight and at most one state is pending:
// a newer one replaces it.
type subscriber struct {
	stream grpc.ServerStream
	feed   *feed // guarded by hub.mu
	index  int   // in feed.subs; guarded by hub.mu

	mu      sync.Mutex
	sending bool   // somebody is in, or about to enter, stream.SendMsg
	closed  bool   // no Send may begin any more
	last    int64  // sequence of the newest state that was accepted
	pending *frame // accepted while sending

	ended chan struct{} // closed by end
	err   error         // why; set before ended is closed
}

// offer reports whether the caller is to send f now. If not, f is older than what the stream has, or it waits
// for the Send in flight. skipped is the number of states that will never be sent because of f.
func (s *subscriber) offer(f *frame) (send bool, skipped uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || f.sequence <= s.last {
		return false, 0
	}
	s.last = f.sequence
	if !s.sending {
		s.sending = true
		return true, 0
	}
	if s.pending != nil {
		skipped = 1
	}
	s.pending = f
	return false, skipped
}

// next ends a Send and returns the state to send now, or nil if the stream is no longer the caller's.
func (s *subscriber) next(err error) *frame {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.pending
	s.pending = nil
	if err != nil || s.closed {
		s.closed = true
		f = nil
	}
	s.sending = f != nil
	return f
}

// release gives the stream back after the first message, and returns the state that arrived meanwhile, if
// any, for somebody else to offer again.
func (s *subscriber) release() *frame {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.pending
	s.pending, s.sending = nil, false
	if f != nil {
		s.last = f.sequence - 1
	}
	return f
}

// end tells the handler to return err. It reports false when the handler was told before.
func (s *subscriber) end(err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.ended:
		return false
	default:
		s.err = err
		close(s.ended)
		return true
	}
}

// close forbids every further Send. One that is in flight ends with the stream, when the handler returns.
func (s *subscriber) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed, s.pending = true, nil
}

// stuckAfter is how long a Send may hold up the subscribers behind it; up to twice that, because it is looked
// for at ticks.
const stuckAfter = 20 * time.Millisecond

// yieldEvery is after how many subscribers a walk lets the connections write. Without it all of them wake at
// the end of the walk and each takes a write buffer of 32 KiB at the same time.
const yieldEvery = 16

// maxWorkers bounds the workers that one delivery may start between two ticks.
const maxWorkers = 512

// delivery is the walk of one state over the subscribers of a feed. Workers take one subscriber after the
// other; where one of them is stuck in a Send, others go on with the rest.
type delivery struct {
	frame *frame
	subs  []*subscriber
	taken atomic.Int64 // subscribers that a worker took, or more when all are

	workers []*worker // not yet stuck; owned by the hub's loop
	width   int       // workers started at a time; owned by the hub's loop
}

func newDelivery(f *frame, subs []*subscriber) *delivery {
	const perWorker = 64 // a smaller walk is over before a second goroutine would help
	return &delivery{frame: f, subs: subs, width: max(1, min(runtime.GOMAXPROCS(0), len(subs)/perWorker))}
}

// over reports whether every subscriber was taken.
func (d *delivery) over() bool { return d.taken.Load() >= int64(len(d.subs)) }

// done reports whether every subscriber was taken and no worker that is not stuck goes on.
func (d *delivery) done() bool {
	return d.over() && !slices.ContainsFunc(d.workers, func(w *worker) bool { return !w.done.Load() })
}

// worker is one goroutine of a delivery.
type worker struct {
	delivery *delivery

	// Written by the worker, read by the hub's loop.
	sub  atomic.Pointer[subscriber] // whose Send it is in; nil between two
	done atomic.Bool

	// Written by the hub's loop, read by the worker.
	replaced atomic.Bool // others walk on; it belongs to its subscriber alone until that Send returns

	progress atomic.Uint64 // counts Sends begun

	seen  uint64        // progress at the last tick; owned by the hub's loop
	since time.Duration // when seen changed; owned by the hub's loop
}

// run takes subscribers until none is left or the worker was replaced. It adds what it sent and skipped to
// the counters of h once, so that a Send costs no shared counter.
func (w *worker) run(h *hub) {
	var sent, skipped uint64
	d := w.delivery
	for !w.replaced.Load() {
		i := d.taken.Add(1) - 1
		if i >= int64(len(d.subs)) {
			break
		}
		s, m := w.deliver(d.subs[i])
		sent, skipped = sent+s, skipped+m
		if i%yieldEvery == yieldEvery-1 {
			runtime.Gosched()
		}
	}
	h.sent.Add(sent)
	h.skipped.Add(skipped)
	w.done.Store(true)
	if h.awaits.Load() {
		h.poke()
	}
}

func (w *worker) deliver(sub *subscriber) (sent, skipped uint64) {
	send, skipped := sub.offer(w.delivery.frame)
	if !send {
		return 0, skipped
	}
	w.sub.Store(sub)
	for f := w.delivery.frame; f != nil; {
		w.progress.Add(1)
		err := sub.stream.SendMsg(f)
		if err == nil {
			sent++
		} else {
			sub.end(err)
		}
		f = sub.next(err)
	}
	w.sub.Store(nil)
	return sent, skipped
}

// watch looks at the workers of d at a tick, and returns those that are stuck after it replaced them. Where
// all were stuck the next ones are twice as many, so that thousands of slow readers cost a few ticks.
func (d *delivery) watch(now time.Duration, h *hub) (stuck []*worker) {
	var moving []*worker
	for _, w := range d.workers {
		switch progress := w.progress.Load(); {
		case w.done.Load():
		case progress != w.seen || w.sub.Load() == nil:
			w.seen, w.since = progress, now
			moving = append(moving, w)
		default:
			w.replaced.Store(true)
			stuck = append(stuck, w)
		}
	}
	d.workers = moving
	if d.over() || len(stuck) == 0 {
		return stuck
	}
	count := len(stuck)
	if len(moving) == 0 {
		d.width = min(2*d.width, maxWorkers)
		count = d.width
	}
	d.start(now, count, h)
	return stuck
}

func (d *delivery) start(now time.Duration, count int, h *hub) {
	for range min(count, len(d.subs)) {
		w := &worker{delivery: d, since: now}
		d.workers = append(d.workers, w)
		h.workers.Go(func() { w.run(h) })
	}
}
