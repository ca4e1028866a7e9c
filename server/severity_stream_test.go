package server_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/test/bufconn"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/server"
	"github.com/headroom-rpc/headroom/severity"
	"github.com/headroom-rpc/headroom/snapshot"
)

func (f *fixture) after(sequence int64) *headroomv1.WatchSeverityRequest {
	return &headroomv1.WatchSeverityRequest{After: &headroomv1.SeverityPosition{InstanceId: f.InstanceID(), Sequence: sequence}}
}

// The first message comes at once and states what holds for the stream; in a silence others follow in time.
func TestWatchSeverityBeginsAndBreaksTheSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := serving(t, settings{})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(59*time.Second, cancel) // a deadline would be told by the client or by the server
		s := follow(ctx, f.conn, &headroomv1.WatchSeverityRequest{})
		checkError(t, s.end(), codes.Canceled, "")
		list := s.messages()
		first := list[0]
		if first.at != 0 || first.GetSeverity() == nil || first.GetTransition() != nil {
			t.Errorf("the first message is %v after %v, want a severity at once", first, first.at)
		}
		if st := first.GetStarted(); st.GetInstanceId() != f.InstanceID() || st.GetServerVersion() != "1.2.3" || st.GetMaxSilence().AsDuration() != 10*time.Second {
			t.Errorf("started = %v, want this instance, 1.2.3 and 10s", st)
		}
		for i, m := range list[1:] {
			if gap := m.at - list[i].at; m.GetStarted() != nil || m.GetTransition() != nil || m.GetSeverity() == nil || gap != 7500*time.Millisecond {
				t.Errorf("message %d after %v is %v, want a severity alone after 7.5s", i+1, gap, m)
			}
		}
		if len(list) != 8 {
			t.Errorf("%d messages in 59 s, want 8", len(list))
		}
	})
}

// An hour in which the memory goes up and down each second is told in order and without gaps.
func TestWatchSeverityForAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := serving(t, settings{server: steep(1)})
		s := follow(t.Context(), f.conn, &headroomv1.WatchSeverityRequest{})
		f.flip(3600)
		synctest.Wait()
		list := s.transitions()
		checkOrder(t, list, 0)
		if len(list) < 3598 {
			t.Errorf("%d transitions in an hour, want one each second", len(list))
		}
	})
}

// What happened while nobody was connected is told first, and then what happens.
func TestWatchSeverityResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := serving(t, settings{server: steep(4)})
		ctx, cancel := context.WithCancel(t.Context())
		s := follow(ctx, f.conn, &headroomv1.WatchSeverityRequest{})
		f.flip(10)
		cancel()
		s.end()
		before := s.transitions()
		checkOrder(t, before, 0)
		last := int64(len(before))
		f.flip(10)
		resumed := follow(t.Context(), f.conn, f.after(last))
		synctest.Wait()
		missed := resumed.transitions()
		checkOrder(t, missed, last)
		first := resumed.messages()[0]
		if first.GetStarted() == nil || first.GetSeverity().GetSequence() != last+int64(len(missed)) || len(missed) != 40 {
			t.Errorf("first message %v, then %d transitions; want the present severity and 40", first, len(missed))
		}
		f.flip(10)
		synctest.Wait()
		all := resumed.transitions()
		checkOrder(t, all, last)
		if len(all) != 80 {
			t.Errorf("%d transitions after the resume, want 80", len(all))
		}

		second := serving(t, settings{server: steep(4)})
		checkRefused(t, second.conn, f.after(last), codes.OutOfRange, "INSTANCE_CHANGED")
	})
}

// A reader that stops for a while is ended, misses nothing when it comes back, and delays nobody.
func TestWatchSeveritySlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := serving(t, settings{server: steep(64)})
		healthy := follow(t.Context(), f.conn, &headroomv1.WatchSeverityRequest{})
		slowConn := f.dial(t)
		defer slowConn.Close()
		slow, err := headroomv1.NewSeverityServiceClient(slowConn).WatchSeverity(t.Context(), &headroomv1.WatchSeverityRequest{})
		if err != nil {
			t.Fatal(err)
		}
		f.flip(30)
		synctest.Wait()
		list := healthy.transitions()
		checkOrder(t, list, 0)
		if want := 64 * 29; len(list) < want {
			t.Errorf("the healthy stream got %d transitions, want at least %d", len(list), want)
		}
		for i, m := range list {
			if late := m.at - m.GetTransition().GetTime().AsTime().Sub(list[0].GetTransition().GetTime().AsTime()) - list[0].at; late != 0 {
				t.Fatalf("transition %d of the healthy stream is %v late", i, late)
			}
		}
		var got []step
		for {
			resp, err := slow.Recv()
			if err != nil {
				checkError(t, err, codes.ResourceExhausted, "SLOW_READER")
				break
			}
			if resp.GetTransition() != nil {
				got = append(got, step{resp, 0})
			}
		}
		checkOrder(t, got, 0)
		if len(got) == 0 || len(got) > 1000 {
			t.Errorf("the slow stream held %d transitions, want some hundred", len(got))
		}
		again := follow(t.Context(), slowConn, f.after(int64(len(got))))
		synctest.Wait()
		rest := again.transitions()
		checkOrder(t, rest, int64(len(got)))
		if len(got)+len(rest) != len(list) {
			t.Errorf("the slow reader has %d transitions in all, want %d", len(got)+len(rest), len(list))
		}
	})
}

// A stream that is behind what is kept cannot go on, and says so.
func TestWatchSeverityEviction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := serving(t, settings{server: steep(64)})
		f.flip(66) // 64 transitions each
		total := f.level(t).GetSequence()
		if total <= severity.HistorySize {
			t.Fatalf("%d transitions, want more than are kept", total)
		}
		refused := follow(t.Context(), f.conn, f.after(total-severity.HistorySize-1))
		checkError(t, refused.end(), codes.OutOfRange, "HISTORY_EVICTED")
		if list := refused.messages(); len(list) > 0 {
			t.Errorf("%d messages before the refusal, by which a client takes the stream for resumed; want none", len(list))
		}
		s := follow(t.Context(), f.conn, f.after(total-severity.HistorySize))
		synctest.Wait()
		list := s.transitions()
		checkOrder(t, list, total-severity.HistorySize)
		if len(list) != severity.HistorySize {
			t.Errorf("%d transitions, want all %d that are kept", len(list), severity.HistorySize)
		}
		resp, err := f.severity().GetSeverity(t.Context(), &headroomv1.GetSeverityRequest{MaxTransitions: severity.HistorySize})
		if err != nil {
			t.Fatal(err)
		}
		if got := resp.GetTransitions(); len(got) != severity.HistorySize || got[len(got)-1].GetSequence() != resp.GetSeverity().GetSequence() {
			t.Errorf("GetSeverity returns %d transitions up to another than the last", len(got))
		}
	})
}

func TestWatchSeverityDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := serving(t, settings{})
		s := follow(t.Context(), f.conn, &headroomv1.WatchSeverityRequest{})
		reports(t, f, "worker", 1, 10)
		p := follow(t.Context(), f.conn, ofReporter("worker"))
		time.Sleep(time.Second)
		begin := time.Now()
		if err := f.shutdown(); err != nil {
			t.Errorf("Run = %v", err)
		}
		if took := time.Since(begin); took > time.Second {
			t.Errorf("the drain took %v, want it to end with the streams", took)
		}
		for _, stream := range []*steps{s, p} {
			if err := stream.end(); err != nil || len(stream.messages()) == 0 {
				t.Errorf("the stream ended with %v after %d messages, want OK", err, len(stream.messages()))
			}
		}
	})
}

func TestWatchSeverityLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lis := bufconn.Listen(1 << 20)
		f := serving(t, settings{server: func(c *server.Config) {
			c.Limits.MaxSubscribers, c.Limits.MaxProcessSubscribers, c.HTTP = 3, 1, lis
		}})
		reports(t, f, "worker", 1, 10)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		first := follow(ctx, f.conn, ofReporter("worker"))
		time.Sleep(time.Second)
		checkRefused(t, f.conn, ofReporter("worker"), codes.ResourceExhausted, "SUBSCRIBERS")
		follow(ctx, f.conn, &headroomv1.WatchSeverityRequest{})
		if _, err := f.client.WatchSnapshots(ctx, &headroomv1.WatchSnapshotsRequest{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		checkRefused(t, f.conn, &headroomv1.WatchSeverityRequest{}, codes.ResourceExhausted, "SUBSCRIBERS")
		_, err := collect(t.Context(), f.client, &headroomv1.WatchSnapshotsRequest{})
		checkError(t, err, codes.ResourceExhausted, "SUBSCRIBERS")
		cancel()
		first.end()
		synctest.Wait()
		if _, body := page(t, lis.DialContext, "GET", "/metrics", "localhost"); !strings.Contains(body, "headroom_stream_subscribers 0") {
			t.Error("streams that ended are still counted")
		}
		again := follow(t.Context(), f.conn, ofReporter("worker"))
		synctest.Wait()
		if len(again.messages()) != 1 {
			t.Errorf("%d messages once there is room again, want the first", len(again.messages()))
		}
	})
}

func TestSeverityWhileStarting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, settings{sampling: func(c *snapshot.Config) {
			c.Sources.CPU = func(ctx context.Context) (snapshot.CPUReading, error) {
				<-ctx.Done()
				return snapshot.CPUReading{}, ctx.Err()
			}
		}})
		time.Sleep(time.Second)
		_, err := f.severity().GetSeverity(t.Context(), &headroomv1.GetSeverityRequest{})
		checkError(t, err, codes.Unavailable, "STARTING")
		checkRefused(t, f.conn, &headroomv1.WatchSeverityRequest{}, codes.Unavailable, "STARTING")
		checkRefused(t, f.conn, ofReporter("worker"), codes.Unavailable, "STARTING")
	})
}
