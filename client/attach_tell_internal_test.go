package client

import (
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headroom-rpc/headroom/permit"
	"google.golang.org/grpc"
)

// countingStream counts the frames that are sent on it.
type countingStream struct {
	grpc.ClientStream
	sent int
}

func (s *countingStream) SendMsg(any) error {
	s.sent++
	return nil
}

// newWelcomed returns an attachment without goroutines that was welcomed, and its stream.
func newWelcomed(t *testing.T) (*attachment, *countingStream) {
	t.Helper()
	a := &attachment{
		client: &Client{clock: func() time.Duration { return 0 }, log: slog.New(slog.DiscardHandler)},
		lessee: permit.NewLessee(permit.LesseeConfig{}), shares: make(map[string]*share),
		wake: make(chan struct{}, 1), look: make(chan struct{}, 1),
	}
	a.clock.Start()
	stream := &countingStream{}
	a.lessee.Connect(a.exactNow())
	a.lend(stream)
	a.tell()
	if stream.sent != 1 {
		t.Fatalf("%d frames, want the hello", stream.sent)
	}
	a.receive(&permit.ServerFrame{Epoch: 1, Echo: a.sentAt, Welcome: &permit.Welcome{
		Epoch: 1, TTL: permit.DefaultTTL, Heartbeat: permit.DefaultHeartbeat, Grace: permit.DefaultGrace,
	}})
	return a, stream
}

// Who is about to wait sends no more itself than the stream takes while nobody reads: more would keep it there, whatever
// its context says. The rest is left to the writer.
func TestTellLeavesTheRestToTheWriter(t *testing.T) {
	const most = 4
	a, stream := newWelcomed(t)
	resources := 0
	tell := func() { // that there is one more resource
		t.Helper()
		resources++
		if _, err := a.open(fmt.Sprint("r", resources), &permitConfig{weight: 1}); err != nil {
			t.Fatal(err)
		}
		select {
		case <-a.wake:
		default:
		}
		a.tell()
	}
	for unread := range 2 * most {
		stream.sent = 0
		tell()
		if want := unread < most; (stream.sent == 1) != want {
			t.Errorf("with %d frames unread: %d sent, want one: %v", unread, stream.sent, want)
		}
		if woken := len(a.wake) > 0; !woken && unread >= most {
			t.Errorf("with %d frames unread: the writer was not woken", unread)
		}
	}
	a.receive(&permit.ServerFrame{Epoch: 1, Echo: a.sentAt})
	stream.sent = 0
	if tell(); stream.sent != 1 {
		t.Errorf("once all were read: %d frames sent, want one", stream.sent)
	}
}

// A writer who is woken for what somebody else sent meanwhile sleeps on.
func TestWriterSleepsOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, stream := newWelcomed(t)
		expect := func(when string, want bool) {
			t.Helper()
			if got := a.silent(); got != want {
				t.Errorf("%s: it sleeps on is %v, want %v", when, got, want)
			}
		}
		for {
			if sent, _, _ := a.send(stream); !sent {
				break
			}
		}
		expect("when it sent all", true)
		if _, err := a.open("r", &permitConfig{weight: 1}); err != nil {
			t.Fatal(err)
		}
		expect("with a demand to state", false)
		a.tell()
		expect("when that was told", true)
		given := permit.Target{Resource: "r", Version: 1, Target: 1, Contended: true}
		a.receive(&permit.ServerFrame{Epoch: 1, Echo: a.sentAt, Targets: []permit.Target{given}})
		expect("with what it was given to be used soon", false)
		p, ok := a.shares["r"].pass(1)
		if !ok {
			t.Fatal("it was given nothing")
		}
		a.tell()
		for {
			if sent, _, _ := a.send(stream); !sent {
				break
			}
		}
		expect("when it looked anew", true)
		p.Release()
		expect("with a release that others wait for", false)
		a.tell()
		expect("when that was told", true)
		a.goodbye = true
		expect("with a goodbye to say", false)
	})
}
