package main

import (
	"encoding/json"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/headroom-rpc/headroom/client"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

// The last transition of the scripted severity, and what it rests on.
var (
	noon     = time.Date(2026, 11, 21, 12, 0, 0, 0, time.Local)
	shortage = &headroomv1.Evidence{
		Resource: headroomv1.ResourceKind_RESOURCE_KIND_MEMORY, Signal: "memory", Condition: "global_relative(15)",
		Value: proto.Float64(0.12), Bound: proto.Float64(0.15), Unit: "ratio", Age: durationpb.New(300 * time.Millisecond),
		Level: 2, Holds: proto.Bool(true),
	}
)

func step(from, to int32, sequence int64) *headroomv1.Transition {
	return &headroomv1.Transition{
		FromLevel: from, ToLevel: to, Sequence: sequence, Time: timestamppb.New(noon),
		Evidence: []*headroomv1.Evidence{shortage},
	}
}

// pressed is a server at level 2 that then moves to 1.
func pressed() *scripted {
	present := &headroomv1.Severity{
		Level: 2, LevelsInEffect: []int32{2, 1}, MaxLevel: 3, Sequence: 7, SinceTime: timestamppb.New(noon),
		Evidence: []*headroomv1.Evidence{shortage}, ExhaustionIn: durationpb.New(90 * time.Second), Fraction: proto.Float64(0.25),
		Unknown: []*headroomv1.Evidence{{Condition: "pressure_some(memory, 0.2)", UnknownReason: "no PSI here", Level: 2}},
	}
	judged := &headroomv1.Status{State: headroomv1.LoadState_LOAD_STATE_IDLE}
	state := func(sequence int64) *headroomv1.WatchSnapshotsResponse {
		return &headroomv1.WatchSnapshotsResponse{Sequence: sequence, Current: judged, Historical: judged}
	}
	first := state(1)
	first.Started = &headroomv1.Started{InstanceId: "a"}
	return &scripted{
		status:   &headroomv1.GetStatusResponse{Current: judged, Historical: judged},
		states:   []*headroomv1.WatchSnapshotsResponse{first},
		severity: &headroomv1.GetSeverityResponse{Severity: present, Transitions: []*headroomv1.Transition{step(0, 1, 6), step(1, 2, 7)}},
		updates: []*headroomv1.WatchSeverityResponse{
			{Started: &headroomv1.SeverityStarted{InstanceId: "a"}, Severity: present},
			{Severity: &headroomv1.Severity{Level: 1, Sequence: 8, MaxLevel: 3}, Transition: step(2, 1, 8)},
			{Severity: &headroomv1.Severity{Level: 2, Sequence: 9, MaxLevel: 3}, Transition: step(1, 2, 9)},
		},
	}
}

func (s *scripted) serving(t *testing.T) string {
	return "--addr=" + s.start(t, healthv1.HealthCheckResponse_SERVING)
}

func TestSeverityForPeople(t *testing.T) {
	code, stdout, stderr := ask("severity", pressed().serving(t))
	if code != exitOK || stderr != "" {
		t.Errorf("exits with %d and says %q", code, stderr)
	}
	stdout = regexp.MustCompile(`, for \S+`).ReplaceAllString(stdout, ", for ever") // by the wall clock
	want := `level       2 of 3
in effect   2, 1
since       2026-11-21 12:00:00, for ever
why         global_relative(15): memory 12%, bound 15%, 300ms old
unknown     pressure_some(memory, 0.2): no PSI here
next level  25% of the way
exhaustion  in 1m30s

TIME                 LEVEL   WHY
2026-11-21 12:00:00  0 -> 1  global_relative(15): memory 12%, bound 15%, 300ms old
2026-11-21 12:00:00  1 -> 2  global_relative(15): memory 12%, bound 15%, 300ms old
`
	if stdout != want {
		t.Errorf("got\n%s\nwant\n%s", stdout, want)
	}
}

func TestSeverityAtNormal(t *testing.T) {
	s := pressed()
	for _, tt := range []struct {
		severity *headroomv1.Severity
		want     string
	}{
		{&headroomv1.Severity{MaxLevel: 3}, "level       0 of 3, normal\nexhaustion  not in sight\n"},
		{&headroomv1.Severity{}, "level       0, no levels are configured\nexhaustion  not in sight\n"},
		{&headroomv1.Severity{MaxLevel: 3, Unknown: []*headroomv1.Evidence{
			{Condition: "any_overloaded(current)", Signal: "cpu", UnknownReason: "lost"},
			{Condition: "any_overloaded(current)", Signal: "cpu", UnknownReason: "lost"},
		}}, "level       0 of 3, normal\nunknown     any_overloaded(current): cpu: lost\nexhaustion  not in sight\n"},
		{&headroomv1.Severity{MaxLevel: 3, Unknown: []*headroomv1.Evidence{{Condition: "exhaustion_within(30s)", UnknownReason: "too few"}}},
			"level       0 of 3, normal\nunknown     exhaustion_within(30s): too few\nexhaustion  unknown\n"},
	} {
		s.severity = &headroomv1.GetSeverityResponse{Severity: tt.severity}
		if code, stdout, _ := ask("severity", s.serving(t)); code != exitOK || stdout != tt.want {
			t.Errorf("exits with %d and prints\n%s\nwant 0 and\n%s", code, stdout, tt.want)
		}
	}
}

func TestSeverityJSONIsOneMessage(t *testing.T) {
	_, stdout, _ := ask("severity", "-o=json", pressed().serving(t))
	var got struct {
		Level          int
		LevelsInEffect []int  `json:"levels_in_effect"`
		ExhaustionIn   string `json:"exhaustion_in"`
		Sequence       string
		Evidence       []struct{ Condition string }
	}
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatal(err)
	}
	if strings.Count(stdout, "\n") != 1 || got.Level != 2 || len(got.LevelsInEffect) != 2 || got.ExhaustionIn != "90s" ||
		got.Sequence != "7" || got.Evidence[0].Condition != "global_relative(15)" {
		t.Errorf("prints %s", stdout)
	}
}

func TestSeverityWatch(t *testing.T) {
	address := pressed().serving(t)
	_, stdout, _ := ask("severity", "--watch", "-n2", address)
	lines := strings.Split(stdout, "\n")
	want := []string{
		"severity 2 of 3  global_relative(15): memory 12%, bound 15%, 300ms old",
		"12:00:00  severity 2 -> 1  global_relative(15): memory 12%, bound 15%, 300ms old",
		"12:00:00  severity 1 -> 2  global_relative(15): memory 12%, bound 15%, 300ms old",
		"",
	}
	if len(lines) != len(want) {
		t.Fatalf("prints %q, want %q", lines, want)
	}
	lines[0] = lines[0][len("12:00:00  "):] // by the wall clock
	for i := range want {
		if lines[i] != want[i] {
			t.Errorf("line %d is %q, want %q", i, lines[i], want[i])
		}
	}
	_, stdout, _ = ask("severity", "--watch", "-n2", "-o=json", address)
	var got struct {
		FromLevel int `json:"from_level"`
		ToLevel   int `json:"to_level"`
	}
	for i, line := range strings.Split(strings.TrimSpace(stdout), "\n") {
		if err := json.Unmarshal([]byte(line), &got); err != nil || got.FromLevel != 2-i || got.ToLevel != 1+i {
			t.Errorf("line %d is %s (%v)", i, line, err)
		}
	}
}

// seeing is a writer that tells when a text was written.
type seeing struct {
	text string
	seen chan struct{}

	mu  sync.Mutex
	all strings.Builder
}

func (s *seeing) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := strings.Contains(s.all.String(), s.text)
	s.all.Write(p)
	if !before && strings.Contains(s.all.String(), s.text) {
		close(s.seen)
	}
	return len(p), nil
}

func (s *seeing) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.String()
}

func TestWatchShowsTransitionsBetweenStates(t *testing.T) {
	out := &seeing{text: "1 -> 2", seen: make(chan struct{})}
	s := pressed()
	s.states = append(s.states, &headroomv1.WatchSnapshotsResponse{
		Sequence: 2, Current: s.states[0].Current, Historical: s.states[0].Historical,
	})
	s.beforeState = func(sequence int64) {
		if sequence == 2 {
			<-out.seen
		}
	}
	var errs strings.Builder
	if code := run(t.Context(), []string{"watch", "-n2", s.serving(t)}, out, &errs); code != exitOK || errs.Len() > 0 {
		t.Errorf("exits with %d and says %q", code, errs.String())
	}
	lines := strings.Split(out.String(), "\n")
	want := []string{"VERDICT", "idle", "severity 2 of 3 ", "severity 2 -> 1 ", "severity 1 -> 2 ", "idle", ""}
	if len(lines) != len(want) {
		t.Fatalf("prints %q, want %q", lines, want)
	}
	for i := range want {
		if !strings.Contains(lines[i], want[i]) {
			t.Errorf("line %d is %q, want %q in it", i, lines[i], want[i])
		}
	}
}

// A server of a version before has no severity, which is no fault of it.
func TestWatchWithoutSeverity(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{status.Error(codes.Unimplemented, "unknown service"), ""},
		{status.Error(codes.PermissionDenied, "no"), "headroom: no transitions: no\n"},
	} {
		s := pressed()
		s.severityErr = tt.err
		c, err := client.Dial(t.Context(), client.WithAddress(s.start(t, healthv1.HealthCheckResponse_SERVING)))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		var out, errs strings.Builder
		showTransitions(t.Context(), c, &out, &errs)
		if out.Len() > 0 || errs.String() != tt.want {
			t.Errorf("%v: prints %q and says %q, want nothing and %q", tt.err, &out, &errs, tt.want)
		}
	}
}

func TestSeverityCannotBeAsked(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want int
	}{
		{status.Error(codes.PermissionDenied, "no"), exitDenied},
		{status.Error(codes.Unavailable, "no"), exitUnknown},
		{status.Error(codes.Unimplemented, "no"), exitUnknown},
	} {
		s := pressed()
		s.severityErr = tt.err
		for _, args := range [][]string{{"severity"}, {"severity", "-o=json"}} {
			if got, stdout, _ := ask(append(args, s.serving(t))...); got != tt.want || stdout != "" {
				t.Errorf("%v: %q exits with %d and prints %q, want %d", tt.err, args, got, stdout, tt.want)
			}
		}
	}
}

func TestSeverityUsage(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--exec", "2"}, "want a command after it"},
		{[]string{"extra"}, "a command goes with --exec only"},
		{[]string{"--exec", "65", "--", "true"}, "from 0 to 64"},
		{[]string{"--exec", "x", "--", "true"}, "from 0 to 64"},
		{[]string{"--exec", "1", "--watch", "-o", "json", "true"}, "--watch and --exec do not go together"},
		{[]string{"--exec", "1", "--watch", "-o", "json", "true"}, "--output json and --exec do not go together"},
		{[]string{"-n", "4097"}, "no more than 4096"},
	} {
		code, _, stderr := ask(append([]string{"severity"}, tt.args...)...)
		if code != exitUsage || !strings.Contains(stderr, tt.want) {
			t.Errorf("%q exits with %d and says %q, want %d and %q", tt.args, code, stderr, exitUsage, tt.want)
		}
	}
}
