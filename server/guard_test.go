package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

func TestGuardAdmitsUpToEachLimit(t *testing.T) {
	address := func(text string) origin { return addressOrigin(netip.MustParseAddr(text)) }
	limits := Limits{MaxConnections: 5, MaxConnectionsPerUser: 2, MaxConnectionsPerAddress: 1}
	const own = 1000
	type step struct {
		leave bool // release in place of admit
		of    origin
		want  string // the field that is in the way
	}
	for _, tt := range []struct {
		name  string
		steps []step
	}{
		{"per user", []step{{of: userOrigin(7, own)}, {of: userOrigin(7, own)}, {of: userOrigin(7, own), want: "MaxConnectionsPerUser"},
			{of: userOrigin(0, own)}, {leave: true, of: userOrigin(7, own)}, {of: userOrigin(7, own)}}},
		{"per address", []step{{of: address("192.0.2.1")}, {of: address("192.0.2.1"), want: "MaxConnectionsPerAddress"},
			{of: address("::ffff:192.0.2.1"), want: "MaxConnectionsPerAddress"}, {of: address("192.0.2.2")}}},
		{"per network of IPv6", []step{{of: address("2001:db8::1")}, {of: address("2001:db8::ffff:1"), want: "MaxConnectionsPerAddress"},
			{of: address("2001:db8:0:1::1")}, {of: address("fe80::1%eth0")}, {of: address("fe80::2%eth1"), want: "MaxConnectionsPerAddress"}}},
		{"own user and loopback have the total only", []step{{of: userOrigin(own, own)}, {of: userOrigin(own, own)},
			{of: userOrigin(own, own)}, {of: address("127.0.0.1")}, {of: address("::1")}, {of: address("127.0.0.1"), want: "MaxConnections"},
			{of: userOrigin(own, own), want: "MaxConnections"}, {leave: true, of: address("::1")}, {of: address("127.9.9.9")}}},
	} {
		g := newGuard(limits, slog.New(slog.DiscardHandler))
		told := 0
		for i, s := range tt.steps {
			if s.leave {
				g.release(s.of, false)
				continue
			}
			standing, err := g.admit(s.of)
			var field string
			if err != nil {
				field = err.field
			}
			if field != s.want {
				t.Errorf("%s, step %d: %v is kept out by %q, want %q", tt.name, i, s.of, field, s.want)
			}
			if standing {
				told++
				g.release(s.of, true)
			}
		}
		if told == 0 {
			t.Errorf("%s: none of the refused stood to be told", tt.name)
		}
		if g.turned != 0 {
			t.Errorf("%s: turned = %d after all were released, want 0", tt.name, g.turned)
		}
	}
}

func TestGuardCountsExactly(t *testing.T) {
	g := newGuard(Limits{}.WithDefaults(), slog.New(slog.DiscardHandler))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				near, far := net.Pipe()
				if told, err := g.admit(userOrigin(7, 0)); err != nil || told {
					t.Errorf("admit = %t, %v", told, err)
				}
				conn := &guardedConn{Conn: near, guard: g, origin: userOrigin(7, 0)}
				var closers sync.WaitGroup
				for range 3 {
					closers.Go(func() { conn.Close() })
				}
				closers.Wait()
				far.Close()
			}
		})
	}
	wg.Wait()
	if g.open != 0 || len(g.origins) != 0 {
		t.Errorf("after all closed: %d open of %v, want none", g.open, g.origins)
	}
}

func TestConnectionsOverTheLimitAreTold(t *testing.T) {
	p := startProbe(t, listenFrom(t, "192.0.2.7", nil), probeConfig{limits: Limits{MaxConnectionsPerAddress: 2}})
	var clients []*grpc.ClientConn
	for range 2 {
		cc := p.dial(t)
		if err := checkHealth(t, cc); reasonOf(err) != "Unauthenticated CREDENTIALS_REQUIRED" {
			t.Fatalf("within the limit: %v", err)
		}
		clients = append(clients, cc)
	}
	third := p.dial(t)
	err := checkHealth(t, third)
	if got, want := reasonOf(err), "ResourceExhausted CONNECTIONS"; got != want || !strings.Contains(err.Error(), "192.0.2.7") {
		t.Errorf("over the limit: %v (%s), want %s and the address", err, got, want)
	}
	if got := p.guard.counts(); got.open != 2 || got.refused != 1 {
		t.Errorf("counts = %+v, want 2 open and 1 refused", got)
	}
	third.Close()
	clients[0].Close()
	eventually(t, "the closed connection is not counted", func() bool { return p.guard.counts().open == 1 })
	if err := checkHealth(t, p.dial(t)); reasonOf(err) != "Unauthenticated CREDENTIALS_REQUIRED" {
		t.Errorf("after one left: %v, want it to be let in", err)
	}
}

func TestRefusedConnectionsDoNotStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conns := bufconn.Listen(1 << 16)
		l := NewListener(conns, Identity{Name: "test", Role: RoleOperator})
		p := startProbe(t, l, probeConfig{limits: Limits{MaxConnections: 1, IdleTimeout: time.Hour}})
		first := p.dial(t, dialBuf(conns))
		if err := checkHealth(t, first); err != nil {
			t.Fatal(err)
		}
		for range maxTurned + 10 {
			conn, err := conns.DialContext(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
		}
		synctest.Wait()
		p.guard.mu.Lock()
		turned := p.guard.turned
		p.guard.mu.Unlock()
		if turned != maxTurned {
			t.Errorf("%d refused connections stand, want %d", turned, maxTurned)
		}
		time.Sleep(turnedFor)
		synctest.Wait()
		p.guard.mu.Lock()
		turned = p.guard.turned
		p.guard.mu.Unlock()
		if turned != 0 {
			t.Errorf("%d refused connections stand after %v, want 0", turned, turnedFor)
		}
		if err := checkHealth(t, first); err != nil {
			t.Errorf("the connection within the limit: %v, want nil", err)
		}
	})
}

// scriptedListener fails to accept as scripted and then has one connection.
type scriptedListener struct {
	net.Listener
	errs  []error
	times []time.Time
	conn  net.Conn
}

func (l *scriptedListener) Accept() (net.Conn, error) {
	l.times = append(l.times, time.Now())
	if len(l.errs) > 0 {
		err := l.errs[0]
		l.errs = l.errs[1:]
		return nil, err
	}
	return l.conn, nil
}

func (l *scriptedListener) Addr() net.Addr { return &net.TCPAddr{} }
func (l *scriptedListener) Close() error   { return nil }

func acceptError(errno syscall.Errno) error {
	return &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", errno)}
}

func TestAcceptWaitsOutAShortageOfDescriptors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		script := &scriptedListener{conn: near}
		for range 10 {
			script.errs = append(script.errs, acceptError(syscall.EMFILE))
		}
		script.errs = append(script.errs, acceptError(syscall.ECONNABORTED))
		log := &lines{}
		g := newGuard(Limits{}.WithDefaults(), log.logger())
		l := g.wrap(NewListener(script, Identity{}))
		conn, err := l.Accept()
		if err != nil {
			t.Fatalf("Accept = %v, want the connection", err)
		}
		conn.Close()
		wait := firstBackoff
		for i := range 10 {
			if got := script.times[i+1].Sub(script.times[i]); got != wait {
				t.Errorf("wait %d = %v, want %v", i, got, wait)
			}
			wait = min(2*wait, lastBackoff)
		}
		if got := script.times[11].Sub(script.times[10]); got != 0 {
			t.Errorf("after a connection that was given up: waited %v, want 0", got)
		}
		if got := strings.Count(log.String(), "cannot accept"); got < 1 || got > 5 {
			t.Errorf("10 failures within 4 s made %d lines, want 1 to 5:\n%s", got, log)
		}
	})
}

func TestAcceptEndsWithTheListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		script := &scriptedListener{}
		for range 1000 {
			script.errs = append(script.errs, acceptError(syscall.ENFILE))
		}
		g := newGuard(Limits{}.WithDefaults(), slog.New(slog.DiscardHandler))
		l := g.wrap(NewListener(script, Identity{}))
		ended := make(chan error)
		go func() {
			_, err := l.Accept()
			ended <- err
		}()
		time.Sleep(10*time.Second + time.Millisecond)
		l.Close()
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept = %v, want net.ErrClosed", err)
		}
	})
	unknown := errors.New("unknown")
	l := newGuard(Limits{}, nil).wrap(NewListener(&scriptedListener{errs: []error{unknown}}, Identity{}))
	if _, err := l.Accept(); !errors.Is(err, unknown) {
		t.Errorf("Accept = %v, want what the listener said", err)
	}
}

func TestResetCounter(t *testing.T) {
	type burst struct {
		at    time.Duration
		n     int
		lived time.Duration
		reset bool
	}
	for _, tt := range []struct {
		name   string
		bursts []burst
		want   bool
	}{
		{"rapid resets", []burst{{0, 200, 0, true}}, true},
		{"too few", []burst{{0, 199, 0, true}}, false},
		{"half of them", []burst{{0, 100, 0, false}, {0, 100, 0, true}}, false},
		{"more than half", []burst{{0, 99, 0, false}, {0, 101, 0, true}}, true},
		{"completed calls", []burst{{0, 100_000, 0, false}}, false},
		{"streams that lived", []burst{{0, 100_000, time.Second, true}}, false},
		{"hidden among long streams", []burst{{0, 10_000, time.Minute, false}, {0, 200, 0, true}}, true},
		{"19 a second for an hour", func() []burst {
			var b []burst
			for i := range 3600 {
				b = append(b, burst{time.Duration(i) * time.Second, 19, 0, true})
			}
			return b
		}(), false},
		{"honest for an hour, then not", []burst{{0, 100_000, 0, false}, {time.Hour, 200, 0, true}}, true},
	} {
		var r resetCounter
		start, got := time.Now(), false
		for _, b := range tt.bursts {
			for range b.n {
				got = r.ended(start.Add(b.at), b.lived, b.reset) || got
			}
		}
		if got != tt.want {
			t.Errorf("%s: abusive = %t, want %t", tt.name, got, tt.want)
		}
	}
}

func TestReadersThatStallTwiceAreCut(t *testing.T) {
	var p *probeServer
	watch := func(ss grpc.ServerStreamingServer[headroomv1.WatchSnapshotsResponse]) error {
		p.guard.stalled(ss.Context())
		return nil
	}
	p = startProbe(t, listenLoopback(t), probeConfig{watch: watch})
	stall := func(cc *grpc.ClientConn) error {
		ctx, cancel := context.WithTimeout(t.Context(), callTimeout)
		defer cancel()
		ss, err := headroomv1.NewStatusServiceClient(cc).WatchSnapshots(ctx, &headroomv1.WatchSnapshotsRequest{})
		if err != nil {
			return err
		}
		_, err = ss.Recv()
		return err
	}
	slow, honest := p.dial(t), p.dial(t)
	if err := checkHealth(t, honest); err != nil {
		t.Fatal(err)
	}
	if err := stall(slow); err == nil || reasonOf(err) == "Unavailable" {
		t.Errorf("the first stall: %v, want the end of the stream", err)
	}
	if got := p.guard.counts().cutForStalls; got != 0 {
		t.Errorf("after one stall %d connections were cut, want 0", got)
	}
	if err := stall(slow); reasonOf(err) != "Unavailable" {
		t.Errorf("the second stall: %v, want the end of the connection", err)
	}
	if got := p.guard.counts().cutForStalls; got != 1 {
		t.Errorf("after two stalls %d connections were cut, want 1", got)
	}
	if err := checkHealth(t, honest); err != nil {
		t.Errorf("another connection: %v, want nil", err)
	}
	p.guard.stalled(context.Background()) // outside a call it does nothing
}
