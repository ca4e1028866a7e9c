package server_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

func hold(t *testing.T, client headroomv1.PermitServiceClient, req *headroomv1.HoldPermitRequest) *holding {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	req.Resource = "api"
	stream, err := client.HoldPermit(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	h := &holding{cancel: cancel}
	go func() {
		for {
			resp, err := stream.Recv()
			h.mu.Lock()
			if err != nil {
				h.state.err = err
				h.mu.Unlock()
				return
			}
			h.state.count++
			h.state.last = resp
			if resp.GetPermit() != nil {
				h.state.permit = resp.GetPermit()
			}
			h.mu.Unlock()
		}
	}()
	synctest.Wait()
	return h
}

// holding is one call of HoldPermit.
type holding struct {
	cancel context.CancelFunc

	mu    sync.Mutex
	state holdingState
}

type holdingState struct {
	count  int // of messages
	permit *headroomv1.Permit
	last   *headroomv1.HoldPermitResponse
	err    error
}

// now returns what the call was told when all is quiet.
func (h *holding) now() holdingState {
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state
}

func TestHoldPermit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lease(t, nil, "a", "b")
		first := hold(t, l.as(t, "a"), &headroomv1.HoldPermitRequest{Count: 4})
		if first.now().permit.GetCount() != 4 || first.now().last.GetTtl().AsDuration() != 5*time.Second {
			t.Fatalf("first = %v, %v, want the permit", first.now().last, first.now().err)
		}
		second := hold(t, l.as(t, "b"), &headroomv1.HoldPermitRequest{})
		third := hold(t, l.as(t, "b"), &headroomv1.HoldPermitRequest{})
		if second.now().permit != nil || second.now().last.QueueAhead == nil || third.now().last.GetQueueAhead() != 1 {
			t.Errorf("second and third = %v and %v, want them to wait, with one ahead of the third", second.now().last, third.now().last)
		}
		none := hold(t, l.as(t, "b"), &headroomv1.HoldPermitRequest{Wait: durationpb.New(0)})
		checkError(t, none.now().err, codes.ResourceExhausted, "WAIT_TOO_LONG")
		time.Sleep(10500 * time.Millisecond)
		if first.now().count != 11 || second.now().count != 11 {
			t.Errorf("%d and %d messages in 10.5 s, want one a heartbeat", first.now().count, second.now().count)
		}
		if got := l.account(t); got.GetHeld() != 4 {
			t.Errorf("held = %d, want 4 as long as the call lives", got.GetHeld())
		}
		first.cancel()
		synctest.Wait()
		if second.now().permit.GetCount() != 1 || third.now().permit.GetCount() != 1 {
			t.Errorf("second and third = %v and %v, want them served at once", second.now().last, third.now().last)
		}
		bounded := hold(t, l.as(t, "a"), &headroomv1.HoldPermitRequest{Count: 4, Wait: durationpb.New(3 * time.Second)})
		time.Sleep(3 * time.Second)
		synctest.Wait()
		checkError(t, bounded.now().err, codes.ResourceExhausted, "WAIT_TOO_LONG")
	})
}

// When a connection breaks its holder may not know yet: the permit stays for the TTL and the grace.
func TestHoldPermitBroken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lease(t, nil, "a")
		conn, client := l.connect(t, "a")
		hold(t, client, &headroomv1.HoldPermitRequest{Count: 2})
		conn.Close()
		synctest.Wait()
		time.Sleep(7*time.Second - 1)
		if got := l.account(t); got.GetHeld() != 2 {
			t.Errorf("held = %d right after the connection broke, want 2", got.GetHeld())
		}
		time.Sleep(100 * time.Millisecond)
		if got := l.account(t); got.GetHeld() != 0 {
			t.Errorf("held = %d after the TTL and the grace, want 0", got.GetHeld())
		}
	})
}
