package sim

import (
	"context"
	"fmt"
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
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/headroom-rpc/headroom/internal/mistake"
	"github.com/headroom-rpc/headroom/permit"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

// The calls of many callers, who repeat requests, give up waiting and let leases expire, are those of one counting
// semaphore.
func TestUnaryCallsAreLinearizable(t *testing.T) {
	seeds := uint64(12)
	if raceEnabled {
		seeds = 2
	}
	for seed := uint64(1); seed <= seeds; seed++ {
		history := playUnary(t, seed)
		counts := make(map[string]int)
		for _, c := range history {
			counts[fmt.Sprint([...]string{"acquire", "renew", "release"}[c.kind], " ", [...]string{"ok", "refused", "gone", "unknown"}[c.out])]++
		}
		t.Logf("seed %d: %d calls: %v", seed, len(history), counts)
		if counts["acquire ok"] < 100 || counts["acquire refused"] < 10 || counts["acquire unknown"] < 2 ||
			counts["renew ok"] < 10 || counts["release ok"] < 80 || counts["release gone"] < 1 {
			t.Errorf("seed %d does not count: %v", seed, counts)
		}
		if err := linearize(history, unaryLimit); err != nil {
			var lines []string
			for _, c := range history {
				lines = append(lines, c.String())
			}
			t.Fatalf("seed %d: %v\n%s", seed, err, strings.Join(lines, "\n"))
		}
	}
}

const (
	unaryLimit   = 4
	unaryCallers = 8
	unaryCalls   = 900
)

// playUnary has callers make calls to a real server, and returns their history. Odd seeds have callers of one
// identity, whose fences are in the order of the grants; those of others are in the order in which their targets rose.
func playUnary(t *testing.T, seed uint64) (history []call) {
	synctest.Test(t, func(t *testing.T) {
		y := newTally()
		s := &site{t: t, tally: y, host: newHost(), dir: t.TempDir()}
		s.start()
		time.Sleep(10 * time.Second) // nothing is known of an earlier life
		identities := []string{"red", "green", "blue"}
		if seed%2 == 1 {
			identities = identities[:1]
		}
		h := &historian{begin: time.Now(), fences: len(identities) == 1}
		var calling sync.WaitGroup
		for i, identity := range identities {
			conn, err := grpc.NewClient("passthrough:///sim", grpc.WithTransportCredentials(insecure.NewCredentials()),
				grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return s.dial(ctx, identity) }))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			caller := &caller{historian: h, permits: headroomv1.NewPermitServiceClient(conn)}
			for j := i; j < unaryCallers; j += len(identities) {
				random := rand.New(rand.NewPCG(seed, uint64(j)))
				calling.Go(func() { caller.play(random) })
			}
		}
		calling.Wait()
		history = h.calls
		s.end()
		s.lives.Wait()
		if h.fault != nil {
			t.Errorf("seed %d: %v", seed, h.fault)
		}
	})
	return history
}

// A historian notes calls.
type historian struct {
	begin  time.Time
	fences bool // they are of use

	mu       sync.Mutex
	order    int64
	requests int
	calls    []call
	fault    error
}

// stamp returns the next number in the order, with gaps for expiries.
func (h *historian) stamp() (int64, time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.order += 4
	return h.order, time.Since(h.begin)
}

// note runs a call and notes it, and reports whether there are to be more.
func (h *historian) note(c call, do func(*call) error) call {
	c.begin, c.sent = h.stamp()
	err := do(&c)
	c.end, c.back = h.stamp()
	switch status.Code(err) {
	case codes.OK:
	case codes.ResourceExhausted:
		c.out = callRefused
	case codes.NotFound:
		c.out = callGone
	case codes.Canceled, codes.DeadlineExceeded:
		c.out = callUnknown
	default:
		h.mu.Lock()
		h.fault = err
		h.mu.Unlock()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, c)
	return c
}

func (h *historian) more() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.calls) < unaryCalls && h.fault == nil
}

// A caller makes calls, as one identity.
type caller struct {
	*historian
	permits headroomv1.PermitServiceClient
}

// acquire calls AcquirePermit; one that gives up cancels the call before its deadline.
func (h *caller) acquire(request int, count int64, ttl, wait time.Duration, giveUp bool) call {
	return h.note(call{kind: callAcquire, request: request, count: count, ttl: ttl}, func(c *call) error {
		ctx, cancel := context.WithTimeout(context.Background(), wait)
		defer cancel()
		if giveUp {
			time.AfterFunc(wait/2, cancel)
		}
		resp, err := h.permits.AcquirePermit(ctx, &headroomv1.AcquirePermitRequest{
			Resource: "a", RequestId: fmt.Sprint(request), Count: count, Ttl: durationpb.New(ttl),
		})
		c.permit = resp.GetPermit().GetPermitId()
		if h.fences {
			c.fence = resp.GetPermit().GetFence().GetCounter()
		}
		return err
	})
}

func (h *caller) renew(of call, ttl time.Duration) call {
	return h.note(call{kind: callRenew, request: of.request, ttl: ttl}, func(*call) error {
		_, err := h.permits.RenewPermit(context.Background(),
			&headroomv1.RenewPermitRequest{PermitId: of.permit, Ttl: durationpb.New(ttl)})
		return err
	})
}

func (h *caller) release(of call) call {
	return h.note(call{kind: callRelease, request: of.request}, func(c *call) error {
		resp, err := h.permits.ReleasePermit(context.Background(), &headroomv1.ReleasePermitRequest{PermitId: of.permit})
		if err == nil && !resp.GetReleased() {
			c.out = callGone
		}
		return err
	})
}

// play makes calls until there are enough.
func (h *caller) play(random *rand.Rand) {
	some := func(most time.Duration) time.Duration { return time.Duration(random.Int64N(int64(most))) }
	for h.more() {
		time.Sleep(some(100 * time.Millisecond))
		h.mu.Lock()
		h.requests++
		request := h.requests
		h.mu.Unlock()
		count, ttl := 1+random.Int64N(2), time.Second+some(time.Second)
		wait := 50*time.Millisecond + some(2*time.Second)
		var again sync.WaitGroup
		if random.IntN(4) == 0 { // the same request at the same time
			again.Go(func() {
				time.Sleep(some20(request))
				h.acquire(request, count, ttl, wait, false)
			})
		}
		got := h.acquire(request, count, ttl, wait, random.IntN(8) == 0)
		if got.out == callRefused {
			time.Sleep(200*time.Millisecond + some(600*time.Millisecond))
		}
		if got.out != callOK && random.IntN(2) == 0 { // and once more
			got = h.acquire(request, count, ttl, wait, false)
		}
		if got.out == callOK {
			h.use(random, got, ttl)
		}
		again.Wait()
	}
}

// some20 is up to 20 ms, the same for the same request: it is called beside whoever has the random numbers.
func some20(request int) time.Duration { return time.Duration(request%20) * time.Millisecond }

// use renews a permit now and then, and gives it back, or forgets it.
func (h *caller) use(random *rand.Rand, got call, ttl time.Duration) {
	if random.IntN(4) == 0 {
		time.Sleep(time.Duration(random.Int64N(int64(ttl))))
		h.renew(got, ttl)
	}
	time.Sleep(time.Duration(random.Int64N(int64(200 * time.Millisecond))))
	switch random.IntN(24) {
	case 0: // it expires
		if random.IntN(2) == 0 {
			time.Sleep(2*ttl + permit.DefaultGrace)
			h.renew(got, ttl)
			h.release(got)
		}
	case 1, 2:
		h.release(got)
		h.release(got)
		h.acquire(got.request, got.count, ttl, time.Second, false)
	default:
		h.release(got)
	}
}

// A server that frees early is found.
func TestLinearizeFindsMistakes(t *testing.T) {
	if raceEnabled {
		t.Skip("it shows nothing about races")
	}
	defer mistake.Plant(mistake.RaiseUnchecked)()
	for seed := uint64(2); seed <= 10; seed += 2 { // of several identities
		if err := linearize(playUnary(t, seed), unaryLimit); err != nil {
			t.Logf("found by seed %d: %v", seed, err)
			return
		}
	}
	t.Error("not found in 5 seeds")
}
