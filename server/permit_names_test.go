package server_test

import (
	"fmt"
	"regexp"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc/status"

	"github.com/headroom-rpc/headroom/permit"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/server"
)

// Who names a resource or a session that there is not is told of those that there are for them, of many of some.
func TestErrorsNameWhatThereIs(t *testing.T) {
	resources := func(names ...string) (all []permit.Resource) {
		for _, name := range names {
			all = append(all, permit.Resource{Name: name, Limit: 1})
		}
		return all
	}
	many := make([]string, 20)
	for i := range many {
		many[i] = fmt.Sprintf("r%02d", i)
	}
	for name, tt := range map[string]struct {
		resources []permit.Resource
		denied    bool // to workers, of the first resource
		worker    string
		operator  string
	}{
		"none":   {nil, false, `; there is host$`, `; there is host$`},
		"denied": {resources("b", "a"), true, `; there are a and host$`, `; there are a, b and host$`},
		"many":   {resources(many...), false, `; there are host, r00, .*, r13, r14 and 5 more$`, `, r14 and 5 more$`},
		"full":   {resources(many[:16]...), false, `, r13, r14 and r15$`, `, r13, r14 and r15$`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := lease(t, func(c *server.Config) {
					if tt.denied {
						tt.resources[0].Default.Denied = true
					}
					c.Permits.Resources = tt.resources
				}, "a")
				client := l.as(t, "a")
				_, err := acquire(t, client, 0, &headroomv1.AcquirePermitRequest{Resource: "none", RequestId: "1"})
				checkText(t, err, tt.worker)
				_, err = client.Explain(t.Context(), &headroomv1.ExplainRequest{Resource: "none"})
				checkText(t, err, tt.worker)
				_, err = client.ListSessions(t.Context(), &headroomv1.ListSessionsRequest{Resource: "none"})
				checkText(t, err, tt.worker)
				_, err = l.permits.ListSessions(t.Context(), &headroomv1.ListSessionsRequest{Resource: "none"})
				checkText(t, err, tt.operator)
				_, err = l.permits.SetLimit(t.Context(), &headroomv1.SetLimitRequest{Resource: "none", Limit: 1})
				checkText(t, err, tt.operator)
			})
		})
	}
}

func TestErrorsNameSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lease(t, nil, "a", "b")
		_, err := l.permits.KickSession(t.Context(), &headroomv1.KickSessionRequest{Session: "0123456789abcdef"})
		checkText(t, err, `may see$`)
		attach(t, l.as(t, "a"), "1")
		attach(t, l.as(t, "b"), "2")
		_, err = l.permits.KickSession(t.Context(), &headroomv1.KickSessionRequest{Session: "0123456789abcdef"})
		checkText(t, err, `; there are [0-9a-f]{16} \([^)]+\) and [0-9a-f]{16} \([^)]+\)$`)
		_, err = l.as(t, "a").Explain(t.Context(), &headroomv1.ExplainRequest{Resource: "api", Session: "0123456789abcdef"})
		checkText(t, err, `; there is [0-9a-f]{16} \([^)]+\)$`)
	})
}

// checkText checks what an error says to people.
func checkText(t *testing.T, err error, pattern string) {
	t.Helper()
	if text := status.Convert(err).Message(); !regexp.MustCompile(pattern).MatchString(text) {
		t.Errorf("error = %q, want %s", text, pattern)
	}
}
