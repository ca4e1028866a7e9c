package server_test

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/durationpb"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/server"
	"github.com/headroom-rpc/headroom/severity"
)

func ofReporter(name string) *headroomv1.WatchSeverityRequest {
	return &headroomv1.WatchSeverityRequest{Process: &headroomv1.ProcessScope{
		Process: &headroomv1.ProcessScope_Reporter{Reporter: name},
	}}
}

// reports states the memory of a reporter for 10 s.
func reports(t *testing.T, f *fixture, name string, used, limit int64) {
	t.Helper()
	_, err := f.client.ReportLoad(t.Context(), &headroomv1.ReportLoadRequest{
		Reporter: name, Ttl: durationpb.New(10 * time.Second),
		Memory: &headroomv1.ProcessMemory{UsedBytes: used, MaxBytes: limit},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// last returns the severity of the last message.
func (s *steps) last(t *testing.T) *headroomv1.Severity {
	t.Helper()
	list := s.messages()
	if len(list) == 0 {
		t.Fatalf("no message")
	}
	return list[len(list)-1].GetSeverity()
}

// A reporter has levels of its own, also where those of the machine are at rest.
func TestSeverityOfAReporter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := serving(t, settings{})
		reports(t, f, "worker", 10, 100)
		s := follow(t.Context(), f.conn, ofReporter("worker"))
		other := f.dial(t)
		defer other.Close()
		for _, used := range []int64{10, 80, 90, 96, 96, 10, 10} {
			reports(t, f, "worker", used, 100)
			time.Sleep(8 * time.Second)
		}
		time.Sleep(8 * time.Second)
		synctest.Wait()
		list := s.transitions()
		checkOrder(t, list, 0)
		var levels []int32
		for _, m := range list {
			levels = append(levels, m.GetTransition().GetToLevel())
		}
		if len(levels) != 6 || levels[2] != 3 || levels[5] != 0 {
			t.Fatalf("the level went to %v, want up to 3 and down to 0", levels)
		}
		if e := list[0].GetTransition().GetEvidence(); len(e) != 1 || e[0].GetCondition() != "local_relative(25)" || e[0].GetSignal() != "process" {
			t.Errorf("evidence = %v, want that the process has less than 25 %% left", e)
		}
		if at := list[0].at; at < 8*time.Second || at > 12*time.Second {
			t.Errorf("the first transition came after %v, want the hold-for of 2s after the report at 8s", at)
		}
		if got := f.level(t); got.GetSequence() != 0 {
			t.Errorf("the machine had %d transitions, want none", got.GetSequence())
		}
	})
}

// One that falls silent is unknown, which holds its level; one with another maximum is begun anew.
func TestSeverityOfAReporterThatChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := serving(t, settings{})
		reports(t, f, "worker", 80, 100)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		s := follow(ctx, f.conn, ofReporter("worker"))
		time.Sleep(time.Minute)
		synctest.Wait()
		got := s.last(t)
		if got.GetLevel() != 1 || len(got.GetUnknown()) == 0 {
			t.Fatalf("50 s after the last report expired: %v, want level 1 held by what is unknown", got)
		}
		reports(t, f, "worker", 80, 101)
		checkError(t, s.end(), codes.Aborted, "REPORTER_CHANGED")
		again := follow(ctx, f.conn, ofReporter("worker"))
		time.Sleep(5 * time.Second)
		synctest.Wait()
		list := again.transitions()
		checkOrder(t, list, 0)
		if len(list) != 1 {
			t.Errorf("%d transitions of the stream that was opened anew, want 1", len(list))
		}
	})
}

// The high memory of the machine counts for its processes too.
func TestSeverityOfAProcessHasThatOfTheMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := serving(t, settings{})
		f.machine.setMemory(0.80)
		reports(t, f, "worker", 1, 100)
		s := follow(t.Context(), f.conn, ofReporter("worker"))
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if list := s.transitions(); len(list) != 1 || list[0].GetTransition().GetEvidence()[0].GetCondition() != "global_relative(25)" {
			t.Errorf("transitions %v, want one by the memory of the machine", list)
		}
	})
}

func TestProcessLevels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := []severity.Level{{Enter: severity.GlobalRelative(50)}}
		for _, tt := range []struct {
			name          string
			host, process []severity.Level
			used          int64
			want, highest int32
		}{
			{"one level has the term of the highest", one, nil, 94, 0, 1},
			{"and holds by it", one, nil, 96, 1, 1},
			{"two have those of the two highest", append(one, one...), nil, 86, 1, 2},
			{"one's own", one, []severity.Level{{Enter: severity.LocalAbsolute(50)}}, 51, 1, 1},
			{"none", nil, []severity.Level{}, 100, 0, 0},
			{"of no levels none", []severity.Level{}, nil, 100, 0, 0},
		} {
			f := serving(t, settings{server: func(c *server.Config) { c.Levels, c.ProcessLevels = tt.host, tt.process }})
			reports(t, f, "worker", tt.used, 100)
			s := follow(t.Context(), f.conn, ofReporter("worker"))
			time.Sleep(9 * time.Second)
			synctest.Wait()
			if got := s.last(t); got.GetLevel() != tt.want || got.GetMaxLevel() != tt.highest {
				t.Errorf("%s: level %d of %d, want %d of %d", tt.name, got.GetLevel(), got.GetMaxLevel(), tt.want, tt.highest)
			}
			f.shutdown()
		}
	})
}

// as returns a connection of somebody else to the server of a fixture that listens on the listener.
func as(t *testing.T, l *bufconn.Listener) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///other", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// A reporter belongs to its identity: another one sees none of that name.
func TestReporterOfAnotherIdentity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := bufconn.Listen(1 << 20)
		f := serving(t, settings{server: func(c *server.Config) {
			c.Listeners = append(c.Listeners, server.NewListener(l, server.Identity{Name: "else", Role: server.RoleOperator}))
		}})
		reports(t, f, "worker", 1, 100)
		checkRefused(t, as(t, l), ofReporter("worker"), codes.Unavailable, "REPORTER_SILENT")
	})
}
