package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/headroom-rpc/headroom/internal/coarse"
	"github.com/headroom-rpc/headroom/permit"
)

const (
	// closeGrace bounds how long Close waits for what is held to be released, and for the server to take note.
	closeGrace = 500 * time.Millisecond

	// kickPause is how long a client stays away whose session was ended by an operator.
	kickPause = 5 * time.Second

	// The retries of a lost attachment are drawn from nothing to 50 ms, 100 ms and so on up to 2 s, so that a
	// restarted server has its workers back before their leases end.
	attachRetryBase = 25 * time.Millisecond
	attachRetryMax  = time.Second
)

var resourceName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// attachment keeps the session of one Client, on goroutines of its own that run no code of the program.
type attachment struct {
	client *Client
	local  *localLoad    // nil without WithLocal
	wake   chan struct{} // capacity 1: there may be something to send
	look   chan struct{} // capacity 1: the watcher is to look anew
	idle   chan struct{} // capacity 1: something was released while closing
	stop   context.CancelFunc
	ended  chan struct{} // closed when the goroutines have returned
	clock  coarse.Clock
	boot   time.Duration // when clock was started, by the clock that runs through suspend

	// suspended is how long the machine was suspended since then, as far as it was noticed.
	suspended atomic.Int64

	// leased is whether there was a lease when last looked at.
	leased atomic.Bool

	// sending is held by who sends on a stream. It comes before mu.
	sending sync.Mutex

	mu      sync.Mutex
	lessee  *permit.Lessee
	shares  map[string]*share
	touched []*share // that the lessee said have changed
	lost    bool     // the lessee said that the lease was lost
	kicked  string   // why the session was ended by somebody else, until there is another
	failure error    // why there is no stream; nil while there is one that was welcomed
	reached bool     // whether there was a lease, or an attempt to get one failed
	final   error    // why there will be none any more
	goodbye bool     // the stream is to end the session
	heard   time.Duration
	wakeAt  time.Duration // until when the writer sleeps if it is not woken; over while it does not
	stale   bool
	state   shareState // as all shares were told
	judgeAt time.Duration
	cut     context.CancelCauseFunc // ends the stream; nil while there is none
	greeted bool                    // whether the stream was welcomed
	out     attachStream            // the stream, for others than its writer; nil while there is none
	sentAt  time.Duration           // Sent of the newest frame
	unread  int                     // frames that were sent since one the server is known to have read
}

// attach returns the attachment of the Client, which it begins with the first call.
func (c *Client) attach() (*attachment, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isDone() {
		return nil, ErrClosed
	}
	if c.attachment != nil {
		return c.attachment, nil
	}
	var local *localLoad
	if c.local != nil {
		local = &localLoad{sources: c.local}
	}
	a := &attachment{
		client: c,
		local:  local,
		wake:   make(chan struct{}, 1),
		look:   make(chan struct{}, 1),
		idle:   make(chan struct{}, 1),
		ended:  make(chan struct{}),
		shares: make(map[string]*share),
	}
	a.clock.Start()
	a.boot = c.clock()
	var instance permit.InstanceID
	if _, err := rand.Read(instance[:]); err != nil {
		return nil, err
	}
	a.lessee = permit.NewLessee(permit.LesseeConfig{
		Client: c.name, Instance: instance, Exclusive: c.exclusive, Process: ownProcess(),
		Changed: func(resource string) {
			if s := a.shares[resource]; s != nil && !s.touched {
				s.touched = true
				a.touched = append(a.touched, s)
			}
		},
		Lost: func() { a.lost = true },
	})
	ctx, stop := context.WithCancel(context.Background())
	a.stop = stop
	var running sync.WaitGroup
	running.Go(func() { a.run(ctx) })
	running.Go(func() { a.watch(ctx) })
	go func() {
		running.Wait()
		close(a.ended)
	}()
	c.attachment = a
	return a, nil
}

// now returns the time of the lessee, as it was some microseconds ago at most. It runs through a suspend only from
// when that was noticed, but costs no system call.
func (a *attachment) now() time.Duration {
	return a.clock.Now() + time.Duration(a.suspended.Load())
}

// exactNow returns the time of the lessee, and takes note of a suspend. No later call of now returns less.
func (a *attachment) exactNow() time.Duration {
	boot := a.client.clock() - a.boot // first, so that a pause between the two reads is not taken for a suspend
	awake := a.clock.Exact()
	for {
		noticed := a.suspended.Load()
		if int64(boot-awake) <= noticed {
			return awake + time.Duration(noticed)
		}
		if a.suspended.CompareAndSwap(noticed, int64(boot-awake)) {
			return boot
		}
	}
}

// open returns the share of a resource, with one more handle, which is nil where the options are those of
// whoever has one.
func (a *attachment) open(resource string, config *permitConfig) (*Permits, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.final != nil {
		return nil, a.final
	}
	s := a.shares[resource]
	if s == nil {
		s = newShare(a, resource, a.lessee.Gate(resource))
		s.setState(a.state)
		a.shares[resource] = s
	}
	h := &Permits{share: s}
	if err := s.add(h, config); err != nil {
		return nil, err
	}
	signal(a.wake)
	return h, nil
}

// settleLocked tells the shares of what the lessee said has changed.
func (a *attachment) settleLocked(now time.Duration) {
	deadline, ok := a.lessee.Deadline()
	leased := ok && now < deadline
	a.leased.Store(leased)
	a.reached = a.reached || leased
	if leased {
		a.kicked = ""
	}
	if a.lost {
		a.lost = false
		cause, always := a.lossLocked()
		for _, s := range a.shares {
			s.lose(cause, always)
		}
	}
	for _, s := range a.touched {
		s.touched = false
	}
	touched := a.touched
	a.touched = a.touched[:0]
	if state := a.stateLocked(leased); state != a.state {
		a.state = state
		for _, s := range a.shares {
			s.setState(state)
		}
		signal(a.look)
	}
	for _, s := range touched {
		target, _ := a.lessee.Target(s.name)
		s.retarget(now, target)
	}
}

// lossLocked returns why a lease is over, and whether that ends all work whatever the offline policy.
func (a *attachment) lossLocked() (cause error, always bool) {
	switch {
	case a.kicked != "":
		return fmt.Errorf("%w: %s", ErrKicked, a.kicked), true
	case errors.Is(a.final, ErrClosed):
		return ErrClosed, true
	default:
		return ErrLeaseLost, a.final != nil
	}
}

func (a *attachment) stateLocked(leased bool) shareState {
	return shareState{
		leased:  leased,
		stale:   leased && a.stale,
		offline: !leased && a.reached && a.final == nil && a.kicked == "",
		final:   a.final,
	}
}

// leaseLeft returns how long the lease lasts if nothing more is heard.
func (a *attachment) leaseLeft() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	deadline, ok := a.lessee.Deadline()
	if !ok {
		return 0
	}
	return max(0, deadline-a.exactNow())
}

// why returns why there is no stream; nil while there is one, or the first is being opened.
func (a *attachment) why() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.failure
}

// end gives up for good: nothing is asked for any more, and what is held ends with the lease.
func (a *attachment) end(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.final == nil {
		a.final = err
		a.settleLocked(a.exactNow())
	}
	signal(a.look)
}

// close ends the session. What is held is waited for, as it may still run: if it is not released in time its
// charge is left to expire.
func (a *attachment) close() {
	a.end(ErrClosed)
	a.mu.Lock()
	for _, s := range a.shares {
		s.lose(ErrClosed, true)
	}
	a.mu.Unlock()
	grace, cancel := context.WithTimeout(context.Background(), closeGrace)
	defer cancel()
	for grace.Err() == nil && !a.sayGoodbye() {
		select {
		case <-a.idle:
		case <-grace.Done():
		}
	}
	select {
	case <-a.ended:
	case <-grace.Done():
	}
	a.stop()
	<-a.ended
}

// sayGoodbye has the session ended, and reports false where something is still held.
func (a *attachment) sayGoodbye() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.greeted {
		a.stop() // there is nobody to say it to
		return true
	}
	for _, s := range a.shares {
		if s.gate.Held() > 0 {
			return false
		}
	}
	a.goodbye = true
	signal(a.wake)
	return true
}
