package server_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/durationpb"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/server"
	"github.com/headroom-rpc/headroom/snapshot"
)

// arrival is a message and when it came, since the stream was opened.
type arrival struct {
	*headroomv1.WatchSnapshotsResponse
	at time.Duration
}

// collect opens a stream, takes everything until it ends, and returns what came. Its error is nil for OK.
func collect(ctx context.Context, client headroomv1.StatusServiceClient, req *headroomv1.WatchSnapshotsRequest) ([]arrival, error) {
	begin := time.Now()
	stream, err := client.WatchSnapshots(ctx, req)
	if err != nil {
		return nil, err
	}
	var all []arrival
	for {
		resp, err := stream.Recv()
		if err != nil {
			return all, eofIsOK(err)
		}
		all = append(all, arrival{resp, time.Since(begin)})
	}
}

func TestWatchSnapshots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := serving(t, settings{})
		time.Sleep(9*time.Second + 900*time.Millisecond) // to 50 ms before a tick of all signals
		ctx, cancel := context.WithTimeout(t.Context(), 3500*time.Millisecond)
		defer cancel()
		got, err := collect(ctx, f.client, &headroomv1.WatchSnapshotsRequest{
			Interval:  durationpb.New(700 * time.Millisecond),
			Resources: []headroomv1.ResourceKind{cpu, loop},
		})
		checkError(t, err, codes.DeadlineExceeded, "")
		first := got[0]
		if first.at != 0 || first.GetStarted() == nil {
			t.Fatalf("the first message came after %v with started %v, want at once and set", first.at, first.GetStarted())
		}
		if s := first.GetStarted(); s.GetInstanceId() != f.InstanceID() || s.GetServerVersion() != "1.2.3" ||
			s.GetInterval().AsDuration() != time.Second || s.GetMaxSilence().AsDuration() != 10*time.Second {
			t.Errorf("started = %v, want this instance, version 1.2.3, 1s and 10s", s)
		}
		var times []time.Duration
		for i, m := range got {
			times = append(times, m.at)
			if i > 0 && (m.GetStarted() != nil || m.GetSequence() <= got[i-1].GetSequence()) {
				t.Errorf("message %d: started %v, sequence %d after %d", i, m.GetStarted(), m.GetSequence(), got[i-1].GetSequence())
			}
			var signals []string
			for _, snap := range m.GetSnapshots() {
				signals = append(signals, snap.GetSignal())
			}
			if want := []string{"cpu", "event_loop"}; !slices.Equal(signals, want) {
				t.Errorf("message %d has snapshots of %v, want %v", i, signals, want)
			}
			if len(m.GetCurrent().GetResources()) != 4 || len(m.GetHistorical().GetResources()) != 4 {
				t.Errorf("message %d judges %d and %d signals, want all 4", i, len(m.GetCurrent().GetResources()), len(m.GetHistorical().GetResources()))
			}
		}
		// Opened 50 ms before a tick: the messages come with the first one after the interval of 1 s.
		const after = 50 * time.Millisecond
		want := []time.Duration{0, time.Second + after, 2*time.Second + after, 3*time.Second + after}
		if !slices.Equal(times, want) {
			t.Errorf("messages came at %v, want %v", times, want)
		}
	})
}

// A verdict that changes is sent at once, whatever the interval: here 10 s.
func TestWatchSendsAVerdictAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := serving(t, settings{})
		time.Sleep(35*time.Second + 450*time.Millisecond) // half a second after a tick
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		f.machine.set(0.99)
		got, _ := collect(ctx, f.client, &headroomv1.WatchSnapshotsRequest{Interval: durationpb.New(10 * time.Second)})
		if len(got) < 2 {
			t.Fatal("no message within 4s of the change")
		}
		if got[1].at != 510*time.Millisecond {
			t.Errorf("the overloaded snapshot came after %v, want 10ms after it was taken at 500ms", got[1].at)
		}
		for _, snap := range got[1].GetSnapshots() {
			if snap.GetSignal() == "cpu" && !snap.GetOverloaded() {
				t.Error("the snapshot of cpu is not overloaded")
			}
		}
		last := got[len(got)-1]
		if last.GetCurrent().GetState() != headroomv1.LoadState_LOAD_STATE_OVERLOADED {
			t.Errorf("the last message says %v, want OVERLOADED within 4s", last.GetCurrent().GetState())
		}
	})
}

// With nothing to tell, the stream still speaks before max_silence is over.
func TestWatchMaxSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, settings{interval: time.Minute, sampling: func(c *snapshot.Config) {
			c.History = time.Hour
			c.EventLoopInterval, c.ClientInterval = time.Minute, time.Minute
		}})
		time.Sleep(65 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second)
		defer cancel()
		got, _ := collect(ctx, f.client, &headroomv1.WatchSnapshotsRequest{})
		silence := got[0].GetStarted().GetMaxSilence().AsDuration()
		for i, m := range got[1:] {
			if gap := m.at - got[i].at; gap >= silence {
				t.Errorf("message %d came after %v of silence, want less than %v", i+1, gap, silence)
			}
		}
		if len(got) < 5 {
			t.Errorf("%d messages in 50s, want at least 5", len(got))
		}
	})
}

// A client that does not read fills the windows, is ended after SendTimeout, and harms nobody; what it reads
// afterwards never goes back.
func TestWatchSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := serving(t, settings{interval: 50 * time.Millisecond, sampling: func(c *snapshot.Config) {
			for i := range 100 { // large states, so that the windows are full soon
				c.Signals = append(c.Signals, snapshot.Signal{
					Name: fmt.Sprintf("signal-%03d", i), Source: strings.Repeat("s", 200),
					Read: func(context.Context) (float64, float64, error) { return 1, 2, nil },
				})
			}
		}})
		req := &headroomv1.WatchSnapshotsRequest{Interval: durationpb.New(100 * time.Millisecond)}
		slowConn := f.dial(t)
		defer slowConn.Close()
		slow, err := headroomv1.NewStatusServiceClient(slowConn).WatchSnapshots(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 12*time.Second)
		defer cancel()
		healthy := make(chan []arrival, 1)
		go func() {
			got, _ := collect(ctx, f.client, req)
			healthy <- got
		}()
		got := <-healthy
		if want := 120; len(got) < want-1 || len(got) > want+1 {
			t.Errorf("the healthy stream got %d messages in 12s, want about %d", len(got), want)
		}
		for i, m := range got[1:] {
			if gap := m.at - got[i].at; gap > 150*time.Millisecond {
				t.Errorf("the healthy stream waited %v for message %d", gap, i+1)
			}
		}
		var last, count int64
		for {
			m, err := slow.Recv()
			if err != nil {
				checkError(t, err, codes.ResourceExhausted, "SLOW_READER")
				break
			}
			if m.GetSequence() <= last {
				t.Errorf("sequence %d after %d", m.GetSequence(), last)
			}
			last, count = m.GetSequence(), count+1
		}
		if count == 0 || count > 60 {
			t.Errorf("the slow stream held %d messages, want a few", count)
		}
	})
}

// A connection on which two streams are not read is closed; others stand.
func TestWatchSlowConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lis := bufconn.Listen(1 << 20)
		f := serving(t, settings{
			interval: 50 * time.Millisecond,
			server:   func(c *server.Config) { c.HTTP = lis },
			sampling: func(c *snapshot.Config) {
				for i := range 100 {
					c.Signals = append(c.Signals, snapshot.Signal{
						Name: fmt.Sprintf("signal-%03d", i), Source: strings.Repeat("s", 200),
						Read: func(context.Context) (float64, float64, error) { return 1, 2, nil },
					})
				}
			},
		})
		slowConn := f.dial(t)
		defer slowConn.Close()
		for range 2 {
			if _, err := headroomv1.NewStatusServiceClient(slowConn).WatchSnapshots(t.Context(),
				&headroomv1.WatchSnapshotsRequest{Interval: durationpb.New(100 * time.Millisecond)}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := f.client.GetStatus(t.Context(), &headroomv1.GetStatusRequest{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(12 * time.Second)
		_, body := page(t, lis.DialContext, "GET", "/metrics", "localhost")
		for _, want := range []string{
			`headroom_connections_closed_total{reason="stalls"} 1`,
			`headroom_stream_slow_readers_total 2`,
			`headroom_stream_subscribers 0`,
		} {
			if !strings.Contains(body, want) {
				t.Errorf("the metrics have no %s", want)
			}
		}
		if _, err := f.client.GetStatus(t.Context(), &headroomv1.GetStatusRequest{}); err != nil {
			t.Errorf("a call on another connection = %v", err)
		}
	})
}

func TestWatchSubscriberLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := serving(t, settings{server: func(c *server.Config) { c.Limits.MaxSubscribers = 2 }})
		ctx, cancel := context.WithCancel(t.Context())
		for range 2 {
			stream, err := f.client.WatchSnapshots(ctx, &headroomv1.WatchSnapshotsRequest{})
			if err == nil {
				_, err = stream.Recv()
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		_, err := collect(t.Context(), f.client, &headroomv1.WatchSnapshotsRequest{})
		checkError(t, err, codes.ResourceExhausted, "SUBSCRIBERS")
		cancel()
		synctest.Wait()
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if got, err := collect(ctx, f.client, &headroomv1.WatchSnapshotsRequest{}); len(got) == 0 {
			t.Errorf("a stream after others ended = %v, want it served", err)
		}
	})
}

func TestWatchWhileStarting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, settings{sampling: func(c *snapshot.Config) {
			c.Sources.CPU = func(ctx context.Context) (snapshot.CPUReading, error) {
				<-ctx.Done()
				return snapshot.CPUReading{}, errors.New("ended")
			}
		}})
		time.Sleep(time.Second)
		_, err := collect(t.Context(), f.client, &headroomv1.WatchSnapshotsRequest{})
		checkError(t, err, codes.Unavailable, "STARTING")
	})
}
