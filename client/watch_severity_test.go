package client_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/client"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/severity"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// line is an update as "time instance level@sequence", then the transition, the gap and whether it is stale.
func line(at time.Duration, u client.SeverityUpdate, err error) string {
	if err != nil {
		return fmt.Sprintf("%v error %v", at, status.Code(err))
	}
	text := fmt.Sprintf("%v %s %d@%d", at, u.Severity.InstanceID, u.Severity.Level, u.Severity.Sequence)
	if t := u.Transition; t != nil {
		text += fmt.Sprintf(" #%d %d->%d", t.Sequence, t.From, t.To)
	}
	if u.Gap != client.NoGap {
		text += " gap: " + u.Gap.String()
	}
	if u.Stale {
		text += " stale"
	}
	return text
}

// followSeverity collects the lines of what is yielded within d. Whether an update that brings nothing new is
// taken before what follows it at the same instant is up to the scheduler, so such a one is left out.
func followSeverity(ctx context.Context, c *client.Client, o client.SeverityOptions, d time.Duration) []string {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	start := time.Now()
	var seen []string
	empty := time.Duration(-1) // when the last of seen came, if it brings nothing
	for u, err := range c.WatchSeverity(ctx, o) {
		at := time.Since(start)
		if at == empty {
			seen = seen[:len(seen)-1]
		}
		empty = -1
		if len(seen) > 0 && err == nil && u.Transition == nil && u.Gap == client.NoGap && !u.Stale {
			empty = at
		}
		seen = append(seen, line(at, u, err))
	}
	return seen
}

// after runs the steps, each at its time from now.
func after(steps map[time.Duration]func()) {
	for d, step := range steps {
		time.AfterFunc(d, step)
	}
}

func TestWatchSeverityResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := newMachine(), newPressure("a")
		p.move(1)
		defer m.serve(&script{watchSeverity: p.watch})()
		c := m.client(t)
		after(map[time.Duration]func(){
			1 * time.Second:         func() { p.move(2) },
			2 * time.Second:         p.cut,
			2050 * time.Millisecond: func() { p.move(0) },
		})
		expect(t, followSeverity(t.Context(), c, client.SeverityOptions{}, 14*time.Second),
			"0s a 1@1",
			"1s a 2@2 #2 1->2",
			"2s a 2@2 stale",
			"2.1s a 0@4 #3 2->1", // the severity that came first, before anybody took it, said no more
			"2.1s a 0@4 #4 1->0",
			"12.1s a 0@4",
		)
		if asked := p.asked(); len(asked) != 2 || asked[0].GetAfter() != nil ||
			asked[1].GetAfter().GetInstanceId() != "a" || asked[1].GetAfter().GetSequence() != 2 {
			t.Errorf("requests %v, want one without a position and one after 2 of a", asked)
		}
	})
}

func TestWatchSeverityTellsARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, a, b := newMachine(), newPressure("a"), newPressure("b")
		stopA, stopB := m.serve(&script{watchSeverity: a.watch}), make(chan func(), 1)
		c := m.client(t)
		b.move(3)
		after(map[time.Duration]func(){
			1 * time.Second: func() { a.move(2) },
			2 * time.Second: func() { stopA(); stopB <- m.serve(&script{watchSeverity: b.watch}) },
			3 * time.Second: func() { b.move(2) },
		})
		expect(t, followSeverity(t.Context(), c, client.SeverityOptions{}, 5*time.Second),
			"0s a 0@0",
			"1s a 2@2 #1 0->1",
			"1s a 2@2 #2 1->2",
			"2s a 2@2 stale",
			"2.1s b 3@3 gap: the server was restarted",
			"3s b 2@4 #4 3->2",
		)
		if asked := b.asked(); len(asked) != 2 || asked[0].GetAfter().GetInstanceId() != "a" || asked[1].GetAfter() != nil {
			t.Errorf("requests %v, want one after a and one without a position", asked)
		}
		(<-stopB)()
	})
}

func TestWatchSeverityTellsWhatWasEvicted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := newMachine(), newPressure("a")
		defer m.serve(&script{watchSeverity: p.watch})()
		c := m.client(t)
		churn := func() {
			for range severity.HistorySize/2 + 1 {
				p.move(1)
				p.move(0)
			}
			p.move(2)
		}
		after(map[time.Duration]func(){
			1 * time.Second:         p.cut,
			1050 * time.Millisecond: churn,
			2 * time.Second:         func() { p.move(1) },
		})
		expect(t, followSeverity(t.Context(), c, client.SeverityOptions{}, 3*time.Second),
			"0s a 0@0",
			"1s a 0@0 stale",
			"1.1s a 2@4100 gap: the server no longer has them",
			"2s a 1@4101 #4101 2->1",
		)
	})
}

// A gap is not lost on a loop that is busy when it happens.
func TestWatchSeveritySlowLoopSeesTheGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, a, b := newMachine(), newPressure("a"), newPressure("b")
		stop := m.serve(&script{watchSeverity: a.watch})
		c := m.client(t)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var seen []string
		for u, err := range c.WatchSeverity(ctx, client.SeverityOptions{}) {
			if seen = append(seen, line(time.Since(m.start), u, err)); len(seen) == 1 {
				stop()
				stop = m.serve(&script{watchSeverity: b.watch})
				time.Sleep(5 * time.Second)
				b.move(1)
				synctest.Wait()
			}
		}
		expect(t, seen,
			"0s a 0@0",
			"5s b 0@0 gap: the server was restarted",
			"5s b 1@1 #1 0->1",
		)
		stop()
	})
}

// A loop that is slower than the buffer is long gets every transition, in order.
func TestWatchSeveritySlowLoopMissesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := newMachine(), newPressure("a")
		defer m.serve(&script{watchSeverity: p.watch})()
		c := m.client(t)
		const last = 8_000 // more than wait, no more than wait and are kept
		var next uint64
		for u, err := range c.WatchSeverity(t.Context(), client.SeverityOptions{}) {
			switch {
			case err != nil || u.Stale || u.Gap != client.NoGap:
				t.Fatalf("update %+v, error %v", u, err)
			case u.Transition == nil && next == 0:
				for range last / 2 {
					p.move(1)
					p.move(0)
					if p.history.Last() == severity.HistorySize { // all of these were sent by now
						synctest.Wait()
					}
				}
				synctest.Wait()
				next = 1
			case u.Transition == nil:
			case u.Transition.Sequence != next:
				t.Fatalf("transition %d, want %d", u.Transition.Sequence, next)
			default:
				next++
			}
			if next > last {
				break
			}
		}
		asked := p.asked()
		if len(asked) < 2 {
			t.Fatalf("%d streams: the buffer was never full", len(asked))
		}
		for _, req := range asked[1:] {
			if req.GetAfter().GetSequence() == 0 {
				t.Errorf("request %v, want one after what was taken", req)
			}
		}
	})
}

func TestWatchSeverityOfAProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := newMachine(), newPressure("a")
		p.move(1)
		defer m.serve(&script{watchSeverity: p.watch})()
		c := m.client(t)
		after(map[time.Duration]func(){1 * time.Second: p.cut})
		o := client.SeverityOptions{PID: 17, MaxMemory: 1 << 30}
		expect(t, followSeverity(t.Context(), c, o, 2*time.Second),
			"0s a 1@1",
			"1s a 1@1 stale",
			"1.1s a 1@1 gap: the stream of the process broke",
		)
		for _, req := range p.asked() {
			if req.GetAfter() != nil || req.GetProcess().GetPid() != 17 || req.GetProcess().GetMaxBytes() != 1<<30 {
				t.Errorf("request %v, want one for process 17 without a position", req)
			}
		}
		followSeverity(t.Context(), c, client.SeverityOptions{Reporter: "crawler-7"}, time.Second)
		asked := p.asked()
		if got := asked[len(asked)-1].GetProcess().GetReporter(); got != "crawler-7" {
			t.Errorf("reporter %q, want crawler-7", got)
		}
	})
}

func TestSeverityOptionsFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		defer m.serve(&script{})()
		c := m.client(t)
		for _, tt := range []struct {
			options client.SeverityOptions
			faults  []string
		}{
			{client.SeverityOptions{PID: -1, MaxMemory: -2, Reporter: "x"}, []string{"PID -1: want at least 1", "one of the two", "MaxMemory -2"}},
			{client.SeverityOptions{PID: 1}, []string{"MaxMemory 0: want at least 1 with PID"}},
			{client.SeverityOptions{Reporter: "x", MaxMemory: 1}, []string{"MaxMemory 1: want at least 1 with PID, 0 without"}},
		} {
			var end error
			for _, err := range c.WatchSeverity(t.Context(), tt.options) {
				end = err
			}
			if status.Code(end) == codes.Unimplemented {
				t.Errorf("%+v: the server was asked", tt.options)
			}
			for _, fault := range tt.faults {
				if end == nil || !strings.Contains(end.Error(), fault) {
					t.Errorf("%+v: error %v, want %q in it", tt.options, end, fault)
				}
			}
		}
	})
}

// What a server must not send makes a stale stream, not a skipped transition; and one that refuses everything is
// not asked at once for ever.
func TestWatchSeverityOfABadServer(t *testing.T) {
	first := func(sequence int64) *headroomv1.WatchSeverityResponse {
		return &headroomv1.WatchSeverityResponse{
			Started:  &headroomv1.SeverityStarted{InstanceId: "a"},
			Severity: &headroomv1.Severity{Sequence: sequence},
		}
	}
	next := func(sequence uint64) *headroomv1.WatchSeverityResponse {
		return &headroomv1.WatchSeverityResponse{
			Severity:   &headroomv1.Severity{Sequence: int64(sequence)},
			Transition: transition(severity.Transition{To: 1, Sequence: sequence}),
		}
	}
	for _, tt := range []struct {
		name     string
		messages []*headroomv1.WatchSeverityResponse
		end      error
		want     []string
	}{
		{"skips", []*headroomv1.WatchSeverityResponse{first(1), next(2), next(4)}, nil,
			[]string{"a 0@1", "a 0@2 #2 0->1", "a 0@2 stale"}},
		{"repeats", []*headroomv1.WatchSeverityResponse{first(1), next(2), next(2), next(1)}, nil,
			[]string{"a 0@1", "a 0@2 #2 0->1", "a 0@2", "a 0@1", "a 0@1 stale"}},
		{"does not start", []*headroomv1.WatchSeverityResponse{next(1)}, nil, []string{" 0@0 stale"}},
		{"refuses", nil, outOfRange("HISTORY_EVICTED"), []string{" 0@0 stale"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachine()
				calls := 0
				stop := m.serve(&script{watchSeverity: func(_ *headroomv1.WatchSeverityRequest, st severityStream) error {
					calls++
					for _, msg := range tt.messages {
						if err := st.Send(msg); err != nil {
							return err
						}
						time.Sleep(time.Nanosecond)
					}
					return tt.end
				}})
				c := m.client(t)
				got := followSeverity(t.Context(), c, client.SeverityOptions{}, 50*time.Millisecond)
				for i := range got {
					_, got[i], _ = strings.Cut(got[i], " ") // without the nanoseconds
				}
				expect(t, got, tt.want...)
				stop()
				if calls != 1 {
					t.Errorf("%d streams within 50 ms, want 1", calls)
				}
			})
		})
	}
}

func TestWatchSeverityEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		defer m.serve(&script{})() // an older server, without the service
		c := m.client(t)
		expect(t, followSeverity(t.Context(), c, client.SeverityOptions{}, time.Second), "0s error Unimplemented")
		var end error
		c.Close()
		for _, err := range c.WatchSeverity(t.Context(), client.SeverityOptions{}) {
			end = err
		}
		if !errors.Is(end, client.ErrClosed) {
			t.Errorf("after Close: %v, want ErrClosed", end)
		}
	})
}

func TestSeverityTranslates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		since := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
		m := newMachine()
		defer m.serve(&script{getSeverity: func(req *headroomv1.GetSeverityRequest) (*headroomv1.GetSeverityResponse, error) {
			leaf := &headroomv1.Evidence{
				Resource: headroomv1.ResourceKind_RESOURCE_KIND_MEMORY, Condition: "available < 15%", Level: 2,
				Value: proto.Float64(0.12), Bound: proto.Float64(0.15), Unit: "ratio", Age: durationpb.New(time.Second),
			}
			p := &headroomv1.GetSeverityResponse{InstanceId: "a", ServerVersion: "0.1.0", Severity: &headroomv1.Severity{
				Level: 2, LevelsInEffect: []int32{2, 1}, MaxLevel: 3, Sequence: 7, SinceTime: timestamppb.New(since),
				Evidence: []*headroomv1.Evidence{leaf}, Fraction: proto.Float64(0.25), ExhaustionIn: durationpb.New(time.Minute),
				Unknown: []*headroomv1.Evidence{{Condition: "psi", UnknownReason: "no PSI"}},
			}}
			for n := range req.GetMaxTransitions() {
				p.Transitions = append(p.Transitions, &headroomv1.Transition{
					FromLevel: 1 - n%2, ToLevel: 1 + n%2, Sequence: int64(n + 1), Time: timestamppb.New(since),
					Evidence: []*headroomv1.Evidence{leaf},
				})
			}
			return p, nil
		}})()
		c := m.client(t)
		s, err := c.Severity(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if s.Level != 2 || s.MaxLevel != 3 || s.Sequence != 7 || !s.Since.Equal(since) || s.Fraction != 0.25 ||
			!s.HasFraction || s.Exhaustion != time.Minute || !s.HasExhaustion || s.InstanceID != "a" || s.ServerVersion != "0.1.0" {
			t.Errorf("severity = %+v", s)
		}
		want := severity.Evidence{Level: 2, Text: "available < 15%", Finding: severity.Finding{
			Truth: severity.True, Value: 0.12, Bound: 0.15, HasValue: true, Unit: "ratio", Signal: "memory", Age: time.Second,
		}}
		if len(s.Evidence) != 1 || s.Evidence[0] != want {
			t.Errorf("evidence = %+v, want %+v", s.Evidence, want)
		}
		if len(s.Unknown) != 1 || s.Unknown[0].Truth != severity.Unknown || s.Unknown[0].Reason != "no PSI" {
			t.Errorf("unknown = %+v", s.Unknown)
		}
		_, transitions, err := c.Transitions(t.Context(), 2)
		if err != nil || len(transitions) != 2 {
			t.Fatalf("transitions = %v, %v, want 2", transitions, err)
		}
		for i, want := range []severity.Truth{severity.False, severity.True} {
			got := transitions[i]
			if got.Evidence[0].Truth != want || got.Up() != (want == severity.True) || got.Sequence != uint64(i+1) || !got.Time.Equal(since) {
				t.Errorf("transition %d = %+v, want one whose evidence is %v", i, got, want)
			}
		}
		if _, _, err := c.Transitions(t.Context(), 4097); err == nil || !strings.Contains(err.Error(), "want 0 to 4096") {
			t.Errorf("4097 transitions: %v", err)
		}
	})
}
