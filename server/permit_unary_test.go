package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/server"
)

// withJournal gives the server a state directory, so that leases of the unary calls may be long.
func withJournal(t *testing.T) func(*server.Config) {
	dir := filepath.Join(t.TempDir(), "state") // the server makes it, for nobody else to write
	return func(c *server.Config) { c.Permits.StateDir = dir }
}

func ask(id string, count int64) *headroomv1.AcquirePermitRequest {
	return &headroomv1.AcquirePermitRequest{Resource: "api", RequestId: id, Count: count}
}

// acquire acquires within a time, 0 for the default.
func acquire(
	t *testing.T, client headroomv1.PermitServiceClient, within time.Duration, req *headroomv1.AcquirePermitRequest,
) (*headroomv1.Permit, error) {
	ctx := t.Context()
	if within > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, within)
		defer cancel()
	}
	resp, err := client.AcquirePermit(ctx, req)
	return resp.GetPermit(), err
}

func mustAcquire(t *testing.T, client headroomv1.PermitServiceClient, id string, count int64) *headroomv1.Permit {
	t.Helper()
	p, err := acquire(t, client, 0, ask(id, count))
	if err != nil {
		t.Fatalf("AcquirePermit of %d: %v", count, err)
	}
	return p
}

func release(t *testing.T, client headroomv1.PermitServiceClient, p *headroomv1.Permit) bool {
	t.Helper()
	resp, err := client.ReleasePermit(t.Context(), &headroomv1.ReleasePermitRequest{PermitId: p.GetPermitId()})
	if err != nil {
		t.Fatalf("ReleasePermit: %v", err)
	}
	return resp.GetReleased()
}

func retryDelay(err error) time.Duration {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok {
			return info.GetRetryDelay().AsDuration()
		}
	}
	return 0
}

func TestAcquirePermit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lease(t, withJournal(t), "a", "thief")
		client := l.as(t, "a")
		begin := time.Now()
		first := mustAcquire(t, client, "1", 0)
		second := mustAcquire(t, client, "2", 3)
		if took := time.Since(begin); took != 0 {
			t.Errorf("what is free took %v, want no time", took)
		}
		if first.GetCount() != 1 || first.GetTtl().AsDuration() != 30*time.Second || len(first.GetPermitId()) != 32 ||
			first.GetResource() != "api" || !first.GetExpireTime().AsTime().Equal(begin.Add(30*time.Second)) {
			t.Errorf("permit = %v, want one of api for 30 s", first)
		}
		if a, b := first.GetFence(), second.GetFence(); a.GetText() >= b.GetText() || a.GetEpoch() != b.GetEpoch() {
			t.Errorf("fences %v and %v, want the second to be greater", a, b)
		}
		if got := l.account(t); got.GetHeld() != 4 || got.GetCharge() != 4 {
			t.Errorf("account = %v, want 4 held and charged", got)
		}
		if again := mustAcquire(t, client, "1", 1); again.GetPermitId() != first.GetPermitId() {
			t.Errorf("the same request got %v, want %v", again, first)
		}
		_, err := acquire(t, client, 0, ask("1", 2))
		checkError(t, err, codes.InvalidArgument, "INVALID_FIELDS")

		thief := l.as(t, "thief")
		if release(t, thief, first) {
			t.Error("another identity released the permit")
		}
		_, err = thief.RenewPermit(t.Context(), &headroomv1.RenewPermitRequest{PermitId: first.GetPermitId()})
		checkError(t, err, codes.NotFound, "PERMIT_LOST")

		if !release(t, client, first) || release(t, client, first) {
			t.Error("want a permit to be released once")
		}
		_, err = acquire(t, client, 0, ask("1", 1))
		checkError(t, err, codes.NotFound, "PERMIT_LOST")
		if got := l.account(t); got.GetHeld() != 3 {
			t.Errorf("held = %d after the release, want 3", got.GetHeld())
		}
	})
}

// Calls wait first come first served, also for several permits at once.
func TestAcquirePermitWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lease(t, withJournal(t), "a")
		client := l.as(t, "a")
		all := mustAcquire(t, client, "all", 4)
		var (
			mu    sync.Mutex
			order []string
		)
		served := func() string {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			return fmt.Sprint(order)
		}
		for i, count := range []int64{3, 1, 1} {
			id := fmt.Sprint("w", i)
			go func() {
				p, err := acquire(t, client, 20*time.Second, ask(id, count))
				if err != nil {
					t.Errorf("%s: %v", id, err)
				}
				mu.Lock()
				order = append(order, id)
				mu.Unlock()
				time.Sleep(time.Second)
				release(t, client, p)
			}()
			time.Sleep(time.Millisecond)
		}
		synctest.Wait()
		if got := l.account(t); got.GetWant() != 9 {
			t.Errorf("want = %d, want the 4 held and the 5 waited for", got.GetWant())
		}
		time.Sleep(5 * time.Second)
		release(t, client, all)
		if got := served(); got != "[w0 w1]" && got != "[w1 w0]" {
			t.Errorf("served %s, want the first two", got)
		}
		time.Sleep(3 * time.Second)
		if got := served(); got != "[w0 w1 w2]" && got != "[w1 w0 w2]" {
			t.Errorf("served in the order %s, want that in which they came", got)
		}
		if got := l.account(t); got.GetHeld() != 0 || got.GetWant() != 0 {
			t.Errorf("account = %v, want nothing held", got)
		}
	})
}

func TestAcquirePermitTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lease(t, withJournal(t), "a")
		client := l.as(t, "a")
		for i := range 3 { // the server learns that a permit is held for 4 s
			p := mustAcquire(t, client, fmt.Sprint(i), 4)
			time.Sleep(4 * time.Second)
			release(t, client, p)
		}
		mustAcquire(t, client, "all", 4)
		begin := time.Now()
		_, err := acquire(t, client, 500*time.Millisecond, ask("x", 1))
		checkError(t, err, codes.ResourceExhausted, "WAIT_TOO_LONG")
		if took := time.Since(begin); took != 0 || retryDelay(err) < 500*time.Millisecond {
			t.Errorf("refused after %v with a delay of %v, want at once and about 1 s", took, retryDelay(err))
		}
		begin = time.Now()
		_, err = acquire(t, client, 6*time.Second, ask("x", 1))
		checkError(t, err, codes.ResourceExhausted, "WAIT_TOO_LONG")
		if took := time.Since(begin); took < 5*time.Second || took >= 6*time.Second || retryDelay(err) == 0 {
			t.Errorf("refused after %v with a delay of %v, want a little before the deadline", took, retryDelay(err))
		}
		_, err = acquire(t, client, time.Second, ask("y", 5))
		checkError(t, err, codes.ResourceExhausted, "WAIT_TOO_LONG")
		if got := l.account(t); got.GetWant() != 4 {
			t.Errorf("want = %d after the refusals, want the 4 held", got.GetWant())
		}
	})
}

// A wait that is cancelled leaves no permit behind, and one that another call joined goes on.
func TestAcquirePermitCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lease(t, withJournal(t), "a")
		client := l.as(t, "a")
		all := mustAcquire(t, client, "all", 4)
		ctx, cancel := context.WithCancel(t.Context())
		lost, joined := make(chan error, 1), make(chan *headroomv1.Permit, 1)
		go func() {
			_, err := client.AcquirePermit(ctx, ask("alone", 1))
			lost <- err
		}()
		go func() {
			_, err := client.AcquirePermit(ctx, ask("joined", 1))
			lost <- err
		}()
		synctest.Wait()
		go func() { joined <- mustAcquire(t, client, "joined", 1) }()
		synctest.Wait()
		if got := l.account(t); got.GetWant() != 6 {
			t.Errorf("want = %d, want the 4 held and one for each of two requests", got.GetWant())
		}
		cancel()
		for range 2 {
			if err := <-lost; status.Code(err) != codes.Canceled {
				t.Errorf("a cancelled call = %v", err)
			}
		}
		synctest.Wait()
		release(t, client, all)
		p := <-joined
		if got := l.account(t); got.GetHeld() != 1 || got.GetWant() != 1 {
			t.Errorf("account = %v, want the one permit of the joined request", got)
		}
		if again := mustAcquire(t, client, "joined", 1); again.GetPermitId() != p.GetPermitId() {
			t.Errorf("the joined request got %v and then %v", p, again)
		}
	})
}

func TestRenewPermit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lease(t, withJournal(t), "a")
		client := l.as(t, "a")
		req := ask("1", 2)
		req.Ttl = durationpb.New(3 * time.Second)
		p, err := acquire(t, client, 0, req)
		if err != nil || p.GetTtl().AsDuration() != 3*time.Second {
			t.Fatalf("AcquirePermit = %v, %v, want 3 s", p, err)
		}
		for range 5 {
			time.Sleep(2 * time.Second)
			resp, err := client.RenewPermit(t.Context(), &headroomv1.RenewPermitRequest{PermitId: p.GetPermitId()})
			if err != nil || resp.GetPermit().GetTtl().AsDuration() != 3*time.Second ||
				resp.GetMode() != headroomv1.PermitMode_PERMIT_MODE_NORMAL {
				t.Fatalf("RenewPermit = %v, %v, want 3 s more", resp, err)
			}
		}
		time.Sleep(5 * time.Second) // the lease and the grace
		if got := l.account(t); got.GetHeld() != 2 {
			t.Errorf("held = %d, want the 2 until the grace is over", got.GetHeld())
		}
		time.Sleep(100 * time.Millisecond)
		if got := l.account(t); got.GetHeld() != 0 {
			t.Errorf("held = %d after the lease, want 0", got.GetHeld())
		}
		_, err = client.RenewPermit(t.Context(), &headroomv1.RenewPermitRequest{PermitId: p.GetPermitId()})
		checkError(t, err, codes.NotFound, "PERMIT_LOST")
	})
}

// Without a journal nothing is leased for longer than the next server would wait for it.
func TestLeaseWithoutJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lease(t, nil, "a")
		if p := mustAcquire(t, l.as(t, "a"), "1", 1); p.GetTtl().AsDuration() != 5*time.Second {
			t.Errorf("lease of %v, want the TTL, 5 s", p.GetTtl().AsDuration())
		}
	})
}

// As many calls of one connection wait as may; releases pass.
func TestWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lease(t, withJournal(t), "a")
		client := l.as(t, "a")
		all := mustAcquire(t, client, "all", 4)
		results := make(chan error, 33)
		for i := range 33 {
			go func() {
				_, err := acquire(t, client, 5*time.Second, ask(fmt.Sprint("w", i), 1))
				results <- err
			}()
		}
		synctest.Wait()
		if len(results) != 1 {
			t.Fatalf("%d of 33 calls were refused, want one", len(results))
		}
		err := <-results
		checkError(t, err, codes.ResourceExhausted, "WAITERS")
		if retryDelay(err) == 0 {
			t.Error("WAITERS has no RetryInfo")
		}
		if !release(t, client, all) {
			t.Error("the release did not pass")
		}
		synctest.Wait()
		if len(results) != 4 {
			t.Errorf("%d calls were served, want 4", len(results))
		}
		time.Sleep(6 * time.Second)
	})
}

func TestUnaryQuotas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lease(t, func(c *server.Config) {
			c.Permits.Resources[0].Default.Max = 2
			c.Limits.MaxPermitsPerIdentity = 2
			c.Permits.Host.Default.Denied = true
		}, "a")
		client := l.as(t, "a")
		_, err := acquire(t, client, 0, ask("1", 3))
		checkError(t, err, codes.PermissionDenied, "NOT_ALLOWED")
		for resource, want := range map[string]struct {
			code   codes.Code
			reason string
		}{"none": {codes.NotFound, "NO_RESOURCE"}, "host": {codes.PermissionDenied, "NOT_ALLOWED"}} {
			_, err := acquire(t, client, 0, &headroomv1.AcquirePermitRequest{Resource: resource, RequestId: "1"})
			checkError(t, err, want.code, want.reason)
			_, err = client.Explain(t.Context(), &headroomv1.ExplainRequest{Resource: resource})
			checkError(t, err, want.code, want.reason)
		}
		mustAcquire(t, client, "1", 1)
		mustAcquire(t, client, "2", 1)
		_, err = acquire(t, client, 0, ask("3", 1))
		checkError(t, err, codes.ResourceExhausted, "PERMITS")
	})
}

// An operator ends the session of an identity's unary calls: who waits is refused, who holds has lost it, and the
// charge stays until they said so or their lease is over.
func TestKickUnary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lease(t, withJournal(t), "a")
		client := l.as(t, "a")
		p := mustAcquire(t, client, "1", 3)
		held := hold(t, client, &headroomv1.HoldPermitRequest{})
		waits := hold(t, client, &headroomv1.HoldPermitRequest{})
		list, err := client.ListSessions(t.Context(), &headroomv1.ListSessionsRequest{})
		if err != nil || len(list.GetSessions()) != 1 || list.GetSessions()[0].GetClient() != "unary" {
			t.Fatalf("ListSessions = %v, %v, want the one inner session", list, err)
		}
		kick := &headroomv1.KickSessionRequest{Session: list.GetSessions()[0].GetSession(), Reason: "test"}
		if _, err := l.permits.KickSession(t.Context(), kick); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		checkError(t, held.now().err, codes.Aborted, "KICKED")
		checkError(t, waits.now().err, codes.Aborted, "KICKED")
		_, err = client.RenewPermit(t.Context(), &headroomv1.RenewPermitRequest{PermitId: p.GetPermitId()})
		checkError(t, err, codes.NotFound, "PERMIT_LOST")
		if got := l.account(t); got.GetCharge() != 4 {
			t.Errorf("charge = %d right after the kick, want 4", got.GetCharge())
		}
		time.Sleep(8 * time.Second)
		if got := l.account(t); got.GetCharge() != 3 {
			t.Errorf("charge = %d once the call's time is over, want the 3 of the lease", got.GetCharge())
		}
		next := mustAcquire(t, client, "2", 1)
		release(t, client, p)
		if got := l.account(t); got.GetCharge() > 2 || got.GetHeld() != 1 {
			t.Errorf("account = %v after the release, want the new permit", got)
		}
		release(t, client, next)
	})
}

// At the end of the server those who wait are told, and the streams of those who hold end with OK.
func TestUnaryDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lease(t, nil, "a")
		client := l.as(t, "a")
		held := hold(t, client, &headroomv1.HoldPermitRequest{Count: 4})
		waits := hold(t, client, &headroomv1.HoldPermitRequest{})
		refused := make(chan error, 1)
		go func() {
			_, err := acquire(t, client, time.Minute, ask("1", 1))
			refused <- err
		}()
		synctest.Wait()
		if err := l.shutdown(); err != nil {
			t.Error(err)
		}
		checkError(t, <-refused, codes.Unavailable, "DRAINING")
		checkError(t, waits.now().err, codes.Unavailable, "DRAINING")
		if !errors.Is(held.now().err, io.EOF) {
			t.Errorf("the stream of the holder ended with %v, want OK", held.now().err)
		}
	})
}
