package server

import (
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

func TestStreamsOfOneConnectionAreBounded(t *testing.T) {
	handlers := &handlerCount{}
	p := startProbe(t, listenLoopback(t), probeConfig{
		limits:  Limits{MaxStreamsPerConnection: 8},
		options: []grpc.ServerOption{grpc.StatsHandler(handlers)},
	})
	a := newAttacker(t, p)
	var ids []uint32
	for range 20 {
		id, err := a.open(headers(checkPath))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	for _, id := range ids[8:] {
		if got, want := a.answer(id), http2.ErrCodeRefusedStream.String(); got != want {
			t.Errorf("stream %d: %s, want %s", id, got, want)
		}
	}
	if got := handlers.most.Load(); got > 8 {
		t.Errorf("%d handlers ran at once, want at most 8", got)
	}
}

// tcpListener makes an in-memory listener look like one of TCP.
type tcpListener struct {
	net.Listener
	addr *net.TCPAddr
}

func (l *tcpListener) Addr() net.Addr { return l.addr }

func TestConnectionsAgeButStreamsAreNotCut(t *testing.T) {
	for _, tt := range []struct {
		name  string
		addr  string
		conns int // with the stream open, after the age
	}{{"reached by other hosts", "192.0.2.1", 2}, {"loopback", "127.0.0.1", 1}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				more := make(chan struct{})
				watch := func(ss grpc.ServerStreamingServer[headroomv1.WatchSnapshotsResponse]) error {
					for range more {
						if err := ss.Send(&headroomv1.WatchSnapshotsResponse{}); err != nil {
							return err
						}
					}
					return nil
				}
				conns := bufconn.Listen(1 << 16)
				l := &Listener{class: classTCP, listener: &tcpListener{conns, &net.TCPAddr{IP: net.ParseIP(tt.addr), Port: 1}}}
				p := startProbe(t, l, probeConfig{watch: watch})
				cc := p.dial(t, dialBuf(conns))
				ss, err := headroomv1.NewStatusServiceClient(cc).WatchSnapshots(t.Context(), &headroomv1.WatchSnapshotsRequest{})
				if err != nil {
					t.Fatal(err)
				}
				receive := func(when string) {
					more <- struct{}{}
					if _, err := ss.Recv(); err != nil {
						t.Errorf("%s: %v, want a message", when, err)
					}
				}
				receive("at first")
				time.Sleep(40 * time.Minute)
				receive("after 40 min")
				if err := checkHealth(t, cc); err != nil {
					t.Errorf("a new call after 40 min: %v, want nil", err)
				}
				if got := p.guard.counts().open; got != tt.conns {
					t.Errorf("%d connections after 40 min, want %d", got, tt.conns)
				}
				time.Sleep(24 * time.Hour)
				receive("after a day")
				close(more)
				if _, err := ss.Recv(); err != io.EOF {
					t.Errorf("Recv = %v, want the end", err)
				}
			})
		})
	}
}

func TestIdleConnectionsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conns := bufconn.Listen(1 << 16)
		p := startProbe(t, NewListener(conns, Identity{Name: "test", Role: RoleReader}), probeConfig{})
		cc := p.dial(t, dialBuf(conns))
		if err := checkHealth(t, cc); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5*time.Minute - time.Second)
		synctest.Wait()
		if got := p.guard.counts().open; got != 1 {
			t.Errorf("%d connections after less than the idle time, want 1", got)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := p.guard.counts().open; got != 0 {
			t.Errorf("%d connections after the idle time, want 0", got)
		}
		if err := checkHealth(t, cc); err != nil {
			t.Errorf("the next call: %v, want a new connection", err)
		}
	})
}

func TestClientsThatVanishAreNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := make(chan error, 1)
		watch := func(ss grpc.ServerStreamingServer[headroomv1.WatchSnapshotsResponse]) error {
			<-ss.Context().Done()
			gone <- context.Cause(ss.Context())
			return ss.Context().Err()
		}
		conns := bufconn.Listen(1 << 16)
		p := startProbe(t, NewListener(conns, Identity{Name: "test", Role: RoleReader}), probeConfig{watch: watch})
		silent := make(chan struct{})
		cc := p.dial(t, grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			conn, err := conns.DialContext(ctx)
			return &silentConn{conn, silent}, err
		}))
		if _, err := headroomv1.NewStatusServiceClient(cc).WatchSnapshots(t.Context(), &headroomv1.WatchSnapshotsRequest{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := p.guard.counts().open; got != 1 {
			t.Errorf("%d connections of a client that answers, want 1", got)
		}
		close(silent)
		start := time.Now()
		<-gone
		if took := time.Since(start); took > 30*time.Second {
			t.Errorf("a client that answers no more was noticed after %v, want at most 30 s", took)
		}
		synctest.Wait()
		if got := p.guard.counts().open; got != 0 {
			t.Errorf("%d connections after it was noticed, want 0", got)
		}
	})
}

// silentConn loses what is written once silent is closed.
type silentConn struct {
	net.Conn
	silent chan struct{}
}

func (c *silentConn) Write(p []byte) (int, error) {
	select {
	case <-c.silent:
		return len(p), nil
	default:
		return c.Conn.Write(p)
	}
}
