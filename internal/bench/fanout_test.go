package bench

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/internal/boottime"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
	"github.com/headroom-rpc/headroom/server"
	"github.com/headroom-rpc/headroom/snapshot"
)

// pace is how often a state is sent to every subscriber.
const pace = 500 * time.Millisecond

// framing is what gRPC and HTTP/2 put before each message: 5 and 9 bytes.
const framing = 14

// BenchmarkFanout compares what a delivery of one state costs the server with a raw TCP write of the same
// bytes, both in the same run, each subscriber on a connection of its own and the load in a process of its
// own.
//
//	us/delivery   CPU time of the server, user and system, for each state that a subscriber received
//	raw-us/write  the same for the floor
//	x-raw         the first over the second
//	KiB/idle      resident memory that each idle subscriber adds to the server
func BenchmarkFanout(b *testing.B) {
	for _, n := range []int{100, 1000, 5000} {
		b.Run(fmt.Sprintf("subscribers=%d", n), func(b *testing.B) { benchmarkFanout(b, n, 4*time.Second) })
	}
}

// TestFanout runs the benchmark once, small, so that its children keep working.
func TestFanout(t *testing.T) {
	got := measureServer(t, 5, 0)
	if got.deliveries < 10 {
		t.Errorf("%d deliveries to 5 subscribers, want at least 10", got.deliveries)
	}
	if raw := measureRaw(t, 5, got.stateBytes, 0); raw.deliveries < 10 {
		t.Errorf("%d raw deliveries to 5 subscribers, want at least 10", raw.deliveries)
	}
}

func benchmarkFanout(b *testing.B, n int, span time.Duration) {
	var gRPC, raw measure
	for b.Loop() {
		gRPC.add(measureServer(b, n, span))
		raw.add(measureRaw(b, n, gRPC.stateBytes, span))
	}
	delivery := float64(gRPC.cpu) / float64(gRPC.deliveries) / 1e3
	write := float64(raw.cpu) / float64(raw.deliveries) / 1e3
	b.ReportMetric(delivery, "us/delivery")
	b.ReportMetric(write, "raw-us/write")
	b.ReportMetric(delivery/write, "x-raw")
	b.ReportMetric(float64(gRPC.idleBytes)/float64(n)/1024, "KiB/idle")
	b.ReportMetric(float64(gRPC.stateBytes), "bytes/state")
	b.ReportMetric(0, "ns/op")
}

// A measure is what one span of time cost the sending process.
type measure struct {
	cpu        int64 // nanoseconds, user and system
	deliveries int64
	idleBytes  int64 // resident bytes that the subscribers added
	stateBytes int   // one state on the wire
}

func (m *measure) add(n measure) {
	m.cpu += n.cpu
	m.deliveries += n.deliveries
	m.idleBytes, m.stateBytes = n.idleBytes, n.stateBytes
}

// measureServer subscribes n clients to a server of its own and measures it for the span, and until each
// has received a few states.
func measureServer(b testing.TB, n int, span time.Duration) measure {
	b.Helper()
	srv, stopServer := start(b, "server")
	defer stopServer()
	port := srv.numbers(b)[0]
	load, stopLoad := start(b, "load")
	defer stopLoad()
	load.ask(b, "dial", port, 1)
	before := srv.ask(b, "memory")[0]
	load.ask(b, "dial", port, n)
	load.ask(b, "await", 3*n)
	m := measure{idleBytes: srv.ask(b, "memory")[0] - before, stateBytes: stateSize(b, int(port)) + framing}
	cpu, received := srv.ask(b, "cpu")[0], load.ask(b, "count")[0]
	pause(span)
	load.ask(b, "await", 2*n)
	m.cpu, m.deliveries = srv.ask(b, "cpu")[0]-cpu, load.ask(b, "count")[0]-received
	return m
}

// measureRaw does the same for plain writes of frames of the given size.
func measureRaw(b testing.TB, n, size int, span time.Duration) measure {
	b.Helper()
	send, stopSend := start(b, "rawsend")
	defer stopSend()
	port := send.numbers(b)[0]
	load, stopLoad := start(b, "rawreceive")
	defer stopLoad()
	if err := send.send("wait", n); err != nil { // accepts while the load dials
		b.Fatal(err)
	}
	load.ask(b, "dial", port, n, size)
	send.numbers(b)
	send.ask(b, "go", size, pace.Milliseconds())
	load.ask(b, "await", n)
	cpu, received := send.ask(b, "cpu")[0], load.ask(b, "count")[0]
	pause(span)
	load.ask(b, "await", 2*n)
	m := measure{cpu: send.ask(b, "cpu")[0] - cpu, deliveries: load.ask(b, "count")[0] - received}
	send.ask(b, "stop")
	return m
}

// pause waits while the children work. There is no event to wait for: what is measured is a span of time.
func pause(span time.Duration) { <-time.After(span) }

// stateSize is the size of one state on the wire, as a subscriber gets it.
func stateSize(b testing.TB, port int) int {
	b.Helper()
	conn, err := grpc.NewClient("127.0.0.1:"+strconv.Itoa(port), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	stream, err := headroomv1.NewStatusServiceClient(conn).WatchSnapshots(ctx,
		&headroomv1.WatchSnapshotsRequest{Interval: durationpb.New(pace)})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		b.Fatal(err)
	}
	state, err := stream.Recv()
	if err != nil {
		b.Fatal(err)
	}
	return proto.Size(state)
}

// runServer serves made-up readings on loopback TCP. It prints its port, and answers "cpu" with its CPU
// time and "memory" with its resident bytes after a collection.
func runServer(p *peer) error {
	var step int64
	snapshotter, err := snapshot.New(snapshot.Config{
		Scope: snapshot.ScopeHost,
		Clock: boottime.Now,
		Sources: snapshot.Sources{
			CPU: func(context.Context) (snapshot.CPUReading, error) {
				step++
				return snapshot.CPUReading{Used: float64(step%7) / 10, Cores: 2, Source: "made up"}, nil
			},
			Memory: func(context.Context) (snapshot.MemoryReading, error) {
				return snapshot.MemoryReading{Used: 1 << 30, Total: 4 << 30, Definition: "made up", Source: "made up"}, nil
			},
		},
	})
	if err != nil {
		return err
	}
	lis, err := server.ListenTCP("127.0.0.1:0", nil, false)
	if err != nil {
		return err
	}
	srv, err := server.New(server.Config{
		Snapshotter: snapshotter,
		Listeners:   []*server.Listener{lis},
		Version:     "bench",
		Log:         slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	go srv.Run(context.Background())
	if err := p.send(lis.Addr().(*net.TCPAddr).Port); err != nil {
		return err
	}
	for {
		words, err := p.receive()
		if err != nil {
			return err
		}
		switch words[0] {
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

// runLoad subscribes. It answers "dial PORT N" once N clients stand, each on a connection of its own,
// "await N" once N more states were received, and "count" with all that were.
func runLoad(p *peer) error {
	var received atomic.Int64
	for {
		words, err := p.receive()
		if err != nil {
			return err
		}
		switch words[0] {
		case "dial":
			n, _ := strconv.Atoi(words[2])
			err = subscribe("127.0.0.1:"+words[1], n, &received)
			if err == nil {
				err = p.send(n)
			}
		case "await":
			err = p.send(await(&received, words[1]))
		case "count":
			err = p.send(received.Load())
		}
		if err != nil {
			return err
		}
	}
}

// await returns the count once it has grown by more.
func await(count *atomic.Int64, more string) int64 {
	n, _ := strconv.ParseInt(more, 10, 64)
	for goal := count.Load() + n; count.Load() < goal; {
		pause(10 * time.Millisecond)
	}
	return count.Load()
}

// subscribe starts n clients and returns once each has a state.
func subscribe(addr string, n int, received *atomic.Int64) error {
	var first sync.WaitGroup
	for range n {
		c, err := client.Dial(context.Background(), client.WithAddress(addr))
		if err != nil {
			return err
		}
		first.Add(1)
		go func() {
			got := sync.OnceFunc(first.Done)
			for state, err := range c.Snapshots(context.Background(), client.WatchOptions{Interval: pace}) {
				if err != nil {
					return
				}
				if !state.Stale {
					received.Add(1)
					got()
				}
			}
		}()
	}
	first.Wait()
	return nil
}
