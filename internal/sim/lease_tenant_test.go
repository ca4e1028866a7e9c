package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/permit"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/server"
)

// A tenant is a program that works under permits: over Attach, or by unary calls.
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
	client *client.Client // nil for unary calls, and before it is connected
}

// hire starts a tenant.
func (s *site) hire(name, identity string, unary bool, random *rand.Rand) *tenant {
	ctx, die := context.WithCancel(context.Background())
	w := &tenant{
		name: name, identity: identity, site: s, path: newPath(time.Duration(random.Int64N(20)) * time.Millisecond),
		ctx: ctx, die: die, quit: make(chan struct{}), ended: make(chan struct{}),
	}
	for i := range w.randoms {
		w.randoms[i] = rand.New(rand.NewPCG(random.Uint64(), 1))
	}
	work := w.attached
	if unary {
		work = w.unary
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
		if !errors.Is(err, context.DeadlineExceeded) && w.ctx.Err() == nil {
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

// unary works by calls of AcquirePermit, RenewPermit and ReleasePermit.
func (w *tenant) unary() {
	conn, err := grpc.NewClient("passthrough:///sim", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return w.site.reach(ctx, w.identity, w.path)
		}))
	if err != nil {
		w.site.t.Error(err)
		return
	}
	permits := headroomv1.NewPermitServiceClient(conn)
	for i, random := range w.randoms[:2] {
		w.tasks.Go(func() {
			u := &unaryTask{tenant: w, permits: permits, who: fmt.Sprintf("%s/%d", w.name, i), random: random}
			for w.pause(time.Duration(random.Int64N(int64(300 * time.Millisecond)))) {
				u.turn()
			}
		})
	}
	w.tasks.Wait()
	conn.Close()
}

// A unaryTask works under one permit after the other.
type unaryTask struct {
	tenant  *tenant
	permits headroomv1.PermitServiceClient
	who     string
	random  *rand.Rand
	serial  int
}

func (u *unaryTask) turn() {
	w, y := u.tenant, u.tenant.site.tally
	u.serial++
	resource := []string{"a", "b", server.HostResource}[u.random.IntN(3)]
	ttl := time.Second + time.Duration(u.random.Int64N(int64(3*time.Second)))
	req := &headroomv1.AcquirePermitRequest{
		Resource: resource, RequestId: fmt.Sprintf("%s:%d", u.who[:len(u.who)-2], u.serial) + u.who[len(u.who)-1:], Count: 1,
		Ttl: durationpb.New(ttl),
	}
	last := duration(u.random)
	var p *headroomv1.Permit
	var until time.Time
	for attempt := 0; p == nil; attempt++ {
		wait := 200*time.Millisecond + time.Duration(u.random.Int64N(int64(6*time.Second)))
		ctx, cancel := context.WithTimeout(w.ctx, wait)
		sent := time.Now()
		resp, err := u.permits.AcquirePermit(ctx, req)
		cancel()
		if took := time.Since(sent); took > wait {
			y.fail("%s waited %v for %s, longer than %v", u.who, took, resource, wait)
		}
		if p = resp.GetPermit(); p != nil {
			until = sent.Add(p.GetTtl().AsDuration())
			break
		}
		y.count(func(l *tallied) { l.refused++ })
		switch code := status.Code(err); code {
		case codes.ResourceExhausted, codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.NotFound, codes.Aborted:
		default:
			y.fail("%s: %v", u.who, err)
		}
		if attempt == 2 || !w.pause(100*time.Millisecond) {
			return
		}
	}
	if !time.Now().Before(until) {
		return
	}
	y.count(func(l *tallied) { l.waits++ })
	r := y.start(u.who, resource, 1, permit.Fence{Epoch: p.GetFence().GetEpoch(), Counter: p.GetFence().GetCounter()})
	u.work(r, p, until, time.Now().Add(last))
	ctx, cancel := context.WithTimeout(w.ctx, 2*time.Second)
	defer cancel()
	_, _ = u.permits.ReleasePermit(ctx, &headroomv1.ReleasePermitRequest{PermitId: p.GetPermitId()})
}

// work runs until then, and renews the lease that ends at until in time, or else stops with it.
func (u *unaryTask) work(r *run, p *headroomv1.Permit, until, end time.Time) {
	w, y := u.tenant, u.tenant.site.tally
	for {
		half := time.Until(until) / 2
		timer := time.NewTimer(min(half, time.Until(end)))
		select {
		case <-timer.C:
		case <-w.ctx.Done():
			timer.Stop()
			return // it died
		}
		if !time.Now().Before(end) {
			y.end(r, "ends")
			return
		}
		sent := time.Now()
		ctx, cancel := context.WithDeadline(w.ctx, until)
		resp, err := u.permits.RenewPermit(ctx, &headroomv1.RenewPermitRequest{PermitId: p.GetPermitId()})
		cancel()
		switch {
		case err == nil:
			until = sent.Add(resp.GetPermit().GetTtl().AsDuration())
		case status.Code(err) == codes.NotFound:
			y.end(r, "stops, lost:")
			return
		}
		if !time.Now().Before(until) || time.Until(until) < 2*time.Millisecond {
			y.count(func(l *tallied) { l.lost++ })
			y.end(r, "stops with its lease:")
			return
		}
	}
}
