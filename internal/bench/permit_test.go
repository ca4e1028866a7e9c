package bench

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/headroom-rpc/headroom/internal/boottime"
)

// BenchmarkAcquirePermit measures one AcquirePermit and one ReleasePermit beside two unary calls that do nothing, to
// a bare grpc.Server in another process and to the health service of the same server. They take turns of 100 ms.
//
//	us/permit     wall time of the two calls, over the callers: the median of the turns
//	us/bare       the same of the floor
//	us/health     the same of the health service
//	x-bare        the first over the second
//	x-health      the first over the third
func BenchmarkAcquirePermit(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			var got []int64
			for b.Loop() {
				got = measureUnary(b, callers, 30, 0)
			}
			b.ReportMetric(float64(got[0])/1e3, "us/permit")
			b.ReportMetric(float64(got[1])/1e3, "us/bare")
			b.ReportMetric(float64(got[2])/1e3, "us/health")
			b.ReportMetric(float64(got[0])/float64(got[1]), "x-bare")
			b.ReportMetric(float64(got[0])/float64(got[2]), "x-health")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkHandOff measures how long it takes until a permit that one process gives back is used by another that
// waits for it, beside a message from one process to the other through a bare grpc.Server. Whoever has the permit
// or the message keeps it for 1 ms. They take turns of 200.
//
//	us/p50, us/p99               from the release until the other process has it
//	us/message-p50, -p99         from the send until the other process has it
//	x-message                    the first over the third
func BenchmarkHandOff(b *testing.B) {
	var permits, messages []time.Duration
	for b.Loop() {
		permits, messages = measureHandOff(b, 10, 200, time.Millisecond, 0)
	}
	us := func(all []time.Duration, percent int) float64 { return float64(all[len(all)*percent/100]) / 1e3 }
	b.ReportMetric(us(permits, 50), "us/p50")
	b.ReportMetric(us(permits, 99), "us/p99")
	b.ReportMetric(us(messages, 50), "us/message-p50")
	b.ReportMetric(us(messages, 99), "us/message-p99")
	b.ReportMetric(us(permits, 50)/us(messages, 50), "x-message")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkScarce measures how often permits of a resource of 8 pass from hand to hand among 64 processes that
// give back each one at once, beside 64 processes that each send a message to a bare grpc.Server and wait for the
// answer, and beside 8 messages that go round among the 64 through a bare grpc.Server, which takes as many frames and as
// few processes at work at a time as the permits do. They take turns of 2 s.
//
//	permits/s     permits taken by all processes together, the median of the turns
//	pings/s       answers, likewise
//	rounds/s      times that a process had one of the 8 messages, likewise
//	x-pings       the first over the second
//	x-rounds      the first over the third
//	least-share   what the process with the fewest permits had, over a 64th of all
//	jain          Jain's index of fairness: 1 where all had the same
//	us/server     CPU time of the server, user and system, for each permit
//	us/ping-server  the same of the bare server for each answer
//	us/all, us/ping-all, us/round-all  the same of all processes together
func BenchmarkScarce(b *testing.B) {
	var got scarcity
	for b.Loop() {
		got = measureScarce(b, 64, 5, 2*time.Second, 0)
	}
	b.ReportMetric(got.permits, "permits/s")
	b.ReportMetric(got.pings, "pings/s")
	b.ReportMetric(got.rounds, "rounds/s")
	b.ReportMetric(got.permits/got.pings, "x-pings")
	b.ReportMetric(got.permits/got.rounds, "x-rounds")
	b.ReportMetric(got.least, "least-share")
	b.ReportMetric(got.jain, "jain")
	b.ReportMetric(got.server/1e3, "us/server")
	b.ReportMetric(got.pingServer/1e3, "us/ping-server")
	b.ReportMetric(got.all/1e3, "us/all")
	b.ReportMetric(got.pingAll/1e3, "us/ping-all")
	b.ReportMetric(got.roundAll/1e3, "us/round-all")
	b.ReportMetric(0, "ns/op")
}

// TestPermits runs each of them once, small, so that their children keep working.
func TestPermits(t *testing.T) {
	for i, took := range measureUnary(t, 2, 2, time.Second) {
		if took <= 0 {
			t.Errorf("way %d of two calls took %d ns", i, took)
		}
	}
	if permits, messages := measureHandOff(t, 1, 5, time.Millisecond, time.Second); len(permits) == 0 || len(messages) == 0 {
		t.Errorf("%d hand-offs and %d messages, want some of each", len(permits), len(messages))
	}
	if got := measureScarce(t, 10, 1, 200*time.Millisecond, time.Second); got.permits <= 0 || got.pings <= 0 || got.rounds <= 0 {
		t.Errorf("hand-offs %+v, want some of each", got)
	}
}

// pair is a server of permits and a bare one, with their ports.
type pair struct {
	permits, bare         *peer
	permitsPort, barePort int64
}

// startServers starts both, with the TTL, 0 for the default.
func startServers(b testing.TB, ttl time.Duration) (s pair, stop func()) {
	b.Helper()
	var stopPermits, stopBare func()
	s.permits, stopPermits = start(b, "permitserver")
	s.permitsPort = s.permits.ask(b, "serve", ttl.Milliseconds())[0]
	s.bare, stopBare = start(b, "bareserver")
	s.barePort = s.bare.numbers(b)[0]
	return s, func() {
		stopBare()
		stopPermits()
	}
}

// measureUnary returns how long two calls took in ns: of permits, of the floor and of the health service.
func measureUnary(b testing.TB, callers, turns int, ttl time.Duration) []int64 {
	b.Helper()
	s, stop := startServers(b, ttl)
	defer stop()
	load, stopLoad := start(b, "unaryload")
	defer stopLoad()
	return load.ask(b, "call", s.permitsPort, s.barePort, callers, turns)
}

// span is when a process had the permit or the message.
type span struct {
	process  int
	from, to time.Duration
}

// measureHandOff returns how long the permits and the messages took to the other process, in order.
func measureHandOff(b testing.TB, turns, count int, hold, ttl time.Duration) (permits, messages []time.Duration) {
	b.Helper()
	s, stop := startServers(b, ttl)
	defer stop()
	workers, stopWorkers := startWorkers(b, 2, s, oneResource)
	defer stopWorkers()
	for range turns {
		permits = append(permits, handOffs(b, workers, "pass", count, hold)...)
		messages = append(messages, handOffs(b, workers, "bounce", count, hold)...)
	}
	slices.Sort(permits)
	slices.Sort(messages)
	return permits, messages
}

func handOffs(b testing.TB, workers []*peer, way string, count int, hold time.Duration) (took []time.Duration) {
	b.Helper()
	var spans []span
	for i, w := range workers {
		if err := w.send(way, count, hold.Microseconds(), i); err != nil {
			b.Fatal(err)
		}
	}
	for i, w := range workers {
		times := w.numbers(b)
		for j := 0; j+1 < len(times); j += 2 {
			spans = append(spans, span{i, time.Duration(times[j]), time.Duration(times[j+1])})
		}
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	for i := 1; i < len(spans); i++ {
		if last := spans[i-1]; last.process != spans[i].process {
			took = append(took, spans[i].from-last.to)
		}
	}
	return took
}

// startWorkers starts processes that hold permits of the resource in turns.
func startWorkers(b testing.TB, n int, s pair, resource string) (workers []*peer, stop func()) {
	b.Helper()
	stops := make([]func(), n)
	workers = make([]*peer, n)
	for i := range workers {
		workers[i], stops[i] = start(b, "permitworker")
	}
	for _, w := range workers {
		if err := w.send("dial", s.permitsPort, s.barePort, resource); err != nil {
			b.Fatal(err)
		}
	}
	for _, w := range workers {
		w.numbers(b)
	}
	return workers, func() {
		for _, stop := range stops {
			stop()
		}
	}
}

// scarcity is what many processes had of a few permits, and what it cost in ns for each.
type scarcity struct {
	permits, pings, rounds, least, jain float64
	server, pingServer                  float64
	all, pingAll, roundAll              float64
}

func measureScarce(b testing.TB, n, turns int, span, ttl time.Duration) (got scarcity) {
	b.Helper()
	s, stop := startServers(b, ttl)
	defer stop()
	workers, stopWorkers := startWorkers(b, n, s, scarceResource)
	defer stopWorkers()
	for _, w := range workers {
		w.ask(b, "join")
	}
	for _, w := range workers[:min(n, scarceLimit)] {
		w.ask(b, "begin")
	}
	shares := make([]int64, n)
	var permits, pings, rounds busy
	for range turns {
		for i, c := range permits.measure(b, s.permits, workers, "loop", span) {
			shares[i] += c
		}
		pings.measure(b, s.bare, workers, "ping", span)
		rounds.measure(b, s.bare, workers, "round", span)
	}
	squares := 0.0
	for _, c := range shares {
		squares += float64(c) * float64(c)
	}
	got.permits, got.server, got.all = permits.summary(span)
	got.pings, got.pingServer, got.pingAll = pings.summary(span)
	got.rounds, _, got.roundAll = rounds.summary(span)
	got.least = float64(slices.Min(shares)*int64(n)) / float64(permits.count)
	got.jain = float64(permits.count) * float64(permits.count) / float64(n) / squares
	return got
}

// busy is what all did in some turns, and what it cost.
type busy struct {
	turns              []int64 // how often in each
	count, server, all int64
}

// measure has all do the same for the span and returns how often each did.
func (u *busy) measure(b testing.TB, srv *peer, workers []*peer, way string, span time.Duration) []int64 {
	b.Helper()
	server, others := srv.ask(b, "cpu")[0], int64(0)
	for _, w := range workers {
		others -= w.ask(b, "cpu")[0]
	}
	counts := countsOf(b, workers, way, span)
	server = srv.ask(b, "cpu")[0] - server
	for _, w := range workers {
		others += w.ask(b, "cpu")[0]
	}
	sum := int64(0)
	for _, c := range counts {
		sum += c
	}
	u.turns = append(u.turns, sum)
	u.count += sum
	u.server += server
	u.all += server + others
	return counts
}

// summary returns how often a second in the median of the turns, and the cost of each. What was done before and
// after the count is taken for as much as in it.
func (u *busy) summary(span time.Duration) (rate, server, all float64) {
	slices.Sort(u.turns)
	counted := span.Seconds() / (span + 2*settle).Seconds() / float64(u.count)
	return float64(u.turns[len(u.turns)/2]) / span.Seconds(), float64(u.server) * counted, float64(u.all) * counted
}

// countsOf has all do the same for the span and returns how often each did.
func countsOf(b testing.TB, workers []*peer, way string, span time.Duration) []int64 {
	b.Helper()
	from := boottime.Now() + settle
	for _, w := range workers {
		if err := w.send(way, int64(from), int64(from+span)); err != nil {
			b.Fatal(err)
		}
	}
	counts := make([]int64, len(workers))
	for i, w := range workers {
		counts[i] = w.numbers(b)[0]
	}
	return counts
}
