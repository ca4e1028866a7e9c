package server_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/headroom-rpc/headroom/limit"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/server"
	"github.com/headroom-rpc/headroom/severity"
)

// However many calls wait, they are served one after the other, no more than the limit at once; those that give up are
// in nobody's way, and nothing is left of them.
func TestTenThousandWaitingCalls(t *testing.T) {
	calls, serve := 10_000, 1000
	if server.RaceEnabled {
		calls, serve = 1000, 100
	}
	synctest.Test(t, func(t *testing.T) {
		l := lease(t, func(c *server.Config) {
			c.Limits.MaxWaitersPerConnection, c.Limits.MaxStreamsPerConnection = calls, calls
			c.Limits.MaxPermits, c.Limits.MaxPermitsPerIdentity = 2*calls, calls
		}, "a", "b")
		clients := []headroomv1.PermitServiceClient{l.as(t, "a"), l.as(t, "b")}
		first := mustAcquire(t, clients[0], "first", 4)
		ctx, giveUp := context.WithCancel(t.Context())
		defer giveUp()
		var waiting sync.WaitGroup
		var served, held atomic.Int64
		for i := range calls {
			waiting.Go(func() {
				client := clients[i%2]
				resp, err := client.AcquirePermit(ctx, ask(fmt.Sprint(i), 1))
				if err != nil {
					if ctx.Err() == nil {
						t.Errorf("call %d: %v", i, err)
					}
					return
				}
				if n := held.Add(1); n > 4 {
					t.Errorf("%d are served at once, and the limit is 4", n)
				}
				if served.Add(1) == int64(serve) {
					giveUp()
				}
				time.Sleep(10 * time.Millisecond)
				held.Add(-1)
				release(t, client, resp.GetPermit())
			})
		}
		synctest.Wait()
		if got := l.account(t); got.GetWant() != int64(calls)+4 || got.GetHeld() != 4 || served.Load() != 0 {
			t.Errorf("account = %v while %d wait, want them to be wanted and 4 held", got, calls)
		}
		begin := time.Now()
		release(t, clients[0], first)
		waiting.Wait()
		if took, least := time.Since(begin), time.Duration(serve/4)*10*time.Millisecond; took > 2*least {
			t.Errorf("%d calls of 10 ms took %v, want %v and little more", serve, took, least)
		}
		time.Sleep(time.Second)
		if got := l.account(t); served.Load() < int64(serve) || got.GetHeld() != 0 || got.GetWant() != 0 {
			t.Errorf("%d were served, account = %v, want at least %d and nothing in use", served.Load(), got, serve)
		}
	})
}

// A limit that is set ten times a second, to anything, is never passed by what runs, but for what ran before a cut;
// and once it stands still everybody is served.
func TestSetLimitTenTimesASecond(t *testing.T) {
	workers := 100
	if server.RaceEnabled {
		workers = 30
	}
	synctest.Test(t, func(t *testing.T) {
		l := lease(t, func(c *server.Config) { c.Limits.MaxStreamsPerConnection = 2 * workers }, "a")
		client := l.as(t, "a")
		all := make([]*worker, workers)
		held, yielded := make([]int64, workers), make([]int64, workers) // yielded: the version under which the target was given back
		for i := range all {
			all[i] = attach(t, client, fmt.Sprint(i), want(1))
		}
		running := func() (n int64) {
			for _, h := range held {
				n += h
			}
			return n
		}
		highest, before := int64(4), l.account(t)
		// step lets each third worker end its work, and all begin what they may.
		step := func(tick int) {
			for i, w := range all {
				w.mu.Lock()
				target := w.targets["api"]
				w.mu.Unlock()
				if (i+tick)%3 == 0 && held[i] > 0 {
					held[i] = 0
					if target.GetContended() {
						yielded[i] = target.GetVersion()
					}
				}
				report := holds(target.GetVersion(), held[i], 1)
				if yielded[i] == target.GetVersion() {
					report.Ceiling = proto.Int64(held[i])
				} else {
					held[i] = max(held[i], target.GetTarget())
					report.Held = held[i]
				}
				w.send(&headroomv1.AttachRequest{Reports: []*headroomv1.PermitReport{report}})
			}
			if n := running(); n > highest {
				t.Fatalf("tick %d: %d run, and the limit is at most %d", tick, n, highest)
			}
			synctest.Wait()
		}
		for tick := range 100 {
			n := int64(tick*tick*7%61) * int64(tick%4) // from 0 to 180
			if _, err := l.permits.SetLimit(t.Context(), &headroomv1.SetLimitRequest{Resource: "api", Limit: n}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			highest = max(highest, n)
			time.Sleep(100 * time.Millisecond)
			step(tick)
			account := l.account(t)
			sum := account.GetCharge() + account.GetUnknown()
			if sum > account.GetLimit() && sum > before.GetCharge() && before.GetLimit() >= account.GetLimit() {
				t.Fatalf("tick %d: the charges rose from %v to %v, over the limit", tick, before, account)
			}
			if n := running(); n > sum {
				t.Fatalf("tick %d: %d run, and %d are charged", tick, n, sum)
			}
			if sum <= account.GetLimit() {
				highest = account.GetLimit()
			}
			before = account
		}
		if _, err := l.permits.SetLimit(t.Context(), &headroomv1.SetLimitRequest{Resource: "api", Limit: int64(workers / 2)}); err != nil {
			t.Fatal(err)
		}
		highest = max(highest, int64(workers/2))
		turns := make(map[int]bool)
		for tick := range 100 {
			time.Sleep(100 * time.Millisecond)
			step(tick)
			for i, h := range held {
				if h > 0 {
					turns[i] = true
				}
			}
		}
		if got := l.account(t); len(turns) != workers || got.GetCharge() > int64(workers/2) {
			t.Errorf("%d of %d had a turn, account = %v, want all within the limit", len(turns), workers, got)
		}
	})
}

// A severity that goes up and down every second takes the targets along at the pace of its levels; the stream and what
// runs stay, and once it rests all is as before.
func TestSeverityFlaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		law, err := limit.NewFixed(10)
		if err != nil {
			t.Fatal(err)
		}
		l := lease(t, func(c *server.Config) {
			for _, left := range []float64{50, 30} {
				c.Levels = append(c.Levels, severity.Level{Enter: severity.GlobalRelative(left)})
			}
			c.Permits.Host = server.HostPermits{Law: law, Severity: []server.SeverityRule{
				{Level: 1, Action: server.SeverityCap, Ratio: 0.5}, {Level: 2, Action: server.SeverityDrain},
			}}
		}, "a")
		w := attach(t, l.as(t, "a"), "1", &headroomv1.PermitReport{Resource: "host", Want: 10})
		now := func() *headroomv1.Target {
			synctest.Wait()
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.targets["host"]
		}
		flip := func(used float64) *headroomv1.Target {
			l.machine.mu.Lock()
			l.machine.memory = used
			l.machine.mu.Unlock()
			time.Sleep(time.Second)
			target := now()
			w.report(&headroomv1.PermitReport{Resource: "host", Version: target.GetVersion(), Held: 3, Want: 10})
			return target
		}
		first := now().GetVersion()
		modes := make(map[headroomv1.PermitMode]int)
		for i := range 60 {
			target := flip([]float64{0.2, 0.9}[i/3%2])
			modes[target.GetMode()]++
			if got := target.GetTarget(); got != 0 && got != 5 && got != 10 ||
				(got == 0) != (target.GetMode() == headroomv1.PermitMode_PERMIT_MODE_DRAIN) {
				t.Errorf("after %d s: target %v, want 10, the half of it, or a drain", i, target)
			}
			if account := l.host(t); account.GetCharge() < 3 || account.GetHeld() != 3 {
				t.Errorf("after %d s: account %v, want the 3 that run to be charged", i, account)
			}
		}
		if len(modes) < 2 {
			t.Errorf("modes %v: nothing flapped", modes)
		}
		if targets := now().GetVersion() - first; targets > 120 {
			t.Errorf("%d targets in 60 s of flapping, want at most two a second", targets)
		}
		var target *headroomv1.Target
		for range 20 {
			target = flip(0.2)
		}
		if target.GetTarget() != 10 || w.ended() != nil {
			t.Errorf("target %v after it, and the stream is %v; want 10, and none to have ended", target, w.ended())
		}
	})
}
