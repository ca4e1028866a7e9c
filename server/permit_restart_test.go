package server_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/test/bufconn"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/server"
	"github.com/headroom-rpc/headroom/snapshot"
)

// restart ends the server and starts the next one of the same state directory at once.
func (l *leasing) restart(t *testing.T, config func(*server.Config), names ...string) *leasing {
	t.Helper()
	if err := l.shutdown(); err != nil {
		t.Fatal(err)
	}
	return leaseFrom(t, config, names...)
}

// The next server takes over what workers come back with, grants at once what is certainly free, and waits for
// the workers that may come back yet.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := withJournal(t)
		l := lease(t, config, "a", "b")
		a := attach(t, l.as(t, "a"), "1", want(1))
		b := attach(t, l.as(t, "b"), "2", want(1))
		version, target := a.target().GetVersion(), a.target().GetTarget()
		a.report(holds(version, 1, 1))
		b.report(holds(b.target().GetVersion(), 1, 1))
		charge := l.account(t).GetCharge()

		next := l.restart(t, config, "a", "b")
		if got := next.account(t); got.GetCharge() != 0 || got.GetUnknown() < charge || got.GetUnknown() > 4 {
			t.Errorf("account = %v, want at least the charge of before, %d, as unknown", got, charge)
		}
		greedy := attach(t, next.as(t, "b"), "3", want(4))
		if got, account := greedy.target().GetTarget(), next.account(t); account.GetCharge()+account.GetUnknown() > 4 {
			t.Errorf("a new worker has %d, and the account is %v, want no more than the limit", got, account)
		}
		back := open(t, next.as(t, "a"), "1")
		back.hello(&headroomv1.Hello{Resume: a.session(), Held: []*headroomv1.Holding{
			{Resource: "api", Held: 1, Version: version, Target: target},
		}}, holds(0, 1, 1))
		synctest.Wait()
		if back.welcome.GetSession().GetEpoch() <= a.session().GetEpoch() || back.welcome.GetResumed() {
			t.Errorf("welcome = %v, want a new session of a later epoch", back.welcome)
		}
		if got := next.account(t); got.GetHeld() != 1 || got.GetCharge()+got.GetUnknown() > 4 {
			t.Errorf("account = %v, want the 1 that the worker still holds", got)
		}
		forged := open(t, next.as(t, "a"), "forger")
		forged.hello(&headroomv1.Hello{Resume: b.session(), Held: []*headroomv1.Holding{{Resource: "api", Held: 1 << 29}}})
		checkError(t, forged.ended(), codes.PermissionDenied, "SESSION_NOT_OWNED")

		back.beat()
		greedy.beat()
		time.Sleep(8 * time.Second)
		if got := next.account(t); got.GetUnknown() != 0 || got.GetHeld() != 1 {
			t.Errorf("account = %v after the window, want nothing unknown", got)
		}
	})
}

// Permits of the unary calls outlive the server, with their ids and requests, until their lease is over.
func TestRestartUnary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := withJournal(t)
		l := lease(t, config, "a", "b")
		kept := mustAcquire(t, l.as(t, "a"), "kept", 2)
		given := mustAcquire(t, l.as(t, "a"), "given", 1)
		release(t, l.as(t, "a"), given)
		hold(t, l.as(t, "b"), &headroomv1.HoldPermitRequest{Count: 1})

		next := l.restart(t, config, "a", "b")
		client := next.as(t, "a")
		if got := next.account(t); got.GetHeld() != 3 {
			t.Errorf("account = %v, want the 2 of the lease and the 1 that was held by a call", got)
		}
		if again := mustAcquire(t, client, "kept", 2); again.GetPermitId() != kept.GetPermitId() ||
			again.GetFence().GetText() != kept.GetFence().GetText() {
			t.Errorf("the same request got %v, want %v", again, kept)
		}
		time.Sleep(10 * time.Second)
		if got := next.account(t); got.GetHeld() != 2 {
			t.Errorf("held = %d once the one who held by a call must know, want 2", got.GetHeld())
		}
		fresh := mustAcquire(t, client, "fresh", 1)
		if fresh.GetFence().GetText() <= kept.GetFence().GetText() {
			t.Errorf("fence %v after %v, want it to grow over the restart", fresh.GetFence(), kept.GetFence())
		}
		resp, err := client.RenewPermit(t.Context(), &headroomv1.RenewPermitRequest{PermitId: kept.GetPermitId()})
		if err != nil || resp.GetPermit().GetTtl().AsDuration() != 30*time.Second {
			t.Errorf("RenewPermit = %v, %v, want 30 s more", resp, err)
		}
		if !release(t, client, kept) {
			t.Error("the permit of the earlier server could not be released")
		}
	})
}

// A journal that cannot be trusted is kept aside, and every resource is charged in full for a while.
func TestRestartWithBadJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "state")
		config := func(c *server.Config) { c.Permits.StateDir = dir }
		l := lease(t, config, "a")
		attach(t, l.as(t, "a"), "1", want(4))
		if err := l.shutdown(); err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, "permits.journal")
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		text[len(text)-1] ^= 1
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
		next := leaseFrom(t, config, "a")
		if got := next.account(t); got.GetUnknown() != 4 {
			t.Errorf("account = %v, want the whole limit unknown", got)
		}
		if kept, err := os.ReadFile(name + ".bad"); err != nil || string(kept) != string(text) {
			t.Errorf("the bad journal was not kept: %v", err)
		}
		w := attach(t, next.as(t, "a"), "2", want(1))
		w.beat()
		if got := w.target().GetTarget(); got != 0 {
			t.Errorf("granted %d while nothing is known, want 0", got)
		}
		// The one after it cannot know either, though its journal is whole.
		third := next.restart(t, config, "a")
		if got := third.account(t); got.GetUnknown() != 4 {
			t.Errorf("account = %v, want the whole limit unknown again", got)
		}
		time.Sleep(8 * time.Second)
		if got := third.account(t); got.GetUnknown() != 0 {
			t.Errorf("account = %v after the window, want nothing unknown", got)
		}
	})
}

func TestSecondServerInStateDir(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := withJournal(t)
		lease(t, config)
		snapshotter, err := snapshot.New(snapshot.Config{Sources: (&machine{}).sources()})
		if err != nil {
			t.Fatal(err)
		}
		pipe := bufconn.Listen(1)
		listener := server.NewListener(pipe, server.Identity{Name: "tester", Role: server.RoleReader})
		c := server.Config{Snapshotter: snapshotter, Listeners: []*server.Listener{listener}}
		config(&c)
		var log bytes.Buffer
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
		second, err := server.New(c)
		if err != nil {
			t.Fatal(err)
		}
		err = second.Run(t.Context())
		if err == nil || !strings.Contains(err.Error(), "another server uses it") {
			t.Errorf("Run of the second = %v, want it to say that another server uses the directory", err)
		}
		if strings.Contains(log.String(), "serving") {
			t.Errorf("the second served before it was refused:\n%s", log.String())
		}
		if _, err := pipe.Accept(); err == nil {
			t.Error("the listener of the second is still open")
		}
	})
}

// Without a journal a liar who is back first leaves what an honest worker runs charged, and the log says who claimed what.
func TestFalseClaimWithoutAJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		l := leaseFrom(t, func(c *server.Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) }, "a", "b")
		back := func(name string, held int64) *worker {
			w := open(t, l.as(t, name), name)
			w.hello(&headroomv1.Hello{
				Resume: &headroomv1.SessionToken{SessionId: make([]byte, 16), Epoch: 1},
				Held:   []*headroomv1.Holding{{Resource: "api", Held: held, Version: 1, Target: held}},
			}, holds(0, held, held))
			synctest.Wait()
			return w
		}
		back("a", 1e9)
		back("b", 4)
		if got := l.account(t); got.GetCharge() != 8 || got.GetHeld() != 8 {
			t.Errorf("account = %v, want the 4 of each charged", got)
		}
		text := log.String()
		for _, want := range []string{"resource=api limit=4 charge=8", "4 by ", " (a, session ", " (b, session "} {
			if strings.Count(text, "claim to hold more") != 1 || !strings.Contains(text, want) {
				t.Errorf("logged\n%s\nwant one line with %q", text, want)
			}
		}
	})
}
