//go:build linux || darwin

package chaos

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/headroom-rpc/headroom/client"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

// roleEnv holds what a re-executed test binary is to be: "attach", "unary", "call" or "hold", then its number, the address of the
// server and the file of the witness.
const roleEnv = "HEADROOM_CHAOS_ROLE"

// resource is what all work is under.
const resource = "forge"

// A worker is one of the programs. It ends when its standard input does.
type worker struct {
	number  int
	address string
	witness *witness
	ctx     context.Context
}

// runWorker is the main function of a worker.
func runWorker(role string) error {
	words := strings.Fields(role)
	if len(words) != 4 {
		return fmt.Errorf("the role %q has not four words", role)
	}
	number, err := strconv.Atoi(words[1])
	if err != nil {
		return err
	}
	witness, err := openWitness(words[3])
	if err != nil {
		return err
	}
	ctx, quit := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		quit()
	}()
	w := &worker{number: number, address: words[2], witness: witness, ctx: ctx}
	go func() {
		if err := witness.beat(number); err != nil {
			panic(err) // the test is wrong
		}
	}()
	switch words[0] {
	case "attach":
		return w.attach()
	case "hold":
		return w.hold()
	case "call":
		return w.byCalls(w.call)
	default:
		return w.byCalls(w.turn)
	}
}

// connect returns a client, as soon as there is a server.
func (w *worker) connect() (*client.Client, error) {
	for {
		c, err := client.Dial(w.ctx, client.WithAddress(w.address), client.WithName(fmt.Sprintf("chaos-%d", w.number)))
		if err == nil || w.ctx.Err() != nil {
			return c, err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// attach works by a Client, two pieces at a time.
func (w *worker) attach() error {
	c, err := w.connect()
	if err != nil {
		return nil // it was ended before
	}
	defer c.Close()
	var working sync.WaitGroup
	for range 2 {
		working.Go(func() {
			for w.ctx.Err() == nil {
				p, err := c.Acquire(w.ctx, resource)
				if err != nil {
					continue
				}
				if p.Context().Err() == nil {
					w.work(p.Context().Done())
				}
				p.Release()
			}
		})
	}
	working.Wait()
	return nil
}

// hold takes all that there is, says so, and does nothing more.
func (w *worker) hold() error {
	c, err := w.connect()
	if err != nil {
		return err
	}
	h, err := c.Permits(resource)
	if err != nil {
		return err
	}
	if _, err := h.Acquire(w.ctx, chaosLimit); err != nil {
		return err
	}
	fmt.Println("held")
	<-w.ctx.Done()
	return nil
}

// work runs for a while, or until lost is closed.
func (w *worker) work(lost <-chan struct{}) {
	w.note(workStarts)
	timer := time.NewTimer(2*time.Millisecond + time.Duration(rand.ExpFloat64()*float64(10*time.Millisecond)))
	if rand.IntN(100) == 0 { // and now and then longer than a lease
		timer.Reset(3 * time.Second)
	}
	defer timer.Stop()
	select {
	case <-timer.C:
		w.note(workEnds)
	case <-lost:
		w.note(workLost)
	case <-w.ctx.Done():
		w.note(workEnds)
	}
}

func (w *worker) note(kind int32) {
	if err := w.witness.note(kind, w.number); err != nil {
		panic(err) // the test is wrong
	}
}

// unaryTTL is the shortest that a call can ask for.
const unaryTTL = time.Second

// byCalls works without a Client, two pieces at a time. turn works under one permit, and reports whether it got one.
func (w *worker) byCalls(turn func(_ headroomv1.PermitServiceClient, request string) bool) error {
	conn, err := grpc.NewClient(strings.TrimPrefix(w.address, "tcp://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	permits := headroomv1.NewPermitServiceClient(conn)
	var working sync.WaitGroup
	for i := range 2 {
		working.Go(func() {
			for serial := 0; w.ctx.Err() == nil; serial++ {
				if !turn(permits, fmt.Sprintf("%d.%d.%d", w.number, i, serial)) {
					time.Sleep(20 * time.Millisecond) // there is no server
				}
			}
		})
	}
	working.Wait()
	return nil
}

// turn works under one permit, and reports whether it got one.
func (w *worker) turn(permits headroomv1.PermitServiceClient, request string) bool {
	ctx, cancel := context.WithTimeout(w.ctx, 3*time.Second)
	defer cancel()
	sent := time.Now()
	resp, err := permits.AcquirePermit(ctx, &headroomv1.AcquirePermitRequest{
		Resource: resource, RequestId: request, Count: 1, Ttl: durationpb.New(unaryTTL), Client: "chaos",
	})
	if err != nil {
		return false
	}
	p := resp.GetPermit()
	lost := w.renew(permits, p.GetPermitId(), sent.Add(p.GetTtl().AsDuration()))
	if lost.Err() == nil {
		w.work(lost.Done())
	}
	lost.end()
	release, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, _ = permits.ReleasePermit(release, &headroomv1.ReleasePermitRequest{PermitId: p.GetPermitId()})
	return true
}

// call works under a permit of HoldPermit, which it loses with the call, or when it hears nothing for too long.
func (w *worker) call(permits headroomv1.PermitServiceClient, _ string) bool {
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	stream, err := permits.HoldPermit(ctx, &headroomv1.HoldPermitRequest{
		Resource: resource, Client: "chaos", Wait: durationpb.New(3 * time.Second),
	})
	if err != nil {
		return false
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			return false
		}
		if m.GetPermit() != nil {
			lost, end := context.WithCancel(context.Background())
			defer end()
			go listen(stream, m.GetTtl().AsDuration(), end)
			w.work(lost.Done())
			return true
		}
	}
}

// listen calls lost when the stream ends, or says nothing for as long as it said before.
func listen(stream grpc.ServerStreamingClient[headroomv1.HoldPermitResponse], ttl time.Duration, lost func()) {
	defer lost()
	silence := time.AfterFunc(ttl*99/100, lost)
	defer silence.Stop()
	for {
		m, err := stream.Recv()
		if err != nil {
			return
		}
		silence.Reset(m.GetTtl().AsDuration() * 99 / 100)
	}
}

// A leaseContext is done when a lease is over.
type leaseContext struct {
	context.Context
	end context.CancelFunc
}

// renew keeps a permit leased until end is called, and cannot keep it for longer than the server says.
func (w *worker) renew(permits headroomv1.PermitServiceClient, id string, until time.Time) leaseContext {
	ctx, end := context.WithCancel(context.Background())
	expiry := time.AfterFunc(time.Until(until)*99/100, end)
	go func() {
		defer expiry.Stop()
		for {
			select {
			case <-time.After(unaryTTL / 3):
			case <-ctx.Done():
				return
			}
			sent := time.Now()
			try, cancel := context.WithTimeout(ctx, unaryTTL/3)
			resp, err := permits.RenewPermit(try, &headroomv1.RenewPermitRequest{PermitId: id})
			cancel()
			if status.Code(err) == codes.NotFound {
				end()
			}
			if err == nil && expiry.Stop() {
				left := time.Until(sent.Add(resp.GetPermit().GetTtl().AsDuration()))
				expiry.Reset(left * 99 / 100)
			}
		}
	}()
	return leaseContext{ctx, end}
}
