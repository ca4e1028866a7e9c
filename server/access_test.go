package server

import (
	"fmt"
	"strings"
	"testing"
	"time"

	channelzpb "google.golang.org/grpc/channelz/grpc_channelz_v1"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

func TestAccessTable(t *testing.T) {
	const (
		read    = headroomv1.StatusService_GetSample_FullMethodName
		work    = headroomv1.StatusService_ReportLoad_FullMethodName
		health  = healthpb.Health_Check_FullMethodName
		operate = channelzpb.Channelz_GetServers_FullMethodName
	)
	table := newAccessTable(Access{}, nil)
	for _, tt := range []struct {
		role   Role
		method string
		want   string
	}{
		{0, health, "PermissionDenied ROLE_REQUIRED"},
		{RoleNone, health, "PermissionDenied ROLE_REQUIRED"},
		{RoleNone, read, "PermissionDenied ROLE_REQUIRED"},
		{RoleReader, read, "OK"},
		{RoleReader, health, "OK"},
		{RoleReader, work, "PermissionDenied ROLE_REQUIRED"},
		{RoleWorker, work, "OK"},
		{RoleWorker, operate, "PermissionDenied ROLE_REQUIRED"},
		{RoleObserver, operate, "PermissionDenied ROLE_REQUIRED"},
		{RoleOperator, operate, "OK"},
		{RoleOperator, "/headroom.v1.StatusService/Nothing", "Unimplemented UNKNOWN_METHOD"},
		{RoleOperator, read[1:], "Unimplemented UNKNOWN_METHOD"},
		{RoleOperator, "/" + read, "Unimplemented UNKNOWN_METHOD"},
		{RoleOperator, strings.ToUpper(read), "Unimplemented UNKNOWN_METHOD"},
		{RoleOperator, "", "Unimplemented UNKNOWN_METHOD"},
	} {
		err := table.check(&call{identity: Identity{Name: "uid:1", Role: tt.role}}, tt.method)
		if got := reasonOf(toStatus(t.Context(), err)); got != tt.want {
			t.Errorf("%v calls %q: %s, want %s", tt.role, tt.method, got, tt.want)
		}
	}
}

func TestAccessReportsAllFaults(t *testing.T) {
	good := testToken("a", RoleReader, ciToken)
	again, other := good, good
	other.Name = "b"
	err := Access{
		LoopbackRole:    9,
		DefaultCertRole: 77,
		CertRoles:       map[string]Role{"worker-1": RoleReader, "CN=w": 0, "spiffe://a/b": RoleNone},
		Tokens:          []Token{good, again, other, {Name: "no digest", Role: 12}},
	}.validate()
	if err == nil {
		t.Fatal("validate = nil, want an error")
	}
	for _, want := range []string{"LoopbackRole: Role(9)", "DefaultCertRole: Role(77)", `"worker-1" is neither`,
		`"CN=w": Role(0)`, `Tokens[1]: the name "a"`, `Tokens[2]: "b" has the same token as "a"`, `Tokens[3]: name "no digest"`,
		"Role(12)", "digest is empty"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not hold %q:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "spiffe") {
		t.Errorf("error names what is no fault:\n%v", err)
	}
	if err := (Access{}).validate(); err != nil {
		t.Errorf("the zero Access: %v, want nil", err)
	}
}

func TestRefusalsAreLoggedOnceASecond(t *testing.T) {
	log := &lines{}
	cc := startProbe(t, listenLoopback(t), probeConfig{log: log.logger()}).dial(t)
	begin := time.Now()
	for range 20 {
		report(t, cc)
	}
	text, most := log.String(), 2+int(time.Since(begin)/time.Second)
	if got := strings.Count(text, "refused a call"); got < 1 || got > most {
		t.Errorf("20 refusals at once made %d lines, want 1 to %d", got, most)
	}
	for _, want := range []string{"identity=loopback", "method=/headroom.v1.StatusService/ReportLoad", "role worker"} {
		if !strings.Contains(text, want) {
			t.Errorf("the log does not hold %q:\n%s", want, text)
		}
	}
}

func TestOccasional(t *testing.T) {
	type step struct {
		at       time.Duration
		key      string
		ok       bool
		unlogged int
	}
	var o occasional
	start := time.Now()
	for i, s := range []step{
		{0, "a", true, 0}, {0, "a", false, 0}, {time.Second - 1, "a", false, 0}, {time.Second - 1, "b", true, 0},
		{time.Second, "a", true, 2}, {time.Second + 1, "a", false, 0}, {3 * time.Second, "a", true, 1},
	} {
		unlogged, ok := o.due(start.Add(s.at), s.key)
		if ok != s.ok || unlogged != s.unlogged {
			t.Errorf("step %d: due(%v, %s) = %d, %t, want %d, %t", i, s.at, s.key, unlogged, ok, s.unlogged, s.ok)
		}
	}

	o = occasional{}
	logged := 0
	for i := range 10 * maxLogKeys {
		if _, ok := o.due(start, fmt.Sprint(i)); ok {
			logged++
		}
	}
	if logged > maxLogKeys+1 || len(o.keys) > maxLogKeys+1 {
		t.Errorf("%d keys at one instant made %d lines and are kept as %d, want at most %d", 10*maxLogKeys, logged,
			len(o.keys), maxLogKeys+1)
	}
	if _, ok := o.due(start.Add(2*time.Second), "late"); !ok || len(o.keys) > 2 {
		t.Errorf("2 s later: due = %t with %d keys kept, want true and the old ones dropped", ok, len(o.keys))
	}
}

func TestClipBoundsWhatALineTakes(t *testing.T) {
	if got := clip(strings.Repeat("x", 1000)); len(got) > maxLogText+3 {
		t.Errorf("clip keeps %d bytes, want at most %d", len(got), maxLogText+3)
	}
}
