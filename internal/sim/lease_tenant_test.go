package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/server"
)

// A tenant is a program that works under permits: over Attach, or by calls.
type tenant struct {
	name, identity string
	site           *site
	path           *path
	randoms        [3]*rand.Rand // of its tasks
	ctx            context.Context
	die            context.CancelFunc // as kill -9 does
	quit           chan struct{}      // closed when it is to begin no more work
	tasks          sync.WaitGroup
	ended          chan struct{}

	mu     sync.Mutex
	client *client.Client // nil for calls, and before it is connected
}

// hire starts a tenant.
func (s *site) hire(name, identity string, calls bool, random *rand.Rand) *tenant {
	ctx, die := context.WithCancel(context.Background())
	w := &tenant{
		name: name, identity: identity, site: s, path: newPath(time.Duration(random.Int64N(20)) * time.Millisecond),
		ctx: ctx, die: die, quit: make(chan struct{}), ended: make(chan struct{}),
	}
	for i := range w.randoms {
		w.randoms[i] = rand.New(rand.NewPCG(random.Uint64(), 1))
	}
	work := w.attached
	if calls {
		work = w.calls
	}
	go func() {
		defer close(w.ended)
		work()
	}()
	return w
}

// crash ends the tenant at once. The server hears of its connections' end later by that much.
func (w *tenant) crash(unheard time.Duration) {
	w.site.tally.tell("%s crashes", w.name)
	w.site.tally.die(w.name)
	w.path.end(unheard)
	w.die()
	w.path.up.open()
	w.path.down.open()
}

// pause waits up to that long, and reports whether to go on.
func (w *tenant) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-w.quit:
	case <-w.ctx.Done():
	}
	return false
}

// attached works by a Client.
func (w *tenant) attached() {
	c, err := w.site.client(w.ctx, w.identity, w.name, w.path)
	if err != nil {
		return // it died before
	}
	w.mu.Lock()
	w.client = c
	w.mu.Unlock()
	for i, random := range w.randoms {
		w.tasks.Go(func() {
			who := fmt.Sprintf("%s/%d", w.name, i)
			for w.pause(time.Duration(random.Int64N(int64(300 * time.Millisecond)))) {
				w.turn(c, who, random)
			}
		})
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		w.tasks.Wait()
	}()
	select {
	case <-over:
	case <-w.ctx.Done():
	}
	c.Close()
	<-over
}

// duration is for how long work runs: mostly about half a second, and now and then longer than a lease.
func duration(random *rand.Rand) time.Duration {
	if random.IntN(12) == 0 {
		return time.Duration(random.Int64N(int64(12 * time.Second)))
	}
	return 20*time.Millisecond + time.Duration(random.ExpFloat64()*float64(400*time.Millisecond))
}

// turn waits for permits of one or two resources, works under them, and gives them back.
func (w *tenant) turn(c *client.Client, who string, random *rand.Rand) {
	wait := 100*time.Millisecond + time.Duration(random.Int64N(int64(8*time.Second)))
	last := duration(random)
	needs := map[string]int64{[]string{"a", "b", server.HostResource}[random.IntN(3)]: 1}
	switch random.IntN(6) {
	case 0:
		needs = map[string]int64{"a": 1, "b": 1}
	case 1:
		needs = map[string]int64{"a": 2}
	}
	ctx, cancel := context.WithTimeout(w.ctx, wait)
	defer cancel()
	begin := time.Now()
	permits, err := c.AcquireAll(ctx, needs)
	if took := time.Since(begin); took > wait {
		w.site.tally.fail("%s waited %v for %v, longer than %v", who, took, needs, wait)
	}
	if err != nil {
		w.site.tally.count(func(l *tallied) { l.refused++ })
		var many *client.TooManyError // while the limit is low
		if !errors.Is(err, context.DeadlineExceeded) && !errors.As(err, &many) && w.ctx.Err() == nil {
			w.site.tally.fail("%s: %v", who, err)
		}
		return
	}
	w.site.tally.count(func(l *tallied) { l.waits++ })
	w.work(who, needs, permits, last)
}

// work runs for so long under the permits, or until one of them is lost.
func (w *tenant) work(who string, needs map[string]int64, permits []client.Permit, last time.Duration) {
	names := []string{"a", "b", server.HostResource}
	var runs []*run
	for _, resource := range names {
		if n := needs[resource]; n > 0 {
			p := &permits[len(runs)]
			if p.Context().Err() != nil { // lost between the grant and here: it does not start
				break
			}
			runs = append(runs, w.site.tally.start(who, resource, n, p.Fence()))
		}
	}
	guarded := context.Background()
	for i := range permits {
		var stop context.CancelFunc
		guarded, stop = permits[i].Guard(guarded)
		defer stop()
	}
	timer := time.NewTimer(last)
	defer timer.Stop()
	how := "ends"
	select {
	case <-timer.C:
	case <-guarded.Done():
		how = "stops, " + context.Cause(guarded).Error() + ":"
		w.site.tally.count(func(l *tallied) { l.lost++ })
	}
	for _, r := range runs {
		w.site.tally.end(r, how)
	}
	for i := range permits {
		permits[i].Release()
	}
}

// probe reports whether one permit of each resource can be had within that time.
func (w *tenant) probe(within time.Duration) {
	w.mu.Lock()
	c := w.client
	w.mu.Unlock()
	for resource := range siteLimits {
		ctx, cancel := context.WithTimeout(w.ctx, within)
		p, err := c.Acquire(ctx, resource)
		cancel()
		if err != nil {
			w.site.tally.fail("%s: one of %s, after the faults: %v", w.name, resource, err)
			continue
		}
		p.Release()
	}
}
