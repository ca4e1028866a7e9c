package server_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/server"
)

// A server that starts for the first time says for how long it grants nothing, and why.
func TestFirstStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := leaseFrom(t, withJournal(t), "a")
		begin := time.Now()
		client := l.as(t, "a")
		_, err := acquire(t, client, time.Second, ask("1", 1))
		checkError(t, err, codes.ResourceExhausted, "WAIT_TOO_LONG")
		rest := 7*time.Second - time.Since(begin)
		if got := retryDelay(err); got > rest+time.Second || got < rest-time.Second || !strings.Contains(err.Error(), "before it was started") {
			t.Errorf("told to wait %v by %v, want about %v, and why", got, err, rest)
		}
		w := attach(t, client, "1", want(1))
		explained, err := client.Explain(t.Context(), &headroomv1.ExplainRequest{Resource: "api"})
		if err != nil || explained.GetAccount().GetUnknown() != 4 || len(explained.GetReasons()) == 0 {
			t.Errorf("Explain = %v, %v, want 4 unknown and a reason", explained, err)
		}
		if got := w.target(); got.GetTarget() != 0 || got.GetBinding() == "" {
			t.Errorf("target = %v, want none yet and a reason", got)
		}
		p, err := acquire(t, client, 10*time.Second, ask("2", 1))
		if took := time.Since(begin); err != nil || took < 6*time.Second || took > 8*time.Second {
			t.Errorf("AcquirePermit = %v, %v after %v, want a permit after 7s", p, err, took)
		}
	})
}

func TestExplainUnknownResource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lease(t, nil, "a")
		for _, client := range []headroomv1.PermitServiceClient{l.permits, l.as(t, "a")} { // an operator, and a worker
			_, err := client.Explain(t.Context(), &headroomv1.ExplainRequest{Resource: "nosuch"})
			checkError(t, err, codes.NotFound, "NO_RESOURCE")
		}
	})
}

// A host that sleeps takes workers for dead, who know it, but no permit whose lease goes on.
func TestLeasesOutliveASleepOfTheHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var slept atomic.Int64
		clock := bubbleClock()
		config := func(c *server.Config) {
			withJournal(t)(c)
			c.Permits.Clock = func() time.Duration { return clock() + time.Duration(slept.Load()) }
		}
		l := lease(t, config, "a", "b")
		client := l.as(t, "a")
		resp, err := client.AcquirePermit(t.Context(), &headroomv1.AcquirePermitRequest{
			Resource: "api", RequestId: "long", Count: 2, Ttl: durationpb.New(time.Hour),
		})
		if err != nil {
			t.Fatal(err)
		}
		short := mustAcquire(t, client, "short", 1)
		slept.Store(int64(10 * time.Minute))
		time.Sleep(2 * time.Second)
		if got := l.account(t); got.GetHeld() != 2 || got.GetCharge() < 2 {
			t.Errorf("account = %v after the sleep, want the 2 of the long lease", got)
		}
		greedy := attach(t, l.as(t, "b"), "1", want(4))
		if got := greedy.target().GetTarget(); got > 2 {
			t.Errorf("another worker has %d, want at most the 2 that are free", got)
		}
		if _, err := client.RenewPermit(t.Context(), &headroomv1.RenewPermitRequest{PermitId: resp.GetPermit().GetPermitId()}); err != nil {
			t.Errorf("RenewPermit of the long lease = %v", err)
		}
		_, err = client.RenewPermit(t.Context(), &headroomv1.RenewPermitRequest{PermitId: short.GetPermitId()})
		checkError(t, err, codes.NotFound, "PERMIT_LOST")
	})
}
