package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/headroom-rpc/headroom/permit"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/server"
)

// calls works by calls of AcquirePermit, RenewPermit and ReleasePermit, and by those of HoldPermit.
func (w *tenant) calls() {
	conn, err := grpc.NewClient("passthrough:///sim", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return w.site.reach(ctx, w.identity, w.path)
		}))
	if err != nil {
		w.site.t.Error(err)
		return
	}
	permits := headroomv1.NewPermitServiceClient(conn)
	for i, random := range w.randoms {
		w.tasks.Go(func() {
			u := &callTask{tenant: w, permits: permits, who: fmt.Sprintf("%s/%d", w.name, i), random: random}
			turn := u.turn
			if i == 2 {
				turn = u.hold
			}
			for w.pause(time.Duration(random.Int64N(int64(300 * time.Millisecond)))) {
				turn()
			}
		})
	}
	w.tasks.Wait()
	conn.Close()
}

// A callTask works under one permit after the other.
type callTask struct {
	tenant  *tenant
	permits headroomv1.PermitServiceClient
	who     string
	random  *rand.Rand
	serial  int
}

func (u *callTask) resource() string {
	return []string{"a", "b", server.HostResource}[u.random.IntN(3)]
}

// turn works under a permit of AcquirePermit.
func (u *callTask) turn() {
	w, y := u.tenant, u.tenant.site.tally
	u.serial++
	resource := u.resource()
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
func (u *callTask) work(r *run, p *headroomv1.Permit, until, end time.Time) {
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

// hold works under a permit of HoldPermit, until the work is done, the call ends, or nothing was heard for as long as
// the last message said.
func (u *callTask) hold() {
	w, y := u.tenant, u.tenant.site.tally
	resource, last := u.resource(), duration(u.random)
	wait := 200*time.Millisecond + time.Duration(u.random.Int64N(int64(6*time.Second)))
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	messages := u.held(ctx, &headroomv1.HoldPermitRequest{Resource: resource, Wait: durationpb.New(wait)})
	var r *run
	var done <-chan time.Time
	silence := time.NewTimer(wait)
	defer silence.Stop()
	for {
		how := ""
		select {
		case m, ok := <-messages:
			switch p := m.GetPermit(); {
			case !ok:
				how = "stops with its call:"
			case p != nil && r == nil:
				y.count(func(l *tallied) { l.waits, l.held = l.waits+1, l.held+1 })
				r = y.start(u.who, resource, 1, permit.Fence{Epoch: p.GetFence().GetEpoch(), Counter: p.GetFence().GetCounter()})
				done = time.After(last)
				fallthrough
			case r != nil:
				silence.Reset(m.GetTtl().AsDuration())
			}
		case <-silence.C:
			how = "stops with its lease:"
		case <-done:
			y.end(r, "ends")
			return
		case <-w.ctx.Done():
			return // it died
		}
		switch {
		case how == "":
		case r == nil:
			y.count(func(l *tallied) { l.refused++ })
			return
		default:
			y.count(func(l *tallied) { l.lost++ })
			y.end(r, how)
			return
		}
	}
}

// held calls HoldPermit and returns its messages, until it ends.
func (u *callTask) held(ctx context.Context, req *headroomv1.HoldPermitRequest) <-chan *headroomv1.HoldPermitResponse {
	messages := make(chan *headroomv1.HoldPermitResponse)
	u.tenant.tasks.Go(func() {
		defer close(messages)
		stream, err := u.permits.HoldPermit(ctx, req)
		for err == nil {
			var m *headroomv1.HoldPermitResponse
			if m, err = stream.Recv(); err == nil {
				select {
				case messages <- m:
				case <-ctx.Done():
				}
			}
		}
	})
	return messages
}
