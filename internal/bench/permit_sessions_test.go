package bench

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/headroom-rpc/headroom/client"
	"github.com/headroom-rpc/headroom/internal/boottime"
	"github.com/headroom-rpc/headroom/internal/wire"
	"github.com/headroom-rpc/headroom/permit"
	headroomv1 "github.com/headroom-rpc/headroom/proto/headroom/v1"
)

func init() { roles["sessionload"] = runSessionLoad }

// BenchmarkSessions measures a server to which many sessions are attached, each on a connection of its
// own, from four processes. Each holds one permit and waits for two more, which it has until the
// limit is cut. That is done five times, and the medians count.
//
//	KiB/session       resident memory that each session adds to the server
//	KiB-heap/session  of that, live objects and stacks
//	%core             CPU time of the server, user and system, of one core, while all only beat
//	ms/cut            from the call of SetLimit until the last session has its lower target
//	ms/cut-half       the same until half of them have it
//	ms/cut-cpu        CPU time of the server, user and system, until the last one has it
func BenchmarkSessions(b *testing.B) {
	for _, n := range []int{1000, 4000, 10_000} {
		b.Run(fmt.Sprintf("sessions=%d", n), func(b *testing.B) {
			var got sessions
			for b.Loop() {
				got = measureSessions(b, n, 5, 10*time.Second, 0)
			}
			b.ReportMetric(got.resident/1024, "KiB/session")
			b.ReportMetric(got.heap/1024, "KiB-heap/session")
			b.ReportMetric(got.core*100, "%core")
			b.ReportMetric(float64(got.cut)/1e6, "ms/cut")
			b.ReportMetric(float64(got.cutHalf)/1e6, "ms/cut-half")
			b.ReportMetric(float64(got.cutCPU)/1e6, "ms/cut-cpu")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// TestSessions runs the benchmark once, small, so that its children keep working.
func TestSessions(t *testing.T) {
	if got := measureSessions(t, 20, 2, 100*time.Millisecond, 4*time.Second); got.cutHalf <= 0 || got.cut < got.cutHalf {
		t.Errorf("half of 20 sessions had a cut after %v and all after %v, want more than 0 in order", got.cutHalf, got.cut)
	}
}

// sessions is what many of them cost.
type sessions struct {
	resident, heap float64 // bytes for each
	core           float64

	// What a cut takes, by the medians of some.
	cut, cutHalf, cutCPU time.Duration
}

func measureSessions(b testing.TB, n, cuts int, span, ttl time.Duration) (got sessions) {
	b.Helper()
	const processes = 4
	srv, stopServer := start(b, "permitserver")
	defer stopServer()
	port := srv.ask(b, "serve", ttl.Milliseconds())[0]
	loads := make([]*peer, processes)
	for i := range loads {
		var stop func()
		loads[i], stop = start(b, "sessionload")
		defer stop()
		loads[i].ask(b, "dial", port, 1)
	}
	before := srv.ask(b, "memory")
	for _, load := range loads {
		if err := load.send("dial", port, n/processes-1); err != nil {
			b.Fatal(err)
		}
	}
	for _, load := range loads {
		load.numbers(b)
	}
	after := srv.ask(b, "memory")
	each := func(i int) float64 { return float64(after[i]-before[i]) / float64(n-processes) }
	got.resident, got.heap = each(0), each(1)+each(2)

	pause(span / 10) // until the reports of the beginning have gone out
	cpu, begin := srv.ask(b, "cpu")[0], time.Now()
	pause(span)
	got.core = float64(srv.ask(b, "cpu")[0]-cpu) / float64(time.Since(begin))

	c, err := client.Dial(context.Background(), client.WithAddress(fmt.Sprint("127.0.0.1:", port)))
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	limit := func(limit int64) {
		if _, _, err := c.SetLimit(context.Background(), plentyResource, limit); err != nil {
			b.Fatal(err)
		}
	}
	var all, half, cpus []time.Duration
	for range cuts {
		cpu, at := srv.ask(b, "cpu")[0], boottime.Now()
		limit(int64(n))
		arrived := askAll(b, loads, "cut")
		cpus = append(cpus, time.Duration(srv.ask(b, "cpu")[0]-cpu))
		all, half = append(all, time.Duration(arrived[n-1])-at), append(half, time.Duration(arrived[n/2])-at)
		limit(plentyLimit)
		askAll(b, loads, "full")
		pause(span / 2) // until all has been said
	}
	for _, took := range [][]time.Duration{all, half, cpus} {
		slices.Sort(took)
	}
	got.cut, got.cutHalf, got.cutCPU = all[cuts/2], half[cuts/2], cpus[cuts/2]
	return got
}

// askAll sends one line to each and returns the numbers of all answers, in order.
func askAll(b testing.TB, peers []*peer, words ...any) (numbers []int64) {
	b.Helper()
	for _, p := range peers {
		if err := p.send(words...); err != nil {
			b.Fatal(err)
		}
	}
	for _, p := range peers {
		numbers = append(numbers, p.numbers(b)...)
	}
	slices.Sort(numbers)
	return numbers
}

// runSessionLoad attaches. It answers "dial PORT N" once N more sessions have what they want, and then "cut" once all
// have less, and "full" once all have it again, with when each of them was told.
func runSessionLoad(p *peer) error {
	told := make(chan time.Duration, 1<<16)
	all := 0
	for {
		words, err := p.receive()
		if err != nil {
			return err
		}
		var numbers []any
		switch words[0] {
		case "dial":
			n, _ := strconv.Atoi(words[2])
			all += n
			numbers = []any{n}
			err = attachSessions("127.0.0.1:"+words[1], n, told)
		case "cut", "full":
			for range all {
				numbers = append(numbers, int64(<-told))
			}
		}
		if err == nil {
			err = p.send(numbers...)
		}
		if err != nil {
			return err
		}
	}
}

// wanted is how many permits a session holds or waits for.
const wanted = 3

// window switches off gRPC's estimator of bandwidth, as the client does: it would have the server answer a ping for each
// frame that it sends.
const window = 64 << 10

// session is a worker with its core alone: the clocks and goroutines of so many real ones would take the CPU that
// is measured.
type session struct {
	stream grpc.BidiStreamingClient[headroomv1.AttachRequest, headroomv1.AttachResponse]
	ready  sync.WaitGroup // until it had for the first time what it wants
	told   chan<- time.Duration

	mu     sync.Mutex
	lessee *permit.Lessee
	began  bool // whether it had
	full   bool // whether it has
}

// attachSessions attaches n more sessions, each once the one before has what it wants.
func attachSessions(addr string, n int, told chan<- time.Duration) error {
	for range n {
		s, err := attachSession(addr, told)
		if err != nil {
			return err
		}
		go s.beat()
		s.ready.Wait()
	}
	return nil
}

// beat sends what is due for as long as the process lives.
func (s *session) beat() {
	for {
		s.mu.Lock()
		at, ok := s.lessee.Next()
		s.mu.Unlock()
		wait := 100 * time.Millisecond // for the answer to the hello
		if ok {
			wait = max(at-boottime.Now(), 5*time.Millisecond)
		}
		pause(wait)
		s.send()
	}
}

func attachSession(addr string, told chan<- time.Duration) (*session, error) {
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithStaticStreamWindowSize(window), grpc.WithStaticConnWindowSize(window))
	if err != nil {
		return nil, err
	}
	s := &session{told: told}
	if s.stream, err = headroomv1.NewPermitServiceClient(conn).Attach(context.Background(), grpc.WaitForReady(true)); err != nil {
		return nil, err
	}
	var instance permit.InstanceID
	rand.Read(instance[:])
	s.lessee = permit.NewLessee(permit.LesseeConfig{Client: "session", Instance: instance})
	s.lessee.Gate(plentyResource)
	s.lessee.Demand(plentyResource, permit.Demand{Waiting: wanted, Weight: 1})
	s.lessee.Connect(boottime.Now())
	s.ready.Add(1)
	s.send()
	go s.receive()
	return s, nil
}

// send sends what is due.
func (s *session) send() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		f, ok := s.lessee.Frame(boottime.Now())
		if !ok || s.stream.Send(wire.WorkerFrame(&f)) != nil { // who receives learns why
			return
		}
	}
}

// receive takes what the server says. A session that it ends spoils the measurement, and so ends the process.
func (s *session) receive() {
	for {
		var f permit.ServerFrame
		m, err := s.stream.Recv()
		if err == nil {
			f, err = wire.ServerFrameFrom(m)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "session:", err)
			os.Exit(1)
		}
		s.mu.Lock()
		now := boottime.Now()
		s.lessee.Receive(now, f)
		g := s.lessee.Gate(plentyResource)
		full := g.Limit() >= wanted
		switch {
		case full && !s.began:
			s.began = true
			_, _ = g.TryAcquire(now, 1) // kept; a lease that has just begun has not ended
			s.lessee.Demand(plentyResource, permit.Demand{Waiting: wanted - 1, Weight: 1})
			s.ready.Done()
		case full != s.full:
			s.told <- now
		}
		s.full = full
		s.mu.Unlock()
		s.send()
	}
}
