package client_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/client"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/snapshot"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// follow collects what an iteration yields within d, each as "time instance:sequence", with " stale" or
// the error. It leaves the rest.
func follow(ctx context.Context, c *client.Client, start time.Time, d time.Duration) []string {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	var seen []string
	for s, err := range c.Snapshots(ctx, client.WatchOptions{}) {
		line := fmt.Sprintf("%v %s:%d", time.Since(start), s.Started.InstanceID, s.Sequence)
		switch {
		case err != nil:
			line = fmt.Sprintf("%v error %v", time.Since(start), status.Code(err))
		case s.Stale:
			line += " stale"
		}
		seen = append(seen, line)
	}
	return seen
}

func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got:\n\t%s\nwant:\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func TestSnapshotsTranslatesStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
		m := newMachine()
		requests := make(chan *headroomv1.WatchSnapshotsRequest, 1)
		defer m.serve(&script{watch: func(req *headroomv1.WatchSnapshotsRequest, st stream) error {
			requests <- req
			msg := state("a", 7, true)
			msg.SendTime = timestamppb.New(sent)
			msg.Snapshots = []*headroomv1.Snapshot{{
				Resource: headroomv1.ResourceKind_RESOURCE_KIND_CPU, Signal: "cpu", Overloaded: true,
				Value: proto.Float64(0.97), Limit: proto.Float64(0.95), Age: durationpb.New(2 * time.Second),
			}}
			msg.Current = &headroomv1.Status{State: headroomv1.LoadState_LOAD_STATE_OVERLOADED}
			msg.Historical = &headroomv1.Status{State: headroomv1.LoadState_LOAD_STATE_IDLE}
			if err := st.Send(msg); err != nil {
				return err
			}
			<-st.Context().Done()
			return nil
		}})()
		c := m.client(t)
		time.Sleep(5 * time.Second)

		options := client.WatchOptions{Interval: 200 * time.Millisecond, Resources: []snapshot.Resource{snapshot.CPU}}
		for s, err := range c.Snapshots(t.Context(), options) {
			if err != nil {
				t.Fatal(err)
			}
			want := client.Started{InstanceID: "a", ServerVersion: "0.1.0", Interval: time.Second, MaxSilence: 10 * time.Second}
			if s.Started != want {
				t.Errorf("started = %+v, want %+v", s.Started, want)
			}
			if s.Sequence != 7 || !s.SendTime.Equal(sent) || !s.Received.Equal(time.Now()) || s.Stale || s.Cause != nil {
				t.Errorf("state = %+v", s)
			}
			if s.Current.State != snapshot.StateOverloaded || s.Historical.State != snapshot.StateIdle {
				t.Errorf("states = %v, %v, want overloaded, idle", s.Current.State, s.Historical.State)
			}
			if len(s.Snapshots) != 1 || s.Snapshots[0].At != 3*time.Second || s.Snapshots[0].Value != 0.97 {
				t.Errorf("snapshots = %+v, want one of 0.97 at 3s", s.Snapshots)
			}
			break
		}
		req := <-requests
		if req.GetInterval().AsDuration() != 200*time.Millisecond || len(req.GetResources()) != 1 ||
			req.GetResources()[0] != headroomv1.ResourceKind_RESOURCE_KIND_CPU {
			t.Errorf("request = %v", req)
		}
	})
}

func TestAgesIncludeASuspend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		defer m.serve(&script{watch: func(_ *headroomv1.WatchSnapshotsRequest, st stream) error {
			msg := state("a", 1, true)
			msg.Snapshots = []*headroomv1.Snapshot{{Age: durationpb.New(2 * time.Second)}}
			if err := st.Send(msg); err != nil {
				return err
			}
			<-st.Context().Done()
			return nil
		}})()
		var asleep atomic.Int64
		c := m.client(t, client.WithClock(func() time.Duration { return m.clock() + time.Duration(asleep.Load()) }))
		for s, err := range c.Snapshots(t.Context(), client.WatchOptions{}) {
			if err != nil {
				t.Fatal(err)
			}
			asleep.Store(int64(time.Hour))
			time.Sleep(time.Second)
			if got, want := c.Now()-s.Snapshots[0].At, time.Hour+3*time.Second; got != want {
				t.Errorf("the snapshot is %v old, want %v", got, want)
			}
			break
		}
	})
}

func TestSnapshotsSurvivesARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		run := func(instance string) (stop func()) {
			return m.serve(&script{watch: func(_ *headroomv1.WatchSnapshotsRequest, st stream) error {
				for i := int64(1); ; i++ {
					if err := st.Send(state(instance, i, i == 1)); err != nil {
						return err
					}
					select {
					case <-time.After(4 * time.Second):
					case <-st.Context().Done():
						return nil
					}
				}
			}})
		}
		stopA, stopB := run("a"), make(chan func(), 1)
		c := m.client(t)
		go func() {
			time.Sleep(10 * time.Second)
			stopA()
			time.Sleep(2 * time.Second)
			stopB <- run("b")
		}()
		expect(t, follow(t.Context(), c, m.start, 16*time.Second),
			"0s a:1",
			"4s a:2",
			"8s a:3",
			"10s a:3 stale",
			"13.2s b:1",
		)
		// The stream waits 100 ms; then the connection is tried, and waits 0.1, 0.2, 0.4, 0.8 and 1.6 s.
		want := []time.Duration{0, 10100 * time.Millisecond, 10200 * time.Millisecond, 10400 * time.Millisecond,
			10800 * time.Millisecond, 11600 * time.Millisecond, 13200 * time.Millisecond}
		if got := m.dialed(); !slices.Equal(got, want) {
			t.Errorf("connections tried at %v, want %v", got, want)
		}
		(<-stopB)()
	})
}

func TestSnapshotsBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		var calls []time.Duration // read after the server stopped
		stop := m.serve(&script{watch: func(_ *headroomv1.WatchSnapshotsRequest, st stream) error {
			calls = append(calls, time.Since(m.start))
			switch len(calls) {
			case 9: // a state was received, so the waits begin anew
				return sendFor(50*time.Millisecond, st, "a", 1)
			default:
				return unavailable()
			}
		}})
		c := m.client(t)
		expect(t, follow(t.Context(), c, m.start, 16900*time.Millisecond),
			"0s :0 stale", // nothing was ever known
			"16.3s a:1",
			"16.35s a:1 stale",
			"16.45s a:1 stale", // unavailable, where before the stream just ended
		)
		stop()
		want := []time.Duration{0, 100, 300, 700, 1500, 3100, 6300, 11300, 16300, 16450, 16650}
		for i := range want {
			want[i] *= time.Millisecond
		}
		if !slices.Equal(calls, want) {
			t.Errorf("streams at %v, want %v", calls, want)
		}
	})
}

func TestSnapshotsWaitsAsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		var calls []time.Duration
		stop := m.serve(&script{watch: func(_ *headroomv1.WatchSnapshotsRequest, st stream) error {
			calls = append(calls, time.Since(m.start))
			s, err := status.New(codes.Unavailable, "draining").WithDetails(
				&errdetails.RetryInfo{RetryDelay: durationpb.New(3 * time.Second)})
			if err != nil {
				t.Error(err)
			}
			return s.Err()
		}})
		c := m.client(t)
		follow(t.Context(), c, m.start, 7*time.Second)
		stop()
		if want := []time.Duration{0, 3 * time.Second, 6 * time.Second}; !slices.Equal(calls, want) {
			t.Errorf("streams at %v, want %v", calls, want)
		}
	})
}

func TestSnapshotsOfAServerThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		stop := m.serve(&script{})
		c := m.client(t)
		stop()
		synctest.Wait()
		var causes []string
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for s, err := range c.Snapshots(ctx, client.WatchOptions{}) {
			if err != nil || !s.Stale || s.Current.State != snapshot.StateUnknown {
				t.Errorf("state = %+v, error = %v, want a stale unknown one", s, err)
			}
			causes = append(causes, s.Cause.Error())
		}
		if len(causes) != 1 || !strings.Contains(causes[0], "connection refused") {
			t.Errorf("causes = %q, want one that says connection refused", causes)
		}
	})
}

func TestSnapshotsNoticesSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		calls := 0
		defer m.serve(&script{watch: func(_ *headroomv1.WatchSnapshotsRequest, st stream) error {
			calls++
			if calls != 2 { // the second stream does not even begin
				first := state("a", int64(calls), true)
				first.Started.MaxSilence = durationpb.New(2 * time.Second)
				if err := st.Send(first); err != nil {
					return err
				}
			}
			<-st.Context().Done()
			return nil
		}})()
		c := m.client(t)
		expect(t, follow(t.Context(), c, m.start, 20*time.Second),
			"0s a:1",
			"3s a:1 stale",    // 1.5 * 2 s
			"18.1s a:1 stale", // 0.1 s of backoff and 15 s, since nothing was stated; another cause
			"18.3s a:3",
		)
	})
}

func TestSnapshotsKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		calls := 0
		defer m.serve(&script{watch: func(_ *headroomv1.WatchSnapshotsRequest, st stream) error {
			calls++
			switch calls {
			case 1:
				return sendFor(50*time.Millisecond, st, "a", 50)
			case 2: // older than what is known of a
				return sendFor(50*time.Millisecond, st, "a", 40, 41)
			case 3: // the same again is news: it is fresh
				return sendFor(50*time.Millisecond, st, "a", 50)
			default: // a new life begins anew
				if err := sendAll(st, "b", 1); err != nil {
					return err
				}
				<-st.Context().Done()
				return nil
			}
		}})()
		c := m.client(t)
		expect(t, follow(t.Context(), c, m.start, 10*time.Second),
			"0s a:50",
			"50ms a:50 stale",
			"400ms a:50",
			"450ms a:50 stale",
			"550ms b:1",
		)
	})
}

func TestSnapshotsSlowConsumerSeesTheNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const last = 5_000 // far more than the windows and buffers hold
		m := newMachine()
		sent := make(chan time.Duration, 1)
		defer m.serve(&script{watch: func(_ *headroomv1.WatchSnapshotsRequest, st stream) error {
			if err := st.Send(state("a", 1, true)); err != nil {
				return err
			}
			time.Sleep(time.Second)
			for i := int64(2); i <= last; i++ {
				msg := state("a", i, false)
				msg.Snapshots = []*headroomv1.Snapshot{{Source: strings.Repeat("x", 200)}}
				if err := st.Send(msg); err != nil {
					return err
				}
			}
			sent <- time.Since(m.start)
			<-st.Context().Done()
			return nil
		}})()
		c := m.client(t)
		var seen []int64
		for s, err := range c.Snapshots(t.Context(), client.WatchOptions{}) {
			if err != nil {
				t.Fatal(err)
			}
			seen = append(seen, s.Sequence)
			if s.Sequence == last {
				break
			}
			time.Sleep(5 * time.Second)
		}
		if want := []int64{1, last}; !slices.Equal(seen, want) {
			t.Errorf("seen %v, want %v", seen, want)
		}
		if at := <-sent; at != time.Second {
			t.Errorf("the server was done at %v, want 1s: the consumer held it up", at)
		}
	})
}

func TestSnapshotsNeedsAStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		defer m.serve(&script{watch: func(_ *headroomv1.WatchSnapshotsRequest, st stream) error {
			return st.Send(state("", 1, false))
		}})()
		c := m.client(t)
		expect(t, follow(t.Context(), c, m.start, 50*time.Millisecond), "0s :0 stale")
	})
}
