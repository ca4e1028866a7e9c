package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/internal/wire"
	"github.com/headroom-rpc/headroom/permit"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

// leasing is a server of permits that says what it is told to.
type leasing struct {
	headroomv1.UnimplementedPermitServiceServer
	pages   []*headroomv1.ListSessionsResponse // by token: "" is the first, "1" the second
	explain *headroomv1.ExplainResponse
	limit   *headroomv1.SetLimitResponse
	kick    *headroomv1.KickSessionResponse
	err     error
	asked   []string // what the calls asked for
}

func (l *leasing) ListSessions(_ context.Context, r *headroomv1.ListSessionsRequest) (*headroomv1.ListSessionsResponse, error) {
	l.asked = append(l.asked, "list "+r.GetResource()+" "+r.GetPageToken())
	if l.err != nil {
		return nil, l.err
	}
	return l.pages[len(r.GetPageToken())], nil
}

func (l *leasing) Explain(_ context.Context, r *headroomv1.ExplainRequest) (*headroomv1.ExplainResponse, error) {
	l.asked = append(l.asked, "explain "+r.GetResource()+" "+r.GetSession())
	return l.explain, l.err
}

func (l *leasing) SetLimit(_ context.Context, r *headroomv1.SetLimitRequest) (*headroomv1.SetLimitResponse, error) {
	return l.limit, l.err
}

func (l *leasing) KickSession(_ context.Context, r *headroomv1.KickSessionRequest) (*headroomv1.KickSessionResponse, error) {
	l.asked = append(l.asked, "kick "+r.GetSession()+" "+r.GetReason())
	return l.kick, l.err
}

func (l *leasing) serving(t *testing.T) string {
	s := &scripted{
		permits: l,
		status:  &headroomv1.GetStatusResponse{Current: &headroomv1.Status{}, Historical: &headroomv1.Status{}},
	}
	return "--addr=" + s.start(t, healthv1.HealthCheckResponse_SERVING)
}

func account(name string, limit, charge, held, want int64) *headroomv1.ResourceAccount {
	return &headroomv1.ResourceAccount{
		Resource: name, Limit: limit, Charge: charge, Held: held, Want: want, SessionCount: 2, Law: "fixed",
		Binding: "the limit", Mode: headroomv1.PermitMode_PERMIT_MODE_NORMAL,
	}
}

func held(name, client string, state headroomv1.SessionState, shares ...*headroomv1.SessionShare) *headroomv1.SessionAccount {
	return &headroomv1.SessionAccount{
		Session: name, Client: client, Identity: "uid:1000", Pid: new(int64), State: state,
		Silence: durationpb.New(3 * time.Second), Shares: shares,
	}
}

func twoPages() []*headroomv1.ListSessionsResponse {
	busy := account("api", 8, 8, 7, 12)
	busy.Unknown, busy.OldestWait = 1, durationpb.New(1500*time.Millisecond)
	stopped := account("host", 4, 0, 0, 0)
	stopped.Mode, stopped.Binding = headroomv1.PermitMode_PERMIT_MODE_DRAIN, "severity level 3"
	first := held("0a", "crawler", headroomv1.SessionState_SESSION_STATE_LIVE,
		&headroomv1.SessionShare{Resource: "api", Charge: 5, Held: 4, Target: 5, Want: 9, Limit: 8, OldestWait: durationpb.New(1500 * time.Millisecond)},
		&headroomv1.SessionShare{Resource: "host", Limit: 4})
	*first.Pid = 77
	return []*headroomv1.ListSessionsResponse{
		{Resources: []*headroomv1.ResourceAccount{busy, stopped}, Sessions: []*headroomv1.SessionAccount{first}, NextPageToken: "1", Epoch: 5},
		{Sessions: []*headroomv1.SessionAccount{held("0b", "sync", headroomv1.SessionState_SESSION_STATE_SUSPECT)}},
	}
}

func TestPermitsShowsAllPages(t *testing.T) {
	l := &leasing{pages: twoPages()}
	code, stdout, stderr := ask("permits", l.serving(t))
	const want = `RESOURCE  LIMIT  CHARGE  UNKNOWN  HELD  WANT  SESSIONS  WAIT  LAW    WHAT BINDS
api           8       8        1     7    12         2  1.5s  fixed  the limit
host          4       0        0     0     0         2     -  fixed  drain: severity level 3

SESSION  CLIENT   IDENTITY  PID  STATE      RESOURCE  CHARGE  HELD  TARGET  WANT  WAIT
0a       crawler  uid:1000   77  live       api            5     4       5     9  1.5s
0a       crawler  uid:1000   77  live       host           0     0       0     0     -
0b       sync     uid:1000    -  silent 3s  -              0     0       0     0     -
`
	if code != exitOK || stdout != want || stderr != "" {
		t.Errorf("exits with %d, says %q and prints\n%s\nwant\n%s", code, stderr, stdout, want)
	}
	if got, want := strings.Join(l.asked, ", "), "list  , list  1"; got != want {
		t.Errorf("asks %q, want %q", got, want)
	}
}

func TestPermitsAsJSON(t *testing.T) {
	l := &leasing{pages: twoPages()}
	code, stdout, _ := ask("permits", l.serving(t), "-o", "json", "api")
	if code != exitOK || strings.Count(stdout, "\n") != 1 {
		t.Errorf("exits with %d and prints %q, want one line", code, stdout)
	}
	for _, want := range []string{
		`"shares":[{"resource":"api","charge":"5","held":"4","target":"5","want":"9","guarantee":"0","limit":"8"`,
		`{"session":"0b"`, `"next_page_token":""`, `"epoch":"5"`,
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("prints %q, want %s in it", stdout, want)
		}
	}
	if got, want := strings.Join(l.asked, ", "), "list api , list api 1"; got != want {
		t.Errorf("asks %q, want %q", got, want)
	}
}

func TestExplain(t *testing.T) {
	for _, tt := range []struct {
		name  string
		whose string
		in    string
		e     permit.Explanation
		want  string
	}{
		{"all that it wants", "you", "3 by w (uid:1)", permit.Explanation{
			Account: permit.ResourceAccount{Resource: "api", Limit: 8, Charge: 3, Want: 3, Law: "fixed", Mode: permit.ModeNormal},
			Share:   permit.SessionShare{Held: 1, Target: 2, Want: 2, Guarantee: 1},
			Reasons: []string{"it has all that it wants: 2"},
		}, "The limit of api is 8 (law fixed): 3 in use, 3 wanted by all.\nIn use: 3 by w (uid:1).\n" +
			"You have 1, may hold 2 and want 2.\nWhy: it has all that it wants: 2.\n1 are guaranteed."},
		{"one that waits", "the session", "", permit.Explanation{
			Account: permit.ResourceAccount{Resource: "host", Limit: 4, Charge: 3, Unknown: 1, Want: 9, Law: "aimd",
				Mode: permit.ModeCancel, Binding: "level 3."},
			Share:      permit.SessionShare{Held: 2, Target: 2, Want: 5},
			QueueAhead: 4, Wait: 1234 * time.Millisecond, HasWait: true,
			Reasons: []string{"level 3.", "its quota is 2\x1b[2J."},
		}, "The limit of host is 4 (law aimd): 4 in use, 1 of these perhaps by workers of the server's earlier life, 9 wanted by all.\n" +
			"What binds it: cancel: level 3.\nThe session has 2, may hold 2 and wants 5.\nWhy: its quota is 2\ufffd[2J.\n" +
			"4 that others wait for come first; one more takes about 1.2s."},
		{"nobody knows", "you", "", permit.Explanation{
			Account: permit.ResourceAccount{Resource: "a", Limit: 1, Law: "fixed", Binding: "x", Mode: permit.ModeNormal},
			Share:   permit.SessionShare{Want: 1},
		}, "The limit of a is 1 (law fixed): 0 in use, 0 wanted by all.\nWhat binds it: x.\nYou have 0, may hold 0 and want 1.\n" +
			"Nobody else comes first; how long one more takes cannot be told, as none has ended yet."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := strings.Join(explainLines(&tt.e, tt.whose, tt.in), "\n"); got != tt.want {
				t.Errorf("says\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestHolders(t *testing.T) {
	session := func(client, identity string, pid int, charges ...int64) *headroomv1.SessionAccount {
		s := permit.SessionAccount{Client: client, Party: permit.Party{Identity: identity, PID: pid}}
		for _, k := range charges {
			s.Shares = append(s.Shares, permit.SessionShare{Resource: "api", Charge: k})
		}
		return wire.SessionAccount(&s)
	}
	all := []*headroomv1.SessionAccount{
		session("run:sleep", "uid:0", 12, 1), session("waits", "uid:1", 13, 0), session("b\x1b[2J", "uid:2", 0, 4),
	}
	if got, want := holders(all), "4 by b\ufffd[2J (uid:2), 1 by run:sleep (uid:0, process 12)"; got != want {
		t.Errorf("holders %q, want %q", got, want)
	}
	for range 6 {
		all = append(all, session("c", "uid:3", 0, 2))
	}
	if got := holders(all); !strings.HasPrefix(got, "4 by b") || !strings.HasSuffix(got, ", the rest by 3 others") {
		t.Errorf("holders %q, want five of eight", got)
	}
	if got := holders(nil); got != "" {
		t.Errorf("holders %q, want none", got)
	}
}

func TestExplainAsksForHost(t *testing.T) {
	l := &leasing{explain: &headroomv1.ExplainResponse{}, pages: []*headroomv1.ListSessionsResponse{{}}}
	address := l.serving(t)
	ask("explain", address)
	ask("explain", address, "api", "--session", "0123456789abcdef")
	if got, want := strings.Join(l.asked, ", "), "explain host , list host , explain api 0123456789abcdef, list api "; got != want {
		t.Errorf("asks %q, want %q", got, want)
	}
}

func TestKickSaysWhatWasEnded(t *testing.T) {
	l := &leasing{kick: &headroomv1.KickSessionResponse{Session: twoPages()[0].GetSessions()[0]}}
	code, stdout, _ := ask("permits", "kick", l.serving(t), "0123456789abcdef", "--reason", "runs wild")
	if want := "0a (crawler, uid:1000) is ended; 5 permits count as in use until it has stopped\n"; code != 0 || stdout != want {
		t.Errorf("exits with %d and prints %q, want %q", code, stdout, want)
	}
	if got, want := strings.Join(l.asked, ", "), "kick 0123456789abcdef runs wild"; got != want {
		t.Errorf("asks %q, want %q", got, want)
	}
}

func TestPermitsExitCodes(t *testing.T) {
	for _, tt := range []struct {
		code codes.Code
		want int
	}{
		{codes.PermissionDenied, exitDenied},
		{codes.NotFound, exitUsage},
		{codes.FailedPrecondition, exitUsage},
		{codes.Unavailable, exitUnknown},
	} {
		address := (&leasing{err: status.Error(tt.code, "no")}).serving(t)
		for _, args := range [][]string{
			{"permits"}, {"permits", "kick", "0123456789abcdef"}, {"permits", "limit", "api", "1"}, {"explain"},
		} {
			if code, stdout, _ := ask(append(args, address)...); code != tt.want || stdout != "" {
				t.Errorf("%q after %v: exits with %d and prints %q, want %d", args, tt.code, code, stdout, tt.want)
			}
		}
	}
}

func TestFirstLines(t *testing.T) {
	const text = "a\nb\nc\nd\n"
	for height, want := range map[int]string{
		0: text, 2: text, 3: "a\n... 3 lines more\n", 4: "a\nb\n... 2 lines more\n", 5: text, 9: text,
	} {
		if got := firstLines(text, height); got != want {
			t.Errorf("height %d: %q, want %q", height, got, want)
		}
	}
}

func TestRunErrorsAreNoCodeOfTheCommand(t *testing.T) {
	for refusal, want := range map[permit.Refusal]int{
		permit.RefusedNoResource: exitUsage, permit.RefusedNotAllowed: exitDenied, permit.RefusedTooMany: exitRun,
	} {
		if got := exitCodeOf(runError(&client.RefusedError{Resource: "api", Refusal: refusal})); got != want {
			t.Errorf("%s: %d, want %d", refusal, got, want)
		}
	}
	for code, want := range map[codes.Code]int{
		codes.Unavailable: exitRun, codes.PermissionDenied: exitDenied, codes.InvalidArgument: exitUsage, codes.Unknown: exitRun,
	} {
		if got := exitCodeOf(runError(status.Error(code, "no"))); got != want {
			t.Errorf("%v: %d, want %d", code, got, want)
		}
	}
	if code, _, _ := ask("run", "--addr=unix:///nowhere", "--", "true"); code != exitRun {
		t.Errorf("no server: exits with %d, want %d", code, exitRun)
	}
}

func TestRunName(t *testing.T) {
	for command, want := range map[string]string{
		"/usr/bin/make": "run:make", "./a b;c": "run:a-b-c", "é": "run:-", strings.Repeat("x", 99): "run:" + strings.Repeat("x", 60),
	} {
		if got := runName(command); got != want {
			t.Errorf("%q: %q, want %q", command, got, want)
		}
	}
}

func TestNeeds(t *testing.T) {
	var n needs
	for _, tt := range []struct {
		text string
		ok   bool
	}{
		{"host", true}, {"api=3", true}, {"host=2", false}, {"Api", false}, {"x=0", false}, {"x=y", false}, {"", false},
	} {
		if err := n.Set(tt.text); (err == nil) != tt.ok {
			t.Errorf("Set(%q) = %v, want ok %t", tt.text, err, tt.ok)
		}
	}
	if got, want := n.String(), "host=1,api=3"; got != want {
		t.Errorf("needs = %q, want %q", got, want)
	}
	if got, want := strings.Join(n.sorted(), " "), "api host"; got != want {
		t.Errorf("sorted = %q, want %q", got, want)
	}
}

func TestNeedsWithin(t *testing.T) {
	n := needs{counts: map[string]int64{"api": 1, "host": 2}}
	for environment, want := range map[string]string{
		"": "", "other=1": "", "other=1,api=3": "; the command around this one holds api=3 meanwhile",
		"api=1,host=\x1b": "; the command around this one holds api=1, host=\ufffd meanwhile",
	} {
		if got := n.within(environment); got != want {
			t.Errorf("within %q: %q, want %q", environment, got, want)
		}
	}
}

func exitCodeOf(err error) int {
	var errs strings.Builder
	return finish(&errs, err)
}

// A law that is tried is listed under the resource.
func TestShadowRows(t *testing.T) {
	table := formatTable(resourceTable([]*headroomv1.ResourceAccount{{
		Resource: "host", Limit: 5, Law: "twostation", Mode: headroomv1.PermitMode_PERMIT_MODE_NORMAL,
		Shadows: []*headroomv1.ShadowLimit{{Law: "aimd\x1b", Limit: 9, Binding: "it grows"}},
	}, {Resource: "z", Limit: 1}}))
	lines := strings.Split(table, "\n")
	if len(lines) < 4 || strings.Join(strings.Fields(lines[2]), " ") != "9 would aimd\ufffd it grows" {
		t.Errorf("table:\n%s\nwant a line with 9, would aimd and why under host", table)
	}
}
