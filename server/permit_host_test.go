package server_test

import (
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/headroom-rpc/headroom/limit"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/server"
	"github.com/headroom-rpc/headroom/severity"
)

// host returns the account of the machine.
func (l *leasing) host(t *testing.T) *headroomv1.ResourceAccount {
	t.Helper()
	synctest.Wait()
	resp, err := l.permits.Explain(t.Context(), &headroomv1.ExplainRequest{Resource: "host"})
	if err != nil {
		t.Fatal(err)
	}
	return resp.GetAccount()
}

// The limit of the machine begins at its cores, grows while all of it is used, and falls while it is overloaded,
// never under one.
func TestHostFollowsTheStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		law, err := limit.NewAIMD(limit.AIMD{})
		if err != nil {
			t.Fatal(err)
		}
		l := lease(t, func(c *server.Config) { c.Permits.Host.Law = law }, "a")
		cores := int64(runtime.NumCPU()) // nothing was sampled yet
		if got := l.host(t); got.GetLimit() != cores || got.GetLaw() != "aimd" {
			t.Errorf("account = %v, want the %d cores by the law aimd", got, cores)
		}
		w := attach(t, l.as(t, "a"), "1", &headroomv1.PermitReport{Resource: "host", Want: 100})
		use := func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
				synctest.Wait()
				target := w.targetOf("host")
				w.report(&headroomv1.PermitReport{
					Resource: "host", Version: target.GetVersion(), Held: target.GetTarget(), Want: 100,
				})
			}
		}
		use(5 * time.Second)
		if got := l.host(t).GetLimit(); got < cores+3 || got > cores+7 {
			t.Errorf("limit = %d after 5 s of full use, want about %d", got, cores+5)
		}
		l.machine.mu.Lock()
		l.machine.cpu = 1
		l.machine.mu.Unlock()
		use(30 * time.Second)
		got := l.host(t)
		if got.GetLimit() != 1 || !strings.Contains(got.GetBinding(), "cpu is overloaded") {
			t.Errorf("account = %v after 30 s of overload, want 1 because of cpu", got)
		}
	})
}

// Severity levels cap, drain and cancel, and all is as before once they are left.
func TestHostSeverity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		law, err := limit.NewFixed(10)
		if err != nil {
			t.Fatal(err)
		}
		l := lease(t, func(c *server.Config) {
			for _, left := range []float64{50, 40, 30, 20} {
				c.Levels = append(c.Levels, severity.Level{Enter: severity.GlobalRelative(left)})
			}
			c.Permits.Host = server.HostPermits{Law: law, Severity: []server.SeverityRule{
				{Level: 1, Action: server.SeverityCap, Ratio: 0.5},
				{Level: 2, Action: server.SeverityCap, Limit: 2},
				{Level: 3, Action: server.SeverityDrain},
				{Level: 4, Action: server.SeverityCancel, CancelAfter: time.Minute},
			}}
		}, "a")
		w := attach(t, l.as(t, "a"), "1", &headroomv1.PermitReport{Resource: "host", Want: 10})
		for _, step := range []struct {
			used    float64
			limit   int64
			mode    headroomv1.PermitMode
			target  int64
			binding string
		}{
			{0.25, 10, headroomv1.PermitMode_PERMIT_MODE_NORMAL, 10, "fixed"},
			{0.55, 5, headroomv1.PermitMode_PERMIT_MODE_NORMAL, 5, "severity level 1"},
			{0.65, 2, headroomv1.PermitMode_PERMIT_MODE_NORMAL, 2, "severity level 2"},
			{0.75, 0, headroomv1.PermitMode_PERMIT_MODE_DRAIN, 0, "severity level 3"},
			{0.85, 0, headroomv1.PermitMode_PERMIT_MODE_CANCEL, 0, "severity level 4"},
			{0.25, 10, headroomv1.PermitMode_PERMIT_MODE_NORMAL, 10, "fixed"},
		} {
			l.machine.mu.Lock()
			l.machine.memory = step.used
			l.machine.mu.Unlock()
			for range 20 { // levels are entered and left one by one
				time.Sleep(time.Second)
				synctest.Wait()
				target := w.targetOf("host")
				w.report(&headroomv1.PermitReport{Resource: "host", Version: target.GetVersion(), Want: 10})
			}
			account, target := l.host(t), w.targetOf("host")
			if account.GetLimit() != step.limit || account.GetMode() != step.mode ||
				!strings.Contains(account.GetBinding(), step.binding) {
				t.Errorf("with %v used: account %v, want %d, %v and %q", step.used, account, step.limit, step.mode, step.binding)
			}
			if target.GetTarget() != step.target || target.GetMode() != step.mode {
				t.Errorf("with %v used: target %v, want %d and %v", step.used, target, step.target, step.mode)
			}
			if cancels := step.mode == headroomv1.PermitMode_PERMIT_MODE_CANCEL; cancels != (target.GetCancelAfter() != nil) {
				t.Errorf("with %v used: target %v, want a time for the cancel with that mode alone", step.used, target)
			}
		}
	})
}

func TestSetLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		law, err := limit.NewFixed(10)
		if err != nil {
			t.Fatal(err)
		}
		l := lease(t, func(c *server.Config) { c.Permits.Host.Law = law }, "a")
		client := l.as(t, "a")
		_, err = client.SetLimit(t.Context(), &headroomv1.SetLimitRequest{Resource: "api", Limit: 9})
		checkError(t, err, codes.PermissionDenied, "ROLE_REQUIRED")
		_, err = l.permits.SetLimit(t.Context(), &headroomv1.SetLimitRequest{Resource: "none", Limit: 9})
		checkError(t, err, codes.NotFound, "NO_RESOURCE")

		// Calls that ask for more than there ever is are refused when the limit falls, and not before.
		mustAcquire(t, client, "1", 4)
		refused := make(chan error, 1)
		go func() {
			_, err := acquire(t, client, 0, ask("2", 4))
			refused <- err
		}()
		synctest.Wait()
		resp, err := l.permits.SetLimit(t.Context(), &headroomv1.SetLimitRequest{Resource: "api", Limit: 3})
		if err != nil || resp.GetPreviousLimit() != 4 || resp.GetAccount().GetLimit() != 3 || resp.GetAccount().GetHeld() != 4 {
			t.Errorf("SetLimit = %v, %v, want 4 and then 3, and nothing taken", resp, err)
		}
		checkError(t, <-refused, codes.ResourceExhausted, "WAIT_TOO_LONG")

		resp, err = l.permits.SetLimit(t.Context(), &headroomv1.SetLimitRequest{Resource: "host", Limit: 4})
		if err != nil || resp.GetPreviousLimit() != 10 || resp.GetAccount().GetLimit() != 4 {
			t.Errorf("SetLimit of host under the law fixed = %v, %v, want 10 and then 4", resp, err)
		}
		_, err = l.permits.SetLimit(t.Context(), &headroomv1.SetLimitRequest{Resource: "host"})
		checkError(t, err, codes.InvalidArgument, "INVALID_FIELDS")
		time.Sleep(3 * time.Second)
		if got := l.host(t); got.GetLimit() != 4 {
			t.Errorf("limit = %d after some steps, want 4", got.GetLimit())
		}
	})
}

func TestSetLimitUnderALaw(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lease(t, nil)
		_, err := l.permits.SetLimit(t.Context(), &headroomv1.SetLimitRequest{Resource: "host", Limit: 9})
		checkError(t, err, codes.FailedPrecondition, "LIMIT_FOLLOWS_LAW")
	})
}

// Everybody sees the resources, and the sessions of its own identity; an observer sees all, page by page.
func TestListSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lease(t, nil, "a", "b")
		for range 5 {
			attach(t, l.as(t, "a"), "1", want(1))
		}
		other := attach(t, l.as(t, "b"), "2", want(1), &headroomv1.PermitReport{Resource: "host", Want: 1})
		own, err := l.as(t, "b").ListSessions(t.Context(), &headroomv1.ListSessionsRequest{})
		if err != nil || len(own.GetSessions()) != 1 || own.GetSessions()[0].GetIdentity() != "b" ||
			len(own.GetResources()) != 2 || own.GetResources()[0].GetSessionCount() != 6 {
			t.Errorf("ListSessions of one = %v, %v, want its own session and both resources", own, err)
		}
		var names []string
		token := ""
		for page := 0; page == 0 || token != ""; page++ {
			resp, err := l.permits.ListSessions(t.Context(), &headroomv1.ListSessionsRequest{PageSize: 4, PageToken: token})
			if err != nil || len(resp.GetSessions()) > 4 || page > 1 {
				t.Fatalf("page %d = %v, %v, want at most 4 on each of two", page, resp, err)
			}
			for _, s := range resp.GetSessions() {
				names = append(names, s.GetSession())
			}
			token = resp.GetNextPageToken()
		}
		if slices.Sort(names); len(slices.Compact(names)) != 6 {
			t.Errorf("%d sessions on all pages, want 6", len(names))
		}
		for _, token := range []string{"garbage", "12345678"} {
			_, err := l.permits.ListSessions(t.Context(), &headroomv1.ListSessionsRequest{PageToken: token})
			checkError(t, err, codes.InvalidArgument, "INVALID_FIELDS")
		}
		hosts, err := l.permits.ListSessions(t.Context(), &headroomv1.ListSessionsRequest{Resource: "host"})
		if err != nil || len(hosts.GetSessions()) != 1 || len(hosts.GetSessions()[0].GetShares()) != 1 || len(hosts.GetResources()) != 1 {
			t.Errorf("ListSessions of host = %v, %v, want one share", hosts, err)
		}
		name := own.GetSessions()[0].GetSession()
		if resp, err := l.as(t, "b").Explain(t.Context(), &headroomv1.ExplainRequest{Resource: "api", Session: name}); err != nil ||
			resp.GetShare().GetWant() != 1 || resp.GetShare().GetTarget() != other.target().GetTarget() || len(resp.GetReasons()) == 0 {
			t.Errorf("Explain = %v, %v, want the share of its session", resp, err)
		}
		_, err = l.as(t, "a").Explain(t.Context(), &headroomv1.ExplainRequest{Resource: "api", Session: name})
		checkError(t, err, codes.NotFound, "SESSION_NOT_FOUND")
		_, err = l.permits.Explain(t.Context(), &headroomv1.ExplainRequest{Resource: "none"})
		checkError(t, err, codes.NotFound, "NO_RESOURCE")
		if resp, err := l.as(t, "a").Explain(t.Context(), &headroomv1.ExplainRequest{Resource: "api"}); err != nil || resp.GetShare().GetWant() != 5 {
			t.Errorf("Explain = %v, %v, want the sum of its five sessions", resp, err)
		}
	})
}
