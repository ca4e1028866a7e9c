package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/internal/boottime"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

func init() {
	roles["unaryload"] = runUnaryLoad
	roles["permitworker"] = runPermitWorker
}

// settle is how long all processes do the same before and after they count.
const settle = 200 * time.Millisecond

// turn is how long one way is measured before the next.
const turn = 100 * time.Millisecond

func dialBare(port string) (*grpc.ClientConn, error) {
	return grpc.NewClient("127.0.0.1:"+port, grpc.WithTransportCredentials(insecure.NewCredentials()))
}

// runUnaryLoad answers "call PORT BARE CALLERS TURNS" with how long two calls took in ns, for each of the ways.
func runUnaryLoad(p *peer) error {
	words, err := p.receive()
	if err != nil {
		return err
	}
	callers, _ := strconv.Atoi(words[3])
	turns, _ := strconv.Atoi(words[4])
	conn, err := dialBare(words[1])
	if err != nil {
		return err
	}
	defer conn.Close()
	bareConn, err := dialBare(words[2])
	if err != nil {
		return err
	}
	defer bareConn.Close()
	permits, bare := headroomv1.NewPermitServiceClient(conn), headroomv1.NewPermitServiceClient(bareConn)
	health := healthpb.NewHealthClient(conn)
	var ids atomic.Int64
	ways := []func(context.Context) error{
		func(ctx context.Context) error {
			got, err := permits.AcquirePermit(ctx, &headroomv1.AcquirePermitRequest{
				Resource: plentyResource, RequestId: fmt.Sprint("bench-", ids.Add(1)),
			})
			if err != nil {
				return err
			}
			_, err = permits.ReleasePermit(ctx, &headroomv1.ReleasePermitRequest{PermitId: got.GetPermit().GetPermitId()})
			return err
		},
		func(ctx context.Context) error {
			for range 2 {
				if _, err := bare.ReleasePermit(ctx, &headroomv1.ReleasePermitRequest{PermitId: "x"}); err != nil {
					return err
				}
			}
			return nil
		},
		func(ctx context.Context) error {
			for range 2 {
				if _, err := health.Check(ctx, &healthpb.HealthCheckRequest{}); err != nil {
					return err
				}
			}
			return nil
		},
	}
	ctx := context.Background()
	for err = errors.New("not yet"); err != nil; { // while the server starts, and charges in full
		within, cancel := context.WithTimeout(ctx, 20*time.Second)
		err = ways[0](within)
		cancel()
		pause(10 * time.Millisecond)
	}
	took := make([][]int64, len(ways))
	for range turns {
		for i, way := range ways {
			each, err := repeat(ctx, callers, way)
			if err != nil {
				return err
			}
			took[i] = append(took[i], each)
		}
	}
	medians := make([]any, len(ways))
	for i := range ways {
		slices.Sort(took[i])
		medians[i] = took[i][turns/2]
	}
	if err := p.send(medians...); err != nil {
		return err
	}
	_, err = p.receive()
	return err
}

// repeat lets the callers do it over and over for one turn, and returns the time over how often they did, in ns.
func repeat(ctx context.Context, callers int, once func(context.Context) error) (int64, error) {
	var count atomic.Int64
	var fault atomic.Pointer[error]
	var running sync.WaitGroup
	start := time.Now()
	for range callers {
		running.Go(func() {
			for time.Since(start) < turn {
				if err := once(ctx); err != nil {
					fault.Store(&err)
					return
				}
				count.Add(1)
			}
		})
	}
	running.Wait()
	took := time.Since(start)
	if err := fault.Load(); err != nil {
		return 0, *err
	}
	return int64(took) / max(count.Load(), 1), nil
}

// worker is a process that attached, and has a stream to the bare server.
type worker struct {
	permits *client.Permits
	stream  grpc.BidiStreamingClient[headroomv1.AttachRequest, headroomv1.AttachResponse]
	bare    headroomv1.PermitServiceClient
	relay   grpc.BidiStreamingClient[headroomv1.AttachRequest, headroomv1.AttachResponse] // nil before the first
	ring    ring
}

// ring is a place in a ring of processes. A message that comes when none is to be passed on stays until one is.
type ring struct {
	stream grpc.BidiStreamingClient[headroomv1.AttachRequest, headroomv1.AttachResponse]

	mu       sync.Mutex
	opened   sync.Cond // until moved on
	from, to time.Duration
	count    int // of the messages between the two
}

// runPermitWorker answers "dial PORT BARE RESOURCE" once it had a permit, and then
//
//	pass COUNT MICROSECONDS I    with the times from which and until which it had a permit, each that long
//	bounce COUNT MICROSECONDS I  the same for a message that it bounces to the other process; 0 is who begins
//	loop FROM TO                 with how many permits it took between these times in ns, while it took some before
//	                             and after them
//	ping FROM TO                 the same for messages that were answered
//	join                         once it is in the ring of processes, which is complete before anybody has to begin
//	begin                        once it sent a message round
//	round FROM TO                as loop, for the messages that came and were passed on
//	cpu                          with its CPU time
func runPermitWorker(p *peer) error {
	var w worker
	for {
		words, err := p.receive()
		if err != nil {
			return err
		}
		var numbers []any
		switch words[0] {
		case "dial":
			numbers, err = w.dial(words[1], words[2], words[3])
		case "pass", "bounce":
			count, _ := strconv.Atoi(words[1])
			us, _ := strconv.Atoi(words[2])
			hold := time.Duration(us) * time.Microsecond
			if words[0] == "pass" {
				numbers, err = w.pass(count, hold)
			} else {
				numbers, err = w.bounce(count, hold, words[3] == "0")
			}
		case "loop", "ping":
			from, _ := strconv.ParseInt(words[1], 10, 64)
			to, _ := strconv.ParseInt(words[2], 10, 64)
			once := w.once
			if words[0] == "ping" {
				once = w.ping
			}
			n := 0
			for now := boottime.Now(); err == nil && now < time.Duration(to)+settle; now = boottime.Now() {
				if now >= time.Duration(from) && now < time.Duration(to) {
					n++
				}
				err = once()
			}
			numbers = []any{n}
		case "join":
			numbers, err = []any{0}, w.ring.join(w.bare)
		case "begin":
			numbers, err = []any{0}, w.ring.stream.Send(&headroomv1.AttachRequest{})
		case "round":
			from, _ := strconv.ParseInt(words[1], 10, 64)
			to, _ := strconv.ParseInt(words[2], 10, 64)
			numbers = []any{w.ring.round(time.Duration(from), time.Duration(to))}
		case "cpu":
			numbers = []any{cpuNanos()}
		}
		if err == nil {
			err = p.send(numbers...)
		}
		if err != nil {
			return err
		}
	}
}

func (w *worker) dial(port, bare, resource string) ([]any, error) {
	ctx := context.Background()
	c, err := client.Dial(ctx, client.WithAddress("127.0.0.1:"+port))
	for tries := 0; err != nil && tries < 500; tries++ { // while the server starts
		pause(10 * time.Millisecond)
		c, err = client.Dial(ctx, client.WithAddress("127.0.0.1:"+port))
	}
	if err != nil {
		return nil, err
	}
	if w.permits, err = c.Permits(resource); err != nil {
		return nil, err
	}
	conn, err := dialBare(bare)
	if err != nil {
		return nil, err
	}
	w.bare = headroomv1.NewPermitServiceClient(conn)
	if w.stream, err = w.bare.Attach(ctx); err != nil {
		return nil, err
	}
	return []any{0}, errors.Join(w.ping(), w.once())
}

func (w *worker) once() error {
	p, err := w.permits.Acquire(context.Background(), 1)
	p.Release()
	return err
}

func (w *worker) ping() error {
	if err := w.stream.Send(&headroomv1.AttachRequest{}); err != nil {
		return err
	}
	_, err := w.stream.Recv()
	return err
}

func (w *worker) pass(count int, hold time.Duration) (times []any, err error) {
	for range count {
		p, err := w.permits.Acquire(context.Background(), 1)
		if err != nil {
			return nil, err
		}
		from := boottime.Now()
		pause(hold)
		to := boottime.Now()
		p.Release()
		times = append(times, int64(from), int64(to))
	}
	return times, nil
}

func (w *worker) bounce(count int, hold time.Duration, begins bool) (times []any, err error) {
	if w.relay == nil {
		if w.relay, err = w.bare.Attach(context.Background()); err != nil {
			return nil, err
		}
		hello := &headroomv1.AttachRequest{Hello: &headroomv1.Hello{Client: relayed}}
		if err := w.relay.Send(hello); err != nil {
			return nil, err
		}
		if _, err := w.relay.Recv(); err != nil {
			return nil, err
		}
	}
	for i := range count {
		if i > 0 || !begins {
			if _, err := w.relay.Recv(); err != nil {
				return nil, err
			}
		}
		from := boottime.Now()
		pause(hold)
		to := boottime.Now()
		if err := w.relay.Send(&headroomv1.AttachRequest{}); err != nil {
			return nil, err
		}
		times = append(times, int64(from), int64(to))
	}
	if begins { // the last one of the other
		if _, err := w.relay.Recv(); err != nil {
			return nil, err
		}
	}
	return times, nil
}

// join takes a place in the ring, and passes on what comes for as long as the process lives.
func (r *ring) join(bare headroomv1.PermitServiceClient) (err error) {
	r.opened.L = &r.mu
	if r.stream, err = bare.Attach(context.Background()); err != nil {
		return err
	}
	if err := r.stream.Send(&headroomv1.AttachRequest{Hello: &headroomv1.Hello{Client: ringed}}); err != nil {
		return err
	}
	if _, err := r.stream.Recv(); err != nil {
		return err
	}
	go func() {
		for {
			if _, err := r.stream.Recv(); err != nil {
				return // the server is gone
			}
			r.await()
			if err := r.stream.Send(&headroomv1.AttachRequest{}); err != nil {
				return
			}
		}
	}()
	return nil
}

// await waits until messages are to be passed on, and counts this one.
func (r *ring) await() {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := boottime.Now()
	for now >= r.to+settle {
		r.opened.Wait()
		now = boottime.Now()
	}
	if now >= r.from && now < r.to {
		r.count++
	}
}

// round passes messages on until a while after to, and returns how many came between the two times.
func (r *ring) round(from, to time.Duration) int {
	r.mu.Lock()
	r.from, r.to, r.count = from, to, 0
	r.opened.Broadcast()
	r.mu.Unlock()
	pause(to + settle - boottime.Now())
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count
}
