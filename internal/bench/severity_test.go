package bench

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/server"
	"github.com/headroom-rpc/headroom/severity"
)

// flipPace is how often the memory is read whose flips are the transitions.
const flipPace = 100 * time.Millisecond

// BenchmarkTransition measures one transition for each subscriber, each on a connection of its own over
// loopback TCP, the load in a process of its own.
//
//	ms/last       from the evaluation until the last subscriber has the transition; the median of all transitions
//	ms/half       the same until half of them have it
//	us/delivery   CPU time of the server, user and system, for each transition that a subscriber received
//	KiB/idle      resident memory that each idle subscriber adds to the server
func BenchmarkTransition(b *testing.B) {
	for _, n := range []int{100, 1000} {
		b.Run(fmt.Sprintf("subscribers=%d", n), func(b *testing.B) {
			var got transitions
			for b.Loop() {
				got = measureTransitions(b, n, 20)
			}
			b.ReportMetric(float64(got.last)/1e6, "ms/last")
			b.ReportMetric(float64(got.half)/1e6, "ms/half")
			b.ReportMetric(float64(got.cpu)/1e3, "us/delivery")
			b.ReportMetric(float64(got.idleBytes)/1024, "KiB/idle")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// TestTransition runs the benchmark once, small, so that its children keep working.
func TestTransition(t *testing.T) {
	if got := measureTransitions(t, 5, 2); got.half <= 0 || got.last < got.half {
		t.Errorf("half of 5 subscribers had a transition after %d ns and all after %d, want more than 0 in order", got.half, got.last)
	}
}

// transitions is what one transition costs.
type transitions struct {
	half, last int64 // ns, the median over all
	cpu        int64 // ns for each delivery
	idleBytes  int64 // for each subscriber
}

func measureTransitions(b testing.TB, n, count int) transitions {
	b.Helper()
	srv, stopServer := start(b, "severityserver")
	defer stopServer()
	port := srv.numbers(b)[0]
	load, stopLoad := start(b, "severityload")
	defer stopLoad()
	load.ask(b, "dial", port, 1)
	before := srv.ask(b, "memory")[0]
	load.ask(b, "dial", port, n)
	m := transitions{idleBytes: (srv.ask(b, "memory")[0] - before) / int64(n)}
	var half, last []int64
	cpu := srv.ask(b, "cpu")[0]
	for range count {
		srv.ask(b, "flip")
		times := load.ask(b, "next")
		half, last = append(half, times[0]), append(last, times[1])
	}
	m.cpu = (srv.ask(b, "cpu")[0] - cpu) / int64(count*(n+1))
	slices.Sort(half)
	slices.Sort(last)
	m.half, m.last = half[count/2], last[count/2]
	return m
}

// runSeverityServer serves the severity of a machine whose memory is made up. It prints its port, and answers
// "flip" once the memory is the other way round, "cpu" with its CPU time and "memory" with its resident bytes
// after a collection.
func runSeverityServer(p *peer) error {
	machine := madeUp{every: flipPace}
	srv, port, err := machine.newServer(server.Config{Levels: []severity.Level{{Enter: severity.GlobalRelative(50)}}})
	if err != nil {
		return err
	}
	go srv.Run(context.Background())
	if err := p.send(port); err != nil {
		return err
	}
	for {
		words, err := p.receive()
		if err != nil {
			return err
		}
		switch words[0] {
		case "flip":
			machine.full.Store(!machine.full.Load())
			err = p.send(0)
		case "cpu":
			err = p.send(cpuNanos())
		case "memory":
			debug.FreeOSMemory()
			err = p.send(residentBytes())
		}
		if err != nil {
			return err
		}
	}
}

// arrivals is when the subscribers received their present transition.
type arrivals struct {
	mu    sync.Mutex
	after []int64 // ns since its evaluation
	goal  int
	full  chan []int64 // of capacity 1
}

func (a *arrivals) add(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.after = append(a.after, int64(d)); len(a.after) == a.goal {
		a.full <- a.after
		a.after = nil
	}
}

// runSeverityLoad subscribes. It answers "dial PORT N" once N more clients stand, each on a connection of its
// own, and "next" once all have the next transition: after how many ns half of them had it, and the last.
func runSeverityLoad(p *peer) error {
	all := &arrivals{full: make(chan []int64, 1)}
	for {
		words, err := p.receive()
		if err != nil {
			return err
		}
		switch words[0] {
		case "dial":
			n, _ := strconv.Atoi(words[2])
			all.mu.Lock()
			all.goal += n
			all.mu.Unlock()
			if err = watchTransitions("127.0.0.1:"+words[1], n, all); err == nil {
				err = p.send(n)
			}
		case "next":
			after := <-all.full
			slices.Sort(after)
			err = p.send(after[len(after)/2], after[len(after)-1])
		}
		if err != nil {
			return err
		}
	}
}

// watchTransitions starts n subscribers and returns once each has its first message.
func watchTransitions(addr string, n int, all *arrivals) error {
	for range n {
		conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return err
		}
		stream, err := openTransitions(conn)
		for tries := 0; err != nil && tries < 500; tries++ { // while the server starts
			pause(10 * time.Millisecond)
			stream, err = openTransitions(conn)
		}
		if err != nil {
			return err
		}
		go func() {
			for {
				resp, err := stream.Recv()
				if err != nil {
					return
				}
				if t := resp.GetTransition(); t != nil {
					all.add(time.Since(t.GetTime().AsTime()))
				}
			}
		}()
	}
	return nil
}

// openTransitions opens a stream and takes its first message.
func openTransitions(conn *grpc.ClientConn) (grpc.ServerStreamingClient[headroomv1.WatchSeverityResponse], error) {
	stream, err := headroomv1.NewSeverityServiceClient(conn).WatchSeverity(context.Background(), &headroomv1.WatchSeverityRequest{})
	if err == nil {
		_, err = stream.Recv()
	}
	return stream, err
}
