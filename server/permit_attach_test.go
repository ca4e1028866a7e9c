package server_test

import (
	"errors"
	"io"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/server"
)

// A worker is welcomed, gets its target, gives back what it does not need, and says goodbye.
func TestAttach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lease(t, nil, "a")
		w := attach(t, l.as(t, "a"), "1", want(3))
		if got := w.welcome; len(got.GetSession().GetSessionId()) != 16 || got.GetInstanceId() != l.InstanceID() ||
			got.GetTtl().AsDuration() != 5*time.Second || got.GetHeartbeat().AsDuration() != time.Second ||
			got.GetGrace().AsDuration() != 2*time.Second || got.GetServerVersion() != "1.2.3" || got.GetResumed() {
			t.Errorf("welcome = %v, want a new session with the defaults", got)
		}
		target := w.target()
		if target.GetTarget() < 3 || target.GetTarget() > 4 || target.GetVersion() < 1 || target.GetFence() < 1 {
			t.Fatalf("target = %v, want 3 or 4", target)
		}
		w.report(holds(target.GetVersion(), 3, 3))
		if got := l.account(t); got.GetHeld() != 3 || got.GetCharge() < 3 || got.GetSessionCount() != 1 {
			t.Errorf("account = %v, want 3 held", got)
		}
		if w.echo != w.sequence*1000 {
			t.Errorf("echo = %d, want that of the newest frame, %d", w.echo, w.sequence*1000)
		}
		w.send(&headroomv1.AttachRequest{Goodbye: &headroomv1.Goodbye{}})
		if err := w.ended(); !errors.Is(err, io.EOF) {
			t.Errorf("the stream ended with %v, want OK", err)
		}
		if got := l.account(t); got.GetCharge() != 0 || got.GetSessionCount() != 0 {
			t.Errorf("account after a goodbye = %v, want all free", got)
		}
	})
}

// A permit that one worker gives back goes to another that waits, in the two messages that it takes to say so.
func TestAttachHandOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lease(t, nil, "a", "b")
		a := attach(t, l.as(t, "a"), "1", want(4))
		a.report(holds(a.target().GetVersion(), 4, 4))
		b := attach(t, l.as(t, "b"), "2", want(4))
		if got := a.target().GetTarget(); got != 2 {
			t.Errorf("target of the first = %d, want its half", got)
		}
		before := b.target().GetTarget()
		a.report(holds(a.target().GetVersion(), 3, 4))
		if got := b.target().GetTarget(); before != 0 || got != 1 {
			t.Errorf("the second has %d and then %d, want 0 and then the one that was given back", before, got)
		}
		if got := l.account(t); got.GetCharge() != 4 {
			t.Errorf("charge = %d, want the limit, 4", got.GetCharge())
		}
	})
}

func TestAttachNeedsFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lease(t, nil, "a")
		client := l.as(t, "a")
		silent := open(t, client, "1")
		time.Sleep(2*time.Second - 1)
		if err := silent.ended(); err != nil {
			t.Fatalf("a stream without a frame ended after less than 2 s with %v", err)
		}
		time.Sleep(time.Nanosecond)
		checkError(t, silent.ended(), codes.DeadlineExceeded, "SILENT")

		first := open(t, client, "2")
		first.send(&headroomv1.AttachRequest{})
		checkError(t, first.ended(), codes.InvalidArgument, "INVALID_FIELDS")

		twice := attach(t, client, "3")
		twice.hello(&headroomv1.Hello{})
		checkError(t, twice.ended(), codes.InvalidArgument, "INVALID_FIELDS")

		w := attach(t, client, "4")
		time.Sleep(5*time.Second - 1)
		if err := w.ended(); err != nil {
			t.Fatalf("a stream ended before the TTL with %v", err)
		}
		time.Sleep(time.Nanosecond)
		checkError(t, w.ended(), codes.DeadlineExceeded, "SILENT")
	})
}

// A stream that broke keeps its charge; the worker resumes it, and what the other stream would say is not heard.
func TestAttachResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lease(t, nil, "a")
		client := l.as(t, "a")
		w := attach(t, client, "1", want(3))
		target := w.target()
		w.report(holds(target.GetVersion(), 3, 3))
		w.cancel()
		synctest.Wait()
		time.Sleep(3 * time.Second)
		if got := l.account(t); got.GetHeld() != 3 || got.GetCharge() < 3 {
			t.Errorf("account after the stream broke = %v, want 3 held", got)
		}
		again := open(t, client, "1")
		resume := &headroomv1.Hello{Resume: w.session(), Held: []*headroomv1.Holding{
			{Resource: "api", Held: 3, Version: target.GetVersion(), Target: target.GetTarget()},
		}}
		again.hello(resume)
		synctest.Wait()
		if !again.welcome.GetResumed() {
			t.Errorf("welcome = %v, want the session resumed", again.welcome)
		}
		third := open(t, client, "1")
		third.hello(resume)
		checkError(t, again.ended(), codes.Aborted, "REPLACED")
		if got := l.account(t); got.GetHeld() != 3 || got.GetSessionCount() != 1 {
			t.Errorf("account = %v, want one session with 3", got)
		}
		third.cancel()
		synctest.Wait()
		time.Sleep(7*time.Second - 1)
		if got := l.account(t); got.GetCharge() < 3 {
			t.Errorf("charge = %d before the TTL and the grace are over, want at least 3", got.GetCharge())
		}
		time.Sleep(time.Second)
		if got := l.account(t); got.GetCharge() != 0 {
			t.Errorf("charge = %d after the TTL and the grace, want 0", got.GetCharge())
		}
	})
}

func TestAttachOfAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lease(t, nil, "a", "thief")
		w := attach(t, l.as(t, "a"), "1", want(3))
		w.report(holds(w.target().GetVersion(), 3, 3))
		before := l.account(t)
		thief := open(t, l.as(t, "thief"), "1")
		thief.hello(&headroomv1.Hello{Resume: w.session(), Held: []*headroomv1.Holding{{Resource: "api", Held: 0}}})
		checkError(t, thief.ended(), codes.PermissionDenied, "SESSION_NOT_OWNED")
		if got := l.account(t); got.GetCharge() != before.GetCharge() || got.GetHeld() != 3 || w.ended() != nil {
			t.Errorf("account = %v, want that of before, %v", got, before)
		}
		forged := open(t, l.as(t, "thief"), "2")
		forged.hello(&headroomv1.Hello{
			Resume: &headroomv1.SessionToken{SessionId: make([]byte, 16), Epoch: w.session().GetEpoch() - 1},
			Held:   []*headroomv1.Holding{{Resource: "api", Held: 1 << 29, Target: 1 << 29}},
		})
		synctest.Wait()
		if got := l.account(t); got.GetCharge() != before.GetCharge() {
			t.Errorf("charge = %d after a forged claim, want %d", got.GetCharge(), before.GetCharge())
		}
	})
}

// One identity with many sessions that want all there is leaves another its half.
func TestAttachHoarder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lease(t, func(c *server.Config) {
			c.Permits.Resources[0].Limit = 64
			c.Limits.MaxSessionsPerIdentity = 20
		}, "greedy", "honest")
		client := l.as(t, "greedy")
		var greedy []*worker
		for range 20 {
			w := attach(t, client, "g", &headroomv1.PermitReport{Resource: "api", Want: 1 << 29, Weight: 1000, Priority: 10, Guarantee: 64})
			greedy = append(greedy, w)
		}
		over := attach(t, client, "g")
		checkError(t, over.ended(), codes.ResourceExhausted, "SESSIONS")
		honest := attach(t, l.as(t, "honest"), "h", want(64))
		for range 20 {
			for _, w := range greedy {
				target := w.target() // it uses nothing and takes note of every target
				w.report(holds(target.GetVersion(), 0, 1<<29))
			}
			honest.report(holds(honest.target().GetVersion(), honest.target().GetTarget(), 64))
			time.Sleep(100 * time.Millisecond)
		}
		if got := honest.target().GetTarget(); got < 31 {
			t.Errorf("the honest worker has %d of 64, want at least 31", got)
		}
		if got := l.account(t); got.GetCharge() > 64 {
			t.Errorf("charge = %d, want at most the limit, 64", got.GetCharge())
		}
	})
}

// A worker that reports more than it was given is noticed, and takes nothing from others.
func TestAttachLiar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lease(t, nil, "liar", "honest")
		liar := attach(t, l.as(t, "liar"), "1", want(2))
		liar.report(holds(liar.target().GetVersion(), 1<<29, 2))
		before := l.account(t).GetCharge() // all that it was ever given, and no more
		honest := attach(t, l.as(t, "honest"), "2", want(2))
		if got := honest.target().GetTarget(); before > 3 || got != 4-before {
			t.Errorf("the honest worker has %d beside %d, want the rest of 4", got, before)
		}
	})
}

func TestAttachRefusedResources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lease(t, func(c *server.Config) { c.Permits.Resources[0].Default.Denied = true }, "a")
		w := attach(t, l.as(t, "a"), "1", want(1), &headroomv1.PermitReport{Resource: "none", Want: 1})
		if got := w.target(); got.GetRefused() != "NOT_ALLOWED" || got.GetTarget() != 0 {
			t.Errorf("target of a denied resource = %v, want NOT_ALLOWED", got)
		}
		if got := w.targets["none"]; got.GetRefused() != "NO_RESOURCE" {
			t.Errorf("target of no resource = %v, want NO_RESOURCE", got)
		}
	})
}

// At the end of the server workers are told, get nothing new, and their streams end with OK.
func TestAttachDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lease(t, nil, "a", "b")
		a := attach(t, l.as(t, "a"), "1", want(4))
		a.report(holds(a.target().GetVersion(), 4, 4))
		b := attach(t, l.as(t, "b"), "2", want(1))
		time.Sleep(time.Second / 2) // frames follow each other too fast for each to be echoed
		begin := time.Now()
		done := make(chan error, 1)
		go func() { done <- l.shutdown() }()
		synctest.Wait()
		if a.drain == nil || a.drain.GetWithin().AsDuration() <= 0 || b.drain == nil {
			t.Errorf("drain = %v and %v, want both told", a.drain, b.drain)
		}
		a.report(holds(a.target().GetVersion(), 0, 0))
		if a.echo != a.sequence*1000 {
			t.Errorf("echo = %d during the drain, want that of the newest frame, %d", a.echo, a.sequence*1000)
		}
		if got := b.target().GetTarget(); got != 0 {
			t.Errorf("the second worker was granted %d during the drain, want 0", got)
		}
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
		if took := time.Since(begin); took > time.Second {
			t.Errorf("the drain took %v", took)
		}
		for _, w := range []*worker{a, b} {
			if err := w.ended(); !errors.Is(err, io.EOF) {
				t.Errorf("a stream ended with %v, want OK", err)
			}
		}
	})
}

// A worker whose permits come and go is told with each what it was heard of, and not by a frame more.
func TestAttachEchoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lease(t, nil, "a")
		w := attach(t, l.as(t, "a"), "1", want(1))
		time.Sleep(time.Second)
		before := w.frames
		for range 1000 {
			time.Sleep(time.Millisecond)
			w.report(holds(w.target().GetVersion(), 1, 1))
		}
		if n := w.frames - before; n < 8 || n > 13 {
			t.Errorf("%d frames for 1000 reports in a second, want 8 and a burst", n)
		}
		if lag := w.sequence - w.echo/1000; lag < 0 || lag > 130 {
			t.Errorf("the echo is %d reports behind, want at most an eighth of a second", lag)
		}
	})
}

// A worker that does not read its stream delays nobody, and its session goes on as one whose stream broke.
func TestAttachUnread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// What is echoed fills the windows of the transport within a minute.
		const echo = 100 * time.Millisecond / 8
		l := lease(t, func(c *server.Config) {
			c.Limits.SendTimeout, c.Permits.Heartbeat = time.Second, 8*echo
		}, "slow", "b")
		ctx := t.Context()
		stream, err := l.as(t, "slow").Attach(ctx)
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		hello := &headroomv1.Hello{Client: "slow", InstanceId: instanceOf("slow")}
		w := attach(t, l.as(t, "b"), "1", want(1))
		w.beat()
		sent := int64(0)
		for time.Since(begin) < time.Minute { // the client hears of the end only after what was sent before
			sent++
			req := &headroomv1.AttachRequest{Sequence: sent, SendNanos: math.MinInt64, Hello: hello}
			hello = nil
			if err = stream.Send(req); err != nil {
				break
			}
			time.Sleep(echo)
		}
		_, err = stream.Recv()
		for err == nil {
			_, err = stream.Recv()
		}
		checkError(t, err, codes.ResourceExhausted, "SLOW_READER")
		if w.ended() != nil || w.target().GetTarget() < 1 {
			t.Errorf("the other worker has %v and ended with %v", w.target(), w.ended())
		}
	})
}

func TestKickSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lease(t, nil, "a")
		client := l.as(t, "a")
		w := attach(t, client, "1", want(3))
		w.report(holds(w.target().GetVersion(), 3, 3))
		list, err := l.permits.ListSessions(t.Context(), &headroomv1.ListSessionsRequest{})
		if err != nil || len(list.GetSessions()) != 1 {
			t.Fatalf("ListSessions = %v, %v, want one session", list, err)
		}
		name := list.GetSessions()[0].GetSession()
		_, err = client.KickSession(t.Context(), &headroomv1.KickSessionRequest{Session: name})
		checkError(t, err, codes.PermissionDenied, "ROLE_REQUIRED")
		resp, err := l.permits.KickSession(t.Context(), &headroomv1.KickSessionRequest{Session: name, Reason: "in the way"})
		if err != nil || resp.GetSession().GetIdentity() != "a" {
			t.Fatalf("KickSession = %v, %v", resp, err)
		}
		checkError(t, w.ended(), codes.Aborted, "KICKED")
		if w.kicked.GetReason() != "in the way" || w.target().GetTarget() != 0 {
			t.Errorf("the worker was told %v with %v, want the reason and 0", w.kicked, w.target())
		}
		if got := l.account(t); got.GetCharge() < 3 {
			t.Errorf("charge = %d right after the kick, want at least the 3 in use", got.GetCharge())
		}
		time.Sleep(8 * time.Second)
		if got := l.account(t); got.GetCharge() != 0 {
			t.Errorf("charge = %d after the lease, want 0", got.GetCharge())
		}
		_, err = l.permits.KickSession(t.Context(), &headroomv1.KickSessionRequest{Session: name})
		checkError(t, err, codes.NotFound, "SESSION_NOT_FOUND")
	})
}
