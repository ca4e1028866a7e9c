package server_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/server"
	"github.com/headroom-rpc/headroom/severity"
)

// step is a message of a stream of transitions and when it came, since the stream was opened.
type step struct {
	*headroomv1.WatchSeverityResponse
	at time.Duration
}

// steps is what one stream sent so far.
type steps struct {
	mu   sync.Mutex
	all  []step
	err  error         // nil for OK
	done chan struct{} // closed at its end
}

// follow opens a stream and takes everything until it ends.
func follow(ctx context.Context, conn grpc.ClientConnInterface, req *headroomv1.WatchSeverityRequest) *steps {
	s := &steps{done: make(chan struct{})}
	begin := time.Now()
	stream, err := headroomv1.NewSeverityServiceClient(conn).WatchSeverity(ctx, req)
	go func() {
		defer close(s.done)
		for err == nil {
			var resp *headroomv1.WatchSeverityResponse
			if resp, err = stream.Recv(); err == nil {
				s.mu.Lock()
				s.all = append(s.all, step{resp, time.Since(begin)})
				s.mu.Unlock()
			}
		}
		s.err = eofIsOK(err)
	}()
	return s
}

// checkRefused opens a stream that is to be refused.
func checkRefused(t *testing.T, conn grpc.ClientConnInterface, req *headroomv1.WatchSeverityRequest, code codes.Code, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := follow(ctx, conn, req).end(); status.Code(err) != code || reason(err) != want {
		t.Errorf("%v: %v with reason %q, want %v with reason %s", req, err, reason(err), code, want)
	}
}

func (s *steps) messages() []step {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]step(nil), s.all...)
}

// transitions returns the messages that hold one.
func (s *steps) transitions() (list []step) {
	for _, m := range s.messages() {
		if m.GetTransition() != nil {
			list = append(list, m)
		}
	}
	return list
}

// end waits for the end of the stream and returns its error.
func (s *steps) end() error {
	<-s.done
	return s.err
}

// checkOrder holds transitions to their order, one step and one number at a time, beginning after sequence.
func checkOrder(t *testing.T, list []step, after int64) {
	t.Helper()
	for i, m := range list {
		tr := m.GetTransition()
		if want := after + int64(i) + 1; tr.GetSequence() != want {
			t.Fatalf("transition %d has sequence %d, want %d", i, tr.GetSequence(), want)
		}
		if d := tr.GetToLevel() - tr.GetFromLevel(); d != 1 && d != -1 {
			t.Fatalf("transition %d goes from %d to %d, want one step", i, tr.GetFromLevel(), tr.GetToLevel())
		}
		if i > 0 && tr.GetFromLevel() != list[i-1].GetTransition().GetToLevel() {
			t.Fatalf("transition %d begins at %d, want %d", i, tr.GetFromLevel(), list[i-1].GetTransition().GetToLevel())
		}
		if len(tr.GetEvidence()) == 0 || !tr.GetTime().IsValid() {
			t.Fatalf("transition %d has evidence %v and time %v, want both", i, tr.GetEvidence(), tr.GetTime())
		}
	}
}

func (f *fixture) severity() headroomv1.SeverityServiceClient {
	return headroomv1.NewSeverityServiceClient(f.conn)
}

func (f *fixture) level(t *testing.T) *headroomv1.Severity {
	t.Helper()
	resp, err := f.severity().GetSeverity(t.Context(), &headroomv1.GetSeverityRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return resp.GetSeverity()
}

// steep are levels that all move at once: each flip of the memory over or under the half is a transition for
// each of them.
func steep(count int) func(*server.Config) {
	return func(c *server.Config) {
		c.Levels = []severity.Level{}
		for range count {
			c.Levels = append(c.Levels, severity.Level{Enter: severity.GlobalRelative(50)})
		}
	}
}

// flip moves the memory over the half and under it, each second and for n seconds.
func (f *fixture) flip(n int) {
	for i := range n {
		f.machine.setMemory([]float64{0.75, 0.25}[i%2])
		time.Sleep(time.Second)
	}
}

// A machine whose memory fills climbs through all levels, each after its hold-for, and falls back after the
// dwell of each.
func TestSeverityClimbsAndFalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := serving(t, settings{})
		time.Sleep(950 * time.Millisecond) // to a reading of the memory
		s := follow(t.Context(), f.conn, &headroomv1.WatchSeverityRequest{})
		for _, used := range []float64{0.76, 0.86, 0.96, 0.25} {
			time.Sleep(9*time.Second + 500*time.Millisecond)
			f.machine.setMemory(used) // read 500 ms later
			time.Sleep(500 * time.Millisecond)
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		list := s.transitions()
		checkOrder(t, list, 0)
		want := []struct {
			to       int32
			at       time.Duration
			evidence string
		}{
			{1, 12 * time.Second, "global_relative(25)"},
			{2, 22 * time.Second, "global_relative(15)"},
			{3, 31 * time.Second, "global_relative(5)"},
			{2, 41 * time.Second, "global_relative(8)"},
			{1, 41 * time.Second, "global_relative(20)"},
			{0, 43 * time.Second, "any_overloaded(current)"}, // the window still holds what was over the limit
		}
		if len(list) != len(want) {
			t.Fatalf("%d transitions, want %d", len(list), len(want))
		}
		for i, w := range want {
			tr := list[i].GetTransition()
			// Evaluations are 100 ms apart at least, so one may come that much after the reading.
			if late := list[i].at - w.at; tr.GetToLevel() != w.to || late < 0 || late > 200*time.Millisecond {
				t.Errorf("transition %d: to %d after %v, want %d after %v", i, tr.GetToLevel(), list[i].at, w.to, w.at)
			}
			var texts []string
			for _, e := range tr.GetEvidence() {
				texts = append(texts, e.GetCondition())
				if up := tr.GetToLevel() > tr.GetFromLevel(); e.UnknownReason == "" && e.GetHolds() != up {
					t.Errorf("transition %d: %v holds %v, want %v", i, e.GetCondition(), e.GetHolds(), up)
				}
			}
			if !strings.Contains(strings.Join(texts, " "), w.evidence) {
				t.Errorf("transition %d: evidence %v, want %s among it", i, texts, w.evidence)
			}
			if got := list[i].GetSeverity(); got.GetSequence() < tr.GetSequence() || got.GetMaxLevel() != 3 {
				t.Errorf("transition %d: severity of sequence %d of %d levels, want at least %d and 3",
					i, got.GetSequence(), got.GetMaxLevel(), tr.GetSequence())
			}
		}
	})
}

func TestGetSeverity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := serving(t, settings{})
		if got := f.level(t); got.GetLevel() != 0 || got.GetSequence() != 0 || got.GetSinceTime() != nil ||
			got.GetMaxLevel() != 3 || len(got.GetEvidence()) != 0 || got.GetExhaustionIn() != nil {
			t.Errorf("at first: %v, want level 0 of 3 without transition and evidence", got)
		}
		time.Sleep(10 * time.Second)
		f.machine.setMemory(0.90)
		time.Sleep(5 * time.Second)
		resp, err := f.severity().GetSeverity(t.Context(), &headroomv1.GetSeverityRequest{MaxTransitions: 1})
		if err != nil {
			t.Fatal(err)
		}
		got := resp.GetSeverity()
		if got.GetLevel() != 2 || fmt.Sprint(got.GetLevelsInEffect()) != "[2 1]" || got.GetSequence() != 2 {
			t.Errorf("level %d with %v in effect after %d transitions, want 2, [2 1], 2", got.GetLevel(), got.GetLevelsInEffect(), got.GetSequence())
		}
		if len(got.GetEvidence()) != 1 || got.GetEvidence()[0].GetCondition() != "global_relative(15)" ||
			got.GetEvidence()[0].GetSignal() != "memory" || !got.GetEvidence()[0].GetHolds() {
			t.Errorf("evidence = %v, want that less than 15 %% of the memory are left", got.GetEvidence())
		}
		// From 15 % at level 2 to 5 % at level 3, 10 % are half of the way.
		if got.Fraction == nil || got.GetFraction() < 0.49 || got.GetFraction() > 0.51 {
			t.Errorf("fraction = %v, want 0.5", got.Fraction)
		}
		if list := resp.GetTransitions(); len(list) != 1 || list[0].GetSequence() != 2 || !list[0].GetTime().AsTime().Equal(got.GetSinceTime().AsTime()) {
			t.Errorf("transitions = %v, want the last one, since whose time %v the level is", list, got.GetSinceTime())
		}
		if resp.GetInstanceId() != f.InstanceID() || resp.GetServerVersion() != "1.2.3" {
			t.Errorf("instance %q of version %q, want this one of 1.2.3", resp.GetInstanceId(), resp.GetServerVersion())
		}
		var unknown []string
		for _, e := range got.GetUnknown() {
			unknown = append(unknown, e.GetCondition()+": "+e.GetUnknownReason())
		}
		if !strings.Contains(strings.Join(unknown, "; "), "pressure_some(memory, 0.2): not read") {
			t.Errorf("unknown = %q, want the pressure, which this machine does not measure", unknown)
		}
	})
}

// Memory that shrinks steadily has a time to exhaustion, by which level 3 is entered long before it is short.
func TestSeverityExhaustion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := serving(t, settings{})
		for i := range 20 {
			f.machine.setMemory(0.20 + 0.02*float64(i))
			time.Sleep(time.Second)
		}
		got := f.level(t)
		// 0.42 of the memory is left and falls by 0.02 a second.
		if in := got.GetExhaustionIn().AsDuration(); in < 20*time.Second || in > 22*time.Second {
			t.Errorf("exhausted in %v, want about 21s", in)
		}
		if got.GetLevel() != 3 {
			t.Errorf("level %d, want 3", got.GetLevel())
		}
		if e := got.GetEvidence(); len(e) != 1 || e[0].GetCondition() != "exhaustion_within(30s)" || e[0].GetUnit() != "seconds" {
			t.Errorf("evidence = %v, want the exhaustion in seconds", e)
		}
	})
}

func TestSeverityLevels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			name   string
			levels []severity.Level
			want   int32
		}{
			{"nil are the built-in ones", nil, 3},
			{"an empty list is none", []severity.Level{}, 0},
			{"one's own", []severity.Level{{Enter: severity.GlobalRelative(50)}}, 1},
		} {
			f := serving(t, settings{server: func(c *server.Config) { c.Levels = tt.levels }})
			f.machine.setMemory(0.99)
			time.Sleep(10 * time.Second)
			if got := f.level(t); got.GetLevel() != tt.want || got.GetMaxLevel() != tt.want {
				t.Errorf("%s: level %d of %d, want %d", tt.name, got.GetLevel(), got.GetMaxLevel(), tt.want)
			}
			if err := f.shutdown(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestNewRefusesLevels(t *testing.T) {
	_, err := server.New(server.Config{
		Levels:        []severity.Level{{Enter: severity.LocalRelative(5)}, {}},
		ProcessLevels: []severity.Level{{Enter: severity.LocalRelative(500)}},
	})
	for _, want := range []string{
		"Levels: severity: config: Levels[0].Enter: local_relative needs ProcessMax", "Levels[1].Enter: required",
		"ProcessLevels: severity: config: Levels[0].Enter: 500 percent",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New = %v\nwant it to say %q", err, want)
		}
	}
}

// Levels that leave no room for what the process has left are refused before anybody watches one.
func TestNewRefusesLevelsThatProcessesCannotHave(t *testing.T) {
	full := make([]severity.Condition, 65)
	for i := range full {
		full[i] = severity.GlobalRelative(5)
	}
	levels := []severity.Level{{Enter: severity.Any(full...)}}
	_, err := server.New(server.Config{Levels: levels})
	if err == nil || strings.Contains(err.Error(), "\nLevels:") || !strings.Contains(err.Error(), "ProcessLevels: severity: config: Levels[0].Enter: 66 leaves") {
		t.Errorf("New = %v, want a fault of ProcessLevels alone", err)
	}
	_, err = server.New(server.Config{Levels: levels, ProcessLevels: []severity.Level{}})
	if err == nil || strings.Contains(err.Error(), "leaves") {
		t.Errorf("New with levels of their own = %v, want no fault of them", err)
	}
}

func TestSeverityTransitionIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		f := serving(t, settings{server: withLog(&log, slog.LevelWarn)})
		f.machine.setMemory(0.80)
		time.Sleep(5 * time.Second)
		if f.level(t).GetLevel() != 1 {
			t.Fatal("the level is not 1")
		}
		for _, want := range []string{"level=WARN", "severity level changed", "from=0 to=1", "global_relative(25) is true: memory 0.2 ratio, bound 0.25"} {
			if strings.Count(log.String(), want) != 1 {
				t.Errorf("the log has not one %q:\n%s", want, log.String())
			}
		}
	})
}

// While nothing can be read, the level is held and says why.
func TestSeverityOfADeadSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := serving(t, settings{server: steep(1)})
		f.machine.setMemory(0.75)
		time.Sleep(5 * time.Second)
		f.machine.mu.Lock()
		f.machine.memoryBroken = fmt.Errorf("the meter is gone")
		f.machine.mu.Unlock()
		time.Sleep(time.Minute)
		got := f.level(t)
		if got.GetLevel() != 1 || got.Fraction != nil || got.GetExhaustionIn() != nil {
			t.Errorf("a minute after the source died: %v, want level 1 held, without fraction and exhaustion", got)
		}
		if u := got.GetUnknown(); len(u) != 1 || u[0].GetCondition() != "global_relative(50)" || u[0].GetUnknownReason() == "" ||
			u[0].Value != nil || u[0].Holds != nil || u[0].GetAge().AsDuration() < 50*time.Second {
			t.Errorf("unknown = %v, want the condition with its reason and age, and without a value", u)
		}
	})
}

func TestSeverityRefusesBadInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := serving(t, settings{})
		here := f.InstanceID()
		pid := func(pid, limit int64) *headroomv1.ProcessScope {
			return &headroomv1.ProcessScope{Process: &headroomv1.ProcessScope_Pid{Pid: pid}, MaxBytes: limit}
		}
		reporter := func(name string, limit int64) *headroomv1.ProcessScope {
			return &headroomv1.ProcessScope{Process: &headroomv1.ProcessScope_Reporter{Reporter: name}, MaxBytes: limit}
		}
		at := func(instance string, sequence int64) *headroomv1.SeverityPosition {
			return &headroomv1.SeverityPosition{InstanceId: instance, Sequence: sequence}
		}
		for _, tt := range []struct {
			req    *headroomv1.WatchSeverityRequest
			code   codes.Code
			reason string
		}{
			{&headroomv1.WatchSeverityRequest{After: at("", 0)}, codes.InvalidArgument, "INVALID_FIELDS"},
			{&headroomv1.WatchSeverityRequest{After: at(here, -1)}, codes.InvalidArgument, "INVALID_FIELDS"},
			{&headroomv1.WatchSeverityRequest{After: at(here, 1)}, codes.InvalidArgument, "INVALID_FIELDS"},
			{&headroomv1.WatchSeverityRequest{After: at(strings.Repeat("a", 65), 0)}, codes.InvalidArgument, "INVALID_FIELDS"},
			{&headroomv1.WatchSeverityRequest{After: at("another", 0)}, codes.OutOfRange, "INSTANCE_CHANGED"},
			{&headroomv1.WatchSeverityRequest{After: at(here, 0), Process: pid(1, 1)}, codes.InvalidArgument, "INVALID_FIELDS"},
			{&headroomv1.WatchSeverityRequest{Process: &headroomv1.ProcessScope{MaxBytes: 1}}, codes.InvalidArgument, "INVALID_FIELDS"},
			{&headroomv1.WatchSeverityRequest{Process: pid(0, 1)}, codes.InvalidArgument, "INVALID_FIELDS"},
			{&headroomv1.WatchSeverityRequest{Process: pid(-1, 1)}, codes.InvalidArgument, "INVALID_FIELDS"},
			{&headroomv1.WatchSeverityRequest{Process: pid(1, 0)}, codes.InvalidArgument, "INVALID_FIELDS"},
			{&headroomv1.WatchSeverityRequest{Process: pid(1, -1)}, codes.InvalidArgument, "INVALID_FIELDS"},
			{&headroomv1.WatchSeverityRequest{Process: pid(1<<40+1, 1)}, codes.NotFound, "PROCESS_NOT_FOUND"},
			{&headroomv1.WatchSeverityRequest{Process: reporter("x", 1)}, codes.InvalidArgument, "INVALID_FIELDS"},
			{&headroomv1.WatchSeverityRequest{Process: reporter("-x", 0)}, codes.InvalidArgument, "INVALID_FIELDS"},
			{&headroomv1.WatchSeverityRequest{Process: reporter("x", 0)}, codes.Unavailable, "REPORTER_SILENT"},
		} {
			checkRefused(t, f.conn, tt.req, tt.code, tt.reason)
		}
		for _, n := range []int32{-1, 4097} {
			_, err := f.severity().GetSeverity(t.Context(), &headroomv1.GetSeverityRequest{MaxTransitions: n})
			checkError(t, err, codes.InvalidArgument, "INVALID_FIELDS")
		}
	})
}

// waitForSeverity waits until the machine was judged.
func (f *fixture) waitForSeverity(t *testing.T) {
	t.Helper()
	watch, err := healthv1.NewHealthClient(f.conn).Watch(t.Context(),
		&healthv1.HealthCheckRequest{Service: headroomv1.SeverityService_ServiceDesc.ServiceName})
	for serving := false; !serving; {
		var resp *healthv1.HealthCheckResponse
		if err == nil {
			resp, err = watch.Recv()
		}
		if err != nil {
			t.Fatal(err)
		}
		serving = resp.GetStatus() == healthv1.HealthCheckResponse_SERVING
	}
}
