package server

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/headroom-rpc/headroom/permit"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

// abuse is a server that callers of two identities and an operator use in every way that the wire allows.
type abuse struct {
	t       *testing.T
	random  *rand.Rand
	arbiter *arbiter
	clients []headroomv1.PermitServiceClient // the last is the operator's
	calls   sync.WaitGroup

	mu       sync.Mutex
	sessions []*headroomv1.SessionToken
	permits  []string
	names    []string
	refused  map[codes.Code]int
}

// draw returns a number of a part that matters at the bounds.
func (u *abuse) draw() int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch u.random.IntN(200) {
	case 0:
		return -1
	case 1, 2, 3, 4, 5:
		return 1<<63 - 1
	case 6, 7, 8, 9, 10:
		return permit.MaxLimit
	default:
		return u.random.Int64N(8)
	}
}

func (u *abuse) intn(n int) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.random.IntN(n)
}

func (u *abuse) told(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.refused[status.Code(err)]++
	if status.Code(err) == codes.Internal {
		u.t.Errorf("an attack was answered with %v", err)
	}
}

func pick[T any](u *abuse, of *[]T) (one T) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(*of) > 0 {
		one = (*of)[u.random.IntN(len(*of))]
	}
	return one
}

// name returns one of a resource that there is, but for one in 20.
func (u *abuse) name() string {
	switch n := u.intn(60); n {
	case 0, 1:
		return "other"
	case 2:
		return "API"
	default:
		return []string{"api", "host", "disk"}[n%3]
	}
}

// priority returns one that is allowed, but for one in 40.
func (u *abuse) priority() int32 {
	if u.intn(40) == 0 {
		return permit.MaxPriority + 1
	}
	return int32(u.intn(permit.MaxPriority-permit.MinPriority+1) + permit.MinPriority)
}

func (u *abuse) reports() (reports []*headroomv1.PermitReport) {
	for range []int{0, 1, 1, 1, 2, 2, 3, 3, 64, 65}[max(u.intn(10)-u.intn(2), 0)] {
		r := &headroomv1.PermitReport{
			Resource: u.name(), Version: u.draw(), Held: u.draw(), Want: u.draw(), Guarantee: u.draw(), Need: u.draw(),
			Weight: int32(u.intn(1001)), Priority: u.priority(), OldestWait: durationpb.New(max(time.Duration(u.draw()), 0)),
			MeanHold: durationpb.New(max(time.Duration(u.draw()), 0)),
		}
		if u.intn(3) == 0 {
			ceiling := u.draw()
			r.Ceiling = &ceiling
		}
		reports = append(reports, r)
	}
	return reports
}

func (u *abuse) hello() *headroomv1.Hello {
	h := &headroomv1.Hello{Client: "w", InstanceId: make([]byte, 16), Exclusive: u.intn(2) == 0}
	h.InstanceId[0] = byte(u.intn(4))
	if u.intn(2) == 0 {
		h.Resume = pick(u, &u.sessions)
	}
	if u.intn(8) == 0 {
		h.Resume = &headroomv1.SessionToken{SessionId: make([]byte, 16), Epoch: 1 + int64(u.intn(9))}
	}
	for range u.intn(3) {
		h.Held = append(h.Held, &headroomv1.Holding{
			Resource: u.name(), Held: u.draw(), Version: u.draw(), Target: u.draw(),
		})
	}
	return h
}

func (u *abuse) attach(ctx context.Context, client headroomv1.PermitServiceClient) error {
	stream, err := client.Attach(ctx)
	if err != nil {
		return err
	}
	reads := u.intn(4) > 0
	ended := make(chan error, 1)
	go func() {
		for {
			if !reads {
				<-ctx.Done()
			}
			resp, err := stream.Recv()
			if err != nil {
				ended <- err
				return
			}
			if w := resp.GetWelcome(); w != nil {
				u.mu.Lock()
				u.sessions = append(u.sessions, w.GetSession())
				u.mu.Unlock()
			}
		}
	}()
	for i := range u.intn(12) {
		req := &headroomv1.AttachRequest{Sequence: int64(i + 1), Reports: u.reports()}
		if i == 0 && u.intn(16) > 0 || u.intn(60) == 0 {
			req.Hello = u.hello()
		}
		if u.intn(6) == 0 {
			req.Sequence = max(u.draw(), 1)
		}
		if u.intn(12) == 0 {
			req.Goodbye = &headroomv1.Goodbye{}
		}
		if stream.Send(req) != nil {
			break
		}
		time.Sleep(time.Duration(u.intn(3000)) * time.Millisecond)
	}
	if u.intn(2) == 0 {
		stream.CloseSend()
	}
	return <-ended
}

func (u *abuse) hold(ctx context.Context, client headroomv1.PermitServiceClient) error {
	stream, err := client.HoldPermit(ctx, &headroomv1.HoldPermitRequest{
		Resource: u.name(), Count: u.draw(), Priority: u.priority(),
	})
	for range u.intn(5) {
		if err == nil {
			_, err = stream.Recv()
		}
	}
	if err == nil && u.intn(3) == 0 {
		<-ctx.Done() // it does not read
	}
	return err
}

func (u *abuse) unary(ctx context.Context, client headroomv1.PermitServiceClient) error {
	switch u.intn(3) {
	case 0:
		_, err := client.ReleasePermit(ctx, &headroomv1.ReleasePermitRequest{PermitId: pick(u, &u.permits)})
		return err
	case 1:
		_, err := client.RenewPermit(ctx, &headroomv1.RenewPermitRequest{
			PermitId: pick(u, &u.permits), Ttl: durationpb.New(time.Duration(1+u.intn(20)-u.intn(20)/19) * time.Second),
		})
		return err
	default:
		resp, err := client.AcquirePermit(ctx, &headroomv1.AcquirePermitRequest{
			Resource: u.name(), RequestId: fmt.Sprint(u.intn(40)), Count: u.draw(), Priority: u.priority(),
			Ttl: durationpb.New(time.Duration(1+u.intn(20)-u.intn(20)/19) * time.Second),
		})
		u.mu.Lock()
		u.permits = append(u.permits, resp.GetPermit().GetPermitId(), fmt.Sprintf("%032x", u.random.Uint64()))
		u.mu.Unlock()
		return err
	}
}

// operate is what only an operator may do, and what all may see.
func (u *abuse) operate(ctx context.Context, client headroomv1.PermitServiceClient) error {
	switch u.intn(4) {
	case 0:
		_, err := client.SetLimit(ctx, &headroomv1.SetLimitRequest{Resource: u.name(), Limit: int64(u.intn(8))})
		return err
	case 1:
		_, err := client.KickSession(ctx, &headroomv1.KickSessionRequest{Session: pick(u, &u.names), Reason: "x"})
		return err
	case 2:
		_, err := client.Explain(ctx, &headroomv1.ExplainRequest{Resource: u.name(), Session: pick(u, &u.names)})
		return err
	default:
		for token := ""; ; {
			resp, err := client.ListSessions(ctx, &headroomv1.ListSessionsRequest{PageSize: 1 + int32(u.intn(4)), PageToken: token})
			u.mu.Lock()
			for _, s := range resp.GetSessions() {
				u.names = append(u.names, s.GetSession())
			}
			u.mu.Unlock()
			if token = resp.GetNextPageToken(); token == "" {
				return err
			}
		}
	}
}

// check looks for what must never be.
func (u *abuse) check() {
	u.t.Helper()
	a := u.arbiter
	now, err := a.enter()
	if err != nil {
		u.t.Fatal(err)
	}
	defer a.leave(nil)
	if err := a.ledger.Check(); err != nil {
		u.t.Fatal(err)
	}
	for _, one := range a.queues.bySession {
		for _, l := range one.lines {
			held, wanted := int64(0), int64(0)
			for _, h := range a.queues.leases {
				if h.line == l {
					held += h.count
				}
			}
			for e := l.waiting.Front(); e != nil; e = e.Next() {
				wanted += e.Value.(*claim).count
			}
			if l.held != held || l.wanted != wanted {
				u.t.Fatalf("a line of %s has %d held and %d wanted, counted %d and %d", l.resource, l.held, l.wanted, held, wanted)
			}
		}
	}
	if next, ok := a.ledger.Next(); ok && next < now-longestWait {
		u.t.Fatalf("the ledger was to be looked at %v ago", now-next)
	}
}

// Whatever callers send, the account holds, no secret is logged, others go on, and nothing is left of it once it is
// over.
func TestPermitsUnderAbuse(t *testing.T) {
	seeds := uint64(8)
	if RaceEnabled {
		seeds = 2
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { abusePermits(t, seed) })
		})
	}
}

func abusePermits(t *testing.T, seed uint64) {
	u := &abuse{t: t, random: rand.New(rand.NewPCG(seed, 1)), refused: make(map[codes.Code]int)}
	var text lockedText
	listeners := map[string]*bufconn.Listener{}
	srv, client, _ := runPermits(t, func(c *Config) {
		c.Log = slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug}))
		c.Permits.Clock = func() time.Duration { return time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)) }
		c.Permits.StateDir = stateDir(t)
		c.Permits.Resources = append(c.Permits.Resources, permit.Resource{Name: "disk", Limit: 3, Default: permit.Grant{
			Max: 2, MaxGuarantee: 1, MaxPriority: 3,
		}})
		c.Limits.MaxSessionsPerIdentity, c.Limits.MaxPermitsPerIdentity = 20, 20
		for _, name := range []string{"uid:1", "uid:2"} {
			listeners[name] = bufconn.Listen(1 << 20)
			c.Listeners = append(c.Listeners, NewListener(listeners[name], Identity{Name: name, Role: RoleWorker, UID: -1, PID: -1}))
		}
	})
	u.arbiter = srv.permits.running.Load()
	for _, lis := range listeners {
		cc, err := grpc.NewClient("passthrough:///bufconn", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cc.Close() })
		u.clients = append(u.clients, headroomv1.NewPermitServiceClient(cc))
	}
	u.clients = append(u.clients, client)
	attacks := []func(context.Context, headroomv1.PermitServiceClient) error{u.attach, u.hold, u.unary, u.unary, u.operate}
	for range 300 {
		client, attack, lasts := u.clients[u.intn(3)], attacks[u.intn(5)], time.Duration(u.intn(8000))*time.Millisecond
		u.calls.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), lasts)
			defer cancel()
			u.told(attack(ctx, client))
		})
		time.Sleep(time.Duration(u.intn(100)) * time.Millisecond)
		synctest.Wait()
		u.check()
	}
	u.calls.Wait()
	for _, name := range []string{"api", "disk"} {
		if _, err := client.SetLimit(t.Context(), &headroomv1.SetLimitRequest{Resource: name, Limit: 4}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.AcquirePermit(t.Context(), &headroomv1.AcquirePermitRequest{Resource: "api", RequestId: "last", Count: 4}); err != nil && status.Code(err) != codes.ResourceExhausted {
		t.Errorf("after it all: %v", err)
	}
	time.Sleep(2 * time.Minute)
	synctest.Wait()
	u.check()
	a := u.arbiter
	a.enter()
	sessions, queues, owners := len(a.ledger.Sessions(0, nil)), a.queues, len(a.queues.owners)
	if sessions+len(a.streams)+len(queues.bySession)+len(queues.byKey)+len(queues.leases)+queues.waiting+owners+len(queues.marks) > 0 {
		t.Errorf("left: %d sessions, %d streams, %d queues, %d leases, %d claims, %d owners, %d marks",
			sessions, len(a.streams), len(queues.bySession), len(queues.leases), queues.waiting, owners, len(queues.marks))
	}
	a.leave(nil)
	logged := text.String()

	for _, s := range u.sessions {
		if hex := fmt.Sprintf("%x", s.GetSessionId()); strings.Contains(logged, hex) {
			t.Errorf("the log has the session id %s", hex)
		}
	}
	for _, id := range u.permits {
		if id != "" && strings.Contains(logged, id) {
			t.Errorf("the log has the permit id %s", id)
		}
	}
	for _, code := range []codes.Code{codes.OK, codes.InvalidArgument, codes.NotFound, codes.PermissionDenied, codes.ResourceExhausted} {
		if u.refused[code] == 0 {
			t.Errorf("no attack was answered with %v: %v", code, u.refused)
		}
	}
}

// lockedText is a text that many goroutines write.
type lockedText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (w *lockedText) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(p)
}

func (w *lockedText) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}
