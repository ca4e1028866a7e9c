package client_test

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/client"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestSnapshotsEndsWhenInVain(t *testing.T) {
	for code := codes.OK; code <= codes.Unauthenticated; code++ {
		t.Run(code.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachine()
				defer m.serve(&script{watch: func(_ *headroomv1.WatchSnapshotsRequest, st stream) error {
					if err := sendAll(st, "a", 1); err != nil {
						return err
					}
					time.Sleep(time.Second)
					return status.Error(code, "so be it")
				}})()
				c := m.client(t)
				got := follow(t.Context(), c, m.start, 1500*time.Millisecond)
				switch code {
				case codes.Unimplemented, codes.InvalidArgument, codes.PermissionDenied, codes.Unauthenticated, codes.NotFound:
					expect(t, got, "0s a:1", "1s error "+code.String())
				default:
					expect(t, got, "0s a:1", "1s a:1 stale", "1.1s a:1")
				}
			})
		})
	}
}

func TestSnapshotsLeavesNothingBehind(t *testing.T) {
	for _, test := range []struct {
		name  string
		leave func(cancel func(), c *client.Client) (goOn bool)
		want  error
	}{
		{"break", func(func(), *client.Client) bool { return false }, nil},
		{"context done", func(cancel func(), _ *client.Client) bool { cancel(); return true }, nil},
		{"closed", func(_ func(), c *client.Client) bool { c.Close(); return true }, client.ErrClosed},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachine()
				var open atomic.Int32
				defer m.serve(&script{watch: func(_ *headroomv1.WatchSnapshotsRequest, st stream) error {
					open.Add(1)
					defer open.Add(-1)
					if err := sendAll(st, "a", 1); err != nil {
						return err
					}
					<-st.Context().Done()
					return nil
				}})()
				c := m.client(t)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				states, end := 0, error(nil)
				for _, err := range c.Snapshots(ctx, client.WatchOptions{}) {
					if err != nil {
						end = err
						continue
					}
					states++
					if !test.leave(cancel, c) {
						break
					}
				}
				synctest.Wait()
				if states != 1 || !errors.Is(end, test.want) || (end == nil) != (test.want == nil) {
					t.Errorf("%d states, then %v; want 1, then %v", states, end, test.want)
				}
				if got := open.Load(); got != 0 {
					t.Errorf("%d streams open after the loop, want 0", got)
				}
				if time.Since(m.start) != 0 {
					t.Errorf("the loop ended after %v, want at once", time.Since(m.start))
				}
			})
		})
	}
}

// slowLog takes a second to write each record.
type slowLog struct{ slog.Handler }

func (slowLog) Enabled(context.Context, slog.Level) bool { return true }

func (slowLog) Handle(context.Context, slog.Record) error {
	time.Sleep(time.Second)
	return nil
}

// The receiver may be busy when the loop is left; the loop waits for it.
func TestSnapshotsWaitsForItsReceiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		defer m.serve(&script{watch: func(*headroomv1.WatchSnapshotsRequest, stream) error { return unavailable() }})()
		c := m.client(t, client.WithLogger(slog.New(slowLog{slog.DiscardHandler})))
		for range c.Snapshots(t.Context(), client.WatchOptions{}) {
			break
		}
		if d := time.Since(m.start); d != time.Second {
			t.Errorf("left after %v, want 1s, when the receiver was done", d)
		}
	})
}

// A server that knew the deadline could end the stream with it a moment before the loop does.
func TestSnapshotsKeepsItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		told := make(chan bool, 1)
		defer m.serve(&script{watch: func(_ *headroomv1.WatchSnapshotsRequest, st stream) error {
			_, ok := st.Context().Deadline()
			told <- ok
			<-st.Context().Done()
			return nil
		}})()
		c := m.client(t)
		expect(t, follow(t.Context(), c, m.start, time.Second))
		if <-told {
			t.Error("the server was told the deadline")
		}
	})
}

// A wait for a retry does not hold up who leaves the loop.
func TestSnapshotsLeavesWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		defer m.serve(&script{watch: func(*headroomv1.WatchSnapshotsRequest, stream) error { return unavailable() }})()
		c := m.client(t)
		for s := range c.Snapshots(t.Context(), client.WatchOptions{}) {
			if !s.Stale {
				t.Errorf("state = %+v, want a stale one", s)
			}
			break
		}
		if d := time.Since(m.start); d != 0 {
			t.Errorf("left after %v, want at once", d)
		}
	})
}
